# The whole system, put together once: staging, production and recovery differ in numbers, not in how
# they are built.
#
#   internet -> (CloudFront) -> load balancer -> web -> internal load balancer -> api -> database
#                                                                      queue <- api;  jobs <- queue
#
# Each arrow is a pair of security group rules, and there is no other. With active = false only what
# keeps data is there (keys, buckets, network, log groups): a pilot light.

locals {
  active = var.active ? 1 : 0
  jobs   = var.active && var.jobs != null ? 1 : 0

  api_host = "api.${var.domain}"

  # The tiers that run here, with what the host adds to their environment.
  tiers = toset(concat(["web", "api"], var.jobs == null ? [] : ["jobs"]))

  # Environment variables whose values are secrets, by tier.
  secrets = {
    for tier, settings in { web = var.web, api = var.api, jobs = var.jobs } : tier => {
      for key, secret in try(settings.secrets, {}) : key => {
        arn    = module.secrets.secret_arns[secret.secret]
        member = secret.member
      }
    } if settings != null
  }

  # The agent's logs of a tier go to its own group and to those that all hosts share.
  log_group_arns = {
    for tier in local.tiers : tier => [
      for group in [tier, "agent", "files", "journal"] : module.observability.log_group_arns[group]
    ]
  }

  # Where each tier's releases are.
  releases = {
    for tier in local.tiers : tier => {
      bucket = module.storage.releases_bucket
      prefix = join("/", compact([var.releases_prefix, var.releases_by_tier ? tier : ""]))
    }
  }

  database_env = var.active ? merge(
    {
      DATABASE_HOST = module.database[0].address
      DATABASE_PORT = tostring(module.database[0].port)
      DATABASE_NAME = module.database[0].database_name
    },
    var.database.replicas > 0 ? { DATABASE_READ_HOST = module.database[0].replica_addresses[0] } : {},
  ) : {}

  cache_env = var.active && var.cache != null ? {
    REDIS_HOST = module.cache[0].address
    REDIS_PORT = tostring(module.cache[0].port)
  } : {}

  queue_env = local.jobs == 1 ? { QUEUE_URL = module.worker[0].queue_url } : {}

  # What only an agent knows: a release that it rejected, a process that keeps crashing, a drain that was
  # not complete. Alarms page; this says why, where tickets go.
  notify = {
    ticket = { topic_arn = module.observability.topic_arns["ticket"], min_level = "warning" }
  }

  # What the agents send by, as their metrics name it.
  pipelines = concat(
    ["logs", "metrics"],
    var.traces_sample == null ? [] : ["traces"],
    [for name in keys(local.notify) : "notify.${name}"],
  )

  # What the agents of the API tier do each night, because nobody else reaches the database.
  backups = merge(
    var.active && var.backup != null ? {
      nightly = {
        kind     = "rds-snapshot"
        database = module.database[0].identifier
        schedule = var.backup.schedule
        timezone = var.backup.timezone
        levels   = var.backup.restore_class == null ? ["L0"] : ["L0", "L3"]
        keep = {
          keep_daily   = var.backup.keep_daily
          keep_weekly  = var.backup.keep_weekly
          keep_monthly = var.backup.keep_monthly
        }
        copies = {
          for region, key_arn in var.backup_copies :
          region => { key_arn = key_arn, keep = { keep_daily = var.backup.copies_keep_daily } }
        }
        connection = null
        restore    = module.database[0].verify
      }
    } : {},
    local.dump == null ? {} : {
      dump = {
        kind     = var.database.engine == "postgres" ? "pg-dump" : "mysql-dump"
        database = module.database[0].database_name
        schedule = local.dump.schedule
        timezone = var.backup.timezone
        levels   = ["L0"]
        keep = {
          keep_daily   = local.dump.keep_daily
          keep_monthly = local.dump.keep_monthly
          keep_yearly  = local.dump.keep_yearly
        }
        copies = {}
        connection = {
          # A replica spares the primary.
          host           = try(module.database[0].replica_addresses[0], module.database[0].address)
          port           = module.database[0].port
          user           = local.dump.user
          tls_ca_file    = "/usr/share/groundcrew/rds-global-bundle.pem"
          age_recipients = local.dump.age_recipients
          kms_key        = module.secrets.key_arn
        }
        restore = null
      }
    },
  )

  dump = var.active ? try(var.backup.dump, null) : null

  cloudfront_in_front = var.cdn != null && var.active
}

data "aws_ec2_managed_prefix_list" "cloudfront" {
  count = local.cloudfront_in_front ? 1 : 0

  name = "com.amazonaws.global.cloudfront.origin-facing"
}

module "secrets" {
  source = "../secrets"

  name                 = var.name
  region               = var.region
  secrets              = var.secrets
  parameters           = var.parameters
  secret_recovery_days = var.protection ? 30 : 0
  tags                 = var.tags
}

module "network" {
  source = "../network"

  name      = var.name
  region    = var.region
  cidr      = var.cidr
  zones     = var.zones
  nat       = var.active ? var.nat : "none"
  endpoints = var.active ? var.endpoints : []
  instances = var.active
  key_arn   = module.secrets.key_arn
  tags      = var.tags
}

module "storage" {
  source = "../storage"

  name             = var.name
  region           = var.region
  key_arn          = module.secrets.key_arn
  releases_prefix  = var.releases_prefix
  release_tiers    = var.releases_by_tier ? sort(local.tiers) : []
  object_lock_days = var.object_lock_days
  replication      = var.replication
  # What is locked cannot be destroyed, also not by a drill, whose buckets stay.
  force_destroy = !var.protection && var.object_lock_days == 0
  tags          = var.tags
}

module "dns" {
  source    = "../dns"
  count     = local.active
  providers = { aws = aws, aws.us_east_1 = aws.us_east_1 }

  domain  = var.domain
  zone_id = var.zone_id
  cdn     = local.cloudfront_in_front
  tags    = var.tags

  further_names = var.further_names

  aliases = merge(
    {
      api = { dns_name = module.edge_api[0].dns_name, zone_id = module.edge_api[0].zone_id, evaluate_health = true }
    },
    local.cloudfront_in_front ? {
      ""     = { dns_name = module.cdn[0].domain_name, zone_id = module.cdn[0].zone_id, ipv6 = true }
      origin = { dns_name = module.edge_web[0].dns_name, zone_id = module.edge_web[0].zone_id }
      } : {
      "" = { dns_name = module.edge_web[0].dns_name, zone_id = module.edge_web[0].zone_id, evaluate_health = true }
    },
  )
}

module "edge_web" {
  source = "../edge"
  count  = local.active

  name            = "${var.name}-web"
  vpc_id          = module.network.vpc_id
  subnet_ids      = module.network.public_subnet_ids
  certificate_arn = module.dns[0].certificate_arn
  default_target  = "web"
  targets = merge(
    {
      web = {
        port                         = var.web.port
        health_path                  = var.web.health_path
        deregistration_delay_seconds = var.web.deregistration_delay_seconds
      }
    },
    length(var.api.public_paths) == 0 ? {} : {
      api = {
        port                         = var.api.port
        health_path                  = var.api.health_path
        deregistration_delay_seconds = var.api.deregistration_delay_seconds
        priority                     = 100
        paths                        = var.api.public_paths
      }
    },
  )

  # Behind CloudFront, from CloudFront only.
  allowed_cidrs           = local.cloudfront_in_front ? [] : ["0.0.0.0/0"]
  allowed_prefix_list_ids = data.aws_ec2_managed_prefix_list.cloudfront[*].id
  origin_secret           = local.cloudfront_in_front ? var.origin_secret : null

  access_logs_bucket         = module.storage.logs_bucket
  deletion_protection        = var.protection
  waf                        = var.waf
  waf_requests_per_5_minutes = var.waf_requests_per_5_minutes
  viewer_header              = local.cloudfront_in_front ? "X-Viewer-Address" : null
  key_arn                    = module.secrets.key_arn
  tags                       = var.tags
}

module "edge_api" {
  source = "../edge"
  count  = local.active

  name            = "${var.name}-api"
  vpc_id          = module.network.vpc_id
  internal        = !var.api.public
  subnet_ids      = var.api.public ? module.network.public_subnet_ids : module.network.app_subnet_ids
  certificate_arn = module.dns[0].certificate_arn
  default_target  = "api"
  targets = {
    api = {
      port                         = var.api.port
      health_path                  = var.api.health_path
      deregistration_delay_seconds = var.api.deregistration_delay_seconds
    }
  }

  # Inside, from the tiers that call it; a public one is called over the internet by all.
  allowed_cidrs = var.api.public ? ["0.0.0.0/0"] : []
  allowed_security_groups = var.api.public ? {} : merge(
    { web = module.web[0].security_group_id },
    local.jobs == 1 ? { jobs = module.jobs[0].security_group_id } : {},
  )

  access_logs_bucket         = module.storage.logs_bucket
  deletion_protection        = var.protection
  waf                        = var.waf && var.api.public
  waf_requests_per_5_minutes = var.waf_requests_per_5_minutes
  # The web tier calls a public one from here, for all of its visitors.
  waf_exempt_addresses = module.network.nat_addresses
  key_arn              = module.secrets.key_arn
  tags                 = var.tags
}

module "web" {
  source = "../fleet"
  count  = local.active

  name           = "${var.name}-web"
  tier           = "web"
  environment    = var.environment
  region         = var.region
  vpc_id         = module.network.vpc_id
  subnet_ids     = module.network.app_subnet_ids
  ami_id         = var.ami_id
  key_arn        = module.secrets.key_arn
  releases       = local.releases["web"]
  load_balancers = { web = module.edge_web[0].targets["web"] }

  process = {
    port       = var.web.port
    user       = var.web.user
    processes  = var.web.processes
    memory_max = var.web.memory_max
    pids_max   = var.web.pids_max
    cpu_max    = var.web.cpu_max
    env        = merge({ API_URL = "https://${local.api_host}" }, local.cache_env, var.web.env)
    secrets    = local.secrets["web"]
  }

  instance_types               = var.web.instance_types
  disk_gib                     = var.web.disk_gib
  min_instances                = var.web.min_instances
  max_instances                = var.web.max_instances
  on_demand_base               = var.web.on_demand_base
  spot_percent                 = var.web.spot_percent
  cpu_target_percent           = var.web.cpu_target_percent
  requests_per_instance_target = var.web.requests_per_instance_target
  schedules                    = var.web.schedules
  warm_pool                    = var.web.warm_pool
  drain                        = var.web.drain
  configuration_extra          = var.configuration_extra

  metrics            = var.metrics
  metrics_namespaces = var.metrics_namespaces
  log_group          = module.observability.log_group_pattern
  log_group_arns     = local.log_group_arns["web"]
  notify             = local.notify
  traces_sample      = var.traces_sample
  tags               = var.tags
}

module "api" {
  source = "../fleet"
  count  = local.active

  name        = "${var.name}-api"
  tier        = "api"
  environment = var.environment
  region      = var.region
  vpc_id      = module.network.vpc_id
  subnet_ids  = module.network.app_subnet_ids
  ami_id      = var.ami_id
  key_arn     = module.secrets.key_arn
  releases    = local.releases["api"]
  load_balancers = merge(
    { api = module.edge_api[0].targets["api"] },
    length(var.api.public_paths) == 0 ? {} : { paths = module.edge_web[0].targets["api"] },
  )

  process = {
    port       = var.api.port
    user       = var.api.user
    processes  = var.api.processes
    memory_max = var.api.memory_max
    pids_max   = var.api.pids_max
    cpu_max    = var.api.cpu_max
    env        = merge(local.database_env, local.cache_env, local.queue_env, var.api.env)
    secrets    = local.secrets["api"]
  }

  instance_types               = var.api.instance_types
  disk_gib                     = var.api.disk_gib
  min_instances                = var.api.min_instances
  max_instances                = var.api.max_instances
  on_demand_base               = var.api.on_demand_base
  spot_percent                 = var.api.spot_percent
  cpu_target_percent           = var.api.cpu_target_percent
  requests_per_instance_target = var.api.requests_per_instance_target
  schedules                    = var.api.schedules
  warm_pool                    = var.api.warm_pool
  drain                        = var.api.drain
  configuration_extra          = var.configuration_extra
  backup_store                 = length(local.backups) == 0 ? null : "s3://${module.storage.backups_bucket}"
  backups                      = local.backups

  policies = merge(
    var.backup == null ? {} : { backup = module.database[0].backup_policy },
    local.jobs == 1 ? { queue = module.worker[0].producer_policy } : {},
  )

  metrics            = var.metrics
  metrics_namespaces = var.metrics_namespaces
  log_group          = module.observability.log_group_pattern
  log_group_arns     = local.log_group_arns["api"]
  notify             = local.notify
  traces_sample      = var.traces_sample
  tags               = var.tags
}

# Workers reach the queue and the API, and not the database.
module "jobs" {
  source = "../fleet"
  count  = local.jobs

  name        = "${var.name}-jobs"
  tier        = "jobs"
  environment = var.environment
  region      = var.region
  vpc_id      = module.network.vpc_id
  subnet_ids  = module.network.app_subnet_ids
  ami_id      = var.ami_id
  key_arn     = module.secrets.key_arn
  releases    = local.releases["jobs"]

  process = {
    user       = var.jobs.user
    processes  = var.jobs.processes
    memory_max = var.jobs.memory_max
    pids_max   = var.jobs.pids_max
    cpu_max    = var.jobs.cpu_max
    env        = merge({ API_URL = "https://${local.api_host}" }, local.queue_env, var.jobs.env)
    secrets    = local.secrets["jobs"]
  }

  instance_types      = var.jobs.instance_types
  disk_gib            = var.jobs.disk_gib
  min_instances       = var.jobs.min_instances
  max_instances       = var.jobs.max_instances
  on_demand_base      = var.jobs.on_demand_base
  spot_percent        = var.jobs.spot_percent
  cpu_target_percent  = null
  drain               = var.jobs.drain
  configuration_extra = var.configuration_extra
  policies            = { queue = module.worker[0].consumer_policy }

  metrics            = var.metrics
  metrics_namespaces = var.metrics_namespaces
  log_group          = module.observability.log_group_pattern
  log_group_arns     = local.log_group_arns["jobs"]
  notify             = local.notify
  traces_sample      = var.traces_sample
  tags               = var.tags
}

module "worker" {
  source = "../worker"
  count  = local.jobs

  name                        = "${var.name}-jobs"
  key_arn                     = module.secrets.key_arn
  fifo                        = var.jobs.fifo
  visibility_timeout_seconds  = var.jobs.visibility_timeout_seconds
  backlog_per_instance_target = var.jobs.backlog_per_instance_target
  group_name                  = module.jobs[0].group_name
  tags                        = var.tags
}

module "database" {
  source = "../database"
  count  = local.active

  name       = var.name
  region     = var.region
  vpc_id     = module.network.vpc_id
  subnet_ids = module.network.database_subnet_ids
  clients    = { api = module.api[0].security_group_id }
  key_arn    = module.secrets.key_arn

  engine                = var.database.engine
  engine_version        = var.database.engine_version
  instance_class        = var.database.instance_class
  database_name         = var.database.name
  storage_gib           = var.database.storage_gib
  storage_gib_max       = var.database.storage_gib_max
  multi_az              = var.database.multi_az
  replicas              = var.database.replicas
  backup_retention_days = var.database.backup_retention_days

  master_password         = var.database_master_password
  master_password_version = var.database.master_password_version

  performance_insights  = var.database.performance_insights
  parameters            = var.database.parameters
  restore               = var.database.restore
  final_snapshot_suffix = var.database.final_snapshot_suffix

  backup_bucket_arn   = module.storage.bucket_arns["backups"]
  backup_copies       = var.backup_copies
  verify_class        = try(var.backup.restore_class, null)
  dump_user           = try(local.dump.user, null)
  deletion_protection = var.protection
  tags                = var.tags
}

module "cache" {
  source = "../cache"
  count  = var.active && var.cache != null ? 1 : 0

  name       = var.name
  vpc_id     = module.network.vpc_id
  subnet_ids = module.network.database_subnet_ids
  clients    = { web = module.web[0].security_group_id, api = module.api[0].security_group_id }
  key_arn    = module.secrets.key_arn
  node_type  = var.cache.node_type
  nodes      = var.cache.nodes
  auth_token = var.cache_auth_token
  tags       = var.tags
}

module "search" {
  source = "../search"
  count  = var.active && var.search != null ? 1 : 0

  name            = "${var.name}-logs"
  region          = var.region
  vpc_id          = module.network.vpc_id
  subnet_ids      = module.network.app_subnet_ids
  key_arn         = module.secrets.key_arn
  instance_type   = var.search.instance_type
  nodes           = var.search.nodes
  storage_gib     = var.search.storage_gib
  log_groups      = { for tier in local.tiers : tier => module.observability.log_group_names[tier] }
  failures_bucket = module.storage.bucket_arns["logs"]
  tags            = var.tags
}

module "cdn" {
  source = "../cdn"
  count  = local.cloudfront_in_front ? 1 : 0

  name            = var.name
  domain          = var.domain
  certificate_arn = module.dns[0].cdn_certificate_arn
  balancer_domain = "origin.${var.domain}"
  origin_secret   = var.origin_secret
  static_paths    = var.cdn.static_paths
  price_class     = var.cdn.price_class
  web_acl_arn     = var.cdn.web_acl_arn
  force_destroy   = !var.protection
  tags            = var.tags
}

module "observability" {
  source = "../observability"

  name                = var.name
  environment         = var.environment
  region              = var.region
  key_arn             = module.secrets.key_arn
  tiers               = local.tiers
  logs_retention_days = var.logs_retention_days
  metrics_namespace   = var.metrics.namespace
  generated_directory = var.generated_directory
  agents              = var.active
  pipelines           = local.pipelines
  backups             = { for name, job in local.backups : name => job.levels }

  emails        = var.alerts.emails
  webhooks      = var.alerts.webhooks
  slack         = var.alerts.slack
  budget_usd    = var.alerts.budget_usd
  budget_by_tag = var.alerts.budget_by_tag

  load_balancers = var.active ? {
    web = module.edge_web[0].targets["web"]
    api = module.edge_api[0].targets["api"]
  } : {}
  groups = var.active ? merge(
    {
      web = { name = module.web[0].group_name, max_instances = module.web[0].max_instances }
      api = { name = module.api[0].group_name, max_instances = module.api[0].max_instances }
    },
    local.jobs == 1 ? { jobs = { name = module.jobs[0].group_name, max_instances = module.jobs[0].max_instances } } : {},
  ) : {}
  database = var.active ? {
    identifier          = module.database[0].identifier
    replica_identifiers = module.database[0].replica_identifiers
  } : null
  database_connections_max = var.database.connections_max
  queues = local.jobs == 1 ? {
    jobs = {
      name            = module.worker[0].queue_name
      failed_name     = module.worker[0].failed_queue_name
      age_seconds_max = var.jobs.age_seconds_max
    }
  } : {}
  tags = var.tags
}
