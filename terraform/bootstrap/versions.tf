terraform {
  required_version = ">= 1.11"

  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = ">= 5.100, < 7.0"
    }
  }

  # The first apply has no bucket to keep its state in, because it makes it. Afterwards uncomment this,
  # and `terraform init -migrate-state -backend-config=backend.hcl`.
  # backend "s3" {
  #   key          = "bootstrap/terraform.tfstate"
  #   encrypt      = true
  #   use_lockfile = true
  # }
}

provider "aws" {
  region = var.region

  default_tags {
    tags = {
      product    = var.product
      managed_by = "terraform"
    }
  }
}
