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

variable "further_names" {
  description = "Names of another environment of this account, which this one's certificates cover as well, so that they can point here. Their records of proof are that environment's, and have to be there."
  type        = set(string)
  default     = []

  validation {
    condition     = !contains(var.further_names, var.domain)
    error_message = "Leave domain out of further_names: the certificate covers it by itself."
  }
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
