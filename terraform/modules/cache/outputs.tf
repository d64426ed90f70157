output "address" {
  description = "The host to connect to, with TLS."
  value       = aws_elasticache_replication_group.this.primary_endpoint_address
}

output "port" {
  description = "The port to connect to."
  value       = 6379
}

output "security_group_id" {
  description = "The cache's security group."
  value       = aws_security_group.this.id
}

output "reached_from" {
  description = "Who has a way in: tiers, by name."
  value       = sort(keys(aws_vpc_security_group_ingress_rule.client))
}
