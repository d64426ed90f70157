variable "name" {
  description = "Of the cache, such as \"shop-production\"."
  type        = string

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{0,38}[a-z0-9]$", var.name))
    error_message = "Choose a name of at most 40 lower-case letters, digits and hyphens."
  }
}

variable "vpc_id" {
  description = "The VPC."
  type        = string
}

variable "subnet_ids" {
  description = "Subnets without a way out."
  type        = list(string)
}

variable "clients" {
  description = "Security groups of the tiers that may connect, by the name of the tier."
  type        = map(string)

  validation {
    condition     = length(var.clients) >= 1
    error_message = "Name one tier at least: nobody else can reach the cache."
  }
}

variable "key_arn" {
  description = "The key of what is on disk."
  type        = string
}

variable "engine_version" {
  description = "Version of Valkey."
  type        = string
  default     = "8.0"
}

variable "node_type" {
  description = "Size of a node."
  type        = string
  default     = "cache.t4g.micro"
}

variable "nodes" {
  description = "Nodes: with two or more, one takes over in another zone."
  type        = number
  default     = 2

  validation {
    condition     = var.nodes >= 1 && var.nodes <= 6
    error_message = "Give nodes as 1 to 6."
  }
}

variable "auth_token" {
  description = "The password, 16 to 128 characters; null for none."
  type        = string
  default     = null
  sensitive   = true

  validation {
    condition     = var.auth_token == null || try(length(var.auth_token) >= 16 && length(var.auth_token) <= 128, false)
    error_message = "Give auth_token 16 to 128 characters."
  }
}

variable "snapshot_days" {
  description = "Days that daily snapshots are kept; 0 for none."
  type        = number
  default     = 0
}

variable "apply_immediately" {
  description = "Whether changes are made at once, and not in the maintenance window."
  type        = bool
  default     = false
}

variable "tags" {
  description = "Tags of everything here, beside those of the provider."
  type        = map(string)
  default     = {}
}
