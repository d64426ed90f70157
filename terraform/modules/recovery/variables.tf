variable "region" {
  description = "The recovery region, as AWS writes it."
  type        = string
}

variable "database_arn" {
  description = "The database whose backups are copied: modules/database's arn, of the other region."
  type        = string

  validation {
    condition     = can(regex("^arn:[^:]+:rds:[^:]+:[0-9]{12}:db:", var.database_arn))
    error_message = "Give database_arn the ARN of a database, such as \"arn:aws:rds:eu-west-1:123456789012:db:shop-production\"."
  }
}

variable "key_arn" {
  description = "A key of the recovery region."
  type        = string
}

variable "retention_days" {
  description = "Days that the copies reach back."
  type        = number
  default     = 7

  validation {
    condition     = var.retention_days >= 1 && var.retention_days <= 35
    error_message = "Give retention_days as 1 to 35."
  }
}
