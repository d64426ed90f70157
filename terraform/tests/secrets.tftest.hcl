# A key that the right services may use, and secrets whose values Terraform does not know.

mock_provider "aws" {
  source = "./mocks"
}

variables {
  name       = "shop-production"
  region     = "eu-west-1"
  secrets    = { "api/session" = "Signs cookies" }
  parameters = { "feature/search" = "on" }
}

run "a_key_and_a_secret" {
  module {
    source = "../modules/secrets"
  }

  assert {
    condition     = aws_kms_key.this.enable_key_rotation && aws_kms_key.this.deletion_window_in_days == 30
    error_message = "The key is changed every year, and can be brought back for a month."
  }

  # Whoever is not of this account is let in by a service's name and a condition, or not at all.
  assert {
    condition = alltrue([
      for statement in jsondecode(aws_kms_key.this.policy).Statement :
      try(statement.Principal.AWS, "") == "arn:aws:iam::123456789012:root" || length(try(statement.Condition, {})) > 0
    ])
    error_message = "Nobody but this account may use the key without a condition."
  }

  assert {
    condition = one([
      for statement in jsondecode(aws_kms_key.this.policy).Statement : statement.Condition.ArnEquals["aws:PrincipalArn"]
      if statement.Sid == "AutoScalingStartsInstancesWithEncryptedDisks"
    ]) == "arn:aws:iam::123456789012:role/aws-service-role/autoscaling.amazonaws.com/AWSServiceRoleForAutoScaling"
    error_message = "Auto Scaling may start instances with encrypted disks."
  }

  assert {
    condition     = aws_secretsmanager_secret.this["api/session"].name == "shop-production/api/session" && aws_secretsmanager_secret.this["api/session"].kms_key_id == aws_kms_key.this.arn
    error_message = "The secret is encrypted under the environment's key."
  }

  assert {
    condition     = jsondecode(aws_secretsmanager_secret_policy.this["api/session"].policy).Statement[0].Effect == "Deny" && aws_secretsmanager_secret_policy.this["api/session"].block_public_policy
    error_message = "Nobody of another account reads it."
  }

  assert {
    condition     = aws_ssm_parameter.this["feature/search"].type == "SecureString" && aws_ssm_parameter.this["feature/search"].key_id == aws_kms_key.this.arn
    error_message = "Parameters are encrypted too."
  }
}

run "a_long_name_is_refused" {
  command = plan

  module {
    source = "../modules/secrets"
  }

  variables {
    name = "a-name-that-is-much-too-long-for-load-balancers"
  }

  expect_failures = [var.name]
}
