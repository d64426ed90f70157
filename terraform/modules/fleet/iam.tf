# What an instance may do: what the agent does, on the resources of this fleet, and Session Manager.
# "*" stands only where AWS has no resource to name, or where the action names none.

locals {
  group_arn = "arn:${local.partition}:autoscaling:${var.region}:${local.account}:autoScalingGroup:*:autoScalingGroupName/${var.name}"

  bucket_arn = "arn:${local.partition}:s3:::${var.releases.bucket}"
  prefix     = var.releases.prefix == "" ? "" : "${var.releases.prefix}/"

  secret_arns = distinct([for secret in values(var.process.secrets) : secret.arn])

  agent_statements = concat(
    [
      {
        Sid      = "OwnGroup"
        Effect   = "Allow"
        Resource = local.group_arn
        Action = [
          "autoscaling:CompleteLifecycleAction", "autoscaling:RecordLifecycleActionHeartbeat",
          "autoscaling:EnterStandby", "autoscaling:ExitStandby",
        ]
      },
      {
        # Describing names no resource.
        Sid      = "Look"
        Effect   = "Allow"
        Resource = "*"
        Action = [
          "autoscaling:DescribeAutoScalingGroups", "autoscaling:DescribeAutoScalingInstances",
          "autoscaling:DescribeLifecycleHooks", "elasticloadbalancing:DescribeLoadBalancerAttributes",
          "elasticloadbalancing:DescribeTargetGroupAttributes", "elasticloadbalancing:DescribeTargetGroups",
        ]
      },
      {
        # The namespace is the only thing that a metric's permission can name.
        Sid       = "Metrics"
        Effect    = "Allow"
        Resource  = "*"
        Action    = "cloudwatch:PutMetricData"
        Condition = { StringEquals = { "cloudwatch:namespace" = distinct(concat([var.metrics.namespace], var.metrics_namespaces)) } }
      },
      {
        Sid      = "Logs"
        Effect   = "Allow"
        Resource = [for group in var.log_group_arns : "${group}:*"]
        Action   = ["logs:CreateLogStream", "logs:PutLogEvents"]
      },
    ],
    length(var.load_balancers) == 0 ? [] : [{
      Sid      = "OwnTargetGroups"
      Effect   = "Allow"
      Resource = [for balancer in values(var.load_balancers) : balancer.target_group_arn]
      Action   = ["elasticloadbalancing:DeregisterTargets", "elasticloadbalancing:RegisterTargets"]
    }],
    length(var.notify) == 0 ? [] : [{
      Sid      = "Notify"
      Effect   = "Allow"
      Resource = distinct([for target in values(var.notify) : target.topic_arn])
      Action   = "sns:Publish"
    }],
    length(local.secret_arns) == 0 ? [] : [{
      Sid      = "OwnSecrets"
      Effect   = "Allow"
      Resource = local.secret_arns
      Action   = "secretsmanager:GetSecretValue"
    }],
    # Segments of traces name no resource.
    var.traces_sample == null ? [] : [{
      Sid      = "Traces"
      Effect   = "Allow"
      Resource = "*"
      Action   = "xray:PutTraceSegments"
    }],
  )

  release_statements = [
    {
      Sid      = "ReadReleases"
      Effect   = "Allow"
      Action   = "s3:GetObject"
      Resource = [for kind in ["artifacts", "releases", "channels"] : "${local.bucket_arn}/${local.prefix}${kind}/*"]
    },
    {
      # Without it what does not exist looks like what is denied; with a condition on the prefix too,
      # because reading an object has none. The bucket holds releases and nothing else.
      Sid      = "ListReleases"
      Effect   = "Allow"
      Action   = "s3:ListBucket"
      Resource = local.bucket_arn
    },
    {
      # Where logs go that a leaving host could not ship in time. It may write there and read nothing.
      Sid      = "LeaveLogs"
      Effect   = "Allow"
      Action   = "s3:PutObject"
      Resource = "${local.bucket_arn}/${local.prefix}logs/*"
    },
    {
      # Releases, and secrets: both by the services that keep them, never by itself.
      Sid      = "UseKeyThroughServices"
      Effect   = "Allow"
      Action   = ["kms:Decrypt", "kms:GenerateDataKey"]
      Resource = var.key_arn
      Condition = {
        StringEquals = {
          "kms:ViaService" = [
            for service in ["s3", "secretsmanager", "sns", "sqs"] : "${service}.${var.region}.amazonaws.com"
          ]
        }
      }
    },
  ]
}

resource "aws_iam_role" "this" {
  name_prefix          = "${substr(var.name, 0, 36)}-"
  description          = "Instances of ${var.name}"
  permissions_boundary = var.permissions_boundary_arn
  tags                 = local.tags
  assume_role_policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect    = "Allow"
      Principal = { Service = "ec2.amazonaws.com" }
      Action    = "sts:AssumeRole"
    }]
  })
}

resource "aws_iam_instance_profile" "this" {
  name_prefix = "${substr(var.name, 0, 36)}-"
  role        = aws_iam_role.this.name
  tags        = local.tags
}

resource "aws_iam_role_policy" "agent" {
  #checkov:skip=CKV_AWS_290:PutMetricData and PutTraceSegments name no resource; the former is held to its namespace.
  #checkov:skip=CKV_AWS_355:As above.
  name   = "agent"
  role   = aws_iam_role.this.id
  policy = jsonencode({ Version = "2012-10-17", Statement = local.agent_statements })
}

resource "aws_iam_role_policy" "releases" {
  name   = "releases"
  role   = aws_iam_role.this.id
  policy = jsonencode({ Version = "2012-10-17", Statement = local.release_statements })
}

# What AmazonSSMManagedInstanceCore has for sessions and commands, without its right to read every
# parameter of the account. None of these actions names a resource that an instance could be held to.
resource "aws_iam_role_policy" "session_manager" {
  #checkov:skip=CKV_AWS_290:Session Manager's actions name no resource that an instance could be held to.
  #checkov:skip=CKV_AWS_355:As above.
  name = "session-manager"
  role = aws_iam_role.this.id
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Sid      = "SessionManager"
      Effect   = "Allow"
      Resource = "*"
      Action = [
        "ec2messages:AcknowledgeMessage", "ec2messages:DeleteMessage", "ec2messages:FailMessage",
        "ec2messages:GetEndpoint", "ec2messages:GetMessages", "ec2messages:SendReply",
        "ssm:UpdateInstanceInformation", "ssmmessages:CreateControlChannel",
        "ssmmessages:CreateDataChannel", "ssmmessages:OpenControlChannel", "ssmmessages:OpenDataChannel",
      ]
    }]
  })
}

# What else the tier may do, such as backups of the database or a queue.
resource "aws_iam_role_policy" "extra" {
  for_each = var.policies

  name   = each.key
  role   = aws_iam_role.this.id
  policy = each.value
}
