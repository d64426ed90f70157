# A database that nobody on the internet reaches, that is encrypted on disk and on the wire, and that
# can be brought back.

mock_provider "aws" {
  source = "./mocks"
}

variables {
  name       = "shop-production"
  region     = "eu-west-1"
  vpc_id     = "vpc-0123456789abcdef0"
  subnet_ids = ["subnet-a", "subnet-b"]
  clients    = { api = "sg-0api" }
  key_arn    = "arn:aws:kms:eu-west-1:123456789012:key/11111111-2222-3333-4444-555555555555"
}

run "postgres" {
  module {
    source = "../modules/database"
  }

  assert {
    condition     = !aws_db_instance.this.publicly_accessible
    error_message = "It has no public address."
  }

  assert {
    condition     = aws_db_instance.this.storage_encrypted && aws_db_instance.this.kms_key_id == var.key_arn && aws_db_instance.this.performance_insights_kms_key_id == var.key_arn
    error_message = "It is encrypted under the environment's key."
  }

  assert {
    condition = alltrue([
      for rule in values(aws_vpc_security_group_ingress_rule.client) :
      rule.referenced_security_group_id == "sg-0api" && rule.cidr_ipv4 == null && rule.from_port == 5432 && rule.to_port == 5432
    ]) && output.reached_from == tolist(["api"])
    error_message = "The API tier reaches it, and nobody else."
  }

  assert {
    condition     = aws_vpc_security_group_egress_rule.client["api"].security_group_id == "sg-0api" && aws_vpc_security_group_egress_rule.client["api"].from_port == 5432
    error_message = "And the API tier may go out to it."
  }

  assert {
    condition     = one([for parameter in aws_db_parameter_group.this.parameter : parameter.value if parameter.name == "rds.force_ssl"]) == "1" && aws_db_parameter_group.this.family == "postgres17"
    error_message = "Nobody talks to it in the clear."
  }

  assert {
    condition     = one([for parameter in aws_db_parameter_group.this.parameter : parameter.apply_method if parameter.name == "rds.force_ssl"]) == "pending-reboot"
    error_message = "What RDS gives back is what was asked for."
  }

  assert {
    condition     = aws_db_instance.this.manage_master_user_password && aws_db_instance.this.password == null && aws_db_instance.this.master_user_secret_kms_key_id == var.key_arn
    error_message = "RDS keeps the password; Terraform's state does not."
  }

  assert {
    condition     = aws_db_instance.this.multi_az && aws_db_instance.this.backup_retention_period == 35 && !aws_db_instance.this.delete_automated_backups && aws_db_instance.this.copy_tags_to_snapshot
    error_message = "There is a standby, and any second of 35 days can be restored, also after a deletion."
  }

  assert {
    condition     = aws_db_instance.this.deletion_protection && !aws_db_instance.this.skip_final_snapshot && aws_db_instance.this.final_snapshot_identifier == "shop-production-final-1"
    error_message = "It is not deleted by mistake, and not without a last snapshot."
  }

  assert {
    condition     = aws_db_instance.this.max_allocated_storage == 200 && aws_db_instance.this.storage_type == "gp3"
    error_message = "Its storage grows by itself."
  }

  assert {
    condition     = toset(aws_db_instance.this.enabled_cloudwatch_logs_exports) == toset(["postgresql", "upgrade"]) && alltrue([for group in values(aws_cloudwatch_log_group.this) : group.retention_in_days == 365 && group.kms_key_id == var.key_arn])
    error_message = "Its logs are kept for a year, encrypted."
  }

  assert {
    condition     = aws_db_instance.this.performance_insights_enabled && aws_db_instance.this.monitoring_interval == 60 && aws_db_instance.this.auto_minor_version_upgrade && !aws_db_instance.this.apply_immediately
    error_message = "It says what it waits for, and changes in its window."
  }

  assert {
    condition     = aws_db_instance.this.username == "owner" && length(aws_db_instance.replica) == 0
    error_message = "It begins empty, without replicas."
  }

  # Backups by the agents.
  assert {
    condition = alltrue([
      for statement in jsondecode(output.backup_policy).Statement : !contains(flatten([statement.Resource]), "*") && alltrue([for action in flatten([statement.Action]) : !strcontains(action, "*")])
    ])
    error_message = "The agents' rights name resources and actions."
  }

  assert {
    condition     = !strcontains(output.backup_policy, "rds:DeleteDBInstance") && !strcontains(output.backup_policy, "s3:DeleteObject") && !strcontains(output.backup_policy, "rds:Modify")
    error_message = "Who makes backups can delete neither the database nor dumps."
  }

  assert {
    condition = alltrue([
      for statement in jsondecode(output.backup_policy).Statement :
      alltrue([for resource in statement.Resource : endswith(resource, ":snapshot:gc-*")]) && statement.Condition.StringEquals["aws:ResourceTag/groundcrew:managed-by"] == "groundcrew" if statement.Sid == "DeleteOwnSnapshots"
    ])
    error_message = "Agents delete the snapshots that they made, and no other."
  }
}

run "mysql_with_replicas_and_copies" {
  module {
    source = "../modules/database"
  }

  variables {
    engine            = "mysql"
    engine_version    = "8.4"
    replicas          = 2
    master_password   = "0123456789abcdef0123456789abcdef"
    backup_bucket_arn = "arn:aws:s3:::shop-production-backups-123456789012"
    backup_copies     = { eu-central-1 = "arn:aws:kms:eu-central-1:123456789012:key/11111111-2222-3333-4444-555555555555" }
  }

  assert {
    condition     = aws_db_parameter_group.this.family == "mysql8.4" && one([for parameter in aws_db_parameter_group.this.parameter : parameter.value if parameter.name == "require_secure_transport"]) == "1"
    error_message = "Nobody talks to it in the clear."
  }

  assert {
    condition     = aws_vpc_security_group_ingress_rule.client["api"].from_port == 3306
    error_message = "MySQL listens elsewhere."
  }

  assert {
    condition     = length(aws_db_instance.replica) == 2 && alltrue([for replica in aws_db_instance.replica : replica.storage_encrypted && !replica.publicly_accessible && replica.deletion_protection])
    error_message = "Replicas are kept as the database is."
  }

  assert {
    condition     = aws_db_instance.this.manage_master_user_password != true && aws_db_instance.this.password == null && aws_db_instance.this.password_wo_version == 1
    error_message = "RDS replicates no database whose password it keeps; the state has none either."
  }

  assert {
    condition     = output.master_secret_arn == aws_secretsmanager_secret.master[0].arn && aws_secretsmanager_secret.master[0].kms_key_id == var.key_arn && aws_secretsmanager_secret_version.master[0].secret_string == null
    error_message = "People find the password where they look for it."
  }

  assert {
    condition     = strcontains(output.backup_policy, "arn:aws:rds:eu-central-1:123456789012:snapshot:gc-*") && strcontains(output.backup_policy, "arn:aws:s3:::shop-production-backups-123456789012/*")
    error_message = "Agents may copy snapshots away, and write dumps."
  }
}

run "snapshots_are_restored_for_proof_and_dumps_are_made" {
  state_key = "verified"

  module {
    source = "../modules/database"
  }

  variables {
    replicas          = 1
    master_password   = "0123456789abcdef0123456789abcdef"
    backup_bucket_arn = "arn:aws:s3:::shop-production-backups-123456789012"
    verify_class      = "db.t4g.medium"
    dump_user         = "backup"
  }

  assert {
    condition     = output.verify.subnet_group == aws_db_subnet_group.this.name && output.verify.security_groups == [aws_security_group.verify[0].id] && output.verify.class == "db.t4g.medium"
    error_message = "There is a place for what is restored."
  }

  assert {
    condition = alltrue([
      for statement in jsondecode(output.backup_policy).Statement :
      flatten([statement.Resource]) == ["arn:aws:rds:eu-west-1:123456789012:db:gc-verify-*"] && statement.Condition.StringEquals["aws:ResourceTag/groundcrew:managed-by"] == "groundcrew"
      if contains(flatten([statement.Action]), "rds:DeleteDBInstance")
    ])
    error_message = "What was restored for proof is deleted, and never the database."
  }

  assert {
    condition = one([
      for statement in jsondecode(output.backup_policy).Statement : length(statement.Resource) if contains(flatten([statement.Action]), "rds-db:connect")
    ]) == 2
    error_message = "Dumps are made of the database or of its replica."
  }

  assert {
    condition = one([
      for statement in jsondecode(output.backup_policy).Statement : statement.Resource if contains(flatten([statement.Action]), "s3:DeleteObject")
    ]) == "arn:aws:s3:::shop-production-backups-123456789012/dumps/*"
    error_message = "Dumps that are too old are deleted, and what became of the nights stays."
  }
}

run "replicas_without_a_password_are_refused" {
  command   = plan
  state_key = "refused"

  module {
    source = "../modules/database"
  }

  variables {
    replicas = 1
  }

  expect_failures = [var.master_password]
}

run "dumps_without_a_place_are_refused" {
  command = plan

  module {
    source = "../modules/database"
  }

  variables {
    dump_user = "backup"
  }

  expect_failures = [var.dump_user]
}

run "from_a_snapshot" {
  # A database that is there does not change because of it.
  state_key = "restored"

  module {
    source = "../modules/database"
  }

  variables {
    restore = { snapshot_identifier = "gc-shop-nightly-shop-production-20261120" }
  }

  assert {
    condition     = aws_db_instance.this.snapshot_identifier == "gc-shop-nightly-shop-production-20261120" && aws_db_instance.this.username != "owner"
    error_message = "Name and user come with the data."
  }
}

run "nobody_is_refused" {
  command = plan

  module {
    source = "../modules/database"
  }

  variables {
    clients = {}
  }

  expect_failures = [var.clients]
}

run "no_backups_are_refused" {
  command = plan

  module {
    source = "../modules/database"
  }

  variables {
    backup_retention_days = 0
  }

  expect_failures = [var.backup_retention_days]
}

run "talking_in_the_clear_is_refused" {
  command = plan

  module {
    source = "../modules/database"
  }

  variables {
    parameters = { "rds.force_ssl" = { value = "0" } }
  }

  expect_failures = [var.parameters]
}
