variable "domain" {
  description = "The name of the environment, such as \"shop.example.com\" or \"staging.shop.example.com\"."
  type        = string

  validation {
    condition     = can(regex("^([a-z0-9]([a-z0-9-]*[a-z0-9])?[.])+[a-z]{2,}$", var.domain))
    error_message = "Give domain a name in lower case without a dot at its end, such as \"shop.example.com\"."
  }
}

variable "zone_id" {
  description = "The hosted zone of Route 53 that the domain lies in."
  type        = string
}

variable "cdn" {
  description = "Whether CloudFront needs a certificate too."
  type        = bool
  default     = false
}

variable "aliases" {
  description = "Records that point to load balancers and distributions, by what stands before the domain; \"\" is the domain itself."
  type = map(object({
    dns_name        = string
    zone_id         = string
    ipv6            = optional(bool, false)
    evaluate_health = optional(bool, false)
  }))
  default = {}
}

variable "tags" {
  description = "Tags of everything here, beside those of the provider."
  type        = map(string)
  default     = {}
}
