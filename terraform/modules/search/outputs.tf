output "endpoint" {
  description = "Where OpenSearch answers, inside the VPC."
  value       = aws_opensearch_domain.this.endpoint
}

output "security_group_id" {
  description = "The domain's security group."
  value       = aws_security_group.domain.id
}
