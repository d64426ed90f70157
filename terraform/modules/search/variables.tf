variable "name" {
  description = "Of the domain, such as \"shop-staging-logs\"."
  type        = string

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{2,27}$", var.name))
    error_message = "Choose a name of 3 to 28 lower-case letters, digits and hyphens, as OpenSearch has it."
  }
}

variable "region" {
  description = "The region, as AWS writes it."
  type        = string
}

variable "vpc_id" {
  description = "The VPC."
  type        = string
}

variable "subnet_ids" {
  description = "Subnets, of two zones at least."
  type        = list(string)
}

variable "key_arn" {
  description = "The key of what is on disk."
  type        = string
}

variable "engine_version" {
  description = "Version of OpenSearch."
  type        = string
  default     = "OpenSearch_2.19"
}

variable "instance_type" {
  description = "Size of a node."
  type        = string
  default     = "t3.small.search"
}

variable "nodes" {
  description = "Nodes: an even number, or one."
  type        = number
  default     = 2

  validation {
    condition     = var.nodes == 1 || var.nodes % 2 == 0
    error_message = "Give nodes as 1 or an even number: they are spread over two zones."
  }
}

variable "storage_gib" {
  description = "Storage of each node."
  type        = number
  default     = 20
}

variable "owner_role_arn" {
  description = "The role that administers the domain; null for the one that delivers, until there is one."
  type        = string
  default     = null
}

variable "log_groups" {
  description = "Log groups that are searched, by tier."
  type        = map(string)
}

variable "failures_bucket" {
  description = "ARN of the bucket for what could not be indexed."
  type        = string
}

variable "tags" {
  description = "Tags of everything here, beside those of the provider."
  type        = map(string)
  default     = {}
}
