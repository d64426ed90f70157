# What instances are told at their first boot, for scripts/check-infra, which runs it as an instance
# would and holds it against the agent. No provider and no resources: the outputs are all there is.

terraform {
  required_version = ">= 1.11"
}

locals {
  common = {
    environment           = "production"
    region                = "eu-west-1"
    source_url            = "s3://shop-production-releases-123456789012/shop"
    listen                = "127.0.0.1:9180"
    hooks                 = ["groundcrew-launch", "groundcrew-terminate"]
    launch_within_seconds = 900
    rebalance             = "prepare"
    log_group             = "/groundcrew/shop-production/{tier}"
  }
}

# The smallest there is.
module "plain" {
  source = "../../modules/fleet/configuration"

  environment           = local.common.environment
  region                = local.common.region
  source_url            = local.common.source_url
  listen                = local.common.listen
  hooks                 = local.common.hooks
  launch_within_seconds = local.common.launch_within_seconds
  rebalance             = local.common.rebalance
  log_group             = local.common.log_group
  tiers                 = { jobs = { user = "nobody" } }
  extra                 = ""
  user_data_extra       = ""
}

# Everything that can be said, with values that are hard to quote. tests/first-boot/aws answers for
# the secrets.
module "full" {
  source = "../../modules/fleet/configuration"

  environment           = local.common.environment
  region                = local.common.region
  source_url            = local.common.source_url
  listen                = "0.0.0.0:9180"
  hooks                 = local.common.hooks
  launch_within_seconds = local.common.launch_within_seconds
  rebalance             = "drain"
  log_group             = local.common.log_group
  tiers = {
    web = {
      port       = 8080
      user       = "nobody"
      processes  = "per-core"
      memory_max = "512 MiB"
      pids_max   = 256
      cpu_max    = "1.5"
      env        = { API_URL = "https://api.shop.example.com", MOTTO = "\"quoted\" \\ <b>&</b> $${HOME} 'x' é\n\ttab" }
      secrets = {
        SESSION_KEY       = { arn = "arn:aws:secretsmanager:eu-west-1:123456789012:secret:shop/session" }
        DATABASE_PASSWORD = { arn = "arn:aws:secretsmanager:eu-west-1:123456789012:secret:shop/database", member = "password" }
      }
    }
    api = { port = 8081, user = "nobody", processes = "2" }
  }
  metrics       = { namespace = "shop", per_instance = true, dimensions = ["route", "plan"] }
  traces_sample = "2.5%"
  notify = {
    page   = { topic_arn = "arn:aws:sns:eu-west-1:123456789012:shop-production-page", min_level = "error" }
    ticket = { topic_arn = "arn:aws:sns:eu-west-1:123456789012:shop-production-ticket", topics = ["deployment", "crash-loop"] }
  }
  backup_store = "s3://shop-production-backups-123456789012"
  backups = {
    nightly = {
      kind     = "rds-snapshot"
      database = "shop-production"
      schedule = "20 0 * * *"
      levels   = ["L0", "L3"]
      keep     = { keep_daily = 14, keep_weekly = 5, keep_monthly = 12 }
      copies = {
        eu-central-1 = { key_arn = "arn:aws:kms:eu-central-1:123456789012:key/1", keep = { keep_daily = 7 } }
      }
      restore = { subnet_group = "shop-production", security_groups = ["sg-0123456789abcdef0"], class = "db.t4g.medium", parameter_group = "shop-production" }
    }
    dump = {
      kind     = "pg-dump"
      database = "app"
      schedule = "0 2 * * *"
      timezone = "Europe/Dublin"
      keep     = { keep_daily = 35 }
      connection = {
        host        = "shop-production.abcdefghijkl.eu-west-1.rds.amazonaws.com"
        port        = 5432
        user        = "backup"
        tls_ca_file = "/etc/ssl/certs/ca-certificates.crt"
        kms_key     = "arn:aws:kms:eu-west-1:123456789012:key/1"
      }
    }
    dump-for-others = {
      kind     = "mysql-dump"
      database = "app"
      schedule = "every 6h"
      keep     = { keep_last = 4 }
      connection = {
        host           = "shop-production.abcdefghijkl.eu-west-1.rds.amazonaws.com"
        port           = 3306
        user           = "backup"
        tls_ca_file    = "/etc/ssl/certs/ca-certificates.crt"
        age_recipients = ["age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p"]
      }
    }
  }
  extra           = "[poll]\ninterval = \"5s\""
  user_data_extra = "sysctl -w net.core.somaxconn=4096"
}

output "configurations" {
  value = { plain = module.plain.configuration, full = module.full.configuration }
}

output "user_data" {
  value = { plain = module.plain.user_data, full = module.full.user_data }
}

output "configure" {
  value = file("${path.module}/../../modules/fleet/configuration/templates/groundcrew-configure.py")
}
