# Production, put together.

mock_provider "aws" {
  source = "./mocks"
}

mock_provider "aws" {
  alias  = "us_east_1"
  source = "./mocks"
}

variables {
  domain  = "shop.example.com"
  zone_id = "Z0123456789"
  ami_id  = "ami-0123456789abcdef0"
  zones   = ["eu-west-1a", "eu-west-1b", "eu-west-1c"]
  emails  = { page = ["oncall@example.com"] }
}

run "as_it_is" {
  module {
    source = "../envs/production"
  }

  assert {
    condition     = output.reached_from["database"] == tolist(["api"]) && output.reached_from["api's load balancer"] == tolist(["tier web"])
    error_message = "The database is reached from the API tier only, and the API from the web tier."
  }

  assert {
    condition     = output.environment == "production" && output.url == "https://shop.example.com"
    error_message = "It is production."
  }

  assert {
    condition     = strcontains(output.configurations["api"], "levels = [\"L0\",\"L3\"]") && contains(output.alarm_names, "shop-production-backup-unverified-nightly-L3")
    error_message = "Snapshots are restored for proof."
  }

  assert {
    condition     = length(output.alarm_names) == length(distinct(output.alarm_names)) && length(output.alarm_names) >= 20
    error_message = "It is watched."
  }
}

run "with_a_public_api_behind_a_firewall" {
  state_key = "public"

  module {
    source = "../envs/production"
  }

  variables {
    api                        = { public = true }
    cdn                        = {}
    origin_secret              = "only-cloudfront-knows"
    waf_requests_per_5_minutes = 5000
  }

  assert {
    condition     = output.reached_from["api's load balancer"] == tolist(["cidr 0.0.0.0/0"]) && output.reached_from["web's load balancer"] == tolist(["list pl-0123456789abcdef0"])
    error_message = "The API is called by all, and the web tier by CloudFront."
  }
}

run "with_a_recovery_region" {
  state_key = "recovery"

  module {
    source = "../envs/production"
  }

  variables {
    object_lock_days = 30
    recovery = {
      region      = "eu-central-1"
      bucket_arns = { releases = "arn:aws:s3:::shop-recovery-releases-123456789012", backups = "arn:aws:s3:::shop-recovery-backups-123456789012", logs = "arn:aws:s3:::shop-recovery-logs-123456789012" }
      key_arn     = "arn:aws:kms:eu-central-1:123456789012:key/1"
    }
  }

  assert {
    condition     = strcontains(output.configurations["api"], "[[backup.copy]]\nregion = \"eu-central-1\"\nkms_key = \"arn:aws:kms:eu-central-1:123456789012:key/1\"\nkeep_daily = 7\n")
    error_message = "Snapshots are copied to the recovery region."
  }
}

run "recovery_in_the_same_region_is_refused" {
  command   = plan
  state_key = "refused"

  module {
    source = "../envs/production"
  }

  variables {
    recovery = { region = "eu-west-1", bucket_arns = {}, key_arn = "" }
  }

  expect_failures = [var.recovery]
}
