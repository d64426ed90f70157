# What has to be in the recovery region before anything happens: RDS's automated backups of the
# production database, copied here as they are made, so that any second of the last days can be
# restored when its region is gone. Releases, dumps and snapshots come by themselves: S3 replication
# (modules/storage) and the agent's nightly copies.

resource "aws_db_instance_automated_backups_replication" "this" {
  source_db_instance_arn = var.database_arn
  kms_key_id             = var.key_arn
  retention_period       = var.retention_days

  lifecycle {
    precondition {
      condition     = split(":", var.database_arn)[3] != var.region
      error_message = "The database is in ${var.region} itself: a recovery region is another one."
    }
  }
}
