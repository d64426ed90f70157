output "log_group_pattern" {
  description = "The log group of a tier, with the agent's places: modules/fleet's log_group."
  value       = "/groundcrew/${var.name}/{tier}"
}

output "log_group_arns" {
  description = "By tier, agent, files and journal: modules/fleet's log_group_arns."
  value       = { for tier, group in aws_cloudwatch_log_group.tier : tier => group.arn }
}

output "log_group_names" {
  description = "By tier, agent, files and journal."
  value       = { for tier, group in aws_cloudwatch_log_group.tier : tier => group.name }
}

output "topic_arns" {
  description = "Topics, by severity."
  value       = { for severity, topic in aws_sns_topic.this : severity => topic.arn }
}

output "alarm_names" {
  description = "All alarms; those that should stop an instance refresh are chosen from them."
  value = concat(
    [for alarm in aws_cloudwatch_metric_alarm.agent : alarm.alarm_name],
    [for alarm in aws_cloudwatch_metric_alarm.aws : alarm.alarm_name],
  )
}
