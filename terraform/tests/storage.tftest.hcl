# Buckets that are private, encrypted and versioned, and that never lose a release which may be live.

mock_provider "aws" {
  source = "./mocks"
}

variables {
  name            = "shop-production"
  region          = "eu-west-1"
  key_arn         = "arn:aws:kms:eu-west-1:123456789012:key/11111111-2222-3333-4444-555555555555"
  releases_prefix = "shop"
}

run "three_buckets" {
  module {
    source = "../modules/storage"
  }

  assert {
    condition     = toset([for bucket in values(aws_s3_bucket.this) : bucket.bucket]) == toset([for kind in ["releases", "backups", "logs"] : "shop-production-${kind}-123456789012"])
    error_message = "There are three, with names that nobody else has."
  }

  assert {
    condition = length(aws_s3_bucket_public_access_block.this) == 3 && alltrue([
      for block in values(aws_s3_bucket_public_access_block.this) :
      block.block_public_acls && block.block_public_policy && block.ignore_public_acls && block.restrict_public_buckets
    ])
    error_message = "None can be made public."
  }

  assert {
    condition     = length(aws_s3_bucket_versioning.this) == 3 && alltrue([for versioning in values(aws_s3_bucket_versioning.this) : versioning.versioning_configuration[0].status == "Enabled"])
    error_message = "What was overwritten is there still."
  }

  assert {
    condition = alltrue([
      for kind in ["releases", "backups"] :
      one(one(aws_s3_bucket_server_side_encryption_configuration.this[kind].rule).apply_server_side_encryption_by_default).kms_master_key_id == var.key_arn
    ]) && length(aws_s3_bucket_server_side_encryption_configuration.this) == 3
    error_message = "Releases and backups are encrypted under the environment's key, logs under S3's."
  }

  assert {
    condition     = alltrue([for policy in values(aws_s3_bucket_policy.this) : jsondecode(policy.policy).Statement[0].Effect == "Deny" && jsondecode(policy.policy).Statement[0].Condition.Bool["aws:SecureTransport"] == "false"])
    error_message = "All are used over TLS only."
  }

  assert {
    condition     = alltrue([for bucket in values(aws_s3_bucket.this) : !bucket.force_destroy])
    error_message = "None is deleted with what is in it."
  }

  # A live release: artifacts/, releases/ and channels/ below the prefix.
  assert {
    condition = alltrue(flatten([
      for rule in aws_s3_bucket_lifecycle_configuration.releases.rule : [
        for kind in ["artifacts", "releases", "channels"] :
        length(rule.expiration) == 0 && length(rule.transition) == 0
        || !startswith("shop/${kind}/", try(rule.filter[0].prefix, ""))
      ]
    ]))
    error_message = "No rule expires or moves a current object of a release or a channel."
  }

  assert {
    condition     = one([for rule in aws_s3_bucket_lifecycle_configuration.releases.rule : rule.filter[0].prefix if length(rule.expiration) > 0]) == "shop/logs/"
    error_message = "What expires are logs that hosts left behind."
  }

  assert {
    condition     = alltrue([for rule in aws_s3_bucket_lifecycle_configuration.releases.rule : rule.noncurrent_version_expiration[0].noncurrent_days >= 30 if length(rule.noncurrent_version_expiration) > 0])
    error_message = "A deletion by mistake can be undone for a month at least."
  }

  assert {
    condition = anytrue([
      for statement in jsondecode(aws_s3_bucket_policy.this["releases"].policy).Statement :
      statement.Effect == "Deny" && statement.Condition.Null["s3:if-none-match"] == "true" && statement.Resource == ["arn:aws:s3:::shop-production-releases-123456789012/shop/releases/*"]
      if statement.Sid == "WrittenOnce"
    ])
    error_message = "A version that was published is never another."
  }

  assert {
    condition = anytrue([
      for statement in jsondecode(aws_s3_bucket_policy.this["backups"].policy).Statement :
      contains(statement.Resource, "arn:aws:s3:::shop-production-backups-123456789012/runs/*") && !contains(statement.Resource, "arn:aws:s3:::shop-production-backups-123456789012/leases/*")
      if statement.Sid == "WrittenOnce"
    ])
    error_message = "What became of a night is never another."
  }

  assert {
    condition     = toset(keys(aws_s3_bucket_logging.this)) == toset(["releases", "backups"]) && length(aws_s3_bucket_replication_configuration.this) == 0 && length(aws_s3_bucket_object_lock_configuration.backups) == 0
    error_message = "Who read what is logged; nothing is copied or locked without being asked for."
  }

  assert {
    condition     = output.source_url == "s3://${aws_s3_bucket.this["releases"].id}/shop"
    error_message = "The source is what publish takes."
  }

  assert {
    condition     = alltrue([for statement in jsondecode(output.publisher_policy).Statement : !strcontains(jsonencode(statement.Action), "Delete") && !strcontains(jsonencode(statement.Action), "*")])
    error_message = "A pipeline publishes, and deletes nothing."
  }
}

run "a_source_for_each_tier" {
  command   = plan
  state_key = "tiers"

  module {
    source = "../modules/storage"
  }

  variables {
    release_tiers = ["web", "api"]
  }

  assert {
    condition     = sort([for rule in aws_s3_bucket_lifecycle_configuration.releases.rule : rule.filter[0].prefix if length(rule.expiration) > 0]) == tolist(["shop/api/logs/", "shop/web/logs/"])
    error_message = "Of each tier only logs expire."
  }
}

run "copied_and_locked" {
  module {
    source = "../modules/storage"
  }

  variables {
    object_lock_days = 30
    replication = {
      releases = { bucket_arn = "arn:aws:s3:::shop-recovery-releases-123456789012", key_arn = "arn:aws:kms:eu-central-1:123456789012:key/1", region = "eu-central-1" }
      backups  = { bucket_arn = "arn:aws:s3:::shop-recovery-backups-123456789012", key_arn = "arn:aws:kms:eu-central-1:123456789012:key/1", region = "eu-central-1" }
    }
  }

  assert {
    condition     = aws_s3_bucket.this["backups"].object_lock_enabled && !aws_s3_bucket.this["releases"].object_lock_enabled && aws_s3_bucket_object_lock_configuration.backups[0].rule[0].default_retention[0].days == 30
    error_message = "Dumps cannot be deleted for a month."
  }

  assert {
    condition = alltrue([
      for configuration in values(aws_s3_bucket_replication_configuration.this) :
      configuration.rule[0].delete_marker_replication[0].status == "Disabled"
      && configuration.rule[0].destination[0].encryption_configuration[0].replica_kms_key_id == "arn:aws:kms:eu-central-1:123456789012:key/1"
    ]) && length(aws_s3_bucket_replication_configuration.this) == 2
    error_message = "Copies are encrypted there, and a deletion stays here."
  }

  assert {
    condition     = !strcontains(aws_iam_role_policy.replication[0].policy, "\"Resource\":\"*\"") && !strcontains(aws_iam_role_policy.replication[0].policy, "ReplicateDelete")
    error_message = "Whoever copies can delete nothing."
  }
}

run "what_was_there_before_is_copied" {
  state_key = "copied"

  module {
    source = "../modules/storage"
  }

  variables {
    replication = { releases = { bucket_arn = "arn:aws:s3:::shop-recovery-releases-123456789012", key_arn = "arn:aws:kms:eu-central-1:123456789012:key/1", region = "eu-central-1" } }
  }

  assert {
    condition = alltrue([
      for statement in jsondecode(aws_iam_role.replication[0].assume_role_policy).Statement :
      contains(statement.Principal.Service, "batchoperations.s3.amazonaws.com") && statement.Condition.StringEquals["aws:SourceAccount"] == "123456789012"
    ])
    error_message = "Batch Replication of this account may take the role."
  }

  assert {
    condition = one([
      for statement in jsondecode(aws_iam_role_policy.replication[0].policy).Statement : statement.Resource if contains(flatten([statement.Action]), "s3:InitiateReplication")
    ]) == ["arn:aws:s3:::shop-production-releases-123456789012/*"]
    error_message = "It brings what was there before."
  }
}

run "a_lock_in_what_comes_and_goes_is_refused" {
  command = plan

  module {
    source = "../modules/storage"
  }

  variables {
    object_lock_days = 30
    force_destroy    = true
  }

  expect_failures = [var.force_destroy]
}
