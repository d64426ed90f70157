# What the agent's nightly jobs may do. They are the API tier's: the only one that reaches the database.
# They name their snapshots gc-JOB-DATABASE-SLOT and what they restore for proof gc-verify-..., tag them,
# and touch nothing else.

locals {
  here     = "arn:${local.partition}:rds:${var.region}:${local.account}"
  snapshot = "${local.here}:snapshot:gc-*"
  copies   = [for region in keys(var.backup_copies) : "arn:${local.partition}:rds:${region}:${local.account}:snapshot:gc-*"]
  verified = "${local.here}:db:gc-verify-*"

  # As the agent tags everything that it makes.
  made_by_agent    = { StringEquals = { "aws:ResourceTag/groundcrew:managed-by" = "groundcrew" } }
  tagged_as_agents = { StringEquals = { "aws:RequestTag/groundcrew:managed-by" = "groundcrew" } }

  snapshot_statements = [
    {
      # The tags come with the request, and this right has to cover them.
      Sid      = "MakeSnapshots"
      Effect   = "Allow"
      Action   = "rds:CreateDBSnapshot"
      Resource = [aws_db_instance.this.arn, local.snapshot]
    },
    {
      Sid       = "TagWhatItMakes"
      Effect    = "Allow"
      Action    = "rds:AddTagsToResource"
      Resource  = concat([local.snapshot], local.copies, var.verify_class == null ? [] : [local.verified])
      Condition = local.tagged_as_agents
    },
    {
      # That somebody works with a snapshot, which is a tag too.
      Sid       = "MarkOwnSnapshots"
      Effect    = "Allow"
      Action    = "rds:AddTagsToResource"
      Resource  = local.snapshot
      Condition = local.made_by_agent
    },
    {
      # Lists name no single resource: the jobs look for what others have made. A cluster is looked for
      # where there is no instance of the name.
      Sid    = "LookAtSnapshots"
      Effect = "Allow"
      Action = [
        "rds:DescribeDBClusters", "rds:DescribeDBClusterSnapshots", "rds:DescribeDBInstances",
        "rds:DescribeDBSnapshots", "rds:ListTagsForResource",
      ]
      Resource = [
        for kind in ["cluster", "cluster-snapshot", "db", "snapshot"] :
        "arn:${local.partition}:rds:*:${local.account}:${kind}:*"
      ]
    },
    {
      # Only its own, by name and by tag: never a person's.
      Sid       = "DeleteOwnSnapshots"
      Effect    = "Allow"
      Action    = "rds:DeleteDBSnapshot"
      Resource  = concat([local.snapshot], local.copies)
      Condition = local.made_by_agent
    },
    {
      # A snapshot of an encrypted database, a copy under another region's key, and an instance of a
      # snapshot are made by RDS on behalf of whoever asks.
      Sid       = "UseKeysThroughRds"
      Effect    = "Allow"
      Action    = ["kms:CreateGrant", "kms:Decrypt", "kms:DescribeKey", "kms:GenerateDataKey"]
      Resource  = local.keys
      Condition = { StringLike = { "kms:ViaService" = "rds.*.amazonaws.com" } }
    },
    {
      # Whether a backup's key is still enabled is asked of KMS itself.
      Sid      = "AskAboutKeys"
      Effect   = "Allow"
      Action   = "kms:DescribeKey"
      Resource = local.keys
    },
  ]

  keys = concat([var.key_arn], values(var.backup_copies))

  copy_statements = [
    {
      Sid      = "CopySnapshotsAway"
      Effect   = "Allow"
      Action   = "rds:CopyDBSnapshot"
      Resource = concat([local.snapshot], local.copies)
    },
  ]

  verify_statements = [
    {
      # Of its own snapshots, to instances that are called so.
      Sid    = "RestoreForProof"
      Effect = "Allow"
      Action = "rds:RestoreDBInstanceFromDBSnapshot"
      Resource = [
        local.snapshot, local.verified, aws_db_subnet_group.this.arn, aws_db_parameter_group.this.arn,
        "${local.here}:og:default:*",
      ]
    },
    {
      Sid       = "DeleteWhatWasRestoredForProof"
      Effect    = "Allow"
      Action    = "rds:DeleteDBInstance"
      Resource  = local.verified
      Condition = local.made_by_agent
    },
  ]

  dump_statements = [
    {
      Sid    = "ConnectToDump"
      Effect = "Allow"
      Action = "rds-db:connect"
      Resource = [
        for id in concat([aws_db_instance.this.resource_id], aws_db_instance.replica[*].resource_id) :
        "arn:${local.partition}:rds-db:${var.region}:${local.account}:dbuser:${id}/${coalesce(var.dump_user, "-")}"
      ]
    },
    {
      # A key for each dump. The agent asks KMS itself, and says which job it is for.
      Sid       = "SealDumps"
      Effect    = "Allow"
      Action    = ["kms:Decrypt", "kms:GenerateDataKey"]
      Resource  = var.key_arn
      Condition = { StringEquals = { "kms:EncryptionContext:groundcrew:job" = "dump" } }
    },
    {
      # The bucket keeps what was deleted for 30 days more: versions cannot be deleted with this.
      Sid      = "RetainDumps"
      Effect   = "Allow"
      Action   = "s3:DeleteObject"
      Resource = "${coalesce(var.backup_bucket_arn, "-")}/dumps/*"
    },
  ]

  bucket_statements = [
    {
      # What became of each slot, leases, and dumps.
      Sid      = "BackupBucket"
      Effect   = "Allow"
      Action   = ["s3:GetObject", "s3:PutObject", "s3:AbortMultipartUpload", "s3:ListMultipartUploadParts"]
      Resource = "${coalesce(var.backup_bucket_arn, "-")}/*"
    },
    {
      Sid      = "ListBackupBucket"
      Effect   = "Allow"
      Action   = "s3:ListBucket"
      Resource = coalesce(var.backup_bucket_arn, "-")
    },
  ]

  backup_statements = concat(
    local.snapshot_statements,
    [for statement in local.copy_statements : statement if length(var.backup_copies) > 0],
    [for statement in local.verify_statements : statement if var.verify_class != null],
    [for statement in local.dump_statements : statement if var.dump_user != null],
    [for statement in local.bucket_statements : statement if var.backup_bucket_arn != null],
  )
}

# What is restored for proof has no way in and no way out.
resource "aws_security_group" "verify" {
  #checkov:skip=CKV2_AWS_5:RDS attaches it when the agent restores a snapshot.
  count = var.verify_class == null ? 0 : 1

  name_prefix = "${var.name}-verify-"
  description = "Snapshots of ${var.name}, restored for proof"
  vpc_id      = var.vpc_id
  tags        = merge(var.tags, { Name = "${var.name}-verify" })
}
