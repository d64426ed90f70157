output "queue_name" {
  description = "For alarms."
  value       = aws_sqs_queue.this.name
}

output "failed_queue_name" {
  description = "For alarms."
  value       = aws_sqs_queue.failed.name
}

output "queue_url" {
  description = "For the application."
  value       = aws_sqs_queue.this.url
}

output "queue_arn" {
  description = "For policies."
  value       = aws_sqs_queue.this.arn
}

output "consumer_policy" {
  description = "What a tier that works on the queue may do."
  value = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Sid      = "Work"
      Effect   = "Allow"
      Resource = aws_sqs_queue.this.arn
      Action = [
        "sqs:ChangeMessageVisibility", "sqs:DeleteMessage", "sqs:GetQueueAttributes", "sqs:GetQueueUrl",
        "sqs:ReceiveMessage",
      ]
    }]
  })
}

output "producer_policy" {
  description = "What a tier that fills the queue may do."
  value = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Sid      = "Send"
      Effect   = "Allow"
      Resource = aws_sqs_queue.this.arn
      Action   = ["sqs:GetQueueUrl", "sqs:SendMessage"]
    }]
  })
}
