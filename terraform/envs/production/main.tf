# Production: each tier in two zones or more, a way out in each, a database with a standby, a firewall,
# copies in the recovery region, and nothing that can be deleted by mistake.

module "system" {
  source    = "../../modules/system"
  providers = { aws = aws, aws.us_east_1 = aws.us_east_1 }

  name        = "${var.product}-production"
  environment = "production"
  protection  = true

  region  = var.region
  zones   = var.zones
  cidr    = "10.30.0.0/16"
  nat     = "per-zone"
  domain  = var.domain
  zone_id = var.zone_id
  ami_id  = var.ami_id
  waf     = true

  waf_requests_per_5_minutes = var.waf_requests_per_5_minutes

  # Two hosts carry the usual load at half their CPU; there is room for four times that.
  web      = merge({ min_instances = 2, max_instances = 8 }, var.web)
  api      = merge({ min_instances = 2, max_instances = 8 }, var.api)
  jobs     = var.jobs == null ? null : merge({ min_instances = 2, max_instances = 8 }, var.jobs)
  database = merge({ instance_class = "db.t4g.medium", multi_az = true, backup_retention_days = 35 }, var.database)

  database_master_password = var.database_master_password

  secrets             = var.secrets
  cdn                 = var.cdn
  origin_secret       = var.origin_secret
  releases_by_tier    = var.releases_by_tier
  configuration_extra = var.configuration_extra
  traces_sample       = var.traces_sample
  # Once a month it is restored, for proof.
  backup              = var.backup == null ? null : merge({ restore_class = "db.t4g.medium" }, var.backup)
  object_lock_days    = var.object_lock_days
  logs_retention_days = 90
  generated_directory = var.generated_directory
  alerts              = { emails = var.emails, slack = var.slack, budget_usd = var.budget_usd }
  tags                = local.tags

  # What envs/recovery has prepared, when it has.
  replication = var.recovery == null ? {} : {
    for kind in ["releases", "backups"] : kind => {
      bucket_arn = var.recovery.bucket_arns[kind]
      key_arn    = var.recovery.key_arn
      region     = var.recovery.region
    }
  }
  backup_copies = var.recovery == null ? {} : { (var.recovery.region) = var.recovery.key_arn }
}
