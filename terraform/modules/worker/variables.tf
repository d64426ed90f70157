variable "name" {
  description = "Of the queue, such as \"shop-production-jobs\"."
  type        = string

  validation {
    condition     = can(regex("^[A-Za-z0-9_-]{1,68}$", var.name))
    error_message = "Choose a name of at most 68 letters, digits, _ and -: the queue of failures appends to it."
  }
}

variable "key_arn" {
  description = "The key of the queues."
  type        = string
}

variable "fifo" {
  description = "Whether messages keep their order, and come once."
  type        = bool
  default     = false
}

variable "visibility_timeout_seconds" {
  description = "How long a message that was taken is nobody else's. It must hold for the longest job."
  type        = number
  default     = 300

  validation {
    condition     = var.visibility_timeout_seconds >= 30 && var.visibility_timeout_seconds <= 43200
    error_message = "Give visibility_timeout_seconds as 30 to 43200."
  }
}

variable "retention_days" {
  description = "How long a message waits before it is lost."
  type        = number
  default     = 4

  validation {
    condition     = var.retention_days >= 1 && var.retention_days < 14
    error_message = "Give retention_days as 1 to 13: less than the 14 of the queue of failures, because a message keeps its age when it goes there."
  }
}

variable "tries" {
  description = "How often a message is tried before it is put aside."
  type        = number
  default     = 5

  validation {
    condition     = var.tries >= 2
    error_message = "Give tries as 2 or more: a host that leaves in the middle of a job is one."
  }
}

variable "group_name" {
  description = "The Auto Scaling group that works on it: modules/fleet's group_name."
  type        = string
}

variable "backlog_per_instance_target" {
  description = "Messages that may wait for each instance: the seconds that one may wait, divided by those that a job takes."
  type        = number
  default     = 100

  validation {
    condition     = var.backlog_per_instance_target > 0
    error_message = "Give backlog_per_instance_target as more than 0."
  }
}

variable "tags" {
  description = "Tags of everything here, beside those of the provider."
  type        = map(string)
  default     = {}
}
