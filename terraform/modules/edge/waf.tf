# The firewall before a public load balancer: AWS's lists, and a limit for each address. Optional,
# because it costs about 10 USD a month and 0.60 USD per million requests.

locals {
  # In this order. Rules that count instead of blocking are named in waf_count_only: an upload form
  # may trip over a size limit of the common rules, for one.
  waf_lists = merge(
    # It looks at the connection's address and at no header: behind CloudFront it would judge CloudFront.
    var.viewer_header == null ? { AWSManagedRulesAmazonIpReputationList = 10 } : {},
    {
      AWSManagedRulesKnownBadInputsRuleSet = 20
      AWSManagedRulesCommonRuleSet         = 30
    },
  )

  waf_exempt = var.waf && length(var.waf_exempt_addresses) > 0
}

# Many hosts behind a few addresses, whose requests are those of all visitors.
resource "aws_wafv2_ip_set" "exempt" {
  count = local.waf_exempt ? 1 : 0

  name               = "${var.name}-exempt"
  description        = "Addresses that the limit does not hold for"
  scope              = "REGIONAL"
  ip_address_version = "IPV4"
  addresses          = [for address in var.waf_exempt_addresses : "${address}/32"]
  tags               = var.tags
}

resource "aws_wafv2_web_acl" "this" {
  #checkov:skip=CKV_AWS_192:AWSManagedRulesKnownBadInputsRuleSet is among waf_lists; the check does not read dynamic blocks.
  count = var.waf ? 1 : 0

  name  = var.name
  scope = "REGIONAL"
  tags  = var.tags

  default_action {
    allow {}
  }

  rule {
    name     = "rate"
    priority = 1

    action {
      block {}
    }

    statement {
      rate_based_statement {
        aggregate_key_type = var.viewer_header == null ? "IP" : "FORWARDED_IP"
        limit              = var.waf_requests_per_5_minutes

        # All visitors of one of CloudFront's places come from the same few addresses.
        dynamic "forwarded_ip_config" {
          for_each = var.viewer_header == null ? [] : [var.viewer_header]

          content {
            header_name       = forwarded_ip_config.value
            fallback_behavior = "NO_MATCH"
          }
        }

        dynamic "scope_down_statement" {
          for_each = aws_wafv2_ip_set.exempt[*].arn

          content {
            not_statement {
              statement {
                ip_set_reference_statement {
                  arn = scope_down_statement.value
                }
              }
            }
          }
        }
      }
    }

    visibility_config {
      cloudwatch_metrics_enabled = true
      metric_name                = "${var.name}-rate"
      sampled_requests_enabled   = true
    }
  }

  dynamic "rule" {
    for_each = local.waf_lists

    content {
      name     = rule.key
      priority = rule.value

      override_action {
        dynamic "count" {
          for_each = contains(var.waf_count_only, rule.key) ? [1] : []
          content {}
        }

        dynamic "none" {
          for_each = contains(var.waf_count_only, rule.key) ? [] : [1]
          content {}
        }
      }

      statement {
        managed_rule_group_statement {
          vendor_name = "AWS"
          name        = rule.key
        }
      }

      visibility_config {
        cloudwatch_metrics_enabled = true
        metric_name                = "${var.name}-${rule.key}"
        sampled_requests_enabled   = true
      }
    }
  }

  visibility_config {
    cloudwatch_metrics_enabled = true
    metric_name                = var.name
    sampled_requests_enabled   = true
  }
}

resource "aws_wafv2_web_acl_association" "this" {
  count = var.waf ? 1 : 0

  resource_arn = aws_lb.this.arn
  web_acl_arn  = aws_wafv2_web_acl.this[0].arn
}

# WAF writes only to groups whose name begins like this.
resource "aws_cloudwatch_log_group" "waf" {
  count = var.waf ? 1 : 0

  name              = "aws-waf-logs-${var.name}"
  retention_in_days = var.waf_logs_retention_days
  kms_key_id        = var.key_arn
  tags              = var.tags
}

resource "aws_cloudwatch_log_resource_policy" "waf" {
  count = var.waf ? 1 : 0

  policy_name = "aws-waf-logs-${var.name}"
  policy_document = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect    = "Allow"
      Principal = { Service = "delivery.logs.amazonaws.com" }
      Action    = ["logs:CreateLogStream", "logs:PutLogEvents"]
      Resource  = "${aws_cloudwatch_log_group.waf[0].arn}:*"
      Condition = { StringEquals = { "aws:SourceAccount" = data.aws_caller_identity.current.account_id } }
    }]
  })
}

resource "aws_wafv2_web_acl_logging_configuration" "this" {
  count = var.waf ? 1 : 0

  resource_arn            = aws_wafv2_web_acl.this[0].arn
  log_destination_configs = [aws_cloudwatch_log_group.waf[0].arn]

  # Who was let through is in the balancer's own log.
  logging_filter {
    default_behavior = "DROP"

    filter {
      behavior    = "KEEP"
      requirement = "MEETS_ANY"

      condition {
        action_condition {
          action = "BLOCK"
        }
      }

      condition {
        action_condition {
          action = "COUNT"
        }
      }
    }
  }

  redacted_fields {
    single_header {
      name = "authorization"
    }
  }

  redacted_fields {
    single_header {
      name = "cookie"
    }
  }

  depends_on = [aws_cloudwatch_log_resource_policy.waf]
}
