output "identifier" {
  description = "As RDS and the agent's backup job name it."
  value       = aws_db_instance.this.identifier
}

output "arn" {
  description = "For policies, and for copies in another region."
  value       = aws_db_instance.this.arn
}

output "address" {
  description = "The host to connect to."
  value       = aws_db_instance.this.address
}

output "port" {
  description = "The port to connect to."
  value       = local.port
}

output "database_name" {
  description = "The database in it."
  value       = var.database_name
}

output "replica_addresses" {
  description = "Hosts to read from."
  value       = aws_db_instance.replica[*].address
}

output "replica_identifiers" {
  description = "For alarms."
  value       = aws_db_instance.replica[*].identifier
}

output "master_secret_arn" {
  description = "Where the master password is, for people."
  value       = local.own_password ? aws_secretsmanager_secret.master[0].arn : one(aws_db_instance.this.master_user_secret[*].secret_arn)
}

output "security_group_id" {
  description = "The database's security group."
  value       = aws_security_group.this.id
}

output "backup_policy" {
  description = "What the tier may do whose agents make the backups: one of modules/fleet's policies."
  value       = jsonencode({ Version = "2012-10-17", Statement = local.backup_statements })
}

output "verify" {
  description = "Where the agent's job restores a snapshot for proof; null where it does not."
  value = var.verify_class == null ? null : {
    subnet_group    = aws_db_subnet_group.this.name
    security_groups = aws_security_group.verify[*].id
    class           = var.verify_class
    parameter_group = aws_db_parameter_group.this.name
  }
}

output "reached_from" {
  description = "Who has a way in: tiers, by name."
  value       = sort([for tier, rule in aws_vpc_security_group_ingress_rule.client : rule.cidr_ipv4 == null ? tier : rule.cidr_ipv4])
}
