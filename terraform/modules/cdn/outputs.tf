output "domain_name" {
  description = "For alias records."
  value       = aws_cloudfront_distribution.this.domain_name
}

output "zone_id" {
  description = "For alias records."
  value       = aws_cloudfront_distribution.this.hosted_zone_id
}

output "distribution_id" {
  description = "For invalidations."
  value       = aws_cloudfront_distribution.this.id
}

output "distribution_arn" {
  description = "For policies."
  value       = aws_cloudfront_distribution.this.arn
}

output "bucket" {
  description = "Where a pipeline puts static files."
  value       = aws_s3_bucket.static.id
}

output "publisher_policy" {
  description = "What a pipeline may do that publishes static files."
  value = jsonencode({
    Version = "2012-10-17"
    Statement = [
      {
        Sid      = "Files"
        Effect   = "Allow"
        Action   = ["s3:DeleteObject", "s3:GetObject", "s3:PutObject"]
        Resource = "${aws_s3_bucket.static.arn}/*"
      },
      {
        Sid      = "List"
        Effect   = "Allow"
        Action   = "s3:ListBucket"
        Resource = aws_s3_bucket.static.arn
      },
      {
        Sid      = "Invalidate"
        Effect   = "Allow"
        Action   = ["cloudfront:CreateInvalidation", "cloudfront:GetInvalidation"]
        Resource = aws_cloudfront_distribution.this.arn
      },
    ]
  })
}
