output "backend" {
  description = "What backend.hcl of the environments says."
  value = {
    bucket     = aws_s3_bucket.state.id
    region     = var.region
    kms_key_id = aws_kms_key.state.arn
  }
}

output "role_arns" {
  description = "Roles of the pipelines, by service and what they do."
  value       = { for key, role in aws_iam_role.pipeline : key => role.arn }
}
