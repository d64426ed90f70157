variable "environment" {
  description = "The channel that the agent follows."
  type        = string
}

variable "region" {
  description = "The region, as AWS writes it."
  type        = string
}

variable "source_url" {
  description = "Where releases live."
  type        = string
}

variable "tiers" {
  description = "The tiers that an instance runs; see modules/fleet."
  type = map(object({
    port       = optional(number)
    user       = optional(string, "app")
    processes  = optional(string)
    memory_max = optional(string)
    pids_max   = optional(number)
    cpu_max    = optional(string)
    env        = optional(map(string), {})
    secrets = optional(map(object({
      arn    = string
      member = optional(string)
    })), {})
  }))
}

variable "listen" {
  description = "Where the agent answers /ready and /metrics."
  type        = string
}

variable "hooks" {
  description = "The group's lifecycle hooks."
  type        = list(string)
}

variable "launch_within_seconds" {
  description = "How long a launch may take."
  type        = number
}

variable "rebalance" {
  description = "What the agent does at a rebalance recommendation."
  type        = string
}

variable "log_group" {
  description = "The log group of a tier, with the agent's places."
  type        = string
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

variable "traces_sample" {
  description = "The share of requests that become segments in X-Ray, such as \"5%\"; null for none."
  type        = string
  default     = null
}

variable "notify" {
  description = "Topics of SNS that the agents tell of what happens, by the name of the target; see docs/notify.md."
  type = map(object({
    topic_arn = string
    min_level = optional(string, "warning")
    topics    = optional(list(string), [])
  }))
  default = {}
}

variable "backup_store" {
  description = "Where the fleet remembers its backups and keeps its dumps: an S3 URL; null where there are none."
  type        = string
  default     = null
}

variable "backups" {
  description = "Nightly jobs, by name; see docs/backups.md. keep holds rules such as keep_daily, copies what other regions get, connection how a dump is made, restore where a snapshot is restored for proof."
  type = map(object({
    kind     = string
    database = string
    schedule = string
    timezone = optional(string, "UTC")
    levels   = optional(list(string), ["L0"])
    keep     = map(number)
    copies   = optional(map(object({ key_arn = string, keep = map(number) })), {})
    connection = optional(object({
      host           = string
      port           = number
      user           = string
      tls_ca_file    = string
      age_recipients = optional(list(string), [])
      kms_key        = optional(string)
    }))
    restore = optional(object({
      subnet_group    = string
      security_groups = list(string)
      class           = string
      parameter_group = optional(string)
    }))
  }))
  default = {}
}

variable "extra" {
  description = "More of the agent's configuration, as TOML that begins with a table."
  type        = string
}

variable "user_data_extra" {
  description = "More of the first boot, as bash."
  type        = string
}
