# A queue that loses nothing, and a fleet that grows with what waits in it.

mock_provider "aws" {
  source = "./mocks"
}

variables {
  name       = "shop-production-jobs"
  key_arn    = "arn:aws:kms:eu-west-1:123456789012:key/11111111-2222-3333-4444-555555555555"
  group_name = "shop-production-jobs"
}

run "a_queue" {
  module {
    source = "../modules/worker"
  }

  assert {
    condition     = aws_sqs_queue.this.kms_master_key_id == var.key_arn && aws_sqs_queue.failed.kms_master_key_id == var.key_arn
    error_message = "Both queues are encrypted under the environment's key."
  }

  assert {
    condition     = jsondecode(aws_sqs_queue.this.redrive_policy).maxReceiveCount == 5 && jsondecode(aws_sqs_queue.this.redrive_policy).deadLetterTargetArn == aws_sqs_queue.failed.arn
    error_message = "What fails five times is put aside."
  }

  assert {
    condition     = aws_sqs_queue.failed.message_retention_seconds == 1209600 && aws_sqs_queue.this.message_retention_seconds < aws_sqs_queue.failed.message_retention_seconds
    error_message = "What was put aside is kept for two weeks."
  }

  assert {
    condition     = length(aws_sqs_queue_policy.this) == 2 && alltrue([for policy in values(aws_sqs_queue_policy.this) : jsondecode(policy.policy).Statement[0].Effect == "Deny"])
    error_message = "Queues are used over TLS only."
  }

  assert {
    condition = (
      aws_autoscaling_policy.backlog.target_tracking_configuration[0].target_value == 100
      && one([for metric in aws_autoscaling_policy.backlog.target_tracking_configuration[0].customized_metric_specification[0].metrics : metric.expression if metric.return_data]) == "waiting / IF(instances > 0, instances, 1)"
    )
    error_message = "The fleet grows with what waits for each instance, also from none."
  }

  assert {
    condition = alltrue([
      for policy in [output.consumer_policy, output.producer_policy] : alltrue([
        for statement in jsondecode(policy).Statement : statement.Resource == aws_sqs_queue.this.arn && !strcontains(jsonencode(statement.Action), "*")
      ])
    ])
    error_message = "Tiers may use this queue, and no other."
  }

  assert {
    condition     = !strcontains(output.consumer_policy, "SendMessage") && !strcontains(output.producer_policy, "ReceiveMessage")
    error_message = "Who fills it does not empty it."
  }
}

run "in_order" {
  module {
    source = "../modules/worker"
  }

  variables {
    fifo = true
  }

  assert {
    condition     = aws_sqs_queue.this.name == "shop-production-jobs.fifo" && aws_sqs_queue.failed.name == "shop-production-jobs-failed.fifo" && aws_sqs_queue.failed.fifo_queue
    error_message = "The queue of failures is of the same kind."
  }
}

run "one_try_is_refused" {
  command = plan

  module {
    source = "../modules/worker"
  }

  variables {
    tries = 1
  }

  expect_failures = [var.tries]
}
