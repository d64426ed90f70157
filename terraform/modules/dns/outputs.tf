output "certificate_arn" {
  description = "For load balancers; known when it is valid."
  value       = aws_acm_certificate_validation.this.certificate_arn
}

output "cdn_certificate_arn" {
  description = "For CloudFront; null without one."
  value       = one(aws_acm_certificate_validation.cdn[*].certificate_arn)
}

output "names" {
  description = "The names that point somewhere."
  value       = [for record in aws_route53_record.a : record.name]
}
