output "releases_bucket" {
  description = "The bucket of releases: s3:// and this, and the prefix, is the source of `groundcrew publish`."
  value       = aws_s3_bucket.this["releases"].id
}

output "source_url" {
  description = "What `groundcrew publish --source` takes."
  value       = "s3://${aws_s3_bucket.this["releases"].id}${var.releases_prefix == "" ? "" : "/${var.releases_prefix}"}"
}

output "backups_bucket" {
  description = "The bucket of dumps and of the nightly job's ledger."
  value       = aws_s3_bucket.this["backups"].id
}

output "logs_bucket" {
  description = "The bucket of access logs."
  # After its policy: a load balancer tries to write at once.
  value      = aws_s3_bucket.this["logs"].id
  depends_on = [aws_s3_bucket_policy.this]
}

output "bucket_arns" {
  description = "ARNs, by what they hold."
  value       = { for kind, bucket in aws_s3_bucket.this : kind => bucket.arn }
}

output "publisher_policy" {
  description = "What a pipeline may do that publishes and promotes. Whoever has it decides what runs."
  value = jsonencode({
    Version = "2012-10-17"
    Statement = [
      {
        Sid    = "Publish"
        Effect = "Allow"
        Action = ["s3:GetObject", "s3:PutObject", "s3:AbortMultipartUpload", "s3:ListMultipartUploadParts"]
        Resource = flatten([
          for prefix in local.release_prefixes : [
            for kind in ["artifacts", "releases", "channels"] : "${aws_s3_bucket.this["releases"].arn}/${prefix}${kind}/*"
          ]
        ])
      },
      {
        Sid      = "List"
        Effect   = "Allow"
        Action   = "s3:ListBucket"
        Resource = aws_s3_bucket.this["releases"].arn
      },
      {
        Sid       = "UseKeyThroughS3"
        Effect    = "Allow"
        Action    = ["kms:Decrypt", "kms:GenerateDataKey"]
        Resource  = var.key_arn
        Condition = { StringEquals = { "kms:ViaService" = "s3.${var.region}.amazonaws.com" } }
      },
    ]
  })
}
