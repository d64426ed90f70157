# The key that encrypts what an environment keeps, the secrets of its tiers, and plain parameters.
#
# Terraform makes the secrets and never their values: a value in Terraform's state can be read by
# everybody who may plan. `aws secretsmanager put-secret-value` sets them, once, by hand.

data "aws_caller_identity" "current" {}

data "aws_partition" "current" {}

locals {
  account   = data.aws_caller_identity.current.account_id
  partition = data.aws_partition.current.partition
  root      = "arn:${local.partition}:iam::${local.account}:root"

  # Auto Scaling starts instances under a role of its own, which no IAM policy reaches: without this
  # no instance with a disk under this key would start. The role is named by a condition and not as a
  # principal, because in a new account it does not exist before the first group, and a policy that
  # names a principal which does not exist is refused.
  autoscaling_role = "arn:${local.partition}:iam::${local.account}:role/aws-service-role/autoscaling.amazonaws.com/AWSServiceRoleForAutoScaling"

  key_policy = {
    Version = "2012-10-17"
    Statement = [
      {
        Sid       = "IamOfThisAccountDecides"
        Effect    = "Allow"
        Principal = { AWS = local.root }
        Action    = "kms:*"
        Resource  = "*"
      },
      {
        Sid       = "AutoScalingStartsInstancesWithEncryptedDisks"
        Effect    = "Allow"
        Principal = { AWS = "*" }
        Action = [
          "kms:Encrypt", "kms:Decrypt", "kms:ReEncrypt*", "kms:GenerateDataKey*", "kms:DescribeKey",
          "kms:CreateGrant",
        ]
        Resource  = "*"
        Condition = { ArnEquals = { "aws:PrincipalArn" = local.autoscaling_role } }
      },
      {
        Sid       = "CloudWatchLogsEncryptsTheLogGroups"
        Effect    = "Allow"
        Principal = { Service = "logs.${var.region}.amazonaws.com" }
        Action = [
          "kms:Encrypt", "kms:Decrypt", "kms:ReEncrypt*", "kms:GenerateDataKey*", "kms:DescribeKey",
        ]
        Resource = "*"
        Condition = {
          ArnLike = {
            "kms:EncryptionContext:aws:logs:arn" = "arn:${local.partition}:logs:${var.region}:${local.account}:log-group:*"
          }
        }
      },
      {
        # Alarms, budgets and database events are published to encrypted topics by these services.
        Sid    = "AwsServicesPublishToTheTopics"
        Effect = "Allow"
        Principal = {
          Service = [
            "budgets.amazonaws.com", "cloudwatch.amazonaws.com", "events.amazonaws.com",
            "events.rds.amazonaws.com",
          ]
        }
        Action    = ["kms:Decrypt", "kms:GenerateDataKey*"]
        Resource  = "*"
        Condition = { StringEquals = { "aws:SourceAccount" = local.account } }
      },
    ]
  }
}

resource "aws_kms_key" "this" {
  description             = "${var.name}: disks, database, buckets, logs, secrets and queues"
  enable_key_rotation     = true
  deletion_window_in_days = var.key_deletion_days
  policy                  = jsonencode(local.key_policy)
  tags                    = var.tags
}

resource "aws_kms_alias" "this" {
  name          = "alias/${var.name}"
  target_key_id = aws_kms_key.this.key_id
}

resource "aws_secretsmanager_secret" "this" {
  #checkov:skip=CKV2_AWS_57:What a secret is for decides how it is changed; RDS changes its own. groundcrew-configure brings a new value to the hosts.
  for_each = var.secrets

  name                    = "${var.name}/${each.key}"
  description             = each.value
  kms_key_id              = aws_kms_key.this.arn
  recovery_window_in_days = var.secret_recovery_days
  tags                    = var.tags
}

# Nobody outside this account, whatever a policy elsewhere says.
resource "aws_secretsmanager_secret_policy" "this" {
  for_each = var.secrets

  secret_arn          = aws_secretsmanager_secret.this[each.key].arn
  block_public_policy = true
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Sid       = "OnlyThisAccount"
      Effect    = "Deny"
      Principal = "*"
      Action    = "secretsmanager:GetSecretValue"
      Resource  = "*"
      Condition = { StringNotEquals = { "aws:PrincipalAccount" = local.account } }
    }]
  })
}

resource "aws_ssm_parameter" "this" {
  for_each = var.parameters

  name        = "/${var.name}/${each.key}"
  description = "A setting of ${var.name} that is no secret"
  # Encrypted all the same: what is a setting today holds a password tomorrow.
  type   = "SecureString"
  key_id = aws_kms_key.this.arn
  value  = each.value
  tags   = var.tags
}
