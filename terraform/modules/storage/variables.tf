variable "name" {
  description = "Begins the names of the buckets, such as \"shop-production\"."
  type        = string

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{1,39}$", var.name))
    error_message = "Choose a name of 2 to 40 lower-case letters, digits and hyphens: names of buckets end with what they hold and the account, and have 63 characters at most."
  }
}

variable "region" {
  description = "The region, as AWS writes it."
  type        = string
}

variable "key_arn" {
  description = "The key of releases and backups."
  type        = string
}

variable "release_tiers" {
  description = "Tiers whose releases are published each by itself, to a source of its own behind the prefix; none for one source of all."
  type        = list(string)
  default     = []
}

variable "releases_prefix" {
  description = "Where in the bucket releases live; empty for its top."
  type        = string
  default     = ""

  validation {
    condition     = !startswith(var.releases_prefix, "/") && !endswith(var.releases_prefix, "/")
    error_message = "Write releases_prefix without slashes at its ends, such as \"shop\"."
  }
}

variable "release_undo_days" {
  description = "How long what was overwritten or deleted in the bucket of releases can be brought back."
  type        = number
  default     = 90

  validation {
    condition     = var.release_undo_days >= 7
    error_message = "Give release_undo_days as 7 or more: a deletion by mistake is found after the weekend."
  }
}

variable "left_logs_days" {
  description = "How long logs are kept that leaving hosts put beside the releases."
  type        = number
  default     = 90
}

variable "access_logs_days" {
  description = "How long access logs of load balancers and buckets are kept."
  type        = number
  default     = 90
}

variable "dump_days_max" {
  description = "After so many days a dump is deleted, whatever the agent's retention says. More than the longest retention."
  type        = number
  default     = 1490

  validation {
    condition     = var.dump_days_max >= 60 && var.dump_days_max > var.object_lock_days
    error_message = "Give dump_days_max as 60 or more, and more than object_lock_days: it is the backstop behind the agent's retention."
  }
}

variable "object_lock_days" {
  description = "For so many days no dump can be deleted by anybody; 0 for no lock. It can be set only when the bucket is made."
  type        = number
  default     = 0

  validation {
    condition     = var.object_lock_days >= 0 && var.object_lock_days <= 3650
    error_message = "Give object_lock_days as 0 to 3650."
  }
}

variable "object_lock_mode" {
  description = "GOVERNANCE (a special right may delete) or COMPLIANCE (nobody may, not even the account's owner)."
  type        = string
  default     = "GOVERNANCE"

  validation {
    condition     = contains(["GOVERNANCE", "COMPLIANCE"], var.object_lock_mode)
    error_message = "Let object_lock_mode be GOVERNANCE or COMPLIANCE."
  }
}

variable "replication" {
  description = "Buckets of the recovery region, by what they hold (releases, backups): outputs of envs/recovery."
  type = map(object({
    bucket_arn = string
    key_arn    = string
    region     = string
  }))
  default = {}

  validation {
    condition     = length(setsubtract(keys(var.replication), ["releases", "backups"])) == 0
    error_message = "Let replication hold releases and backups only: logs are not copied."
  }
}

variable "force_destroy" {
  description = "Whether buckets are deleted with what is in them. Only for environments that come and go."
  type        = bool
  default     = false

  validation {
    condition     = !var.force_destroy || var.object_lock_days == 0
    error_message = "Let object_lock_days be 0 where force_destroy is true: what is locked cannot be destroyed."
  }
}

variable "tags" {
  description = "Tags of everything here, beside those of the provider."
  type        = map(string)
  default     = {}
}
