# Recovery: production in a second region. In ordinary times a pilot light (active = false): keys, the
# buckets that releases and backups are copied to, the database's automated backups, a network. In an
# emergency, or in a drill (terraform/recovery-drill), active = true brings the rest, with the database
# restored.

module "system" {
  source    = "../../modules/system"
  providers = { aws = aws, aws.us_east_1 = aws.us_east_1 }

  name = "${var.product}-recovery"
  # The channel that was copied is production's.
  environment = "production"
  active      = var.active
  protection  = var.protection

  region  = var.region
  zones   = var.zones
  cidr    = "10.40.0.0/16"
  nat     = "one"
  domain  = var.domain
  zone_id = var.zone_id

  further_names    = var.production_names
  object_lock_days = var.object_lock_days

  ami_id = var.ami_id

  web  = merge({ min_instances = 2, max_instances = 8 }, var.web)
  api  = merge({ min_instances = 2, max_instances = 8 }, var.api)
  jobs = var.jobs == null ? null : merge({ min_instances = 1, max_instances = 8 }, var.jobs)
  database = merge(
    { instance_class = "db.t4g.medium", multi_az = false },
    var.database,
    {
      final_snapshot_suffix = var.final_snapshot_suffix
      restore = {
        snapshot_identifier  = var.restore_snapshot
        automated_backup_arn = var.restore_snapshot == null ? one(module.recovery[*].automated_backup_arn) : null
        time                 = var.restore_time
      }
    },
  )

  database_master_password = var.database_master_password

  secrets             = var.secrets
  cdn                 = var.cdn
  origin_secret       = var.origin_secret
  releases_by_tier    = var.releases_by_tier
  configuration_extra = var.configuration_extra
  traces_sample       = var.traces_sample
  backup              = var.backup
  logs_retention_days = 90
  generated_directory = var.generated_directory
  alerts              = { emails = var.emails, slack = var.slack }
  tags                = local.tags
}

module "recovery" {
  source = "../../modules/recovery"
  count  = var.production_database_arn == null ? 0 : 1

  region         = var.region
  database_arn   = var.production_database_arn
  key_arn        = module.system.key_arn
  retention_days = var.backup_retention_days
}
