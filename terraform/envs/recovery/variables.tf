variable "product" {
  description = "The product: names begin with it and the environment."
  type        = string
  default     = "shop"

  validation {
    condition     = can(regex("^[a-z][a-z0-9]{1,12}$", var.product))
    error_message = "Choose a product name of 2 to 13 lower-case letters and digits: names of load balancers are short, and are made from it."
  }
}

variable "region" {
  description = "The region, as AWS writes it."
  type        = string
  default     = "eu-central-1"
}

variable "zones" {
  description = "Two or three availability zones of the region."
  type        = list(string)
  default     = ["eu-central-1a", "eu-central-1b"]
}

variable "domain" {
  description = "The name of the environment, such as \"shop.example.com\"."
  type        = string
}

variable "production_names" {
  description = "Production's domain, such as [\"shop.example.com\"], which the certificates cover as well: in an emergency it points here."
  type        = set(string)
  default     = []
}

variable "object_lock_days" {
  description = "As production has it: S3 copies from a bucket with an Object Lock only to another one with it. It can be set only when the bucket is made."
  type        = number
  default     = 0
}

variable "zone_id" {
  description = "The hosted zone of Route 53 that the domain lies in."
  type        = string
}

variable "ami_id" {
  description = "The image of the first instances, with the agent and Node. Later ones: `groundcrew fleet refresh --ami`."
  type        = string
}

variable "web" {
  description = "The web tier, where it differs from what is in main.tf; see modules/system."
  type        = any
  default     = {}
}

variable "api" {
  description = "The API tier, likewise."
  type        = any
  default     = {}
}

variable "jobs" {
  description = "Workers on a queue, likewise; null for none."
  type        = any
  default     = null
}

variable "database" {
  description = "The database, likewise."
  type        = any
  default     = {}
}

variable "database_master_password" {
  description = "The master user's password of a database with replicas, which RDS does not keep by itself. Set TF_VAR_database_master_password."
  type        = string
  default     = null
  sensitive   = true
}

variable "secrets" {
  description = "Secrets of the tiers, by name, with what they are for. Their values are set by hand, before the first instance starts: aws secretsmanager put-secret-value."
  type        = map(string)
  default     = {}
}

variable "emails" {
  description = "Addresses that hear of things, by severity (page, ticket)."
  type        = map(list(string))
  default     = {}
}

variable "slack" {
  description = "A Slack channel; null for none."
  type = object({
    workspace_id = string
    channel_id   = string
  })
  default = null
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
  description = "What CloudFront shows the load balancer, so that nobody comes past it. Set TF_VAR_origin_secret."
  type        = string
  default     = null
  sensitive   = true
}

variable "traces_sample" {
  description = "The share of requests that become segments in X-Ray, such as \"5%\"; null for none."
  type        = string
  default     = null
}

variable "releases_by_tier" {
  description = "Whether each tier is published by itself; false for one release that holds all tiers."
  type        = bool
  default     = true
}

variable "configuration_extra" {
  description = "More of every agent's configuration, as TOML that begins with a table."
  type        = string
  default     = ""
}

variable "backup" {
  description = "The nightly snapshot, likewise; null for none."
  type        = any
  default     = {}
}

variable "generated_directory" {
  description = "Where alarms.json and cloudwatch-dashboard.json are; null for terraform/generated."
  type        = string
  default     = null
}

variable "active" {
  description = "Whether everything is there, and not the pilot light alone."
  type        = bool
  default     = false
}

variable "protection" {
  description = "Whether deletion is refused. False while a drill's stack is taken down."
  type        = bool
  default     = true
}

variable "production_database_arn" {
  description = "Production's database, whose automated backups are copied here: envs/production's output database.arn. Null until there is one."
  type        = string
  default     = null
}

variable "backup_retention_days" {
  description = "Days that the copied backups reach back."
  type        = number
  default     = 7
}

variable "restore_snapshot" {
  description = "A snapshot of this region to restore from, such as the newest of the agent's copies; null for the automated backups."
  type        = string
  default     = null
}

variable "restore_time" {
  description = "The moment to restore, such as \"2026-11-21T03:00:00Z\"; null for the last one there is."
  type        = string
  default     = null

  validation {
    condition     = var.restore_time == null || can(formatdate("YYYY", var.restore_time))
    error_message = "Give restore_time as a time in UTC, such as \"2026-11-21T03:00:00Z\"."
  }

  validation {
    condition     = var.restore_time == null || var.restore_snapshot == null
    error_message = "Give restore_time or restore_snapshot: a snapshot has its own moment."
  }
}

variable "final_snapshot_suffix" {
  description = "Ends the name of the snapshot that is made when the database is deleted. Another one for each drill: the name must be free."
  type        = string
  default     = "1"
}
