variable "name" {
  description = "Of the load balancer, such as \"shop-production-web\"."
  type        = string

  validation {
    condition     = length(var.name) <= 32 && can(regex("^[a-z][a-z0-9-]*[a-z0-9]$", var.name))
    error_message = "Choose a name of at most 32 lower-case letters, digits and hyphens, as load balancers have it."
  }
}

variable "vpc_id" {
  description = "The VPC."
  type        = string
}

variable "subnet_ids" {
  description = "Public subnets for a public balancer, the instances' for an internal one; of two zones at least."
  type        = list(string)

  validation {
    condition     = length(var.subnet_ids) >= 2
    error_message = "Name subnets of two zones at least: a load balancer needs them."
  }
}

variable "internal" {
  description = "Whether it is reached from inside the VPC only."
  type        = bool
  default     = false

  validation {
    condition     = !var.internal || length(var.allowed_cidrs) == 0
    error_message = "Let an internal balancer be reached by tiers (allowed_security_groups), not by addresses (allowed_cidrs)."
  }
}

variable "certificate_arn" {
  description = "The certificate of HTTPS, from ACM in the same region."
  type        = string
}

variable "ssl_policy" {
  description = "Versions and ciphers of TLS."
  type        = string
  default     = "ELBSecurityPolicy-TLS13-1-2-2021-06"

  validation {
    condition     = can(regex("^ELBSecurityPolicy-TLS13-1-[23]-", var.ssl_policy))
    error_message = "Choose a policy that begins with ELBSecurityPolicy-TLS13-1-2- or -1-3-: older ones speak TLS 1.0 and 1.1."
  }
}

variable "targets" {
  description = "Tiers behind this balancer, by name. The default one gets what no rule sends elsewhere; the others need a priority and paths or hosts. The deregistration delay must hold for the release's bleed and not for much more."
  type = map(object({
    port                         = number
    health_path                  = optional(string, "/health")
    health_interval_seconds      = optional(number, 10)
    health_timeout_seconds       = optional(number, 5)
    unhealthy_threshold          = optional(number, 3)
    deregistration_delay_seconds = optional(number, 60)
    slow_start_seconds           = optional(number, 0)
    sticky_seconds               = optional(number, 0)
    priority                     = optional(number)
    paths                        = optional(list(string), [])
    hosts                        = optional(list(string), [])
  }))

  validation {
    condition     = alltrue([for target in values(var.targets) : target.deregistration_delay_seconds >= 30 && target.deregistration_delay_seconds <= 600])
    error_message = "Give deregistration_delay_seconds as 30 to 600: the agent bleeds for 30 s by default, and waits for the load balancers no longer than 600 s."
  }

  validation {
    condition     = alltrue([for target in values(var.targets) : target.health_interval_seconds * target.unhealthy_threshold <= 60])
    error_message = "Let health_interval_seconds times unhealthy_threshold be 60 s at most: until then a host that serves nothing gets requests."
  }

  validation {
    condition     = alltrue([for target in values(var.targets) : target.slow_start_seconds == 0 || (target.slow_start_seconds >= 30 && target.slow_start_seconds <= 900)])
    error_message = "Give slow_start_seconds as 0, or 30 to 900: AWS takes no other."
  }

  validation {
    condition     = alltrue([for name, target in var.targets : name == var.default_target || (target.priority != null && length(target.paths) + length(target.hosts) > 0)])
    error_message = "Give every target but the default one a priority, and paths or hosts: otherwise no request would ever reach it."
  }

  validation {
    condition     = contains(keys(var.targets), var.default_target)
    error_message = "Name one of targets as default_target."
  }
}

variable "default_target" {
  description = "The target that gets what no rule sends elsewhere."
  type        = string
}

variable "idle_timeout_seconds" {
  description = "After so long without a byte a connection is closed."
  type        = number
  default     = 60

  validation {
    condition     = var.idle_timeout_seconds >= 1 && var.idle_timeout_seconds < 75
    error_message = "Let idle_timeout_seconds be less than 75: Node, as the agent starts it, keeps idle connections for 75 s, and must not be the first to close."
  }
}

variable "client_keep_alive_seconds" {
  description = "How long a client may keep a connection, whatever it does on it."
  type        = number
  default     = 3600
}

variable "allowed_cidrs" {
  description = "Addresses that may come in. For a public balancer usually 0.0.0.0/0."
  type        = set(string)
  default     = []
}

variable "allowed_prefix_list_ids" {
  description = "Prefix lists that may come in, such as com.amazonaws.global.cloudfront.origin-facing."
  type        = set(string)
  default     = []
}

variable "allowed_security_groups" {
  description = "Security groups of tiers that may come in, by the name of the tier."
  type        = map(string)
  default     = {}
}

variable "origin_secret" {
  description = "What CloudFront sends as X-Origin-Secret; requests without it are refused. Null asks for none."
  type        = string
  default     = null
  sensitive   = true
}

variable "access_logs_bucket" {
  description = "The bucket for access logs; null writes none."
  type        = string
  default     = null
}

variable "deletion_protection" {
  description = "Whether deletion is refused until this is false."
  type        = bool
  default     = true
}

variable "waf" {
  description = "Whether a web application firewall stands before it."
  type        = bool
  default     = false
}

variable "waf_requests_per_5_minutes" {
  description = "Requests of one address in five minutes, beyond which it is refused."
  type        = number
  default     = 2000

  validation {
    condition     = var.waf_requests_per_5_minutes >= 100
    error_message = "Give waf_requests_per_5_minutes as 100 or more: a page of the product asks for dozens of things."
  }
}

variable "viewer_header" {
  description = "The header in which a proxy says who asks, such as modules/cdn's; null where visitors connect themselves. Not X-Forwarded-For: its first address, which the firewall takes, is what the visitor wrote."
  type        = string
  default     = null

  validation {
    condition     = try(lower(var.viewer_header), "") != "x-forwarded-for"
    error_message = "Name a header that the proxy sets by itself: the first address of X-Forwarded-For is what the visitor wrote there."
  }
}

variable "waf_exempt_addresses" {
  description = "Addresses that the limit does not hold for, such as those of the system's own NAT gateways."
  type        = list(string)
  default     = []
}

variable "waf_count_only" {
  description = "AWS's rule lists that count what they would block, such as \"AWSManagedRulesCommonRuleSet\"."
  type        = set(string)
  default     = []
}

variable "waf_logs_retention_days" {
  description = "How long the firewall's logs are kept."
  type        = number
  default     = 365
}

variable "key_arn" {
  description = "The key that encrypts the firewall's logs."
  type        = string
}

variable "tags" {
  description = "Tags of everything here, beside those of the provider."
  type        = map(string)
  default     = {}
}
