# What an instance is told at its first boot: the agent's configuration and the script that brings it
# there. No resources and no provider, so that scripts/check-infra can render it and hold it against
# the agent itself (`groundcrew check`).

terraform {
  required_version = ">= 1.11"
}

locals {
  # jsonencode writes strings, and lists of them, as TOML reads them.
  configuration = templatefile("${path.module}/templates/groundcrew.toml.tftpl", {
    environment           = var.environment
    source_url            = var.source_url
    tiers                 = var.tiers
    listen                = var.listen
    hooks                 = var.hooks
    launch_within_seconds = var.launch_within_seconds
    rebalance             = var.rebalance
    log_group             = var.log_group
    metrics               = var.metrics
    traces_sample         = var.traces_sample
    notify                = var.notify
    backup_store          = var.backup_store
    backups               = var.backups
    extra                 = var.extra
  })

  user_data = templatefile("${path.module}/templates/user-data.sh.tftpl", {
    configuration = local.configuration
    configure     = file("${path.module}/templates/groundcrew-configure.py")
    region        = var.region
    extra         = var.user_data_extra
  })
}
