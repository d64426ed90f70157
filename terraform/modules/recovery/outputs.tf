output "automated_backup_arn" {
  description = "What a database is restored from: restore.automated_backup_arn of modules/database."
  value       = aws_db_instance_automated_backups_replication.this.id
}
