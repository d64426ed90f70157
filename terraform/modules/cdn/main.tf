# CloudFront before the static files and the load balancer. Files are in a bucket that only this
# distribution can read (origin access control); the rest goes to the tiers, uncached.
#
# Pipelines put hashed files first, with a long Cache-Control, and index.html last, without: CloudFront
# does what the objects say.

data "aws_caller_identity" "current" {}

data "aws_partition" "current" {}

locals {
  bucket = "${var.name}-static-${data.aws_caller_identity.current.account_id}"

  # Policies that AWS keeps, with the same ids everywhere.
  caching_optimized  = "658327ea-f89d-4fab-a63d-7e88639e58f6"
  caching_disabled   = "4135ea2d-6df8-44a3-9df3-4b5a84be39ad"
  request_all_viewer = "216adef6-5c7f-47e4-b989-5492eafa07d3"

  # Without a load balancer everything is a file.
  balanced     = var.balancer_domain != null
  with_secret  = nonsensitive(var.origin_secret != null)
  static_paths = local.balanced ? var.static_paths : []
}

resource "aws_s3_bucket" "static" {
  #checkov:skip=CKV_AWS_145:The files are public by way of CloudFront, which would need the right to use a key.
  #checkov:skip=CKV_AWS_144:Every release publishes the files anew.
  #checkov:skip=CKV_AWS_18:Only CloudFront reads it.
  #checkov:skip=CKV2_AWS_62:Nobody waits for a file.
  bucket        = local.bucket
  force_destroy = var.force_destroy
  tags          = merge(var.tags, { Name = local.bucket })
}

resource "aws_s3_bucket_public_access_block" "static" {
  bucket                  = aws_s3_bucket.static.id
  block_public_acls       = true
  block_public_policy     = true
  ignore_public_acls      = true
  restrict_public_buckets = true
}

resource "aws_s3_bucket_ownership_controls" "static" {
  bucket = aws_s3_bucket.static.id

  rule {
    object_ownership = "BucketOwnerEnforced"
  }
}

# S3's own key: everybody may read these files, by way of CloudFront, which would need the right to
# use any other.
resource "aws_s3_bucket_server_side_encryption_configuration" "static" {
  bucket = aws_s3_bucket.static.id

  rule {
    apply_server_side_encryption_by_default {
      sse_algorithm = "AES256"
    }
  }
}

resource "aws_s3_bucket_versioning" "static" {
  bucket = aws_s3_bucket.static.id

  versioning_configuration {
    status = "Enabled"
  }
}

# A page that was loaded yesterday asks for yesterday's files: nothing current expires.
resource "aws_s3_bucket_lifecycle_configuration" "static" {
  bucket = aws_s3_bucket.static.id

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

  depends_on = [aws_s3_bucket_versioning.static]
}

resource "aws_s3_bucket_policy" "static" {
  bucket = aws_s3_bucket.static.id
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      {
        Sid       = "OnlyThisDistribution"
        Effect    = "Allow"
        Principal = { Service = "cloudfront.amazonaws.com" }
        Action    = "s3:GetObject"
        Resource  = "${aws_s3_bucket.static.arn}/*"
        Condition = { StringEquals = { "aws:SourceArn" = aws_cloudfront_distribution.this.arn } }
      },
      {
        # What does not exist is answered with 404, not with 403.
        Sid       = "OnlyThisDistributionLooks"
        Effect    = "Allow"
        Principal = { Service = "cloudfront.amazonaws.com" }
        Action    = "s3:ListBucket"
        Resource  = aws_s3_bucket.static.arn
        Condition = { StringEquals = { "aws:SourceArn" = aws_cloudfront_distribution.this.arn } }
      },
      {
        Sid       = "OnlyOverTls"
        Effect    = "Deny"
        Principal = "*"
        Action    = "s3:*"
        Resource  = [aws_s3_bucket.static.arn, "${aws_s3_bucket.static.arn}/*"]
        Condition = { Bool = { "aws:SecureTransport" = "false" } }
      },
    ]
  })

  depends_on = [aws_s3_bucket_public_access_block.static]
}

resource "aws_cloudfront_origin_access_control" "static" {
  name                              = local.bucket
  description                       = "Static files of ${var.name}"
  origin_access_control_origin_type = "s3"
  signing_behavior                  = "always"
  signing_protocol                  = "sigv4"
}

resource "aws_cloudfront_response_headers_policy" "this" {
  #checkov:skip=CKV_AWS_259:preload is a promise for the whole domain, for years, which only its owner can make.
  name    = var.name
  comment = "What browsers are told about ${var.name}"

  security_headers_config {
    strict_transport_security {
      access_control_max_age_sec = 31536000
      include_subdomains         = true
      override                   = true
    }

    content_type_options {
      override = true
    }

    # The application may say otherwise.
    frame_options {
      frame_option = "SAMEORIGIN"
      override     = false
    }

    referrer_policy {
      referrer_policy = "strict-origin-when-cross-origin"
      override        = false
    }
  }
}

# A path without a dot in its last part is a page of the application, which is one file. As a function
# and not as an error response: that would give a page for every missing file and for the tiers' 404s.
resource "aws_cloudfront_function" "index" {
  name    = "${var.name}-index"
  runtime = "cloudfront-js-2.0"
  comment = "Pages are index.html"
  publish = true
  code    = file("${path.module}/index.js")
}

# Who asks, for the firewall of the balancer. X-Forwarded-For would not do: CloudFront adds to what the
# visitor wrote there, and the firewall takes the first address.
resource "aws_cloudfront_function" "viewer" {
  count = local.balanced ? 1 : 0

  name    = "${var.name}-viewer"
  runtime = "cloudfront-js-2.0"
  comment = "The visitor's address"
  publish = true
  code    = file("${path.module}/viewer.js")
}

resource "aws_cloudfront_distribution" "this" {
  #checkov:skip=CKV2_AWS_47:A firewall of scope CLOUDFRONT lives in us-east-1 and is shared by distributions; web_acl_arn takes one. The balancer has its own.
  #checkov:skip=CKV_AWS_310:The files are in one bucket with versions, and the tiers in several zones; another region is a matter of envs/recovery.
  #checkov:skip=CKV_AWS_374:The product is for the whole world, as far as this project knows.
  #checkov:skip=CKV_AWS_86:What is not a static file is in the access log of the balancer.
  comment             = var.name
  enabled             = true
  is_ipv6_enabled     = true
  http_version        = "http2and3"
  price_class         = var.price_class
  aliases             = [var.domain]
  default_root_object = local.balanced ? null : "index.html"
  web_acl_id          = var.web_acl_arn
  # Seconds, not a quarter of an hour: nothing here depends on it.
  wait_for_deployment = false
  tags                = var.tags

  origin {
    origin_id                = "static"
    domain_name              = aws_s3_bucket.static.bucket_regional_domain_name
    origin_access_control_id = aws_cloudfront_origin_access_control.static.id
  }

  dynamic "origin" {
    for_each = local.balanced ? [var.balancer_domain] : []

    content {
      origin_id   = "balancer"
      domain_name = origin.value

      custom_origin_config {
        http_port              = 80
        https_port             = 443
        origin_protocol_policy = "https-only"
        origin_ssl_protocols   = ["TLSv1.2"]
        # Less than the balancer's idle timeout of 60 s, so that the balancer is not the first to close.
        origin_keepalive_timeout = 30
        origin_read_timeout      = 60
      }

      dynamic "custom_header" {
        for_each = local.with_secret ? [1] : []

        content {
          name  = "X-Origin-Secret"
          value = var.origin_secret
        }
      }
    }
  }

  default_cache_behavior {
    target_origin_id           = local.balanced ? "balancer" : "static"
    viewer_protocol_policy     = "redirect-to-https"
    allowed_methods            = local.balanced ? ["GET", "HEAD", "OPTIONS", "PUT", "POST", "PATCH", "DELETE"] : ["GET", "HEAD", "OPTIONS"]
    cached_methods             = ["GET", "HEAD"]
    compress                   = true
    cache_policy_id            = local.balanced ? local.caching_disabled : local.caching_optimized
    origin_request_policy_id   = local.balanced ? local.request_all_viewer : null
    response_headers_policy_id = aws_cloudfront_response_headers_policy.this.id

    function_association {
      event_type   = "viewer-request"
      function_arn = local.balanced ? aws_cloudfront_function.viewer[0].arn : aws_cloudfront_function.index.arn
    }
  }

  dynamic "ordered_cache_behavior" {
    for_each = local.static_paths

    content {
      path_pattern               = ordered_cache_behavior.value
      target_origin_id           = "static"
      viewer_protocol_policy     = "redirect-to-https"
      allowed_methods            = ["GET", "HEAD", "OPTIONS"]
      cached_methods             = ["GET", "HEAD"]
      compress                   = true
      cache_policy_id            = local.caching_optimized
      response_headers_policy_id = aws_cloudfront_response_headers_policy.this.id
    }
  }

  restrictions {
    geo_restriction {
      restriction_type = "none"
    }
  }

  viewer_certificate {
    acm_certificate_arn      = var.certificate_arn
    ssl_support_method       = "sni-only"
    minimum_protocol_version = "TLSv1.2_2021"
  }
}
