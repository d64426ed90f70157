# Three buckets: releases (the source of all agents), backups (dumps, and the ledger of the nightly
# job), and logs (load balancers and buckets; what the application prints goes to CloudWatch).
#
# Nothing here ever expires a current object of releases: a host that boots needs the release that its
# channel names, however old that is. What expires is what was overwritten or deleted.

data "aws_caller_identity" "current" {}

data "aws_partition" "current" {}

locals {
  account   = data.aws_caller_identity.current.account_id
  partition = data.aws_partition.current.partition

  # Names of buckets are one for the whole world; the account makes them ours.
  buckets = { for kind in ["releases", "backups", "logs"] : kind => "${var.name}-${kind}-${local.account}" }

  # Access logs of load balancers can be encrypted with S3's own key only.
  keyed = { for kind, _ in local.buckets : kind => kind != "logs" }

  release_prefix = var.releases_prefix == "" ? "" : "${var.releases_prefix}/"

  # Each is a source of its own, with artifacts/, releases/ and channels/ in it.
  release_prefixes = length(var.release_tiers) == 0 ? [local.release_prefix] : [
    for tier in sort(var.release_tiers) : "${local.release_prefix}${tier}/"
  ]
}

locals {
  # Leases and a dump's manifest are not among them: their tags change.
  written_once = {
    releases = [for prefix in local.release_prefixes : "${prefix}releases/"]
    backups  = ["runs/", "copies/", "retention/", "verify/"]
  }
}

resource "aws_s3_bucket" "this" {
  #checkov:skip=CKV2_AWS_61:Each has its own below: releases, backups, logs.
  #checkov:skip=CKV2_AWS_62:Agents ask the channel themselves; nobody waits for an event.
  for_each = local.buckets

  bucket              = each.value
  force_destroy       = var.force_destroy
  object_lock_enabled = each.key == "backups" && var.object_lock_days > 0
  tags                = merge(var.tags, { Name = each.value })
}

resource "aws_s3_bucket_public_access_block" "this" {
  for_each = aws_s3_bucket.this

  bucket                  = each.value.id
  block_public_acls       = true
  block_public_policy     = true
  ignore_public_acls      = true
  restrict_public_buckets = true
}

resource "aws_s3_bucket_ownership_controls" "this" {
  for_each = aws_s3_bucket.this

  bucket = each.value.id

  rule {
    object_ownership = "BucketOwnerEnforced"
  }
}

resource "aws_s3_bucket_server_side_encryption_configuration" "this" {
  for_each = aws_s3_bucket.this

  bucket = each.value.id

  rule {
    # One request to KMS for many objects.
    bucket_key_enabled = local.keyed[each.key]

    apply_server_side_encryption_by_default {
      sse_algorithm     = local.keyed[each.key] ? "aws:kms" : "AES256"
      kms_master_key_id = local.keyed[each.key] ? var.key_arn : null
    }
  }
}

resource "aws_s3_bucket_versioning" "this" {
  for_each = aws_s3_bucket.this

  bucket = each.value.id

  versioning_configuration {
    status = "Enabled"
  }
}

resource "aws_s3_bucket_logging" "this" {
  for_each = { for kind, bucket in aws_s3_bucket.this : kind => bucket if kind != "logs" }

  bucket        = each.value.id
  target_bucket = aws_s3_bucket.this["logs"].id
  target_prefix = "s3/${each.key}/"

  # S3 refuses it before the logs bucket lets its service write.
  depends_on = [aws_s3_bucket_policy.this]
}

locals {
  statements = {
    for kind, name in local.buckets : kind => concat(
      [{
        Sid       = "OnlyOverTls"
        Effect    = "Deny"
        Principal = "*"
        Action    = "s3:*"
        Resource  = ["arn:${local.partition}:s3:::${name}", "arn:${local.partition}:s3:::${name}/*"]
        Condition = { Bool = { "aws:SecureTransport" = "false" } }
      }],
      [for statement in [
        {
          Sid       = "LoadBalancersWriteTheirLogs"
          Effect    = "Allow"
          Principal = { Service = "logdelivery.elasticloadbalancing.amazonaws.com" }
          Action    = "s3:PutObject"
          Resource  = ["arn:${local.partition}:s3:::${name}/alb/*"]
          Condition = { ArnLike = { "aws:SourceArn" = "arn:${local.partition}:elasticloadbalancing:${var.region}:${local.account}:loadbalancer/*" } }
        },
        {
          Sid       = "BucketsWriteTheirLogs"
          Effect    = "Allow"
          Principal = { Service = "logging.s3.amazonaws.com" }
          Action    = "s3:PutObject"
          Resource  = ["arn:${local.partition}:s3:::${name}/s3/*"]
          Condition = { StringEquals = { "aws:SourceAccount" = local.account } }
        },
      ] : statement if kind == "logs"],
      # A version, once published, is never another, and what became of a night is not written anew: also
      # not by somebody who has the right to write. `publish` and the nightly jobs write with
      # If-None-Match; copies from another region are no PutObject.
      !contains(keys(local.written_once), kind) ? [] : [{
        Sid       = "WrittenOnce"
        Effect    = "Deny"
        Principal = "*"
        Action    = "s3:PutObject"
        Resource  = [for prefix in local.written_once[kind] : "arn:${local.partition}:s3:::${name}/${prefix}*"]
        Condition = {
          Null = { "s3:if-none-match" = "true" }
          # Not the parts of a large one: its completion has the header.
          Bool = { "s3:ObjectCreationOperation" = "true" }
        }
      }],
    )
  }
}

resource "aws_s3_bucket_policy" "this" {
  for_each = aws_s3_bucket.this

  bucket = each.value.id
  policy = jsonencode({ Version = "2012-10-17", Statement = local.statements[each.key] })

  depends_on = [aws_s3_bucket_public_access_block.this]
}

resource "aws_s3_bucket_lifecycle_configuration" "releases" {
  bucket = aws_s3_bucket.this["releases"].id

  # No rule has an expiration of current objects below artifacts/, releases/ and channels/.
  rule {
    id     = "what-was-overwritten-or-deleted"
    status = "Enabled"

    filter {}

    noncurrent_version_expiration {
      noncurrent_days           = var.release_undo_days
      newer_noncurrent_versions = 5
    }

    abort_incomplete_multipart_upload {
      days_after_initiation = 2
    }
  }

  # What hosts left behind that could not ship it (docs/logs.md).
  dynamic "rule" {
    for_each = local.release_prefixes

    content {
      id     = trimsuffix("logs-of-hosts-that-left-${replace(trimsuffix(rule.value, "/"), "/", "-")}", "-")
      status = "Enabled"

      filter {
        prefix = "${rule.value}logs/"
      }

      expiration {
        days = var.left_logs_days
      }
    }
  }

  depends_on = [aws_s3_bucket_versioning.this]
}

resource "aws_s3_bucket_lifecycle_configuration" "backups" {
  bucket = aws_s3_bucket.this["backups"].id

  rule {
    id     = "what-was-overwritten-or-deleted"
    status = "Enabled"

    filter {}

    noncurrent_version_expiration {
      noncurrent_days = 30
    }

    abort_incomplete_multipart_upload {
      days_after_initiation = 1
    }
  }

  # A dump is read when it is verified, in its first days, and then hopefully never.
  rule {
    id     = "old-dumps-are-cheap"
    status = "Enabled"

    filter {
      prefix = "dumps/"
    }

    transition {
      days          = 30
      storage_class = "GLACIER_IR"
    }
  }

  # The agent's retention decides what goes. This is for what it can no longer see, such as dumps of a
  # job that was removed.
  rule {
    id     = "backstop"
    status = "Enabled"

    filter {
      prefix = "dumps/"
    }

    expiration {
      days = var.dump_days_max
    }
  }

  depends_on = [aws_s3_bucket_versioning.this]
}

resource "aws_s3_bucket_lifecycle_configuration" "logs" {
  bucket = aws_s3_bucket.this["logs"].id

  rule {
    id     = "logs"
    status = "Enabled"

    filter {}

    expiration {
      days = var.access_logs_days
    }

    noncurrent_version_expiration {
      noncurrent_days = 1
    }

    abort_incomplete_multipart_upload {
      days_after_initiation = 1
    }
  }

  depends_on = [aws_s3_bucket_versioning.this]
}

# For so long nobody can delete a dump, also not with the account's highest rights (COMPLIANCE) or
# without a special one (GOVERNANCE).
resource "aws_s3_bucket_object_lock_configuration" "backups" {
  count = var.object_lock_days > 0 ? 1 : 0

  bucket = aws_s3_bucket.this["backups"].id

  rule {
    default_retention {
      mode = var.object_lock_mode
      days = var.object_lock_days
    }
  }

  depends_on = [aws_s3_bucket_versioning.this]
}
