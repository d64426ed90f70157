# The recovery region: a pilot light that costs little, and everything when it is needed.

mock_provider "aws" {
  source = "./mocks"
}

mock_provider "aws" {
  alias  = "us_east_1"
  source = "./mocks"
}

variables {
  domain  = "recovery.shop.example.com"
  zone_id = "Z0123456789"
  ami_id  = "ami-0123456789abcdef0"
}

run "a_pilot_light" {
  module {
    source = "../envs/recovery"
  }

  variables {
    production_database_arn = "arn:aws:rds:eu-west-1:123456789012:db:shop-production"
  }

  assert {
    condition     = !contains(output.alarm_names, "shop-recovery-no-host-ready") && length(output.groups) == 0 && output.database == null && length(output.reached_from) == 0
    error_message = "Nothing runs."
  }

  assert {
    condition     = toset(keys(output.bucket_arns)) == toset(["releases", "backups", "logs"]) && output.key_arn != ""
    error_message = "Production has somewhere to copy to."
  }

  assert {
    condition     = length(module.recovery) == 1 && output.automated_backup_arn == "arn:aws:rds:eu-central-1:123456789012:auto-backup:ab-mock"
    error_message = "The database's backups are here."
  }
}

run "everything" {
  state_key = "everything"

  module {
    source = "../envs/recovery"
  }

  variables {
    active                  = true
    production_database_arn = "arn:aws:rds:eu-west-1:123456789012:db:shop-production"
  }

  assert {
    condition     = output.groups == { web = "shop-recovery-web", api = "shop-recovery-api" } && output.environment == "production"
    error_message = "The tiers are there, and follow production's channel."
  }

  assert {
    condition     = jsonencode(output.reached_from["database"]) == jsonencode(["api"])
    error_message = "The database is reached from the API tier only, here too."
  }
}

run "a_drill_where_dumps_are_locked" {
  state_key = "locked"

  module {
    source = "../envs/recovery"
  }

  variables {
    protection       = false
    object_lock_days = 30
  }

  assert {
    condition     = toset(keys(output.bucket_arns)) == toset(["releases", "backups", "logs"])
    error_message = "A lock and a drill do not exclude each other."
  }
}

run "the_same_region_is_refused" {
  command   = plan
  state_key = "refused"

  module {
    source = "../modules/recovery"
  }

  variables {
    region       = "eu-west-1"
    database_arn = "arn:aws:rds:eu-west-1:123456789012:db:shop-production"
    key_arn      = "arn:aws:kms:eu-west-1:123456789012:key/1"
  }

  expect_failures = [aws_db_instance_automated_backups_replication.this]
}
