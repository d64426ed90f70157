# Alarms on what the agents measure, and the dashboard. Both are written by the agent's own code, from
# its one list of metrics, into terraform/generated: names cannot part. Here they get this
# environment's names, and topics.

locals {
  generated = coalesce(var.generated_directory, "${path.module}/../../generated")

  file_texts = {
    for name in ["alarms.json", "cloudwatch-dashboard.json"] :
    name => fileexists("${local.generated}/${name}") ? replace(replace(replace(
      file("${local.generated}/${name}"),
      "<environment>", var.environment),
      "<region>", var.region),
      "<namespace>", var.metrics_namespace
    ) : null
  }

  alarms_text = coalesce(local.file_texts["alarms.json"], "{\"alarms\": []}")

  # What an alarm may be made for each of: by the labels that it is per, lists of their values.
  places = {
    ""             = [[]]
    "tier"         = [for tier in sort(tolist(var.tiers)) : [tier]]
    "pipeline"     = [for pipeline in sort(var.pipelines) : [pipeline]]
    "backup"       = [for backup in sort(keys(var.backups)) : [backup]]
    "backup,level" = flatten([for backup, levels in var.backups : [for level in sort(levels) : { values = [backup, level] }]])[*].values
  }

  # A label that this module does not know would leave its alarm out without a word.
  labels_unknown = setsubtract([for alarm in jsondecode(local.alarms_text).alarms : join(",", alarm.per)], keys(local.places))

  # Replaced in the text, because a name may stand anywhere: in a dimension or within an expression.
  definitions = merge(flatten([
    for alarm in jsondecode(local.alarms_text).alarms : [
      for values in try(local.places[join(",", alarm.per)], []) : {
        (join("-", [for part in concat([alarm.id], values) : replace(part, ".", "-")])) = jsondecode(replace(replace(
          jsonencode(alarm),
          "\\u003c${try(alarm.per[0], "-")}\\u003e", try(values[0], "")),
          "\\u003c${try(alarm.per[1], "-")}\\u003e", try(values[1], "")
        ))
      }
    ]
  ])...)
}

resource "aws_cloudwatch_metric_alarm" "agent" {
  for_each = { for key, alarm in local.definitions : key => alarm if var.agents }

  alarm_name          = "${var.name}-${each.key}"
  alarm_description   = each.value.description
  comparison_operator = each.value.comparison_operator
  threshold           = each.value.threshold
  datapoints_to_alarm = each.value.datapoints_to_alarm
  evaluation_periods  = each.value.evaluation_periods
  treat_missing_data  = each.value.treat_missing_data
  alarm_actions       = [aws_sns_topic.this[each.value.severity].arn]
  ok_actions          = [aws_sns_topic.this[each.value.severity].arn]
  tags                = var.tags

  dynamic "metric_query" {
    for_each = each.value.metric_queries

    content {
      id          = metric_query.value.id
      expression  = try(metric_query.value.expression, null)
      label       = try(metric_query.value.label, null)
      return_data = metric_query.value.return_data

      dynamic "metric" {
        for_each = try([metric_query.value.metric], [])

        content {
          namespace   = metric.value.namespace
          metric_name = metric.value.metric_name
          dimensions  = metric.value.dimensions
          period      = metric.value.period
          stat        = metric.value.stat
        }
      }
    }
  }

  lifecycle {
    precondition {
      condition     = length(local.labels_unknown) == 0
      error_message = "alarms.json has alarms for each ${join("; ", local.labels_unknown)}, which this module does not know: teach local.places."
    }
  }
}

resource "aws_cloudwatch_dashboard" "this" {
  count = local.file_texts["cloudwatch-dashboard.json"] == null ? 0 : 1

  dashboard_name = var.name
  dashboard_body = local.file_texts["cloudwatch-dashboard.json"]
}

check "generated_files_are_there" {
  assert {
    condition     = alltrue([for text in values(local.file_texts) : text != null])
    error_message = "alarms.json or cloudwatch-dashboard.json is missing in ${local.generated}: there are no alarms on what the agents measure, or no dashboard."
  }
}
