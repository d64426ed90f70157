variable "name" {
  description = "Begins every name, such as \"shop-production\"."
  type        = string
}

variable "environment" {
  description = "The environment, as the agents' metrics name it."
  type        = string
}

variable "region" {
  description = "The region, as AWS writes it."
  type        = string
}

variable "key_arn" {
  description = "The key of log groups and topics."
  type        = string
}

variable "tiers" {
  description = "The tiers that run."
  type        = set(string)

  validation {
    condition     = length(var.tiers) >= 1 && length(setintersection(var.tiers, ["agent", "files", "journal"])) == 0
    error_message = "Name one tier at least, and none of them agent, files or journal: the agent's own logs have these groups."
  }
}

variable "logs_retention_days" {
  description = "How long logs are kept: one of the numbers that CloudWatch takes."
  type        = number
  default     = 30

  validation {
    condition = contains(
      [1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1096, 1827, 2192, 2557, 2922, 3288, 3653],
      var.logs_retention_days
    )
    error_message = "Choose one of the numbers that CloudWatch takes, such as 30, 90, 365 or 731: without a retention logs are kept, and paid, for ever."
  }
}

variable "metrics_namespace" {
  description = "The namespace that the agents write to."
  type        = string
  default     = "groundcrew"
}

variable "generated_directory" {
  description = "Where alarms.json and cloudwatch-dashboard.json are; null for terraform/generated."
  type        = string
  default     = null
}

variable "agents" {
  description = "Whether there are agents: where none should run, their silence is no alarm."
  type        = bool
  default     = true
}

variable "pipelines" {
  description = "What the agents send by, as their metrics name it: logs, metrics, traces, notify.NAME."
  type        = list(string)
  default     = ["logs", "metrics"]
}

variable "backups" {
  description = "The levels that are proved of each nightly job, such as { nightly = [\"L0\", \"L3\"] }."
  type        = map(list(string))
  default     = {}
}

variable "emails" {
  description = "Addresses that hear of things, by severity (page, ticket). Each has to confirm once."
  type        = map(list(string))
  default     = {}

  validation {
    condition     = length(setsubtract(keys(var.emails), ["page", "ticket"])) == 0
    error_message = "Let the keys of emails be page and ticket."
  }
}

variable "webhooks" {
  description = "HTTPS endpoints of PagerDuty, Opsgenie and the like, by name."
  type = map(object({
    severity = optional(string, "page")
    url      = string
  }))
  default = {}

  validation {
    condition     = alltrue([for hook in values(var.webhooks) : startswith(hook.url, "https://") && contains(["page", "ticket"], hook.severity)])
    error_message = "Let each webhook have a url that begins with https://, and page or ticket as its severity."
  }
}

variable "slack" {
  description = "A Slack channel, through Chatbot; null for none. The workspace has to be authorised once, in the console."
  type = object({
    workspace_id = string
    channel_id   = string
  })
  default = null
}

variable "budget_usd" {
  description = "What a month may cost; null for no budget."
  type        = number
  default     = null

  validation {
    condition     = var.budget_usd == null || try(var.budget_usd > 0, false)
    error_message = "Give budget_usd as more than 0, or null."
  }
}

variable "budget_by_tag" {
  description = "Whether the budget is this environment's only, by its tag. The tag has to be activated for cost allocation first, or nothing is counted."
  type        = bool
  default     = false
}

variable "load_balancers" {
  description = "Target groups to watch: entries of modules/edge's output targets, by tier."
  type = map(object({
    balancer_arn_suffix     = string
    target_group_arn_suffix = string
  }))
  default = {}
}

variable "alb_5xx_per_minute_max" {
  description = "Responses with 5xx that a load balancer may give of its own, a minute."
  type        = number
  default     = 5
}

variable "target_5xx_per_minute_max" {
  description = "Responses with 5xx that a tier may give, a minute."
  type        = number
  default     = 20
}

variable "latency_p99_seconds_max" {
  description = "What the slowest of a hundred requests may take."
  type        = number
  default     = 2
}

variable "groups" {
  description = "Auto Scaling groups to watch, by tier."
  type = map(object({
    name          = string
    max_instances = number
  }))
  default = {}
}

variable "database" {
  description = "The database to watch; null for none."
  type = object({
    identifier          = string
    replica_identifiers = optional(list(string), [])
  })
  default = null
}

variable "database_cpu_percent_max" {
  description = "CPU of the database."
  type        = number
  default     = 80
}

variable "database_storage_free_bytes_min" {
  description = "Storage that the database should have left."
  type        = number
  default     = 4294967296
}

variable "database_memory_free_bytes_min" {
  description = "Memory that the database should have left."
  type        = number
  default     = 134217728
}

variable "database_connections_max" {
  description = "Connections of the database: about 80 % of its max_connections."
  type        = number
  default     = 150
}

variable "replica_lag_seconds_max" {
  description = "How far a replica may be behind."
  type        = number
  default     = 60
}

variable "queues" {
  description = "Queues to watch, by name."
  type = map(object({
    name            = string
    failed_name     = string
    age_seconds_max = optional(number, 900)
  }))
  default = {}
}

variable "tags" {
  description = "Tags of everything here, beside those of the provider."
  type        = map(string)
  default     = {}
}
