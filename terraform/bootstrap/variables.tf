variable "product" {
  description = "The product: the same as in the environments."
  type        = string
  default     = "shop"

  validation {
    condition     = can(regex("^[a-z][a-z0-9]{1,12}$", var.product))
    error_message = "Choose a product name of 2 to 13 lower-case letters and digits."
  }
}

variable "region" {
  description = "Where the state is kept."
  type        = string
  default     = "eu-west-1"
}

variable "gitlab" {
  description = "A project of GitLab: its path, branches that publish to staging, tags that publish to production, branches that apply. Null for none."
  type = object({
    project        = string
    url            = optional(string, "https://gitlab.com")
    audience       = optional(string, "https://gitlab.com")
    branches       = optional(list(string), ["main"])
    tags           = optional(list(string), ["v*"])
    apply_branches = optional(list(string), ["main"])
  })
  default = null

  validation {
    condition     = var.gitlab == null || try(can(regex("^[^*/]+(/[^*/]+)+$", var.gitlab.project)), false)
    error_message = "Give gitlab.project its whole path without wildcards, such as \"acme/shop\"."
  }
}

variable "github" {
  description = "A repository of GitHub, environments that publish, those that plan (pull requests do too), and the one that applies. Null for none."
  type = object({
    repository        = string
    environments      = optional(list(string), ["staging", "production"])
    plan_environments = optional(list(string), ["plan"])
    apply_environment = optional(string, "infrastructure")
  })
  default = null

  validation {
    condition     = var.github == null || try(can(regex("^[^*/]+/[^*/]+$", var.github.repository)), false)
    error_message = "Give github.repository its owner and name without wildcards, such as \"acme/shop\"."
  }
}

variable "circleci" {
  description = "A project of CircleCI: ids of organisation and project, where its source is (such as \"github.com/acme/shop\"), and branches and tags as for GitLab. Null for none."
  type = object({
    organisation   = string
    project        = string
    origin         = string
    branches       = optional(list(string), ["main"])
    tags           = optional(list(string), ["v*"])
    apply_branches = optional(list(string), ["main"])
  })
  default = null

  validation {
    condition     = var.circleci == null || try(can(regex("^[0-9a-f-]{36}$", var.circleci.organisation)) && can(regex("^[0-9a-f-]{36}$", var.circleci.project)), false)
    error_message = "Give circleci.organisation and circleci.project their ids, which have 36 characters."
  }

  validation {
    condition     = var.circleci == null || try(!strcontains(var.circleci.origin, "*"), false)
    error_message = "Give circleci.origin without wildcards, such as \"github.com/acme/shop\"."
  }
}

variable "search" {
  description = "Whether to make the role by which OpenSearch reaches into a VPC (modules/search). An account has one; false where it is there already."
  type        = bool
  default     = false
}

variable "permissions_boundary_arn" {
  description = "A boundary for the pipelines' roles; null for none."
  type        = string
  default     = null
}
