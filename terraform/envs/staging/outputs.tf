output "source_url" {
  description = "Where releases are: what the sources of the tiers begin with (SOURCE_URL of the pipelines)."
  value       = module.system.source_url
}

output "sources" {
  description = "The source of each tier: what `groundcrew publish --source` and `promote --source` take."
  value       = module.system.sources
}

output "environment" {
  description = "What `groundcrew promote --environment` takes."
  value       = module.system.environment
}

output "url" {
  description = "Where the product is."
  value       = module.system.url
}

output "groups" {
  description = "Auto Scaling groups, by tier, for `groundcrew fleet`."
  value       = module.system.groups
}

output "configurations" {
  description = "The agents' configuration, by tier, with names in the place of secrets."
  value       = module.system.configurations
}

output "database" {
  description = "The database, for people."
  value       = module.system.database
}

output "secret_arns" {
  description = "Secrets whose values are set by hand."
  value       = module.system.secret_arns
}

output "key_arn" {
  description = "The key of the environment."
  value       = module.system.key_arn
}

output "bucket_arns" {
  description = "ARNs of the buckets, by what they hold."
  value       = module.system.bucket_arns
}

output "static" {
  description = "Where static files go, and what has to be invalidated."
  value       = module.system.static
}

output "publisher_policy" {
  description = "What a pipeline may do that publishes and promotes."
  value       = module.system.publisher_policy
}

output "alarm_names" {
  description = "All alarms."
  value       = module.system.alarm_names
}

output "reached_from" {
  description = "Who reaches what, as the security groups have it."
  value       = module.system.reached_from
}
