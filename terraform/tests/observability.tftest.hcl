# Alarms on what agents and AWS measure, each with somebody who hears of it; logs that end.

mock_provider "aws" {
  source = "./mocks"
}

variables {
  name        = "shop-production"
  environment = "production"
  region      = "eu-west-1"
  key_arn     = "arn:aws:kms:eu-west-1:123456789012:key/11111111-2222-3333-4444-555555555555"
  tiers       = ["web", "api"]
  emails      = { page = ["oncall@example.com"], ticket = ["team@example.com"] }
}

run "everything_is_watched" {
  module {
    source = "../modules/observability"
  }

  variables {
    budget_usd = 800
    pipelines  = ["logs", "metrics", "notify.ticket"]
    backups    = { nightly = ["L0", "L3"], dump = ["L0"] }
    load_balancers = {
      web = { balancer_arn_suffix = "app/web/1", target_group_arn_suffix = "targetgroup/web/1" }
    }
    groups   = { web = { name = "shop-production-web", max_instances = 8 } }
    database = { identifier = "shop-production", replica_identifiers = ["shop-production-replica-1"] }
    queues   = { jobs = { name = "shop-production-jobs", failed_name = "shop-production-jobs-failed" } }
  }

  assert {
    condition     = toset(keys(aws_cloudwatch_log_group.tier)) == toset(["web", "api", "agent", "files", "journal"])
    error_message = "Each source of logs has its group."
  }

  assert {
    condition     = alltrue([for group in values(aws_cloudwatch_log_group.tier) : group.retention_in_days == 30 && group.kms_key_id == var.key_arn && startswith(group.name, "/groundcrew/shop-production/")])
    error_message = "Logs end, and are encrypted."
  }

  assert {
    condition     = alltrue([for topic in values(aws_sns_topic.this) : topic.kms_master_key_id == var.key_arn])
    error_message = "Topics are encrypted."
  }

  # ---- what the agents measure

  assert {
    condition = toset(keys(aws_cloudwatch_metric_alarm.agent)) == toset(flatten([
      for alarm in jsondecode(file("../generated/alarms.json")).alarms : (
        alarm.per == [] ? [alarm.id]
        : alarm.per == ["tier"] ? ["${alarm.id}-api", "${alarm.id}-web"]
        : alarm.per == ["pipeline"] ? ["${alarm.id}-logs", "${alarm.id}-metrics", "${alarm.id}-notify-ticket"]
        : alarm.per == ["backup"] ? ["${alarm.id}-dump", "${alarm.id}-nightly"]
        : alarm.per == ["backup", "level"] ? ["${alarm.id}-dump-L0", "${alarm.id}-nightly-L0", "${alarm.id}-nightly-L3"]
        : ["nobody knows ${alarm.id}"]
      )
    ]))
    error_message = "Each alarm is there for each of what it is per."
  }

  assert {
    condition     = one([for query in aws_cloudwatch_metric_alarm.agent["pipeline-stuck-notify-ticket"].metric_query : query.metric[0].dimensions]) == tomap({ environment = "production", pipeline = "notify.ticket" })
    error_message = "A name is what the agent sends, whatever the alarm is called."
  }

  assert {
    condition     = one([for query in aws_cloudwatch_metric_alarm.agent["backup-unverified-nightly-L3"].metric_query : query.metric[0].dimensions]) == tomap({ environment = "production", backup = "nightly", level = "L3" })
    error_message = "An alarm for each of two labels has both."
  }

  assert {
    condition = one([
      for query in aws_cloudwatch_metric_alarm.agent["server-errors-api"].metric_query : query.metric[0].dimensions if query.id == "m0"
    ]) == tomap({ environment = "production", tier = "api", http_response_status_class = "5xx" })
    error_message = "Names are filled in."
  }

  assert {
    condition     = one([for query in aws_cloudwatch_metric_alarm.agent["server-errors-api"].metric_query : query.expression if query.return_data]) == "IF(m1 > 0, FILL(m0, 0) / m1, 0)"
    error_message = "Expressions stay as they are."
  }

  assert {
    condition     = !can(regex("\\\\u003c[a-z_]+\\\\u003e", jsonencode([aws_cloudwatch_metric_alarm.agent, aws_cloudwatch_dashboard.this])))
    error_message = "No place is left open."
  }

  assert {
    condition = (
      one(aws_cloudwatch_metric_alarm.agent["server-errors-web"].alarm_actions) == aws_sns_topic.this["page"].arn
      && one(aws_cloudwatch_metric_alarm.agent["pipeline-stuck-logs"].alarm_actions) == aws_sns_topic.this["ticket"].arn
    )
    error_message = "Alarms go to the topic of their severity."
  }

  assert {
    condition     = alltrue([for widget in jsondecode(aws_cloudwatch_dashboard.this[0].dashboard_body).widgets : try(widget.properties.region, "eu-west-1") == "eu-west-1"]) && strcontains(aws_cloudwatch_dashboard.this[0].dashboard_body, "production")
    error_message = "The dashboard shows this environment."
  }

  # ---- what AWS measures

  assert {
    condition = toset(keys(aws_cloudwatch_metric_alarm.aws)) == toset([
      "alb-5xx-web", "target-5xx-web", "alb-latency-web", "unhealthy-hosts-web", "no-healthy-host-web",
      "cpu-web", "at-its-largest-web", "host-checks-web",
      "database-cpu", "database-storage", "database-memory", "database-connections", "replica-lag-shop-production-replica-1",
      "queue-age-jobs", "queue-failed-jobs",
    ])
    error_message = "Load balancers, hosts, database and queues are watched."
  }

  assert {
    condition     = alltrue([for alarm in values(aws_cloudwatch_metric_alarm.aws) : length(alarm.alarm_actions) == 1 && length(alarm.ok_actions) == 1 && length(alarm.dimensions) >= 1 && alarm.datapoints_to_alarm <= alarm.evaluation_periods])
    error_message = "Each alarm is heard of, at its end too."
  }

  assert {
    condition     = aws_cloudwatch_metric_alarm.aws["alb-latency-web"].extended_statistic == "p99" && aws_cloudwatch_metric_alarm.aws["alb-latency-web"].statistic == null
    error_message = "Percentiles are extended statistics."
  }

  assert {
    condition     = aws_cloudwatch_metric_alarm.aws["no-healthy-host-web"].treat_missing_data == "breaching" && aws_cloudwatch_metric_alarm.aws["replica-lag-shop-production-replica-1"].treat_missing_data == "breaching"
    error_message = "Silence is no good news where there should be a number."
  }

  # ---- who hears of it

  assert {
    condition     = aws_sns_topic_subscription.email["page oncall@example.com"].topic_arn == aws_sns_topic.this["page"].arn && length(aws_sns_topic_subscription.email) == 2
    error_message = "People hear of it."
  }

  assert {
    condition = alltrue([
      for policy in values(aws_sns_topic_policy.this) : alltrue([
        for statement in jsondecode(policy.policy).Statement : statement.Effect == "Deny" || can(statement.Principal.Service) && can(statement.Condition) || can(statement.Principal.AWS)
      ])
    ])
    error_message = "Only this account publishes."
  }

  assert {
    condition     = aws_budgets_budget.this[0].limit_amount == "800" && length(aws_budgets_budget.this[0].notification) == 2
    error_message = "The budget is told of before it is spent."
  }

  assert {
    condition     = length(aws_db_event_subscription.this[0].source_ids) == 2
    error_message = "Failovers and failures of the database are told."
  }

  assert {
    condition     = length(aws_chatbot_slack_channel_configuration.this) == 0
    error_message = "Slack is there when asked for."
  }
}

run "a_pilot_light_has_no_agents_to_miss" {
  module {
    source = "../modules/observability"
  }

  variables {
    agents = false
  }

  assert {
    condition     = length(aws_cloudwatch_metric_alarm.agent) == 0
    error_message = "Nobody is told that hosts which should not be there say nothing."
  }
}

run "slack" {
  module {
    source = "../modules/observability"
  }

  variables {
    slack = { workspace_id = "T0123456789", channel_id = "C0123456789" }
  }

  assert {
    condition     = contains(aws_chatbot_slack_channel_configuration.this[0].sns_topic_arns, aws_sns_topic.this["page"].arn) && endswith(one(aws_chatbot_slack_channel_configuration.this[0].guardrail_policy_arns), "ReadOnlyAccess")
    error_message = "The channel hears of it, and whoever writes there may only look."
  }
}

run "missing_definitions_are_told" {
  command = plan

  module {
    source = "../modules/observability"
  }

  variables {
    generated_directory = "./nothing"
  }

  expect_failures = [check.generated_files_are_there]
}

run "a_retention_that_cloudwatch_does_not_know_is_refused" {
  command = plan

  module {
    source = "../modules/observability"
  }

  variables {
    logs_retention_days = 45
  }

  expect_failures = [var.logs_retention_days]
}
