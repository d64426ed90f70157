# Staging, put together: the three tiers, and who reaches whom.

mock_provider "aws" {
  source = "./mocks"
}

mock_provider "aws" {
  alias  = "us_east_1"
  source = "./mocks"
}

variables {
  domain  = "staging.shop.example.com"
  zone_id = "Z0123456789"
  ami_id  = "ami-0123456789abcdef0"
}

run "as_it_is" {
  module {
    source = "../envs/staging"
  }

  assert {
    condition = jsonencode(output.reached_from) == jsonencode({
      "web's load balancer" = ["cidr 0.0.0.0/0"]
      web                   = ["web"]
      "api's load balancer" = ["tier web"]
      api                   = ["api"]
      database              = ["api"]
    })
    error_message = "Each tier is reached from the one before it, and the database from the API tier only."
  }

  assert {
    condition     = output.groups == { web = "shop-staging-web", api = "shop-staging-api" }
    error_message = "There are two groups."
  }

  assert {
    condition     = startswith(output.source_url, "s3://") && output.environment == "staging" && output.url == "https://staging.shop.example.com"
    error_message = "It says what publish and promote take."
  }

  assert {
    condition = (
      output.sources == { web = "${output.source_url}/web", api = "${output.source_url}/api" }
      && strcontains(output.configurations["web"], "source = \"${output.source_url}/web\"\n")
      && strcontains(output.configurations["api"], "source = \"${output.source_url}/api\"\n")
    )
    error_message = "Each tier is published by itself."
  }

  assert {
    condition     = strcontains(output.configurations["api"], "DATABASE_HOST = \"mock.abcdefghijkl.eu-west-1.rds.amazonaws.com\"") && !strcontains(output.configurations["web"], "DATABASE")
    error_message = "The API tier knows the database, and no other tier does."
  }

  assert {
    condition = alltrue([
      strcontains(output.configurations["api"], "[[backup]]\nname = \"nightly\"\nkind = \"rds-snapshot\"\ndatabase = \"shop-staging\"\n"),
      strcontains(output.configurations["api"], "backup_store = \"s3://"),
      strcontains(output.configurations["api"], "keep_daily = 7\n"),
      !strcontains(output.configurations["api"], "[[backup.copy]]"),
      !strcontains(output.configurations["web"], "backup"),
    ])
    error_message = "Each night there is a snapshot, made by the tier that reaches the database."
  }

  assert {
    condition     = strcontains(output.configurations["web"], "API_URL = \"https://api.staging.shop.example.com\"")
    error_message = "The web tier knows the API."
  }

  assert {
    condition     = contains(output.alarm_names, "shop-staging-pipeline-stuck-notify-ticket") && contains(output.alarm_names, "shop-staging-server-errors-api") && contains(output.alarm_names, "shop-staging-backup-stale-nightly") && contains(output.alarm_names, "shop-staging-backup-unverified-nightly-L0") && !contains(output.alarm_names, "shop-staging-backup-unverified-nightly-L3") && contains(output.alarm_names, "shop-staging-database-storage")
    error_message = "It is watched."
  }

  assert {
    condition     = output.static == null && output.database.port == 5432
    error_message = "There is a database, and no CloudFront."
  }
}

run "one_release_of_all_tiers" {
  state_key = "one"

  module {
    source = "../envs/staging"
  }

  variables {
    releases_by_tier = false
  }

  assert {
    condition     = output.sources == { web = output.source_url, api = output.source_url }
    error_message = "All tiers have one source."
  }
}

run "without_backups" {
  state_key = "without"

  module {
    source = "../envs/staging"
  }

  variables {
    backup = null
  }

  assert {
    condition     = !strcontains(output.configurations["api"], "backup") && !contains(output.alarm_names, "shop-staging-backup-stale-nightly")
    error_message = "Nobody misses backups that nobody wants."
  }
}

run "with_all_there_is" {
  state_key = "all"

  module {
    source = "../envs/staging"
  }

  variables {
    jobs          = { spot_percent = 100, instance_types = ["t4g.small", "t4g.medium", "c7g.medium"] }
    api           = { public_paths = ["/api/*"], secrets = { SESSION_KEY = { secret = "api/session" } } }
    secrets       = { "api/session" = "Signs cookies" }
    cdn           = {}
    origin_secret = "only-cloudfront-knows"
    database      = { replicas = 1 }

    database_master_password = "0123456789abcdef0123456789abcdef"

    backup = { dump = {} }
  }

  assert {
    condition = alltrue([
      strcontains(output.configurations["api"], "name = \"dump\"\nkind = \"pg-dump\"\ndatabase = \"app\"\n"),
      strcontains(output.configurations["api"], "[backup.encryption]\nkms_key = \"${output.key_arn}\"\n"),
      contains(output.alarm_names, "shop-staging-backup-stale-dump"),
    ])
    error_message = "Dumps are made where they are asked for, and sealed with the environment's key."
  }

  assert {
    condition = jsonencode(output.reached_from) == jsonencode({
      "web's load balancer" = ["list pl-0123456789abcdef0"]
      web                   = ["web"]
      "api's load balancer" = ["tier jobs", "tier web"]
      api                   = ["api", "paths"]
      jobs                  = []
      database              = ["api"]
    })
    error_message = "Behind CloudFront nobody else comes in; workers reach the API, and not the database."
  }

  assert {
    condition     = strcontains(output.configurations["jobs"], "QUEUE_URL = ") && strcontains(output.configurations["api"], "SESSION_KEY = \"{{secret arn:aws:secretsmanager:")
    error_message = "Workers know their queue, and secrets are named."
  }

  assert {
    condition     = contains(output.alarm_names, "shop-staging-queue-age-jobs") && output.static.bucket != ""
    error_message = "The queue is watched, and static files have a place."
  }
}

