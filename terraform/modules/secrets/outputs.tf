output "key_arn" {
  description = "The key that encrypts what the environment keeps."
  value       = aws_kms_key.this.arn
}

output "key_id" {
  description = "The same key, by id."
  value       = aws_kms_key.this.key_id
}

output "secret_arns" {
  description = "ARNs of the secrets, by name."
  value       = { for name, secret in aws_secretsmanager_secret.this : name => secret.arn }
}

output "parameter_names" {
  description = "Full names of the parameters, by name."
  value       = { for name, parameter in aws_ssm_parameter.this : name => parameter.name }
}
