# A cache that is encrypted, and reached from the tiers that are named.

mock_provider "aws" {
  source = "./mocks"
}

variables {
  name       = "shop-production"
  vpc_id     = "vpc-0123456789abcdef0"
  subnet_ids = ["subnet-a", "subnet-b"]
  clients    = { web = "sg-0web", api = "sg-0api" }
  key_arn    = "arn:aws:kms:eu-west-1:123456789012:key/11111111-2222-3333-4444-555555555555"
}

run "two_nodes" {
  module {
    source = "../modules/cache"
  }

  assert {
    condition     = aws_elasticache_replication_group.this.transit_encryption_enabled && aws_elasticache_replication_group.this.transit_encryption_mode == "required" && tobool(aws_elasticache_replication_group.this.at_rest_encryption_enabled) && aws_elasticache_replication_group.this.kms_key_id == var.key_arn
    error_message = "It is encrypted on disk and on the wire."
  }

  assert {
    condition     = aws_elasticache_replication_group.this.automatic_failover_enabled && aws_elasticache_replication_group.this.multi_az_enabled
    error_message = "One node takes over from the other."
  }

  assert {
    condition     = alltrue([for rule in values(aws_vpc_security_group_ingress_rule.client) : rule.cidr_ipv4 == null && rule.from_port == 6379]) && output.reached_from == tolist(["api", "web"])
    error_message = "The tiers that are named reach it."
  }
}

run "nobody_is_refused" {
  command = plan

  module {
    source = "../modules/cache"
  }

  variables {
    clients = {}
  }

  expect_failures = [var.clients]
}
