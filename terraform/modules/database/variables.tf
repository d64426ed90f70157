variable "name" {
  description = "The database's identifier, such as \"shop-production\"."
  type        = string

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{0,40}[a-z0-9]$", var.name)) && !strcontains(var.name, "--")
    error_message = "Choose an identifier of at most 42 lower-case letters, digits and single hyphens, beginning with a letter: the names of its replicas and of its final snapshot are longer."
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
  description = "Subnets without a way out, of two zones at least."
  type        = list(string)

  validation {
    condition     = length(var.subnet_ids) >= 2
    error_message = "Name subnets of two zones at least: RDS asks for them, also without Multi-AZ."
  }
}

variable "clients" {
  description = "Security groups of the tiers that may connect, by the name of the tier. Usually the API tier alone."
  type        = map(string)

  validation {
    condition     = length(var.clients) >= 1
    error_message = "Name one tier at least: nobody else can reach the database."
  }
}

variable "key_arn" {
  description = "The key of storage, password and logs."
  type        = string
}

variable "engine" {
  description = "postgres or mysql."
  type        = string
  default     = "postgres"

  validation {
    condition     = contains(["postgres", "mysql"], var.engine)
    error_message = "Let engine be \"postgres\" or \"mysql\"."
  }
}

variable "engine_version" {
  description = "Its version: a major one, such as \"17\" or \"8.4\", whose newest minor one is taken and kept up to date."
  type        = string
  default     = "17"

  validation {
    condition     = can(regex("^[0-9]+([.][0-9]+)*$", var.engine_version))
    error_message = "Give engine_version in numbers, such as \"17\" or \"8.4\"."
  }
}

variable "instance_class" {
  description = "Its size."
  type        = string
  default     = "db.t4g.small"
}

variable "database_name" {
  description = "The database that is made in it."
  type        = string
  default     = "app"
}

variable "master_username" {
  description = "The user that may do everything. The application has another."
  type        = string
  default     = "owner"

  validation {
    condition     = !contains(["admin", "root", "postgres", "rdsadmin", "user"], var.master_username)
    error_message = "Choose another master_username: this one is reserved, or the first that is guessed."
  }
}

variable "storage_gib" {
  description = "Storage in the beginning."
  type        = number
  default     = 20

  validation {
    condition     = var.storage_gib >= 20
    error_message = "Give storage_gib as 20 or more, as gp3 has it."
  }
}

variable "storage_gib_max" {
  description = "Up to which it grows by itself."
  type        = number
  default     = 200

  validation {
    condition     = var.storage_gib_max >= ceil(var.storage_gib * 1.26)
    error_message = "Let storage_gib_max be at least 26 % more than storage_gib: RDS grows by no less, and a full database stops."
  }
}

variable "multi_az" {
  description = "Whether a standby in another zone takes over. Without it a backup stops the database for seconds, and a zone that fails takes it away."
  type        = bool
  default     = true
}

variable "replicas" {
  description = "Read replicas."
  type        = number
  default     = 0

  validation {
    condition     = var.replicas >= 0 && var.replicas <= 5
    error_message = "Give replicas as 0 to 5."
  }
}

variable "master_password" {
  description = "The master user's password, where there are replicas: RDS replicates no database whose password it keeps itself. It is in no state."
  type        = string
  default     = null
  sensitive   = true

  validation {
    condition     = var.replicas == 0 || var.master_password != null
    error_message = "Give master_password where there are replicas: RDS replicates no database whose password it keeps itself."
  }

  validation {
    condition     = var.master_password == null || can(regex("^[!#-.0-?A-~]{16,41}$", var.master_password))
    error_message = "Give master_password 16 to 41 characters without spaces, quotes, slashes and @, as RDS takes them: openssl rand -hex 20."
  }
}

variable "master_password_version" {
  description = "Another number sets master_password anew."
  type        = number
  default     = 1
}

variable "replica_instance_class" {
  description = "Their size; null for the database's."
  type        = string
  default     = null
}

variable "backup_retention_days" {
  description = "Days that RDS's own backups reach back: any second of them can be restored."
  type        = number
  default     = 35

  validation {
    condition     = var.backup_retention_days >= 1 && var.backup_retention_days <= 35
    error_message = "Give backup_retention_days as 1 to 35: 0 turns backups off, and replicas with them."
  }
}

variable "backup_window" {
  description = "When RDS makes its own backup, in UTC. Not when the agent's job runs."
  type        = string
  default     = "03:30-04:00"
}

variable "maintenance_window" {
  description = "When RDS may interrupt, in UTC. Apart from the backup window."
  type        = string
  default     = "sun:04:30-sun:05:30"
}

variable "backup_bucket_arn" {
  description = "The bucket of the agent's ledger and dumps; null for none."
  type        = string
  default     = null
}

variable "backup_copies" {
  description = "Keys of the regions that snapshots are copied to, by region."
  type        = map(string)
  default     = {}
}

variable "verify_class" {
  description = "The class of the instance that a snapshot is restored to once a month, for proof; null for no such proof."
  type        = string
  default     = null
}

variable "dump_user" {
  description = "The database's user that dumps are made by, with IAM's tokens; null for no dumps."
  type        = string
  default     = null

  validation {
    condition     = var.dump_user == null || var.backup_bucket_arn != null
    error_message = "Name backup_bucket_arn: dumps need a place."
  }
}

variable "restore" {
  description = "What a new database begins with: a snapshot, or an automated backup of another region, of its last moment or of a time such as \"2026-11-21T03:00:00Z\". Without either it is empty."
  type = object({
    snapshot_identifier  = optional(string)
    automated_backup_arn = optional(string)
    time                 = optional(string)
  })
  default = {}
}

variable "performance_insights" {
  description = "Whether to keep what the database waits for. The smallest sizes of MySQL have none."
  type        = bool
  default     = true
}

variable "slow_query_ms" {
  description = "Statements that take longer are in the log."
  type        = number
  default     = 500
}

variable "parameters" {
  description = "More parameters, and others instead of the module's."
  type = map(object({
    value  = string
    method = optional(string, "pending-reboot")
  }))
  default = {}

  validation {
    condition     = !contains(keys(var.parameters), "rds.force_ssl") && !contains(keys(var.parameters), "require_secure_transport")
    error_message = "Leave rds.force_ssl and require_secure_transport out of parameters: nobody talks to the database in the clear."
  }
}

variable "logs_retention_days" {
  description = "How long the database's logs are kept."
  type        = number
  default     = 365
}

variable "apply_immediately" {
  description = "Whether changes are made at once, with the interruption that they bring, and not in the maintenance window."
  type        = bool
  default     = false
}

variable "deletion_protection" {
  description = "Whether deletion is refused until this is false."
  type        = bool
  default     = true
}

variable "final_snapshot_suffix" {
  description = "Ends the name of the snapshot that is made when the database is deleted. Another one for each life of an environment: the name must be free."
  type        = string
  default     = "1"
}

variable "tags" {
  description = "Tags of everything here, beside those of the provider."
  type        = map(string)
  default     = {}
}
