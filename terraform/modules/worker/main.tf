# A queue, where its failures go, and scaling of a fleet by what waits for each instance. The fleet
# itself is modules/fleet without load balancers.

locals {
  suffix = var.fifo ? ".fifo" : ""
}

resource "aws_sqs_queue" "failed" {
  name                      = "${var.name}-failed${local.suffix}"
  fifo_queue                = var.fifo ? true : null
  kms_master_key_id         = var.key_arn
  message_retention_seconds = 14 * 86400
  tags                      = var.tags
}

resource "aws_sqs_queue" "this" {
  name              = "${var.name}${local.suffix}"
  fifo_queue        = var.fifo ? true : null
  kms_master_key_id = var.key_arn
  # Long polling: no answer before there is one, or 20 s.
  receive_wait_time_seconds = 20
  # Whoever leaves the fleet may bleed on the message that it has; nobody else gets it meanwhile.
  visibility_timeout_seconds = var.visibility_timeout_seconds
  message_retention_seconds  = var.retention_days * 86400
  redrive_policy = jsonencode({
    deadLetterTargetArn = aws_sqs_queue.failed.arn
    maxReceiveCount     = var.tries
  })
  tags = var.tags
}

resource "aws_sqs_queue_redrive_allow_policy" "failed" {
  queue_url = aws_sqs_queue.failed.id
  redrive_allow_policy = jsonencode({
    redrivePermission = "byQueue"
    sourceQueueArns   = [aws_sqs_queue.this.arn]
  })
}

resource "aws_sqs_queue_policy" "this" {
  for_each = { queue = aws_sqs_queue.this, failed = aws_sqs_queue.failed }

  queue_url = each.value.id
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      {
        Sid       = "OnlyOverTls"
        Effect    = "Deny"
        Principal = "*"
        Action    = "sqs:*"
        Resource  = each.value.arn
        Condition = { Bool = { "aws:SecureTransport" = "false" } }
      },
    ]
  })
}

# Messages that wait for each instance in service. Target tracking holds that number, so it is the
# time that a message may wait, divided by the time that one takes.
resource "aws_autoscaling_policy" "backlog" {
  name                   = "backlog"
  autoscaling_group_name = var.group_name
  policy_type            = "TargetTrackingScaling"

  target_tracking_configuration {
    target_value = var.backlog_per_instance_target

    customized_metric_specification {
      metrics {
        id          = "waiting"
        label       = "Messages that wait"
        return_data = false

        metric_stat {
          stat = "Sum"

          metric {
            namespace   = "AWS/SQS"
            metric_name = "ApproximateNumberOfMessagesVisible"

            dimensions {
              name  = "QueueName"
              value = aws_sqs_queue.this.name
            }
          }
        }
      }

      metrics {
        id          = "instances"
        label       = "Instances in service"
        return_data = false

        metric_stat {
          stat = "Average"

          metric {
            namespace   = "AWS/AutoScaling"
            metric_name = "GroupInServiceInstances"

            dimensions {
              name  = "AutoScalingGroupName"
              value = var.group_name
            }
          }
        }
      }

      metrics {
        id    = "backlog"
        label = "Messages that wait for each instance"
        # A group without an instance has a backlog all the same, or it would stay without one.
        expression  = "waiting / IF(instances > 0, instances, 1)"
        return_data = true
      }
    }
  }
}
