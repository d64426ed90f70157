# The tests' root: empty, each run names the module that it is about. From here:
#   terraform init && terraform test -test-directory=.
# No AWS is asked: the provider is mocked, and answers as mocks/aws.tfmock.hcl says.

terraform {
  required_version = ">= 1.11"

  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = ">= 5.100, < 7.0"
    }
  }
}
