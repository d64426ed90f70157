# Copies of releases and backups in the recovery region, as they are written. What is deleted here
# stays there.

resource "aws_iam_role" "replication" {
  count = length(var.replication) > 0 ? 1 : 0

  # Not a prefix: the recovery region's bucket has to name it before it is there.
  name = "${var.name}-replication"
  tags = var.tags
  assume_role_policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect = "Allow"
      # The latter brings what was there before: S3 Batch Replication.
      Principal = { Service = ["s3.amazonaws.com", "batchoperations.s3.amazonaws.com"] }
      Action    = "sts:AssumeRole"
      Condition = { StringEquals = { "aws:SourceAccount" = local.account } }
    }]
  })
}

resource "aws_iam_role_policy" "replication" {
  count = length(var.replication) > 0 ? 1 : 0

  name = "replicate"
  role = aws_iam_role.replication[0].id
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      {
        Sid      = "ReadSources"
        Effect   = "Allow"
        Action   = ["s3:GetReplicationConfiguration", "s3:ListBucket"]
        Resource = [for kind in keys(var.replication) : "arn:${local.partition}:s3:::${local.buckets[kind]}"]
      },
      {
        Sid    = "ReadSourceObjects"
        Effect = "Allow"
        Action = [
          "s3:GetObjectVersionForReplication", "s3:GetObjectVersionAcl", "s3:GetObjectVersionTagging",
          "s3:GetObjectRetention", "s3:GetObjectLegalHold",
        ]
        Resource = [for kind in keys(var.replication) : "arn:${local.partition}:s3:::${local.buckets[kind]}/*"]
      },
      {
        # A job of Batch Replication lists by itself what is to be copied.
        Sid      = "CopyWhatWasThereBefore"
        Effect   = "Allow"
        Action   = "s3:InitiateReplication"
        Resource = [for kind in keys(var.replication) : "arn:${local.partition}:s3:::${local.buckets[kind]}/*"]
      },
      {
        Sid      = "ListWhatWasThereBefore"
        Effect   = "Allow"
        Action   = "s3:PutInventoryConfiguration"
        Resource = [for kind in keys(var.replication) : "arn:${local.partition}:s3:::${local.buckets[kind]}"]
      },
      {
        Sid      = "WriteCopies"
        Effect   = "Allow"
        Action   = ["s3:ReplicateObject", "s3:ReplicateTags"]
        Resource = [for destination in values(var.replication) : "${destination.bucket_arn}/*"]
      },
      {
        Sid       = "DecryptSources"
        Effect    = "Allow"
        Action    = "kms:Decrypt"
        Resource  = var.key_arn
        Condition = { StringEquals = { "kms:ViaService" = "s3.${var.region}.amazonaws.com" } }
      },
      {
        Sid      = "EncryptCopies"
        Effect   = "Allow"
        Action   = ["kms:Encrypt", "kms:GenerateDataKey"]
        Resource = distinct([for destination in values(var.replication) : destination.key_arn])
        Condition = {
          StringEquals = { "kms:ViaService" = distinct([for destination in values(var.replication) : "s3.${destination.region}.amazonaws.com"]) }
        }
      },
    ]
  })
}

resource "aws_s3_bucket_replication_configuration" "this" {
  for_each = var.replication

  bucket = aws_s3_bucket.this[each.key].id
  role   = aws_iam_role.replication[0].arn

  rule {
    id       = "recovery"
    status   = "Enabled"
    priority = 1

    filter {}

    # A deletion, by mistake or by somebody else, stays in this region.
    delete_marker_replication {
      status = "Disabled"
    }

    source_selection_criteria {
      sse_kms_encrypted_objects {
        status = "Enabled"
      }
    }

    destination {
      bucket        = each.value.bucket_arn
      storage_class = each.key == "backups" ? "STANDARD_IA" : "STANDARD"

      encryption_configuration {
        replica_kms_key_id = each.value.key_arn
      }

      metrics {
        status = "Enabled"
      }
    }
  }

  depends_on = [aws_s3_bucket_versioning.this, aws_iam_role_policy.replication]
}
