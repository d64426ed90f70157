# Who can be reached from where: public subnets for load balancers only, a database without a way out.

mock_provider "aws" {
  source = "./mocks"
}

variables {
  name    = "shop-production"
  region  = "eu-west-1"
  zones   = ["eu-west-1a", "eu-west-1b", "eu-west-1c"]
  key_arn = "arn:aws:kms:eu-west-1:123456789012:key/11111111-2222-3333-4444-555555555555"
}

run "three_zones" {
  module {
    source = "../modules/network"
  }

  assert {
    condition     = length(aws_subnet.public) == 3 && length(aws_subnet.app) == 3 && length(aws_subnet.database) == 3
    error_message = "Each zone has three subnets."
  }

  assert {
    condition     = alltrue([for subnet in concat(values(aws_subnet.public), values(aws_subnet.app), values(aws_subnet.database)) : !subnet.map_public_ip_on_launch])
    error_message = "Nothing gets a public address by itself, not even in a public subnet."
  }

  assert {
    condition = length(distinct(concat(
      values(aws_subnet.public)[*].cidr_block, values(aws_subnet.app)[*].cidr_block, values(aws_subnet.database)[*].cidr_block
    ))) == 9
    error_message = "No two subnets share addresses."
  }

  assert {
    condition     = aws_subnet.app["eu-west-1b"].cidr_block == "10.20.16.0/20" && aws_subnet.public["eu-west-1b"].cidr_block == "10.20.65.0/24" && aws_subnet.database["eu-west-1b"].cidr_block == "10.20.81.0/24"
    error_message = "Addresses are as main.tf says: a change would replace every subnet."
  }

  assert {
    condition     = length(aws_nat_gateway.this) == 3 && length(aws_route.app_out) == 3
    error_message = "Each zone goes out by its own gateway, so that a zone that fails takes no other's way."
  }

  # Routes are only made here, and none is for the database's table.
  assert {
    condition     = length(aws_route_table_association.database) == 3 && alltrue([for route in values(aws_route.app_out) : route.route_table_id != aws_route_table.database.id]) && aws_route.public_out.route_table_id != aws_route_table.database.id
    error_message = "The database's subnets have no way out."
  }

  assert {
    condition     = length(coalesce(aws_default_security_group.this.ingress, [])) == 0 && length(coalesce(aws_default_security_group.this.egress, [])) == 0
    error_message = "Whoever names no security group gets one that lets nothing through."
  }

  assert {
    condition     = length(aws_vpc_endpoint.gateway) == 2 && length(aws_vpc_endpoint.interface) == 0
    error_message = "S3 and DynamoDB are reached inside the VPC, for nothing."
  }

  assert {
    condition     = aws_flow_log.this.traffic_type == "REJECT" && aws_cloudwatch_log_group.flow.kms_key_id == var.key_arn && aws_cloudwatch_log_group.flow.retention_in_days == 365
    error_message = "What was refused is logged for a year, encrypted."
  }

  assert {
    condition     = !strcontains(aws_iam_role_policy.flow.policy, "\"Resource\":\"*\"")
    error_message = "Flow logs may write to their own group only."
  }
}

run "one_gateway" {
  module {
    source = "../modules/network"
  }

  variables {
    nat = "one"
  }

  assert {
    condition     = length(aws_nat_gateway.this) == 1 && length(aws_route.app_out) == 3
    error_message = "All zones go out by one gateway."
  }
}

run "no_way_out_but_endpoints" {
  module {
    source = "../modules/network"
  }

  variables {
    nat = "none"
    endpoints = [
      "autoscaling", "elasticloadbalancing", "kms", "logs", "monitoring", "secretsmanager", "ssm", "ssmmessages", "ec2messages",
    ]
  }

  assert {
    condition     = length(aws_nat_gateway.this) == 0 && length(aws_route.app_out) == 0 && length(aws_vpc_endpoint.interface) == 9
    error_message = "There are endpoints instead of a gateway."
  }

  assert {
    condition     = alltrue([for rule in values(aws_vpc_security_group_ingress_rule.endpoints) : rule.from_port == 443 && rule.to_port == 443 && rule.cidr_ipv4 != "0.0.0.0/0"])
    error_message = "Endpoints are reached over HTTPS, from the instances' subnets."
  }
}

run "no_way_out_at_all_is_refused" {
  command = plan

  module {
    source = "../modules/network"
  }

  variables {
    nat       = "none"
    endpoints = ["logs"]
  }

  expect_failures = [var.nat]
}

run "a_pilot_light_needs_no_way_out" {
  command = plan

  module {
    source = "../modules/network"
  }

  variables {
    nat       = "none"
    instances = false
  }

  assert {
    condition     = length(aws_nat_gateway.this) == 0
    error_message = "Nothing is paid by the hour."
  }
}

run "one_zone_is_refused" {
  command = plan

  module {
    source = "../modules/network"
  }

  variables {
    zones = ["eu-west-1a"]
  }

  expect_failures = [var.zones]
}

run "a_small_range_is_refused" {
  command = plan

  module {
    source = "../modules/network"
  }

  variables {
    cidr = "10.20.0.0/22"
  }

  expect_failures = [var.cidr]
}
