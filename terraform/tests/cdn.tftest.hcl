# Static files that only CloudFront can read, and a load balancer behind it.

mock_provider "aws" {
  source = "./mocks"
}

variables {
  name            = "shop-production"
  domain          = "shop.example.com"
  certificate_arn = "arn:aws:acm:us-east-1:123456789012:certificate/11111111-2222-3333-4444-555555555555"
}

run "static_files_alone" {
  module {
    source = "../modules/cdn"
  }

  assert {
    condition     = aws_s3_bucket_public_access_block.static.block_public_policy && aws_s3_bucket_public_access_block.static.restrict_public_buckets && aws_s3_bucket_public_access_block.static.block_public_acls && aws_s3_bucket_public_access_block.static.ignore_public_acls
    error_message = "The bucket cannot be made public."
  }

  assert {
    condition     = aws_cloudfront_origin_access_control.static.signing_behavior == "always" && aws_cloudfront_origin_access_control.static.signing_protocol == "sigv4"
    error_message = "CloudFront signs what it asks."
  }

  assert {
    condition = alltrue([
      for statement in jsondecode(aws_s3_bucket_policy.static.policy).Statement :
      statement.Condition.StringEquals["aws:SourceArn"] == aws_cloudfront_distribution.this.arn if statement.Effect == "Allow"
    ])
    error_message = "Only this distribution reads the bucket."
  }

  assert {
    condition     = aws_cloudfront_distribution.this.viewer_certificate[0].minimum_protocol_version == "TLSv1.2_2021" && aws_cloudfront_distribution.this.default_cache_behavior[0].viewer_protocol_policy == "redirect-to-https"
    error_message = "Browsers speak TLS 1.2 or newer."
  }

  assert {
    condition     = aws_cloudfront_distribution.this.default_cache_behavior[0].target_origin_id == "static" && aws_cloudfront_distribution.this.default_root_object == "index.html" && length(aws_cloudfront_distribution.this.default_cache_behavior[0].function_association) == 1
    error_message = "Every page is index.html."
  }

  assert {
    condition     = alltrue([for rule in aws_s3_bucket_lifecycle_configuration.static.rule : length(rule.expiration) == 0])
    error_message = "A page of yesterday finds its files."
  }

  assert {
    condition     = alltrue([for statement in jsondecode(output.publisher_policy).Statement : !strcontains(jsonencode(statement), "*\"") || statement.Sid == "Files"])
    error_message = "A pipeline may write files and invalidate, here."
  }
}

run "before_a_load_balancer" {
  module {
    source = "../modules/cdn"
  }

  variables {
    balancer_domain = "origin.shop.example.com"
    origin_secret   = "only-cloudfront-knows"
  }

  assert {
    condition     = aws_cloudfront_distribution.this.default_cache_behavior[0].target_origin_id == "balancer" && aws_cloudfront_distribution.this.ordered_cache_behavior[0].target_origin_id == "static" && aws_cloudfront_distribution.this.ordered_cache_behavior[0].path_pattern == "/assets/*"
    error_message = "Files come from the bucket, everything else from the tiers."
  }

  assert {
    condition     = length(aws_cloudfront_distribution.this.origin) == 2 && !strcontains(aws_cloudfront_function.viewer[0].code, "uri")
    error_message = "The tiers see the paths that browsers ask for."
  }

  assert {
    condition     = one(aws_cloudfront_distribution.this.default_cache_behavior[0].function_association).function_arn == aws_cloudfront_function.viewer[0].arn && strcontains(aws_cloudfront_function.viewer[0].code, "request.headers['x-viewer-address'] = { value: event.viewer.ip }")
    error_message = "The balancer's firewall learns from CloudFront who asks, whatever the visitor wrote."
  }

  assert {
    condition     = one([for origin in aws_cloudfront_distribution.this.origin : origin.custom_origin_config[0].origin_protocol_policy if origin.origin_id == "balancer"]) == "https-only"
    error_message = "The load balancer is asked over TLS."
  }
}

run "a_certificate_of_another_region_is_refused" {
  command = plan

  module {
    source = "../modules/cdn"
  }

  variables {
    certificate_arn = "arn:aws:acm:eu-west-1:123456789012:certificate/1"
  }

  expect_failures = [var.certificate_arn]
}
