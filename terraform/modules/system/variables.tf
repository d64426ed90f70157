variable "name" {
  description = "Begins every name, such as \"shop-production\"."
  type        = string

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{1,23}$", var.name)) && !endswith(var.name, "-") && !strcontains(var.name, "--")
    error_message = "Choose a name of 2 to 24 lower-case letters, digits and single hyphens, such as \"shop-production\"."
  }
}

variable "environment" {
  description = "The channel that the agents follow: what `groundcrew promote --environment` names."
  type        = string
}

variable "active" {
  description = "Whether it serves. false leaves what keeps data: keys, buckets, the network, log groups."
  type        = bool
  default     = true
}

variable "protection" {
  description = "Whether deletion is refused: of the database, load balancers, buckets that hold something, secrets."
  type        = bool
  default     = true
}

variable "region" {
  description = "The region, as AWS writes it."
  type        = string

  validation {
    condition     = can(regex("^[a-z]{2}(-[a-z]+)+-[0-9]$", var.region))
    error_message = "Give region as AWS writes it, such as \"eu-west-1\"."
  }
}

variable "zones" {
  description = "Two or three availability zones of the region."
  type        = list(string)

  validation {
    condition     = alltrue([for zone in var.zones : startswith(zone, var.region)])
    error_message = "Name zones of the region: they begin with its name."
  }
}

variable "cidr" {
  description = "Addresses of the VPC."
  type        = string
  default     = "10.20.0.0/16"
}

variable "nat" {
  description = "How instances reach the internet: per-zone, one, or none; see modules/network."
  type        = string
  default     = "per-zone"
}

variable "endpoints" {
  description = "AWS services that are reached inside the VPC; see modules/network."
  type        = set(string)
  default     = []
}

variable "domain" {
  description = "The name of the environment, such as \"shop.example.com\"; the API is at api. before it."
  type        = string
}

variable "further_names" {
  description = "Names of another environment that the certificates cover as well; see modules/dns."
  type        = set(string)
  default     = []
}

variable "zone_id" {
  description = "The hosted zone of Route 53 that the domain lies in."
  type        = string
}

variable "ami_id" {
  description = "The image of the first instances, with the agent and Node."
  type        = string
}

variable "releases_by_tier" {
  description = "Whether each tier is published by itself, to a source of its own: what has not changed is not swapped. false for one release that holds all tiers, which change together."
  type        = bool
  default     = true
}

variable "releases_prefix" {
  description = "Where in the bucket releases live; empty for its top."
  type        = string
  default     = ""
}

variable "web" {
  description = "The web tier: behind the public load balancer. What it may say is said in modules/fleet and modules/edge. secrets are environment variables with the name of a secret of var.secrets."
  type = object({
    port                         = optional(number, 8080)
    health_path                  = optional(string, "/health")
    deregistration_delay_seconds = optional(number, 60)
    user                         = optional(string, "app")
    processes                    = optional(string)
    memory_max                   = optional(string)
    pids_max                     = optional(number)
    cpu_max                      = optional(string)
    env                          = optional(map(string), {})
    secrets                      = optional(map(object({ secret = string, member = optional(string) })), {})
    instance_types               = optional(list(string), ["t4g.small"])
    disk_gib                     = optional(number, 20)
    min_instances                = optional(number, 2)
    max_instances                = optional(number)
    on_demand_base               = optional(number, 0)
    spot_percent                 = optional(number, 0)
    cpu_target_percent           = optional(number, 50)
    requests_per_instance_target = optional(number)
    schedules = optional(map(object({
      recurrence        = string
      time_zone         = optional(string, "Etc/UTC")
      min_instances     = optional(number, -1)
      max_instances     = optional(number, -1)
      desired_instances = optional(number, -1)
    })), {})
    warm_pool = optional(object({
      state             = optional(string, "Stopped")
      min_size          = optional(number, 1)
      max_prepared      = optional(number)
      reuse_on_scale_in = optional(bool, false)
    }))
    drain = optional(object({
      bleed_seconds = optional(number, 30)
      stop_seconds  = optional(number, 10)
    }), {})
  })
  default = {}
}

variable "api" {
  description = "The API tier: behind an internal load balancer, or a public one; public_paths are paths of the web tier's balancer that go to it. The only tier that reaches the database."
  type = object({
    public                       = optional(bool, false)
    public_paths                 = optional(list(string), [])
    port                         = optional(number, 8080)
    health_path                  = optional(string, "/health")
    deregistration_delay_seconds = optional(number, 60)
    user                         = optional(string, "app")
    processes                    = optional(string)
    memory_max                   = optional(string)
    pids_max                     = optional(number)
    cpu_max                      = optional(string)
    env                          = optional(map(string), {})
    secrets                      = optional(map(object({ secret = string, member = optional(string) })), {})
    instance_types               = optional(list(string), ["t4g.small"])
    disk_gib                     = optional(number, 20)
    min_instances                = optional(number, 2)
    max_instances                = optional(number)
    on_demand_base               = optional(number, 0)
    spot_percent                 = optional(number, 0)
    cpu_target_percent           = optional(number, 50)
    requests_per_instance_target = optional(number)
    schedules = optional(map(object({
      recurrence        = string
      time_zone         = optional(string, "Etc/UTC")
      min_instances     = optional(number, -1)
      max_instances     = optional(number, -1)
      desired_instances = optional(number, -1)
    })), {})
    warm_pool = optional(object({
      state             = optional(string, "Stopped")
      min_size          = optional(number, 1)
      max_prepared      = optional(number)
      reuse_on_scale_in = optional(bool, false)
    }))
    drain = optional(object({
      bleed_seconds = optional(number, 30)
      stop_seconds  = optional(number, 10)
    }), {})
  })
  default = {}
}

variable "jobs" {
  description = "Workers on a queue; null for none."
  type = object({
    user           = optional(string, "app")
    processes      = optional(string)
    memory_max     = optional(string)
    pids_max       = optional(number)
    cpu_max        = optional(string)
    env            = optional(map(string), {})
    secrets        = optional(map(object({ secret = string, member = optional(string) })), {})
    instance_types = optional(list(string), ["t4g.small"])
    disk_gib       = optional(number, 20)
    min_instances  = optional(number, 1)
    max_instances  = optional(number)
    on_demand_base = optional(number, 0)
    spot_percent   = optional(number, 0)
    drain = optional(object({
      bleed_seconds = optional(number, 30)
      stop_seconds  = optional(number, 10)
    }), {})
    fifo                        = optional(bool, false)
    visibility_timeout_seconds  = optional(number, 300)
    backlog_per_instance_target = optional(number, 100)
    age_seconds_max             = optional(number, 900)
  })
  default = null
}

variable "database" {
  description = "The database; see modules/database."
  type = object({
    engine          = optional(string, "postgres")
    engine_version  = optional(string, "17")
    instance_class  = optional(string, "db.t4g.small")
    name            = optional(string, "app")
    storage_gib     = optional(number, 20)
    storage_gib_max = optional(number, 200)
    multi_az        = optional(bool, true)
    replicas        = optional(number, 0)
    # Another number sets database_master_password anew.
    master_password_version = optional(number, 1)
    backup_retention_days   = optional(number, 35)
    performance_insights    = optional(bool, true)
    parameters              = optional(map(object({ value = string, method = optional(string, "pending-reboot") })), {})
    connections_max         = optional(number, 150)
    final_snapshot_suffix   = optional(string, "1")
    restore = optional(object({
      snapshot_identifier  = optional(string)
      automated_backup_arn = optional(string)
      time                 = optional(string)
    }), {})
  })
  default = {}
}

variable "database_master_password" {
  description = "Its master user's password, where it has replicas; see modules/database."
  type        = string
  default     = null
  sensitive   = true
}

variable "secrets" {
  description = "Secrets of the tiers, by name, with what they are for. Their values are set by hand."
  type        = map(string)
  default     = {}

  validation {
    condition = alltrue([
      for secret in concat(
        values(var.web.secrets), values(var.api.secrets), try(values(var.jobs.secrets), [])
      ) : contains(keys(var.secrets), secret.secret)
    ])
    error_message = "Name in secrets what the tiers take from there: a tier's secret of another name would be missing at the first boot."
  }
}

variable "parameters" {
  description = "Settings that are no secrets, by name, for SSM."
  type        = map(string)
  default     = {}
}

variable "configuration_extra" {
  description = "More of every agent's configuration, as TOML that begins with a table."
  type        = string
  default     = ""
}

variable "backup" {
  description = "The nightly snapshot, which the agents of the API tier make (docs/backups.md); null for none. With restore_class it is restored once a month for proof, to an instance of that class that nobody reaches. With dump there is a dump as well: its user is one of the database that may connect with IAM's tokens; age_recipients are those who can read it, or whoever may use the environment's key."
  type = object({
    schedule          = optional(string, "20 0 * * *")
    timezone          = optional(string, "UTC")
    keep_daily        = optional(number, 14)
    keep_weekly       = optional(number, 5)
    keep_monthly      = optional(number, 12)
    copies_keep_daily = optional(number, 7)
    restore_class     = optional(string)
    dump = optional(object({
      schedule       = optional(string, "0 2 * * *")
      user           = optional(string, "backup")
      age_recipients = optional(list(string), [])
      keep_daily     = optional(number, 35)
      keep_monthly   = optional(number, 36)
      keep_yearly    = optional(number, 3)
    }))
  })
  default = {}
}

variable "backup_copies" {
  description = "Keys of the regions that snapshots are copied to, by region."
  type        = map(string)
  default     = {}
}

variable "object_lock_days" {
  description = "For so many days no dump can be deleted by anybody; see modules/storage."
  type        = number
  default     = 0
}

variable "replication" {
  description = "Buckets of the recovery region, by what they hold; see modules/storage."
  type = map(object({
    bucket_arn = string
    key_arn    = string
    region     = string
  }))
  default = {}
}

variable "waf" {
  description = "Whether a web application firewall stands before public load balancers."
  type        = bool
  default     = false
}

variable "waf_requests_per_5_minutes" {
  description = "Requests of one visitor's address in five minutes, beyond which the firewall refuses it."
  type        = number
  default     = 2000
}

variable "cdn" {
  description = "CloudFront before the web tier; null for none."
  type = object({
    static_paths = optional(list(string), ["/assets/*"])
    price_class  = optional(string, "PriceClass_100")
    web_acl_arn  = optional(string)
  })
  default = null
}

variable "origin_secret" {
  description = "What CloudFront shows the load balancer, so that nobody comes past it."
  type        = string
  default     = null
  sensitive   = true
}

variable "cache" {
  description = "A Redis; null for none."
  type = object({
    node_type = optional(string, "cache.t4g.micro")
    nodes     = optional(number, 2)
  })
  default = null
}

variable "cache_auth_token" {
  description = "Its password."
  type        = string
  default     = null
  sensitive   = true
}

variable "search" {
  description = "OpenSearch for logs; null for none."
  type = object({
    instance_type = optional(string, "t3.small.search")
    nodes         = optional(number, 2)
    storage_gib   = optional(number, 20)
  })
  default = null
}

variable "metrics" {
  description = "How the agents' metrics go to CloudWatch: see docs/metrics.md for what each costs."
  type = object({
    namespace    = optional(string, "groundcrew")
    per_instance = optional(bool, false)
    dimensions   = optional(list(string), [])
  })
  default = {}
}

variable "metrics_namespaces" {
  description = "Further namespaces that the instances may write to, such as that of the application."
  type        = list(string)
  default     = []
}

variable "traces_sample" {
  description = "The share of requests that become segments in X-Ray, such as \"5%\"; null for none."
  type        = string
  default     = null
}

variable "logs_retention_days" {
  description = "How long logs are kept."
  type        = number
  default     = 30
}

variable "generated_directory" {
  description = "Where alarms.json and cloudwatch-dashboard.json are; null for terraform/generated."
  type        = string
  default     = null
}

variable "alerts" {
  description = "Who hears of what; see modules/observability."
  type = object({
    emails        = optional(map(list(string)), {})
    webhooks      = optional(map(object({ severity = optional(string, "page"), url = string })), {})
    slack         = optional(object({ workspace_id = string, channel_id = string }))
    budget_usd    = optional(number)
    budget_by_tag = optional(bool, false)
  })
  default = {}
}

variable "tags" {
  description = "Tags of everything, the instances included."
  type        = map(string)
  default     = {}
}
