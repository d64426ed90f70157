# Log groups, topics, and who hears of what. Alarms are in alarms.tf (what the agents measure, from the
# list that the agent's own code writes) and aws-alarms.tf (what AWS measures).

data "aws_caller_identity" "current" {}

data "aws_partition" "current" {}

locals {
  account   = data.aws_caller_identity.current.account_id
  partition = data.aws_partition.current.partition

  # One for each tier, and those that the agent's own sources have (docs/logs.md).
  log_tiers = setunion(var.tiers, ["agent", "files", "journal"])

  topics = {
    page   = "somebody has to do something now"
    ticket = "somebody has to look at it this week"
  }
}

resource "aws_cloudwatch_log_group" "tier" {
  for_each = local.log_tiers

  name              = "/groundcrew/${var.name}/${each.key}"
  retention_in_days = var.logs_retention_days
  kms_key_id        = var.key_arn
  tags              = var.tags
}

resource "aws_sns_topic" "this" {
  for_each = local.topics

  name              = "${var.name}-${each.key}"
  display_name      = "${var.name}: ${each.value}"
  kms_master_key_id = var.key_arn
  tags              = var.tags
}

resource "aws_sns_topic_policy" "this" {
  for_each = aws_sns_topic.this

  arn = each.value.arn
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      {
        Sid    = "AwsServicesOfThisAccount"
        Effect = "Allow"
        Principal = {
          Service = ["budgets.amazonaws.com", "cloudwatch.amazonaws.com", "events.amazonaws.com", "events.rds.amazonaws.com"]
        }
        Action    = "sns:Publish"
        Resource  = each.value.arn
        Condition = { StringEquals = { "aws:SourceAccount" = local.account } }
      },
      {
        # Agents publish by their role; the policy of the topic only has to let the account in.
        Sid       = "RolesOfThisAccount"
        Effect    = "Allow"
        Principal = { AWS = "arn:${local.partition}:iam::${local.account}:root" }
        Action    = "sns:Publish"
        Resource  = each.value.arn
      },
      {
        Sid       = "OnlyOverTls"
        Effect    = "Deny"
        Principal = "*"
        Action    = "sns:Publish"
        Resource  = each.value.arn
        Condition = { Bool = { "aws:SecureTransport" = "false" } }
      },
    ]
  })
}

resource "aws_sns_topic_subscription" "email" {
  for_each = merge([
    for severity, addresses in var.emails : { for address in addresses : "${severity} ${address}" => { severity = severity, address = address } }
  ]...)

  topic_arn = aws_sns_topic.this[each.value.severity].arn
  protocol  = "email"
  endpoint  = each.value.address
}

# PagerDuty, Opsgenie and the like take HTTPS.
resource "aws_sns_topic_subscription" "https" {
  for_each = var.webhooks

  topic_arn              = aws_sns_topic.this[each.value.severity].arn
  protocol               = "https"
  endpoint               = each.value.url
  endpoint_auto_confirms = true
}

resource "aws_iam_role" "chatbot" {
  count = var.slack == null ? 0 : 1

  name_prefix = "${substr(var.name, 0, 24)}-chat-"
  tags        = var.tags
  assume_role_policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect    = "Allow"
      Principal = { Service = "chatbot.amazonaws.com" }
      Action    = "sts:AssumeRole"
      Condition = { StringEquals = { "aws:SourceAccount" = local.account } }
    }]
  })
}

# To draw an alarm's graph beside its message. Reading metrics names no resource.
resource "aws_iam_role_policy" "chatbot" {
  #checkov:skip=CKV_AWS_355:Reading metrics names no resource.
  count = var.slack == null ? 0 : 1

  name = "graphs"
  role = aws_iam_role.chatbot[0].id
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect   = "Allow"
      Action   = ["cloudwatch:GetMetricData", "cloudwatch:GetMetricWidgetImage", "cloudwatch:DescribeAlarms"]
      Resource = "*"
    }]
  })
}

# The workspace has to be authorised once, by hand, in the console.
resource "aws_chatbot_slack_channel_configuration" "this" {
  count = var.slack == null ? 0 : 1

  configuration_name = var.name
  iam_role_arn       = aws_iam_role.chatbot[0].arn
  slack_team_id      = var.slack.workspace_id
  slack_channel_id   = var.slack.channel_id
  sns_topic_arns     = [for topic in aws_sns_topic.this : topic.arn]
  logging_level      = "ERROR"
  # Whoever writes in the channel may look, and do nothing.
  guardrail_policy_arns = ["arn:${local.partition}:iam::aws:policy/CloudWatchReadOnlyAccess"]
  tags                  = var.tags
}

resource "aws_db_event_subscription" "this" {
  count = var.database == null ? 0 : 1

  name        = var.name
  sns_topic   = aws_sns_topic.this["ticket"].arn
  source_type = "db-instance"
  source_ids  = concat([var.database.identifier], var.database.replica_identifiers)
  event_categories = [
    "availability", "deletion", "failover", "failure", "low storage", "maintenance", "notification", "recovery",
    "restoration",
  ]
  tags = var.tags

  depends_on = [aws_sns_topic_policy.this]
}

resource "aws_budgets_budget" "this" {
  count = var.budget_usd == null ? 0 : 1

  name         = var.name
  budget_type  = "COST"
  limit_amount = tostring(var.budget_usd)
  limit_unit   = "USD"
  time_unit    = "MONTHLY"
  tags         = var.tags

  # Of this environment only, where the tag was activated for cost allocation (see the README).
  dynamic "cost_filter" {
    for_each = var.budget_by_tag ? [1] : []

    content {
      name   = "TagKeyValue"
      values = [join("$", ["user:environment", var.environment])]
    }
  }

  notification {
    notification_type         = "ACTUAL"
    comparison_operator       = "GREATER_THAN"
    threshold                 = 80
    threshold_type            = "PERCENTAGE"
    subscriber_sns_topic_arns = [aws_sns_topic.this["ticket"].arn]
  }

  notification {
    notification_type         = "FORECASTED"
    comparison_operator       = "GREATER_THAN"
    threshold                 = 100
    threshold_type            = "PERCENTAGE"
    subscriber_sns_topic_arns = [aws_sns_topic.this["ticket"].arn]
  }

  depends_on = [aws_sns_topic_policy.this]
}
