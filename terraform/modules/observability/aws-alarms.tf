# Alarms on what AWS measures: load balancers, groups, database, queues. Each says what to do.

locals {
  tickets = [aws_sns_topic.this["ticket"].arn]
  pages   = [aws_sns_topic.this["page"].arn]

  # Of one metric each. `missing` is what no data means.
  balancer_alarms = merge([
    for key, balancer in var.load_balancers : {
      "alb-5xx-${key}" = {
        severity    = "page", namespace = "AWS/ApplicationELB", metric = "HTTPCode_ELB_5XX_Count", statistic = "Sum"
        description = "Load balancer ${key} answers with 5xx of its own: no healthy host, or hosts that close connections. `groundcrew doctor` on one of them, then its target group's health."
        dimensions  = { LoadBalancer = balancer.balancer_arn_suffix }
        threshold   = var.alb_5xx_per_minute_max, period = 60, periods = 5, points = 3, missing = "notBreaching", operator = "GreaterThanThreshold"
      }
      "target-5xx-${key}" = {
        severity    = "ticket", namespace = "AWS/ApplicationELB", metric = "HTTPCode_Target_5XX_Count", statistic = "Sum"
        description = "Tier ${key} answers with 5xx. `groundcrew status` and `groundcrew logs --since 10m` on a host; roll back if it is the release."
        dimensions  = { LoadBalancer = balancer.balancer_arn_suffix, TargetGroup = balancer.target_group_arn_suffix }
        threshold   = var.target_5xx_per_minute_max, period = 60, periods = 5, points = 3, missing = "notBreaching", operator = "GreaterThanThreshold"
      }
      "alb-latency-${key}" = {
        severity    = "ticket", namespace = "AWS/ApplicationELB", metric = "TargetResponseTime", statistic = "p99"
        description = "Of a hundred requests to ${key} the slowest takes more than ${var.latency_p99_seconds_max} s. The dashboard says whether it is the tier, its event loop, or the database."
        dimensions  = { LoadBalancer = balancer.balancer_arn_suffix, TargetGroup = balancer.target_group_arn_suffix }
        threshold   = var.latency_p99_seconds_max, period = 60, periods = 10, points = 8, missing = "notBreaching", operator = "GreaterThanThreshold"
      }
      "unhealthy-hosts-${key}" = {
        severity    = "ticket", namespace = "AWS/ApplicationELB", metric = "UnHealthyHostCount", statistic = "Maximum"
        description = "A host of ${key} is unhealthy for ten minutes, and was not replaced. Look at the group's activity, then at the host."
        dimensions  = { LoadBalancer = balancer.balancer_arn_suffix, TargetGroup = balancer.target_group_arn_suffix }
        threshold   = 0, period = 60, periods = 10, points = 10, missing = "notBreaching", operator = "GreaterThanThreshold"
      }
      "no-healthy-host-${key}" = {
        severity    = "page", namespace = "AWS/ApplicationELB", metric = "HealthyHostCount", statistic = "Minimum"
        description = "No host of ${key} is healthy: nobody is served. Was a release promoted? `groundcrew rollback`."
        dimensions  = { LoadBalancer = balancer.balancer_arn_suffix, TargetGroup = balancer.target_group_arn_suffix }
        # A target group without hosts has no data, and that is what this is about.
        threshold = 1, period = 60, periods = 3, points = 2, missing = "breaching", operator = "LessThanThreshold"
      }
    }
  ]...)

  group_alarms = merge([
    for tier, group in var.groups : {
      "cpu-${tier}" = {
        severity    = "ticket", namespace = "AWS/EC2", metric = "CPUUtilization", statistic = "Average"
        description = "The hosts of ${tier} are busy although the group scales: it is at its largest, or new hosts do not come."
        dimensions  = { AutoScalingGroupName = group.name }
        threshold   = 85, period = 300, periods = 3, points = 3, missing = "notBreaching", operator = "GreaterThanThreshold"
      }
      "at-its-largest-${tier}" = {
        severity    = "ticket", namespace = "AWS/AutoScaling", metric = "GroupDesiredCapacity", statistic = "Maximum"
        description = "Group ${group.name} wants as many hosts as it may have, for half an hour: more load would not be met. Raise max_instances."
        dimensions  = { AutoScalingGroupName = group.name }
        threshold   = group.max_instances, period = 300, periods = 6, points = 6, missing = "notBreaching", operator = "GreaterThanOrEqualToThreshold"
      }
      "host-checks-${tier}" = {
        severity    = "ticket", namespace = "AWS/EC2", metric = "StatusCheckFailed", statistic = "Maximum"
        description = "A host of ${tier} fails EC2's own checks, for ten minutes, and was not replaced."
        dimensions  = { AutoScalingGroupName = group.name }
        threshold   = 0, period = 60, periods = 10, points = 10, missing = "notBreaching", operator = "GreaterThanThreshold"
      }
    }
  ]...)

  database_alarms = var.database == null ? {} : merge(
    {
      "database-cpu" = {
        severity    = "ticket", namespace = "AWS/RDS", metric = "CPUUtilization", statistic = "Average"
        description = "The database is busy for a quarter of an hour. Performance Insights says with which statements."
        dimensions  = { DBInstanceIdentifier = var.database.identifier }
        threshold   = var.database_cpu_percent_max, period = 300, periods = 3, points = 3, missing = "missing", operator = "GreaterThanThreshold"
      }
      "database-storage" = {
        severity    = "page", namespace = "AWS/RDS", metric = "FreeStorageSpace", statistic = "Minimum"
        description = "The database's storage is nearly full, and did not grow by itself: it may grow every six hours only, and up to storage_gib_max. A full database stops."
        dimensions  = { DBInstanceIdentifier = var.database.identifier }
        threshold   = var.database_storage_free_bytes_min, period = 300, periods = 2, points = 2, missing = "missing", operator = "LessThanThreshold"
      }
      "database-memory" = {
        severity    = "ticket", namespace = "AWS/RDS", metric = "FreeableMemory", statistic = "Minimum"
        description = "The database has little memory left: it will read from disk what it kept in memory."
        dimensions  = { DBInstanceIdentifier = var.database.identifier }
        threshold   = var.database_memory_free_bytes_min, period = 300, periods = 3, points = 3, missing = "missing", operator = "LessThanThreshold"
      }
      "database-connections" = {
        severity    = "ticket", namespace = "AWS/RDS", metric = "DatabaseConnections", statistic = "Maximum"
        description = "The database has nearly as many connections as it takes. Pools are sized for each process: processes a host, times hosts, in a rollout times two."
        dimensions  = { DBInstanceIdentifier = var.database.identifier }
        threshold   = var.database_connections_max, period = 60, periods = 5, points = 5, missing = "missing", operator = "GreaterThanThreshold"
      }
    },
    {
      for replica in var.database.replica_identifiers : "replica-lag-${replica}" => {
        severity    = "ticket", namespace = "AWS/RDS", metric = "ReplicaLag", statistic = "Maximum"
        description = "Replica ${replica} is behind: what is read from it is old."
        dimensions  = { DBInstanceIdentifier = replica }
        # A replica that is broken says nothing, or -1.
        threshold = var.replica_lag_seconds_max, period = 60, periods = 10, points = 5, missing = "breaching", operator = "GreaterThanThreshold"
      }
    },
  )

  queue_alarms = merge([
    for key, queue in var.queues : {
      "queue-age-${key}" = {
        severity    = "page", namespace = "AWS/SQS", metric = "ApproximateAgeOfOldestMessage", statistic = "Maximum"
        description = "A message waits in ${queue.name} for more than ${queue.age_seconds_max} s: workers are too few, or stuck on something."
        dimensions  = { QueueName = queue.name }
        threshold   = queue.age_seconds_max, period = 60, periods = 5, points = 5, missing = "notBreaching", operator = "GreaterThanThreshold"
      }
      "queue-failed-${key}" = {
        severity    = "ticket", namespace = "AWS/SQS", metric = "ApproximateNumberOfMessagesVisible", statistic = "Maximum"
        description = "Messages of ${queue.name} were tried in vain, and put aside in ${queue.failed_name}. Read one, mend, redrive."
        dimensions  = { QueueName = queue.failed_name }
        threshold   = 0, period = 300, periods = 1, points = 1, missing = "notBreaching", operator = "GreaterThanThreshold"
      }
    }
  ]...)
}

resource "aws_cloudwatch_metric_alarm" "aws" {
  for_each = merge(local.balancer_alarms, local.group_alarms, local.database_alarms, local.queue_alarms)

  alarm_name          = "${var.name}-${each.key}"
  alarm_description   = each.value.description
  namespace           = each.value.namespace
  metric_name         = each.value.metric
  dimensions          = each.value.dimensions
  statistic           = startswith(each.value.statistic, "p") ? null : each.value.statistic
  extended_statistic  = startswith(each.value.statistic, "p") ? each.value.statistic : null
  comparison_operator = each.value.operator
  threshold           = each.value.threshold
  period              = each.value.period
  evaluation_periods  = each.value.periods
  datapoints_to_alarm = each.value.points
  treat_missing_data  = each.value.missing
  alarm_actions       = each.value.severity == "page" ? local.pages : local.tickets
  ok_actions          = each.value.severity == "page" ? local.pages : local.tickets
  tags                = var.tags
}
