variable "name" {
  description = "Begins every name, such as \"shop-production\"."
  type        = string

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{1,23}$", var.name))
    error_message = "Choose a name of 2 to 24 lower-case letters, digits and hyphens, beginning with a letter: names of load balancers are short, and are made from it."
  }
}

variable "region" {
  description = "The region, as AWS writes it."
  type        = string
}

variable "secrets" {
  description = "Secrets of the tiers, by name, with what they are for. Their values are set by hand: aws secretsmanager put-secret-value."
  type        = map(string)
  default     = {}

  validation {
    condition     = alltrue([for name, _ in var.secrets : can(regex("^[A-Za-z0-9/_.-]+$", name))])
    error_message = "Name secrets with letters, digits and / _ . - only, such as \"api/session-key\"."
  }
}

variable "parameters" {
  description = "Settings that are no secrets, by name."
  type        = map(string)
  default     = {}
}

variable "key_deletion_days" {
  description = "How long a deleted key can be brought back. What it encrypted is lost afterwards."
  type        = number
  default     = 30

  validation {
    condition     = var.key_deletion_days >= 7 && var.key_deletion_days <= 30
    error_message = "Give key_deletion_days as 7 to 30: AWS takes no other."
  }
}

variable "secret_recovery_days" {
  description = "How long a deleted secret can be brought back. 0 deletes at once, so that an environment can be built again under the same name."
  type        = number
  default     = 30

  validation {
    condition     = var.secret_recovery_days == 0 || (var.secret_recovery_days >= 7 && var.secret_recovery_days <= 30)
    error_message = "Give secret_recovery_days as 0, or 7 to 30: AWS takes no other."
  }
}

variable "tags" {
  description = "Tags of everything here, beside those of the provider."
  type        = map(string)
  default     = {}
}
