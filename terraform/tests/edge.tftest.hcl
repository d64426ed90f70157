# A load balancer that speaks TLS, closes connections after the tiers and not before, and lets nobody
# reach a tier in another way.

mock_provider "aws" {
  source = "./mocks"
}

variables {
  name               = "shop-production-web"
  vpc_id             = "vpc-0123456789abcdef0"
  subnet_ids         = ["subnet-a", "subnet-b"]
  certificate_arn    = "arn:aws:acm:eu-west-1:123456789012:certificate/11111111-2222-3333-4444-555555555555"
  key_arn            = "arn:aws:kms:eu-west-1:123456789012:key/11111111-2222-3333-4444-555555555555"
  access_logs_bucket = "shop-production-logs-123456789012"
  allowed_cidrs      = ["0.0.0.0/0"]
  default_target     = "web"
  targets            = { web = { port = 8080 } }
}

run "a_public_one" {
  module {
    source = "../modules/edge"
  }

  assert {
    condition     = aws_lb_listener.https.protocol == "HTTPS" && startswith(aws_lb_listener.https.ssl_policy, "ELBSecurityPolicy-TLS13-1-2")
    error_message = "It speaks TLS 1.2 and 1.3."
  }

  assert {
    condition     = aws_lb_listener.redirect[0].default_action[0].redirect[0].protocol == "HTTPS" && aws_lb_listener.redirect[0].default_action[0].redirect[0].status_code == "HTTP_301"
    error_message = "Plain HTTP is answered with a redirect."
  }

  assert {
    condition     = aws_lb.this.idle_timeout < 75 && aws_lb.this.drop_invalid_header_fields && aws_lb.this.enable_deletion_protection && !aws_lb.this.internal
    error_message = "It closes idle connections before Node does, and drops headers that are none."
  }

  assert {
    condition     = aws_lb.this.access_logs[0].enabled && aws_lb.this.access_logs[0].prefix == "alb/shop-production-web"
    error_message = "It writes access logs, where the bucket lets it."
  }

  assert {
    condition     = tonumber(aws_lb_target_group.this["web"].deregistration_delay) == 60 && aws_lb_target_group.this["web"].health_check[0].interval * aws_lb_target_group.this["web"].health_check[0].unhealthy_threshold <= 60
    error_message = "A host that leaves has time, and one that fails is noticed within a minute."
  }

  assert {
    condition     = aws_lb_target_group.this["web"].health_check[0].port == "traffic-port" && aws_lb_target_group.this["web"].health_check[0].protocol == "HTTP"
    error_message = "The tier is asked, not the agent."
  }

  assert {
    condition     = length(aws_wafv2_web_acl.this) == 0 && length(aws_lb_listener_rule.routed) == 0 && length(aws_lb_listener_rule.default_by_secret) == 0
    error_message = "Nothing is there that was not asked for."
  }

  assert {
    condition     = toset([for rule in values(aws_vpc_security_group_ingress_rule.https) : rule.from_port]) == toset([443]) && toset([for rule in values(aws_vpc_security_group_ingress_rule.http) : rule.from_port]) == toset([80])
    error_message = "It is reached on 443, and on 80 for the redirect."
  }

  assert {
    condition     = output.targets["web"].port == 8080 && output.targets["web"].deregistration_delay_seconds == 60 && output.targets["web"].security_group_id == aws_security_group.this.id
    error_message = "A fleet learns from it what it has to agree with."
  }
}

run "an_internal_one_between_two_tiers" {
  module {
    source = "../modules/edge"
  }

  variables {
    internal                = true
    allowed_cidrs           = []
    allowed_security_groups = { web = "sg-0web" }
  }

  assert {
    condition     = aws_lb.this.internal && length(aws_lb_listener.redirect) == 0 && length(aws_vpc_security_group_ingress_rule.http) == 0
    error_message = "Nobody types its name into a browser."
  }

  assert {
    condition     = length(aws_vpc_security_group_ingress_rule.https) == 1 && aws_vpc_security_group_ingress_rule.https["tier web"].referenced_security_group_id == "sg-0web" && aws_vpc_security_group_ingress_rule.https["tier web"].cidr_ipv4 == null
    error_message = "Only the tier before it comes in."
  }

  assert {
    condition     = aws_vpc_security_group_egress_rule.clients["web"].security_group_id == "sg-0web" && aws_vpc_security_group_egress_rule.clients["web"].from_port == 443
    error_message = "And that tier may go out to it."
  }
}

run "two_tiers_and_a_firewall" {
  module {
    source = "../modules/edge"
  }

  variables {
    waf     = true
    targets = { web = { port = 8080 }, api = { port = 8081, priority = 100, paths = ["/api/*"] } }
  }

  assert {
    condition     = length(aws_lb_listener_rule.routed) == 1 && aws_lb_listener_rule.routed["api"].priority == 100
    error_message = "Paths go to their tier."
  }

  assert {
    condition     = length(aws_wafv2_web_acl.this[0].rule) == 4 && length(aws_wafv2_web_acl_association.this) == 1 && length(aws_wafv2_web_acl_logging_configuration.this) == 1
    error_message = "The firewall limits, blocks, and says so."
  }

  assert {
    condition = alltrue([
      for rule in aws_wafv2_web_acl.this[0].rule :
      rule.statement[0].rate_based_statement[0].aggregate_key_type == "IP" && length(rule.statement[0].rate_based_statement[0].scope_down_statement) == 0 if rule.name == "rate"
    ]) && length(aws_wafv2_ip_set.exempt) == 0
    error_message = "It limits each address that connects."
  }
}

run "a_firewall_that_the_systems_own_addresses_pass" {
  state_key = "exempt"

  module {
    source = "../modules/edge"
  }

  variables {
    waf                  = true
    waf_exempt_addresses = ["203.0.113.10", "203.0.113.11"]
  }

  assert {
    condition     = aws_wafv2_ip_set.exempt[0].addresses == toset(["203.0.113.10/32", "203.0.113.11/32"])
    error_message = "The addresses are those that were named."
  }

  assert {
    condition = one([
      for rule in aws_wafv2_web_acl.this[0].rule :
      rule.statement[0].rate_based_statement[0].scope_down_statement[0].not_statement[0].statement[0].ip_set_reference_statement[0].arn if rule.name == "rate"
    ]) == aws_wafv2_ip_set.exempt[0].arn
    error_message = "The limit holds for everybody else."
  }
}

run "a_firewall_behind_cloudfront" {
  state_key = "forwarded"

  module {
    source = "../modules/edge"
  }

  variables {
    waf                        = true
    viewer_header              = "X-Viewer-Address"
    waf_requests_per_5_minutes = 3000
  }

  assert {
    condition = one([
      for rule in aws_wafv2_web_acl.this[0].rule : alltrue([
        for limit in rule.statement[0].rate_based_statement :
        limit.aggregate_key_type == "FORWARDED_IP" && limit.limit == 3000 && limit.forwarded_ip_config[0].header_name == "X-Viewer-Address" && limit.forwarded_ip_config[0].fallback_behavior == "NO_MATCH"
      ]) if rule.name == "rate"
    ])
    error_message = "Visitors are counted, and not CloudFront."
  }

  assert {
    condition     = toset([for rule in aws_wafv2_web_acl.this[0].rule : rule.name]) == toset(["rate", "AWSManagedRulesKnownBadInputsRuleSet", "AWSManagedRulesCommonRuleSet"])
    error_message = "A list that looks at the connection's address only is not asked."
  }
}

run "a_header_that_visitors_write_is_refused" {
  command   = plan
  state_key = "refused"

  module {
    source = "../modules/edge"
  }

  variables {
    waf           = true
    viewer_header = "X-Forwarded-For"
  }

  expect_failures = [var.viewer_header]
}

run "behind_cloudfront" {
  module {
    source = "../modules/edge"
  }

  variables {
    allowed_cidrs           = []
    allowed_prefix_list_ids = ["pl-0123456789abcdef0"]
    origin_secret           = "only-cloudfront-knows"
  }

  assert {
    condition     = aws_lb_listener.https.default_action[0].type == "fixed-response" && aws_lb_listener.https.default_action[0].fixed_response[0].status_code == "403"
    error_message = "Who comes past CloudFront is refused."
  }

  assert {
    condition     = length(aws_lb_listener_rule.default_by_secret) == 1 && length(aws_vpc_security_group_ingress_rule.http) == 0
    error_message = "Who brings the secret is let through."
  }
}

run "an_idle_timeout_longer_than_nodes_is_refused" {
  command = plan

  module {
    source = "../modules/edge"
  }

  variables {
    idle_timeout_seconds = 120
  }

  expect_failures = [var.idle_timeout_seconds]
}

run "a_long_deregistration_is_refused" {
  command = plan

  module {
    source = "../modules/edge"
  }

  variables {
    targets = { web = { port = 8080, deregistration_delay_seconds = 900 } }
  }

  expect_failures = [var.targets]
}

run "a_target_that_no_request_reaches_is_refused" {
  command = plan

  module {
    source = "../modules/edge"
  }

  variables {
    targets = { web = { port = 8080 }, api = { port = 8081 } }
  }

  expect_failures = [var.targets]
}

run "an_internal_one_for_everybody_is_refused" {
  command = plan

  module {
    source = "../modules/edge"
  }

  variables {
    internal = true
  }

  expect_failures = [var.internal]
}
