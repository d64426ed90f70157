# A state that is kept well, and pipelines that get in by who they are.

mock_provider "aws" {
  source = "./mocks"
}

run "state_alone" {
  # Plans only: the bucket cannot be destroyed, so the tests could not clean up.
  command = plan

  module {
    source = "../bootstrap"
  }

  assert {
    condition     = aws_s3_bucket_versioning.state.versioning_configuration[0].status == "Enabled" && one(one(aws_s3_bucket_server_side_encryption_configuration.state.rule).apply_server_side_encryption_by_default).sse_algorithm == "aws:kms"
    error_message = "States are encrypted, and the one before is there."
  }

  assert {
    condition     = aws_s3_bucket_public_access_block.state.restrict_public_buckets && aws_s3_bucket_public_access_block.state.block_public_acls && aws_s3_bucket_public_access_block.state.block_public_policy && aws_s3_bucket_public_access_block.state.ignore_public_acls
    error_message = "The bucket cannot be made public."
  }

  assert {
    condition     = length(aws_iam_role.pipeline) == 0 && length(aws_iam_openid_connect_provider.this) == 0 && length(aws_iam_service_linked_role.search) == 0
    error_message = "Nobody gets in who was not named."
  }
}

run "three_services" {
  command = plan

  module {
    source = "../bootstrap"
  }

  # What has no form of its own before it is there.
  override_resource {
    target          = aws_iam_openid_connect_provider.this
    override_during = plan
    values          = { arn = "arn:aws:iam::123456789012:oidc-provider/mock" }
  }

  variables {
    gitlab   = { project = "acme/shop" }
    github   = { repository = "acme/shop" }
    circleci = { organisation = "11111111-2222-3333-4444-555555555555", project = "66666666-7777-8888-9999-000000000000", origin = "github.com/acme/shop" }
  }

  assert {
    condition     = length(aws_iam_role.pipeline) == 12
    error_message = "Each service has a role to publish, to refresh, to plan and to apply."
  }

  assert {
    condition = alltrue([
      for key, role in aws_iam_role.pipeline : alltrue([
        for subject in values(jsondecode(role.assume_role_policy).Statement[0].Condition.StringLike)[0] :
        can(regex("acme/shop|66666666-7777-8888-9999-000000000000", subject)) && !startswith(subject, "*")
      ]) && length(values(jsondecode(role.assume_role_policy).Statement[0].Condition.StringLike)[0]) > 0
    ])
    error_message = "Each trust looks at the subject, and names the project."
  }

  assert {
    condition     = alltrue([for role in values(aws_iam_role.pipeline) : endswith(keys(jsondecode(role.assume_role_policy).Statement[0].Condition.StringEquals)[0], ":aud")])
    error_message = "Each trust looks at the audience."
  }

  assert {
    condition = jsondecode(aws_iam_role.pipeline["github-publish"].assume_role_policy).Statement[0].Condition.StringLike["token.actions.githubusercontent.com:sub"] == [
      "repo:acme/shop:environment:staging", "repo:acme/shop:environment:production",
    ]
    error_message = "GitHub publishes from environments, whose reviewers it asks."
  }

  assert {
    condition = jsondecode(aws_iam_role.pipeline["github-plan"].assume_role_policy).Statement[0].Condition.StringLike["token.actions.githubusercontent.com:sub"] == [
      "repo:acme/shop:pull_request", "repo:acme/shop:environment:plan",
    ]
    error_message = "GitHub plans what is proposed, and what is going to be applied."
  }

  assert {
    condition = alltrue([
      for key in ["gitlab-apply", "circleci-apply"] : alltrue([
        for subject in values(jsondecode(aws_iam_role.pipeline[key].assume_role_policy).Statement[0].Condition.StringLike)[0] : !strcontains(subject, "*") && endswith(subject, "main")
      ])
    ])
    error_message = "The infrastructure is built from the main branch, and from no name that imitates it."
  }

  assert {
    condition = alltrue([
      for service in ["gitlab", "github", "circleci"] :
      aws_iam_role.pipeline["${service}-refresh"].assume_role_policy == aws_iam_role.pipeline["${service}-publish"].assume_role_policy
      && aws_iam_role.pipeline["${service}-refresh"].max_session_duration == 43200 && aws_iam_role.pipeline["${service}-publish"].max_session_duration == 3600
    ])
    error_message = "Who brings a release may bring an image, which takes longer."
  }

  assert {
    condition = alltrue([
      for statement in jsondecode(aws_iam_role_policy.refresh["github-refresh"].policy).Statement :
      can(statement.Condition) || strcontains(jsonencode(statement.Resource), "autoScalingGroupName/shop-*") || statement.Sid == "Look"
    ])
    error_message = "It holds for the product's groups, templates and roles."
  }

  assert {
    condition     = !strcontains(aws_iam_role_policy.publish["github-publish"].policy, "autoscaling:") && toset([for key, policy in aws_iam_role_policy.state : key if endswith(key, "-refresh")]) == toset([])
    error_message = "Who publishes refreshes no group, and who refreshes reads no state."
  }

  assert {
    condition     = alltrue([for key, attachment in aws_iam_role_policy_attachment.apply : endswith(key, "-apply")]) && alltrue([for key, attachment in aws_iam_role_policy_attachment.plan : endswith(key, "-plan")])
    error_message = "Who plans does not build."
  }
}

run "with_what_search_takes" {
  command = plan

  module {
    source = "../bootstrap"
  }

  variables {
    search = true
  }

  assert {
    condition     = aws_iam_service_linked_role.search[0].aws_service_name == "opensearchservice.amazonaws.com"
    error_message = "OpenSearch can be in a VPC."
  }
}

run "all_projects_of_a_group_are_refused" {
  command = plan

  module {
    source = "../bootstrap"
  }

  variables {
    gitlab = { project = "acme/*" }
  }

  expect_failures = [var.gitlab]
}
