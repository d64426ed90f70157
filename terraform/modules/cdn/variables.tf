variable "name" {
  description = "Begins every name, such as \"shop-production\"."
  type        = string
}

variable "domain" {
  description = "The name that the distribution answers to."
  type        = string
}

variable "certificate_arn" {
  description = "Its certificate, from us-east-1."
  type        = string

  validation {
    condition     = can(regex("^arn:[^:]+:acm:us-east-1:", var.certificate_arn))
    error_message = "Give certificate_arn a certificate of us-east-1: CloudFront takes no other (modules/dns, cdn_certificate_arn)."
  }
}

variable "balancer_domain" {
  description = "A name of the load balancer that its certificate covers; null for static files only."
  type        = string
  default     = null
}

variable "origin_secret" {
  description = "What the load balancer asks for as X-Origin-Secret, so that nobody reaches it by another distribution; null for nothing."
  type        = string
  default     = null
  sensitive   = true
}

variable "static_paths" {
  description = "Paths that are files, where there is a load balancer too."
  type        = list(string)
  default     = ["/assets/*"]

  validation {
    condition     = alltrue([for path in var.static_paths : startswith(path, "/")])
    error_message = "Begin each of static_paths with a slash, such as \"/assets/*\"."
  }
}

variable "web_acl_arn" {
  description = "A web application firewall of scope CLOUDFRONT; null for none."
  type        = string
  default     = null
}

variable "price_class" {
  description = "Where in the world: PriceClass_100 (Europe, North America), PriceClass_200 or PriceClass_All."
  type        = string
  default     = "PriceClass_100"

  validation {
    condition     = contains(["PriceClass_100", "PriceClass_200", "PriceClass_All"], var.price_class)
    error_message = "Let price_class be PriceClass_100, PriceClass_200 or PriceClass_All."
  }
}

variable "force_destroy" {
  description = "Whether the bucket is deleted with what is in it."
  type        = bool
  default     = false
}

variable "tags" {
  description = "Tags of everything here, beside those of the provider."
  type        = map(string)
  default     = {}
}
