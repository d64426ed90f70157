# Staging: the same system as production, smaller. One way out, one host a tier, a database without a
# standby, and nothing that refuses to be deleted.

module "system" {
  source    = "../../modules/system"
  providers = { aws = aws, aws.us_east_1 = aws.us_east_1 }

  name        = "${var.product}-staging"
  environment = "staging"
  protection  = false

  region  = var.region
  zones   = var.zones
  cidr    = "10.20.0.0/16"
  nat     = "one"
  domain  = var.domain
  zone_id = var.zone_id
  ami_id  = var.ami_id

  web      = merge({ min_instances = 1, max_instances = 4 }, var.web)
  api      = merge({ min_instances = 1, max_instances = 4 }, var.api)
  jobs     = var.jobs == null ? null : merge({ min_instances = 1, max_instances = 2 }, var.jobs)
  database = merge({ instance_class = "db.t4g.micro", multi_az = false, backup_retention_days = 7, storage_gib_max = 50 }, var.database)

  database_master_password = var.database_master_password

  secrets             = var.secrets
  cdn                 = var.cdn
  origin_secret       = var.origin_secret
  releases_by_tier    = var.releases_by_tier
  configuration_extra = var.configuration_extra
  traces_sample       = var.traces_sample
  backup              = var.backup == null ? null : merge({ keep_daily = 7, keep_weekly = 0, keep_monthly = 0 }, var.backup)
  logs_retention_days = 14
  generated_directory = var.generated_directory
  alerts              = { emails = var.emails, slack = var.slack, budget_usd = var.budget_usd }
  tags                = local.tags
}
