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
  default     = "eu-west-1"
}

variable "zones" {
  description = "Two or three availability zones of the region."
  type        = list(string)
  default     = ["eu-west-1a", "eu-west-1b"]
}

variable "domain" {
  description = "The name of the environment, such as \"shop.example.com\"."
  type        = string
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

variable "budget_usd" {
  description = "What a month may cost; null for no budget."
  type        = number
  default     = 200
}
