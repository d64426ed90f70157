# Logs that can be searched, in the VPC.

mock_provider "aws" {
  source = "./mocks"
}

variables {
  name            = "shop-production-logs"
  region          = "eu-west-1"
  vpc_id          = "vpc-0123456789abcdef0"
  subnet_ids      = ["subnet-a", "subnet-b"]
  key_arn         = "arn:aws:kms:eu-west-1:123456789012:key/11111111-2222-3333-4444-555555555555"
  log_groups      = { web = "/groundcrew/shop-production/web", api = "/groundcrew/shop-production/api" }
  failures_bucket = "arn:aws:s3:::shop-production-logs-123456789012"
}

run "two_nodes" {
  module {
    source = "../modules/search"
  }

  assert {
    condition     = aws_opensearch_domain.this.encrypt_at_rest[0].enabled && aws_opensearch_domain.this.node_to_node_encryption[0].enabled && aws_opensearch_domain.this.domain_endpoint_options[0].enforce_https
    error_message = "It is encrypted on disk and on the wire."
  }

  assert {
    condition     = length(aws_opensearch_domain.this.vpc_options[0].subnet_ids) == 2 && aws_opensearch_domain.this.advanced_security_options[0].enabled
    error_message = "It is inside the VPC, and knows who may read."
  }

  assert {
    condition     = aws_vpc_security_group_ingress_rule.firehose.referenced_security_group_id == aws_security_group.firehose.id && aws_vpc_security_group_ingress_rule.firehose.cidr_ipv4 == null
    error_message = "Firehose reaches it."
  }

  assert {
    condition     = length(aws_cloudwatch_log_subscription_filter.this) == 2
    error_message = "The tiers' logs come to it."
  }

  assert {
    condition = alltrue([
      for statement in jsondecode(aws_iam_role_policy.firehose.policy).Statement :
      statement.Resource != "*" || statement.Sid == "LookAtTheNetwork"
    ])
    error_message = "Firehose's role names what can be named."
  }
}

run "three_nodes_are_refused" {
  command = plan

  module {
    source = "../modules/search"
  }

  variables {
    nodes = 3
  }

  expect_failures = [var.nodes]
}
