output "configuration" {
  description = "groundcrew.toml, with names in the place of secrets."
  value       = local.configuration
}

output "user_data" {
  description = "The script of the first boot."
  value       = local.user_data
}
