# Who may take which role. A trust that does not look at the subject lets every project of the whole
# service in; so each role has subjects, and a role without any is not made.

locals {
  providers = {
    for name, provider in {
      gitlab   = var.gitlab == null ? null : { url = var.gitlab.url, audience = var.gitlab.audience }
      github   = var.github == null ? null : { url = "https://token.actions.githubusercontent.com", audience = "sts.amazonaws.com" }
      circleci = var.circleci == null ? null : { url = "https://oidc.circleci.com/org/${var.circleci.organisation}", audience = var.circleci.organisation }
    } : name => provider if provider != null
  }

  # publish: releases and static files. refresh: images of the groups. plan: reads. apply: builds.
  roles = ["publish", "refresh", "plan", "apply"]

  # Who brings a release may bring an image.
  subjects_of = { for role in local.roles : role => role == "refresh" ? "publish" : role }

  # What the token has as its subject, by service and role. Publishing to staging comes from branches,
  # everything else from protected tags and environments.
  subjects = {
    gitlab = var.gitlab == null ? {} : {
      publish = concat(
        [for branch in var.gitlab.branches : "project_path:${var.gitlab.project}:ref_type:branch:ref:${branch}"],
        [for tag in var.gitlab.tags : "project_path:${var.gitlab.project}:ref_type:tag:ref:${tag}"],
      )
      plan  = ["project_path:${var.gitlab.project}:ref_type:branch:ref:*"]
      apply = [for branch in var.gitlab.apply_branches : "project_path:${var.gitlab.project}:ref_type:branch:ref:${branch}"]
    }
    # With `environment:` a job's subject names the environment, whose reviewers GitHub asks.
    github = var.github == null ? {} : {
      publish = [for environment in var.github.environments : "repo:${var.github.repository}:environment:${environment}"]
      plan = concat(
        ["repo:${var.github.repository}:pull_request"],
        [for environment in var.github.plan_environments : "repo:${var.github.repository}:environment:${environment}"],
      )
      apply = ["repo:${var.github.repository}:environment:${var.github.apply_environment}"]
    }
    # Of CIRCLE_OIDC_TOKEN_V2, which names the ref. The user is 36 characters and not *, which would take
    # a branch whose name imitates the rest.
    circleci = var.circleci == null ? {} : {
      publish = concat(
        [for branch in var.circleci.branches : "${local.circleci_project}/vcs-ref/refs/heads/${branch}"],
        [for tag in var.circleci.tags : "${local.circleci_project}/vcs-ref/refs/tags/${tag}"],
      )
      plan  = ["${local.circleci_project}/vcs-ref/refs/heads/*"]
      apply = [for branch in var.circleci.apply_branches : "${local.circleci_project}/vcs-ref/refs/heads/${branch}"]
    }
  }

  circleci_project = var.circleci == null ? "" : join("/", [
    "org", var.circleci.organisation, "project", var.circleci.project,
    "user", "????????-????-????-????-????????????", "vcs-origin", var.circleci.origin,
  ])

  grants = merge([
    for service in keys(local.providers) : {
      for role in local.roles : "${service}-${role}" => { service = service, role = role, subjects = local.subjects[service][local.subjects_of[role]] }
      if length(local.subjects[service][local.subjects_of[role]]) > 0
    }
  ]...)
}

resource "aws_iam_openid_connect_provider" "this" {
  for_each = local.providers

  url            = each.value.url
  client_id_list = [each.value.audience]
}

resource "aws_iam_role" "pipeline" {
  for_each = local.grants

  name        = "${var.product}-${each.key}"
  description = "Pipelines of ${each.value.service}: ${each.value.role}"
  # A refresh takes hours, and who waits for it asks for a session as long.
  max_session_duration = each.value.role == "refresh" ? 43200 : 3600
  permissions_boundary = var.permissions_boundary_arn
  assume_role_policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect    = "Allow"
      Principal = { Federated = aws_iam_openid_connect_provider.this[each.value.service].arn }
      Action    = "sts:AssumeRoleWithWebIdentity"
      Condition = {
        StringEquals = {
          "${trimprefix(local.providers[each.value.service].url, "https://")}:aud" = local.providers[each.value.service].audience
        }
        StringLike = {
          "${trimprefix(local.providers[each.value.service].url, "https://")}:sub" = each.value.subjects
        }
      }
    }]
  })
}

# Releases of every environment of the product, and their static files: by the names that modules/storage
# and modules/cdn give. Whoever has it decides what runs, so subjects are few.
resource "aws_iam_role_policy" "publish" {
  for_each = { for key, grant in local.grants : key => grant if grant.role == "publish" }

  name = "publish"
  role = aws_iam_role.pipeline[each.key].id
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      {
        Sid    = "Releases"
        Effect = "Allow"
        Action = ["s3:AbortMultipartUpload", "s3:GetObject", "s3:ListMultipartUploadParts", "s3:PutObject"]
        Resource = [
          "arn:${local.partition}:s3:::${var.product}-*-releases-${local.account}/*",
          "arn:${local.partition}:s3:::${var.product}-*-static-${local.account}/*",
        ]
      },
      {
        Sid      = "OldStaticFiles"
        Effect   = "Allow"
        Action   = "s3:DeleteObject"
        Resource = "arn:${local.partition}:s3:::${var.product}-*-static-${local.account}/*"
      },
      {
        Sid    = "List"
        Effect = "Allow"
        Action = "s3:ListBucket"
        Resource = [
          "arn:${local.partition}:s3:::${var.product}-*-releases-${local.account}",
          "arn:${local.partition}:s3:::${var.product}-*-static-${local.account}",
        ]
      },
      {
        # The environments' keys have no name that could be foretold; S3's use of them has.
        Sid       = "UseKeysThroughS3"
        Effect    = "Allow"
        Action    = ["kms:Decrypt", "kms:GenerateDataKey"]
        Resource  = "arn:${local.partition}:kms:*:${local.account}:key/*"
        Condition = { StringLike = { "kms:ViaService" = "s3.*.amazonaws.com" } }
      },
      {
        Sid      = "Invalidate"
        Effect   = "Allow"
        Action   = ["cloudfront:CreateInvalidation", "cloudfront:GetInvalidation"]
        Resource = "arn:${local.partition}:cloudfront::${local.account}:distribution/*"
      },
    ]
  })
}

# `groundcrew fleet` on the groups of every environment of the product (docs/fleet.md, "Rights"): groups and
# roles by the names that modules/fleet gives, launch templates by the tag that the environments give.
resource "aws_iam_role_policy" "refresh" {
  for_each = { for key, grant in local.grants : key => grant if grant.role == "refresh" }

  name = "refresh"
  role = aws_iam_role.pipeline[each.key].id
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      {
        Sid    = "Look"
        Effect = "Allow"
        Action = [
          "autoscaling:DescribeAutoScalingGroups", "autoscaling:DescribeAutoScalingInstances",
          "autoscaling:DescribeInstanceRefreshes", "autoscaling:DescribeScalingActivities",
          "ec2:DescribeImages", "ec2:DescribeLaunchTemplateVersions",
        ]
        Resource = "*"
      },
      {
        Sid    = "RefreshAndScale"
        Effect = "Allow"
        Action = [
          "autoscaling:CancelInstanceRefresh", "autoscaling:RollbackInstanceRefresh",
          "autoscaling:SetDesiredCapacity", "autoscaling:StartInstanceRefresh",
        ]
        Resource = "arn:${local.partition}:autoscaling:*:${local.account}:autoScalingGroup:*:autoScalingGroupName/${var.product}-*"
      },
      {
        # Auto Scaling tries for the caller whether the template may be launched from.
        Sid       = "TemplatesOfTheProduct"
        Effect    = "Allow"
        Action    = ["ec2:CreateLaunchTemplateVersion", "ec2:RunInstances"]
        Resource  = "arn:${local.partition}:ec2:*:${local.account}:launch-template/*"
        Condition = { StringEquals = { "aws:ResourceTag/product" = var.product } }
      },
      {
        # What comes with the template, and nothing without one.
        Sid    = "WhatATemplateLaunches"
        Effect = "Allow"
        Action = "ec2:RunInstances"
        Resource = concat(
          ["arn:${local.partition}:ec2:*::image/*"],
          [
            for kind in ["image", "instance", "network-interface", "security-group", "subnet", "volume"] :
            "arn:${local.partition}:ec2:*:${local.account}:${kind}/*"
          ],
        )
        Condition = { ArnLike = { "ec2:LaunchTemplate" = "arn:${local.partition}:ec2:*:${local.account}:launch-template/*" } }
      },
      {
        Sid       = "TagsOfTheTemplate"
        Effect    = "Allow"
        Action    = "ec2:CreateTags"
        Resource  = [for kind in ["instance", "network-interface", "volume"] : "arn:${local.partition}:ec2:*:${local.account}:${kind}/*"]
        Condition = { StringEquals = { "ec2:CreateAction" = "RunInstances" } }
      },
      {
        Sid       = "TheInstancesRoles"
        Effect    = "Allow"
        Action    = "iam:PassRole"
        Resource  = "arn:${local.partition}:iam::${local.account}:role/${var.product}-*"
        Condition = { StringEquals = { "iam:PassedToService" = "ec2.amazonaws.com" } }
      },
    ]
  })
}

# Reads what there is, to say what would change. Not the values of secrets, nor what is in buckets.
resource "aws_iam_role_policy_attachment" "plan" {
  for_each = { for key, grant in local.grants : key => grant if grant.role == "plan" }

  role       = aws_iam_role.pipeline[each.key].name
  policy_arn = "arn:${local.partition}:iam::aws:policy/ReadOnlyAccess"
}

resource "aws_iam_role_policy" "state" {
  for_each = { for key, grant in local.grants : key => grant if contains(["plan", "apply"], grant.role) }

  name = "state"
  role = aws_iam_role.pipeline[each.key].id
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = concat(
      [
        {
          Sid      = "State"
          Effect   = "Allow"
          Action   = ["s3:GetObject", "s3:ListBucket"]
          Resource = [aws_s3_bucket.state.arn, "${aws_s3_bucket.state.arn}/*"]
        },
        {
          # A plan holds the lock as well; it writes no state.
          Sid      = "Lock"
          Effect   = "Allow"
          Action   = ["s3:DeleteObject", "s3:GetObject", "s3:PutObject"]
          Resource = "${aws_s3_bucket.state.arn}/*.tflock"
        },
        {
          Sid      = "StateKey"
          Effect   = "Allow"
          Action   = ["kms:Decrypt", "kms:GenerateDataKey"]
          Resource = aws_kms_key.state.arn
        },
      ],
      each.value.role == "apply" ? [{
        Sid      = "WriteState"
        Effect   = "Allow"
        Action   = "s3:PutObject"
        Resource = "${aws_s3_bucket.state.arn}/*.tfstate"
      }] : [],
      each.value.role == "plan" ? [{
        # ReadOnlyAccess reads every object of the account.
        Sid         = "NoOtherObjects"
        Effect      = "Deny"
        Action      = "s3:GetObject*"
        NotResource = "${aws_s3_bucket.state.arn}/*"
      }] : [],
    )
  })
}

# Whoever builds an account's network, roles and keys may do nearly everything in it. A boundary
# (permissions_boundary_arn) is the way to hold it to less; subjects are the way to hold it to few.
resource "aws_iam_role_policy_attachment" "apply" {
  for_each = { for key, grant in local.grants : key => grant if grant.role == "apply" }

  role       = aws_iam_role.pipeline[each.key].name
  policy_arn = "arn:${local.partition}:iam::aws:policy/AdministratorAccess"
}
