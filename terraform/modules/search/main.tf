# OpenSearch for those who search logs more than CloudWatch's own queries are good for: log groups ->
# subscription -> Firehose -> OpenSearch, in the VPC. Firehose unpacks what CloudWatch sends; there is
# no function of ours in between.

data "aws_caller_identity" "current" {}

data "aws_partition" "current" {}

locals {
  account   = data.aws_caller_identity.current.account_id
  partition = data.aws_partition.current.partition
  domain    = "arn:${local.partition}:es:${var.region}:${local.account}:domain/${var.name}"
}

resource "aws_security_group" "domain" {
  name_prefix = "${var.name}-"
  description = "OpenSearch of ${var.name}"
  vpc_id      = var.vpc_id
  tags        = merge(var.tags, { Name = var.name })

  lifecycle {
    create_before_destroy = true
  }
}

resource "aws_security_group" "firehose" {
  #checkov:skip=CKV2_AWS_5:It belongs to the delivery stream below, which the check does not know.
  name_prefix = "${var.name}-firehose-"
  description = "What brings logs to ${var.name}"
  vpc_id      = var.vpc_id
  tags        = merge(var.tags, { Name = "${var.name}-firehose" })

  lifecycle {
    create_before_destroy = true
  }
}

resource "aws_vpc_security_group_ingress_rule" "firehose" {
  security_group_id            = aws_security_group.domain.id
  description                  = "Logs from Firehose"
  referenced_security_group_id = aws_security_group.firehose.id
  ip_protocol                  = "tcp"
  from_port                    = 443
  to_port                      = 443
}

resource "aws_vpc_security_group_egress_rule" "firehose" {
  security_group_id            = aws_security_group.firehose.id
  description                  = "Logs to OpenSearch"
  referenced_security_group_id = aws_security_group.domain.id
  ip_protocol                  = "tcp"
  from_port                    = 443
  to_port                      = 443
}

resource "aws_cloudwatch_log_group" "domain" {
  name              = "/aws/opensearch/${var.name}"
  retention_in_days = 365
  kms_key_id        = var.key_arn
  tags              = var.tags
}

resource "aws_cloudwatch_log_resource_policy" "domain" {
  policy_name = "opensearch-${var.name}"
  policy_document = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect    = "Allow"
      Principal = { Service = "es.amazonaws.com" }
      Action    = ["logs:CreateLogStream", "logs:PutLogEvents"]
      Resource  = "${aws_cloudwatch_log_group.domain.arn}:*"
      Condition = { StringEquals = { "aws:SourceAccount" = local.account } }
    }]
  })
}

# In a VPC it takes the account's AWSServiceRoleForAmazonOpenSearchService, which bootstrap makes with search = true.
resource "aws_opensearch_domain" "this" {
  #checkov:skip=CKV_AWS_317:AUDIT_LOGS are published, in the first of two blocks; the check reads one.
  #checkov:skip=CKV2_AWS_59:Three masters would cost more than what they guard: what is in it is in CloudWatch too.
  #checkov:skip=CKV_AWS_318:As above.
  domain_name    = var.name
  engine_version = var.engine_version
  tags           = var.tags

  cluster_config {
    instance_type          = var.instance_type
    instance_count         = var.nodes
    zone_awareness_enabled = var.nodes > 1

    dynamic "zone_awareness_config" {
      for_each = var.nodes > 1 ? [1] : []

      content {
        availability_zone_count = 2
      }
    }
  }

  ebs_options {
    ebs_enabled = true
    volume_type = "gp3"
    volume_size = var.storage_gib
  }

  vpc_options {
    subnet_ids         = slice(var.subnet_ids, 0, var.nodes > 1 ? 2 : 1)
    security_group_ids = [aws_security_group.domain.id]
  }

  encrypt_at_rest {
    enabled    = true
    kms_key_id = var.key_arn
  }

  node_to_node_encryption {
    enabled = true
  }

  domain_endpoint_options {
    enforce_https       = true
    tls_security_policy = "Policy-Min-TLS-1-2-PFS-2023-10"
  }

  advanced_security_options {
    enabled                        = true
    internal_user_database_enabled = false

    master_user_options {
      master_user_arn = var.owner_role_arn == null ? aws_iam_role.firehose.arn : var.owner_role_arn
    }
  }

  log_publishing_options {
    log_type                 = "AUDIT_LOGS"
    cloudwatch_log_group_arn = aws_cloudwatch_log_group.domain.arn
  }

  log_publishing_options {
    log_type                 = "ES_APPLICATION_LOGS"
    cloudwatch_log_group_arn = aws_cloudwatch_log_group.domain.arn
  }

  depends_on = [aws_cloudwatch_log_resource_policy.domain]
}

resource "aws_opensearch_domain_policy" "this" {
  domain_name = aws_opensearch_domain.this.domain_name
  access_policies = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect    = "Allow"
      Principal = { AWS = "arn:${local.partition}:iam::${local.account}:root" }
      Action    = "es:ESHttp*"
      Resource  = "${local.domain}/*"
    }]
  })
}

resource "aws_iam_role" "firehose" {
  name_prefix = "${substr(var.name, 0, 24)}-fh-"
  tags        = var.tags
  assume_role_policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect    = "Allow"
      Principal = { Service = "firehose.amazonaws.com" }
      Action    = "sts:AssumeRole"
      Condition = { StringEquals = { "aws:SourceAccount" = local.account } }
    }]
  })
}

resource "aws_iam_role_policy" "firehose" {
  name = "deliver"
  role = aws_iam_role.firehose.id
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      {
        Sid      = "Index"
        Effect   = "Allow"
        Action   = ["es:DescribeDomain", "es:DescribeDomains", "es:DescribeDomainConfig", "es:ESHttpGet", "es:ESHttpPost", "es:ESHttpPut"]
        Resource = [local.domain, "${local.domain}/*"]
      },
      {
        Sid      = "PutAsideWhatFailed"
        Effect   = "Allow"
        Action   = ["s3:AbortMultipartUpload", "s3:GetBucketLocation", "s3:GetObject", "s3:ListBucket", "s3:ListBucketMultipartUploads", "s3:PutObject"]
        Resource = [var.failures_bucket, "${var.failures_bucket}/search/*"]
      },
      {
        Sid      = "SayWhatFailed"
        Effect   = "Allow"
        Action   = ["logs:CreateLogStream", "logs:PutLogEvents"]
        Resource = "${aws_cloudwatch_log_group.domain.arn}:*"
      },
      {
        # Describing network interfaces names no resource.
        Sid      = "LookAtTheNetwork"
        Effect   = "Allow"
        Action   = ["ec2:DescribeNetworkInterfaces", "ec2:DescribeSecurityGroups", "ec2:DescribeSubnets", "ec2:DescribeVpcAttribute", "ec2:DescribeVpcs"]
        Resource = "*"
      },
      {
        Sid    = "OwnNetworkInterfaces"
        Effect = "Allow"
        Action = ["ec2:CreateNetworkInterface", "ec2:CreateNetworkInterfacePermission", "ec2:DeleteNetworkInterface"]
        Resource = [
          "arn:${local.partition}:ec2:${var.region}:${local.account}:network-interface/*",
          "arn:${local.partition}:ec2:${var.region}:${local.account}:subnet/*",
          "arn:${local.partition}:ec2:${var.region}:${local.account}:security-group/${aws_security_group.firehose.id}",
        ]
      },
      {
        Sid      = "UseKey"
        Effect   = "Allow"
        Action   = ["kms:Decrypt", "kms:GenerateDataKey"]
        Resource = var.key_arn
      },
    ]
  })
}

resource "aws_cloudwatch_log_stream" "firehose" {
  name           = "firehose"
  log_group_name = aws_cloudwatch_log_group.domain.name
}

resource "aws_kinesis_firehose_delivery_stream" "this" {
  name        = var.name
  destination = "opensearch"
  tags        = var.tags

  server_side_encryption {
    enabled  = true
    key_type = "CUSTOMER_MANAGED_CMK"
    key_arn  = var.key_arn
  }

  opensearch_configuration {
    domain_arn            = aws_opensearch_domain.this.arn
    role_arn              = aws_iam_role.firehose.arn
    index_name            = "logs"
    index_rotation_period = "OneDay"
    buffering_interval    = 60
    buffering_size        = 5
    retry_duration        = 3600
    s3_backup_mode        = "FailedDocumentsOnly"

    vpc_config {
      role_arn           = aws_iam_role.firehose.arn
      subnet_ids         = var.subnet_ids
      security_group_ids = [aws_security_group.firehose.id]
    }

    s3_configuration {
      role_arn            = aws_iam_role.firehose.arn
      bucket_arn          = var.failures_bucket
      prefix              = "search/"
      error_output_prefix = "search/failed/"
    }

    cloudwatch_logging_options {
      enabled         = true
      log_group_name  = aws_cloudwatch_log_group.domain.name
      log_stream_name = aws_cloudwatch_log_stream.firehose.name
    }

    # CloudWatch sends gzip with many events in each record.
    processing_configuration {
      enabled = true

      processors {
        type = "Decompression"

        parameters {
          parameter_name  = "CompressionFormat"
          parameter_value = "GZIP"
        }
      }

      processors {
        type = "CloudWatchLogProcessing"

        parameters {
          parameter_name  = "DataMessageExtraction"
          parameter_value = "true"
        }
      }
    }
  }

  depends_on = [aws_iam_role_policy.firehose]
}

resource "aws_iam_role" "subscription" {
  name_prefix = "${substr(var.name, 0, 24)}-sub-"
  tags        = var.tags
  assume_role_policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect    = "Allow"
      Principal = { Service = "logs.amazonaws.com" }
      Action    = "sts:AssumeRole"
      Condition = { StringLike = { "aws:SourceArn" = "arn:${local.partition}:logs:${var.region}:${local.account}:*" } }
    }]
  })
}

resource "aws_iam_role_policy" "subscription" {
  name = "put"
  role = aws_iam_role.subscription.id
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect   = "Allow"
      Action   = ["firehose:PutRecord", "firehose:PutRecordBatch"]
      Resource = aws_kinesis_firehose_delivery_stream.this.arn
    }]
  })
}

resource "aws_cloudwatch_log_subscription_filter" "this" {
  for_each = var.log_groups

  name            = "search"
  log_group_name  = each.value
  filter_pattern  = ""
  destination_arn = aws_kinesis_firehose_delivery_stream.this.arn
  role_arn        = aws_iam_role.subscription.arn

  depends_on = [aws_iam_role_policy.subscription]
}
