# What the agent's nightly job may do. It is the API tier's: the only one that reaches the database.
# The job names its snapshots gc-JOB-DATABASE-DATE, and touches no others.

locals {
  snapshots     = "arn:${local.partition}:rds:${var.region}:${local.account}:snapshot:gc-*"
  copy_snapshot = [for region in keys(var.backup_copies) : "arn:${local.partition}:rds:${region}:${local.account}:snapshot:gc-*"]

  backup_statements = concat(
    [
      {
        Sid      = "MakeSnapshots"
        Effect   = "Allow"
        Action   = ["rds:CreateDBSnapshot", "rds:AddTagsToResource"]
        Resource = [aws_db_instance.this.arn, local.snapshots]
      },
      {
        # Of a list only, not of one instance: the job looks for what was made by others.
        Sid      = "LookAtSnapshots"
        Effect   = "Allow"
        Action   = ["rds:DescribeDBInstances", "rds:DescribeDBSnapshots", "rds:ListTagsForResource"]
        Resource = ["arn:${local.partition}:rds:*:${local.account}:db:*", "arn:${local.partition}:rds:*:${local.account}:snapshot:*"]
      },
      {
        # Only its own, by name and by the tag that it gives them: never a person's.
        Sid       = "DeleteOwnSnapshots"
        Effect    = "Allow"
        Action    = "rds:DeleteDBSnapshot"
        Resource  = concat([local.snapshots], local.copy_snapshot)
        Condition = { StringLike = { "aws:ResourceTag/groundcrew:managed-by" = "groundcrew*" } }
      },
      {
        # A snapshot of an encrypted database, and a copy under another region's key, are made by RDS
        # on behalf of whoever asks.
        Sid       = "UseKeysThroughRds"
        Effect    = "Allow"
        Action    = ["kms:CreateGrant", "kms:Decrypt", "kms:DescribeKey", "kms:GenerateDataKey"]
        Resource  = concat([var.key_arn], [for key in values(var.backup_copies) : key])
        Condition = { StringLike = { "kms:ViaService" = "rds.*.amazonaws.com" } }
      },
    ],
    length(var.backup_copies) == 0 ? [] : [{
      Sid      = "CopySnapshotsAway"
      Effect   = "Allow"
      Action   = ["rds:CopyDBSnapshot", "rds:AddTagsToResource"]
      Resource = concat([local.snapshots], local.copy_snapshot)
    }],
    [
      for statement in [
        {
          # The ledger of slots, leases, and dumps. Nothing can be deleted: the bucket's lifecycle does.
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
      ] : statement if var.backup_bucket_arn != null
    ],
  )
}
