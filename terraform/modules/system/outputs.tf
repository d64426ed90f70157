output "source_url" {
  description = "Where releases are: the source of all tiers, or what the sources of the tiers begin with (SOURCE_URL of the pipelines)."
  value       = module.storage.source_url
}

output "sources" {
  description = "The source of each tier: what `groundcrew publish --source` and `promote --source` take."
  value = {
    for tier, releases in local.releases : tier => "s3://${releases.bucket}${releases.prefix == "" ? "" : "/${releases.prefix}"}"
  }
}

output "environment" {
  description = "What `groundcrew promote --environment` takes."
  value       = var.environment
}

output "url" {
  description = "Where the product is."
  value       = "https://${var.domain}"
}

output "groups" {
  description = "Auto Scaling groups, by tier, for `groundcrew fleet`."
  value = merge(
    { for group in module.web : "web" => group.group_name },
    { for group in module.api : "api" => group.group_name },
    { for group in module.jobs : "jobs" => group.group_name },
  )
}

output "configurations" {
  description = "The agents' configuration, by tier, with names in the place of secrets."
  value = merge(
    { for group in module.web : "web" => group.configuration },
    { for group in module.api : "api" => group.configuration },
    { for group in module.jobs : "jobs" => group.configuration },
  )
}

output "database" {
  description = "The database, for people; null in a pilot light."
  value = one([for database in module.database : {
    identifier        = database.identifier
    arn               = database.arn
    address           = database.address
    port              = database.port
    master_secret_arn = database.master_secret_arn
  }])
}

output "secret_arns" {
  description = "Secrets whose values are set by hand."
  value       = module.secrets.secret_arns
}

output "key_arn" {
  description = "The key of the environment."
  value       = module.secrets.key_arn
}

output "bucket_arns" {
  description = "ARNs of the buckets, by what they hold."
  value       = module.storage.bucket_arns
}

output "backups_bucket" {
  description = "Where dumps and the ledger of the nightly job are."
  value       = module.storage.backups_bucket
}

output "publisher_policy" {
  description = "What a pipeline may do that publishes and promotes."
  value       = module.storage.publisher_policy
}

output "static" {
  description = "Where static files go, and what has to be invalidated; null without CloudFront."
  value       = one([for cdn in module.cdn : { bucket = cdn.bucket, distribution_id = cdn.distribution_id }])
}

output "topic_arns" {
  description = "Topics, by severity."
  value       = module.observability.topic_arns
}

output "alarm_names" {
  description = "All alarms."
  value       = module.observability.alarm_names
}

output "nat_addresses" {
  description = "Addresses that instances are seen with from outside."
  value       = module.network.nat_addresses
}

output "reached_from" {
  description = "Who reaches what, as the security groups have it."
  value = merge(
    { for edge in module.edge_web : "web's load balancer" => edge.reached_from },
    { for edge in module.edge_api : "api's load balancer" => edge.reached_from },
    { for fleet in module.web : "web" => fleet.reached_from },
    { for fleet in module.api : "api" => fleet.reached_from },
    { for fleet in module.jobs : "jobs" => fleet.reached_from },
    { for database in module.database : "database" => database.reached_from },
    { for cache in module.cache : "cache" => cache.reached_from },
  )
}
