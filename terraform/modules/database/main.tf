# PostgreSQL or MySQL on RDS: encrypted, in subnets without a way out, reached from the tiers that are
# named and from nowhere else. RDS keeps the master password by itself, in Secrets Manager, but where there
# are replicas.
#
# It is two safety nets in one: RDS's own automated backups (any second of the last 35 days), and the
# agent's nightly snapshots, whose rights are in the output backup_policy.

data "aws_caller_identity" "current" {}

data "aws_partition" "current" {}

locals {
  account   = data.aws_caller_identity.current.account_id
  partition = data.aws_partition.current.partition

  port  = var.engine == "postgres" ? 5432 : 3306
  major = var.engine == "postgres" ? split(".", var.engine_version)[0] : join(".", slice(split(".", "${var.engine_version}.0"), 0, 2))

  log_exports = var.engine == "postgres" ? ["postgresql", "upgrade"] : ["audit", "error", "slowquery"]

  identifiers = concat([var.name], [for number in range(1, var.replicas + 1) : "${var.name}-replica-${number}"])

  # Nobody talks to it in the clear, and what is slow is in the log.
  parameters = merge(
    var.engine == "postgres" ? {
      # RDS gives back this method, whatever is asked for: another one would be in every plan.
      "rds.force_ssl"              = { value = "1", method = "pending-reboot" }
      "log_min_duration_statement" = { value = tostring(var.slow_query_ms), method = "immediate" }
      "log_connections"            = { value = "1", method = "immediate" }
      "log_disconnections"         = { value = "1", method = "immediate" }
      "log_lock_waits"             = { value = "1", method = "immediate" }
      "shared_preload_libraries"   = { value = "pg_stat_statements", method = "pending-reboot" }
      } : {
      "require_secure_transport" = { value = "1", method = "immediate" }
      "slow_query_log"           = { value = "1", method = "immediate" }
      "long_query_time"          = { value = tostring(var.slow_query_ms / 1000), method = "immediate" }
      "log_output"               = { value = "FILE", method = "immediate" }
    },
    var.parameters,
  )

  # RDS replicates no database whose password it keeps itself.
  own_password = var.replicas > 0

  # In a stack that is restored from a snapshot or to a moment, name and user come with the data.
  restored = var.restore.snapshot_identifier != null || var.restore.automated_backup_arn != null
}

resource "aws_db_subnet_group" "this" {
  name_prefix = "${var.name}-"
  description = "Database of ${var.name}"
  subnet_ids  = var.subnet_ids
  tags        = var.tags
}

resource "aws_security_group" "this" {
  name_prefix = "${var.name}-database-"
  description = "Database of ${var.name}"
  vpc_id      = var.vpc_id
  tags        = merge(var.tags, { Name = "${var.name}-database" })

  lifecycle {
    create_before_destroy = true
  }
}

resource "aws_vpc_security_group_ingress_rule" "client" {
  for_each = var.clients

  security_group_id            = aws_security_group.this.id
  description                  = "SQL from tier ${each.key}"
  referenced_security_group_id = each.value
  ip_protocol                  = "tcp"
  from_port                    = local.port
  to_port                      = local.port
}

# The other half, on the tier's side.
resource "aws_vpc_security_group_egress_rule" "client" {
  for_each = var.clients

  security_group_id            = each.value
  description                  = "SQL to the database"
  referenced_security_group_id = aws_security_group.this.id
  ip_protocol                  = "tcp"
  from_port                    = local.port
  to_port                      = local.port
}

resource "aws_db_parameter_group" "this" {
  name_prefix = "${var.name}-"
  family      = "${var.engine}${local.major}"
  description = "Database of ${var.name}"
  tags        = var.tags

  dynamic "parameter" {
    for_each = local.parameters

    content {
      name         = parameter.key
      value        = parameter.value.value
      apply_method = parameter.value.method
    }
  }

  lifecycle {
    create_before_destroy = true
  }
}

resource "aws_iam_role" "monitoring" {
  name_prefix = "${substr(var.name, 0, 24)}-rds-mon-"
  tags        = var.tags
  assume_role_policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect    = "Allow"
      Principal = { Service = "monitoring.rds.amazonaws.com" }
      Action    = "sts:AssumeRole"
      Condition = { StringEquals = { "aws:SourceAccount" = local.account } }
    }]
  })
}

resource "aws_iam_role_policy_attachment" "monitoring" {
  role       = aws_iam_role.monitoring.name
  policy_arn = "arn:${local.partition}:iam::aws:policy/service-role/AmazonRDSEnhancedMonitoringRole"
}

# Made before the database, or RDS makes them itself, without retention and key.
resource "aws_cloudwatch_log_group" "this" {
  for_each = toset([for pair in setproduct(local.identifiers, local.log_exports) : join("/", pair)])

  name              = "/aws/rds/instance/${each.key}"
  retention_in_days = var.logs_retention_days
  kms_key_id        = var.key_arn
  tags              = var.tags
}

resource "aws_db_instance" "this" {
  identifier     = var.name
  engine         = var.engine
  engine_version = var.engine_version
  instance_class = var.instance_class

  db_name  = local.restored ? null : var.database_name
  username = local.restored ? null : var.master_username
  # RDS makes it, keeps it in Secrets Manager and changes it every week. It is for people: the
  # application has a user of its own, whose password nobody changes behind its back.
  manage_master_user_password   = local.own_password ? null : true
  master_user_secret_kms_key_id = local.own_password ? null : var.key_arn
  # Neither in the state nor compared: another version writes it anew.
  password_wo         = local.own_password ? var.master_password : null
  password_wo_version = local.own_password ? var.master_password_version : null

  storage_type          = "gp3"
  allocated_storage     = var.storage_gib
  max_allocated_storage = var.storage_gib_max
  storage_encrypted     = true
  kms_key_id            = var.key_arn

  multi_az               = var.multi_az
  db_subnet_group_name   = aws_db_subnet_group.this.name
  vpc_security_group_ids = [aws_security_group.this.id]
  publicly_accessible    = false
  network_type           = "IPV4"
  ca_cert_identifier     = "rds-ca-rsa2048-g1"

  parameter_group_name                = aws_db_parameter_group.this.name
  iam_database_authentication_enabled = true

  # The agent's nightly job stays away from both windows.
  backup_retention_period  = var.backup_retention_days
  backup_window            = var.backup_window
  maintenance_window       = var.maintenance_window
  copy_tags_to_snapshot    = true
  delete_automated_backups = false

  auto_minor_version_upgrade  = true
  allow_major_version_upgrade = false
  apply_immediately           = var.apply_immediately

  enabled_cloudwatch_logs_exports       = local.log_exports
  performance_insights_enabled          = var.performance_insights
  performance_insights_kms_key_id       = var.performance_insights ? var.key_arn : null
  performance_insights_retention_period = var.performance_insights ? 7 : null
  monitoring_interval                   = 60
  monitoring_role_arn                   = aws_iam_role.monitoring.arn

  deletion_protection       = var.deletion_protection
  skip_final_snapshot       = false
  final_snapshot_identifier = "${var.name}-final-${var.final_snapshot_suffix}"

  snapshot_identifier = var.restore.snapshot_identifier

  dynamic "restore_to_point_in_time" {
    for_each = var.restore.automated_backup_arn == null ? [] : [var.restore]

    content {
      source_db_instance_automated_backups_arn = restore_to_point_in_time.value.automated_backup_arn
      restore_time                             = restore_to_point_in_time.value.time
      use_latest_restorable_time               = restore_to_point_in_time.value.time == null ? true : null
    }
  }

  tags = merge(var.tags, { Name = var.name })

  lifecycle {
    # What a database was restored from stays true, whatever is written here later. A change would
    # replace the database.
    ignore_changes = [snapshot_identifier, restore_to_point_in_time]

    precondition {
      condition     = !(var.restore.snapshot_identifier != null && var.restore.automated_backup_arn != null)
      error_message = "Restore from a snapshot or from an automated backup, not from both."
    }
  }

  depends_on = [aws_cloudwatch_log_group.this, aws_iam_role_policy_attachment.monitoring]
}

# Where people find the password that RDS does not keep, in the form that RDS has for its own.
resource "aws_secretsmanager_secret" "master" {
  #checkov:skip=CKV2_AWS_57:Another master_password_version changes it; RDS changes only what it keeps itself.
  count = local.own_password ? 1 : 0

  name_prefix = "${var.name}/database-master-"
  description = "The master user of database ${var.name}"
  kms_key_id  = var.key_arn
  tags        = var.tags
}

resource "aws_secretsmanager_secret_version" "master" {
  count = local.own_password ? 1 : 0

  secret_id                = aws_secretsmanager_secret.master[0].id
  secret_string_wo         = jsonencode({ username = aws_db_instance.this.username, password = var.master_password })
  secret_string_wo_version = var.master_password_version
}

resource "aws_db_instance" "replica" {
  #checkov:skip=CKV_AWS_157:A replica is read from; the database itself has the standby.
  #checkov:skip=CKV_AWS_133:A replica is a copy of what is backed up.
  count = var.replicas

  identifier          = local.identifiers[count.index + 1]
  replicate_source_db = aws_db_instance.this.identifier
  instance_class      = coalesce(var.replica_instance_class, var.instance_class)

  # Under the source's key, as every copy in its region.
  storage_encrypted     = true
  storage_type          = "gp3"
  max_allocated_storage = var.storage_gib_max

  multi_az               = false
  vpc_security_group_ids = [aws_security_group.this.id]
  publicly_accessible    = false
  ca_cert_identifier     = "rds-ca-rsa2048-g1"

  parameter_group_name                = aws_db_parameter_group.this.name
  iam_database_authentication_enabled = true

  # Of the source are backups made; a copy of it needs none of its own.
  backup_retention_period = 0
  maintenance_window      = var.maintenance_window
  copy_tags_to_snapshot   = true

  auto_minor_version_upgrade = true
  apply_immediately          = var.apply_immediately

  performance_insights_enabled          = var.performance_insights
  performance_insights_kms_key_id       = var.performance_insights ? var.key_arn : null
  performance_insights_retention_period = var.performance_insights ? 7 : null
  monitoring_interval                   = 60
  monitoring_role_arn                   = aws_iam_role.monitoring.arn
  enabled_cloudwatch_logs_exports       = local.log_exports

  deletion_protection = var.deletion_protection
  skip_final_snapshot = true

  tags = merge(var.tags, { Name = "${var.name}-replica-${count.index + 1}" })

  depends_on = [aws_cloudwatch_log_group.this, aws_iam_role_policy_attachment.monitoring]
}
