variable "name" {
  description = "Begins every name, such as \"shop-production\"."
  type        = string
}

variable "region" {
  description = "The region, as AWS writes it."
  type        = string
}

variable "cidr" {
  description = "Addresses of the VPC. Two VPCs that shall ever be connected need different ones."
  type        = string
  default     = "10.20.0.0/16"

  validation {
    condition     = can(cidrhost(var.cidr, 0)) && try(tonumber(split("/", var.cidr)[1]) >= 16 && tonumber(split("/", var.cidr)[1]) <= 19, false)
    error_message = "Give cidr a range of /16 to /19, such as \"10.20.0.0/16\": in a smaller one the subnets of the load balancers would be smaller than the /27 that AWS asks for."
  }
}

variable "zones" {
  description = "Two or three availability zones."
  type        = list(string)

  validation {
    condition     = length(var.zones) >= 2 && length(var.zones) <= 3 && length(distinct(var.zones)) == length(var.zones)
    error_message = "Name two or three different zones, such as [\"eu-west-1a\", \"eu-west-1b\"]: load balancers and Multi-AZ need two, and more than three bring nothing but costs."
  }
}

variable "nat" {
  description = "How instances reach the internet: \"per-zone\" (a gateway in each zone), \"one\" (a zone that fails may take the others' way out with it), or \"none\" (only AWS, by endpoints)."
  type        = string
  default     = "per-zone"

  validation {
    condition     = contains(["per-zone", "one", "none"], var.nat)
    error_message = "Let nat be \"per-zone\", \"one\" or \"none\"."
  }

  validation {
    condition = var.nat != "none" || !var.instances || length(setsubtract(
      ["autoscaling", "elasticloadbalancing", "kms", "logs", "monitoring", "secretsmanager", "ssm", "ssmmessages", "ec2messages"],
      var.endpoints
    )) == 0
    error_message = "Without NAT the agent reaches AWS by endpoints only: let endpoints hold autoscaling, elasticloadbalancing, kms, logs, monitoring, secretsmanager, ssm, ssmmessages and ec2messages, or let nat be \"one\"."
  }
}

variable "instances" {
  description = "Whether instances will run here. A pilot light has none, and needs no way out."
  type        = bool
  default     = true
}

variable "endpoints" {
  description = "AWS services that are reached inside the VPC, by the last part of their name, such as \"logs\". Each costs per zone and hour; S3 and DynamoDB are there in any case and cost nothing."
  type        = set(string)
  default     = []

  validation {
    condition     = !contains(var.endpoints, "s3") && !contains(var.endpoints, "dynamodb")
    error_message = "Leave s3 and dynamodb out of endpoints: they are there in any case, as gateways that cost nothing."
  }
}

variable "flow_logs_retention_days" {
  description = "How long flow logs are kept."
  type        = number
  default     = 365
}

variable "flow_logs_traffic" {
  description = "What flow logs hold: REJECT, ACCEPT or ALL."
  type        = string
  default     = "REJECT"

  validation {
    condition     = contains(["REJECT", "ACCEPT", "ALL"], var.flow_logs_traffic)
    error_message = "Let flow_logs_traffic be REJECT, ACCEPT or ALL."
  }
}

variable "key_arn" {
  description = "The key that encrypts the flow logs."
  type        = string
}

variable "tags" {
  description = "Tags of everything here, beside those of the provider."
  type        = map(string)
  default     = {}
}
