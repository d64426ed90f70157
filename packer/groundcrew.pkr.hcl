# Images of a host for groundcrew: Amazon Linux 2023 and Debian 12, for x86-64 and arm64. What is in them is
# made by scripts/, which tests/provision runs in a container. README.md says how to build one.

packer {
  required_version = ">= 1.9"

  required_plugins {
    amazon = {
      source  = "github.com/hashicorp/amazon"
      version = ">= 1.3.0, < 2.0.0"
    }
  }
}

variable "region" {
  type        = string
  default     = "eu-west-1"
  description = "Where the images are made."
}

variable "copy_regions" {
  type        = list(string)
  default     = []
  description = "Where they are copied to, such as the recovery region."
}

variable "name" {
  type        = string
  default     = "groundcrew"
  description = "Begins the images' names."
}

variable "version" {
  type        = string
  description = "Of the images, such as the pipeline's number and commit: part of their names, which are never used twice."
}

variable "agent_packages" {
  type        = string
  description = "A directory with the agent's packages, as scripts/package makes them, for what is built."
}

variable "node_version" {
  type        = string
  default     = "24.19.0"
  description = "With node_sha256, from SHASUMS256.txt of that version."
}

variable "node_sha256" {
  type = map(string)
  default = {
    x64   = "f625d97cd707df4ff96254916fbc5ff014f09c09effe5a1e0ca8f6d41a8789d4"
    arm64 = "d28c8a5bf0a808f0ed434a1dce8c54ae98f0371c0bd86ac58abc613f73e6643f"
  }
  description = "Digests of its .tar.gz, by architecture."
}

variable "postgresql_majors" {
  type        = list(string)
  default     = ["15", "16", "17"]
  description = "Clients of PostgreSQL. Amazon Linux gets the newest of them, which dumps the older ones too."
}

variable "mysql" {
  type        = bool
  default     = true
  description = "Whether there is a client of MySQL and MariaDB."
}

variable "rds_certificates" {
  type        = string
  default     = "https://truststore.pki.rds.amazonaws.com/global/global-bundle.pem"
  description = "Where the certificates come from that RDS's servers are known by, for dumps; empty for none."
}

variable "ssm_agent_version" {
  type        = string
  default     = "latest"
  description = "Of the agent of Session Manager, for Debian; Amazon Linux has its own."
}

variable "ssm_agent_sha256" {
  type        = map(string)
  default     = { x86_64 = "", arm64 = "" }
  description = "Digests of its .deb, by architecture, where ssm_agent_version names one version."
}

variable "release" {
  type = object({
    source      = string
    environment = string
  })
  default = {
    source      = ""
    environment = ""
  }
  description = "A release that is baked in: the one that the environment's channel asks for. Needs instance_profile."
}

variable "instance_profile" {
  type        = string
  default     = null
  description = "The role of the instance that builds: to read the source of a baked release, and for nothing else."
}

variable "subnet_id" {
  type        = string
  default     = null
  description = "Where the instance that builds stands; null for the default network."
}

variable "ssh_source_cidrs" {
  type        = list(string)
  default     = []
  description = "Who may reach the instance that builds; by default only the address that Packer runs at."
}

variable "kms_key_id" {
  type        = string
  default     = null
  description = "The key of the images' disks; null for the account's default. A key of one's own is needed to share them with other accounts."
}

variable "account_ids" {
  type        = list(string)
  default     = []
  description = "Accounts that may use the images."
}

locals {
  scripts = "/tmp/groundcrew-provision"

  tags = {
    Name       = "${var.name}-${var.version}"
    groundcrew = var.version
    node       = var.node_version
    base       = "{{ .SourceAMIName }}"
    base_ami   = "{{ .SourceAMI }}"
  }
}

source "amazon-ebs" "host" {
  region               = var.region
  ami_regions          = var.copy_regions
  ami_users            = var.account_ids
  encrypt_boot         = true
  kms_key_id           = var.kms_key_id
  iam_instance_profile = var.instance_profile
  subnet_id            = var.subnet_id
  ebs_optimized        = true
  force_deregister     = false
  shutdown_behavior    = "terminate"
  ssh_timeout          = "10m"
  tags                 = local.tags
  snapshot_tags        = local.tags
  run_tags             = { Name = "packer-${var.name}-${var.version}" }
  run_volume_tags      = { Name = "packer-${var.name}-${var.version}" }

  # Instances of the image ask for its metadata with a token, or get nothing; so does this one.
  imds_support = "v2.0"
  metadata_options {
    http_endpoint               = "enabled"
    http_tokens                 = "required"
    http_put_response_hop_limit = 1
  }

  # The key is for this build, and is not in the image.
  temporary_key_pair_type                   = "ed25519"
  ssh_clear_authorized_keys                 = true
  temporary_security_group_source_cidrs     = var.ssh_source_cidrs
  temporary_security_group_source_public_ip = length(var.ssh_source_cidrs) == 0

  launch_block_device_mappings {
    device_name           = "/dev/xvda"
    volume_type           = "gp3"
    volume_size           = 8
    iops                  = 3000
    throughput            = 125
    delete_on_termination = true
  }

  # What cannot be built in an hour hangs.
  aws_polling {
    delay_seconds = 15
    max_attempts  = 240
  }
}

build {
  name = "groundcrew"

  source "amazon-ebs.host" {
    name          = "al2023-x86_64"
    ami_name      = "${var.name}-al2023-x86_64-${var.version}"
    instance_type = "t3.small"
    ssh_username  = "ec2-user"
    source_ami_filter {
      owners      = ["amazon"]
      most_recent = true
      filters     = { name = "al2023-ami-2023.*-x86_64", root-device-type = "ebs", virtualization-type = "hvm" }
    }
  }

  source "amazon-ebs.host" {
    name          = "al2023-arm64"
    ami_name      = "${var.name}-al2023-arm64-${var.version}"
    instance_type = "t4g.small"
    ssh_username  = "ec2-user"
    source_ami_filter {
      owners      = ["amazon"]
      most_recent = true
      filters     = { name = "al2023-ami-2023.*-arm64", root-device-type = "ebs", virtualization-type = "hvm" }
    }
  }

  # 136693071363 is Debian's own account.
  source "amazon-ebs.host" {
    name          = "debian12-x86_64"
    ami_name      = "${var.name}-debian12-x86_64-${var.version}"
    instance_type = "t3.small"
    ssh_username  = "admin"
    source_ami_filter {
      owners      = ["136693071363"]
      most_recent = true
      filters     = { name = "debian-12-amd64-*", root-device-type = "ebs", virtualization-type = "hvm" }
    }
  }

  source "amazon-ebs.host" {
    name          = "debian12-arm64"
    ami_name      = "${var.name}-debian12-arm64-${var.version}"
    instance_type = "t4g.small"
    ssh_username  = "admin"
    source_ami_filter {
      owners      = ["136693071363"]
      most_recent = true
      filters     = { name = "debian-12-arm64-*", root-device-type = "ebs", virtualization-type = "hvm" }
    }
  }

  # What cloud-init still does would be in the way of the package manager.
  provisioner "shell" {
    inline = ["sudo cloud-init status --wait >/dev/null || true", "mkdir -p ${local.scripts}/packages"]
  }

  provisioner "file" {
    source      = "${path.root}/scripts/"
    destination = local.scripts
  }

  provisioner "file" {
    source      = "${var.agent_packages}/"
    destination = "${local.scripts}/packages"
  }

  provisioner "shell" {
    execute_command = "chmod +x {{ .Path }}; sudo env {{ .Vars }} {{ .Path }}"
    inline          = ["exec bash ${local.scripts}/provision"]
    environment_vars = [
      "AGENT_PACKAGES=${local.scripts}/packages",
      "AWS_REGION=${var.region}",
      "NODE_VERSION=${var.node_version}",
      "NODE_SHA256_X64=${var.node_sha256["x64"]}",
      "NODE_SHA256_ARM64=${var.node_sha256["arm64"]}",
      "POSTGRESQL_MAJORS=${join(" ", var.postgresql_majors)}",
      "MYSQL=${var.mysql ? "1" : ""}",
      "RDS_CERTIFICATES=${var.rds_certificates}",
      "SSM_AGENT_VERSION=${var.ssm_agent_version}",
      "SSM_AGENT_SHA256=${can(regex("arm64$", source.name)) ? var.ssm_agent_sha256["arm64"] : var.ssm_agent_sha256["x86_64"]}",
      "RELEASE_SOURCE=${var.release.source}",
      "RELEASE_ENVIRONMENT=${var.release.environment}",
    ]
  }

  # With the tests of this repository, which know what is in it.
  provisioner "file" {
    direction   = "download"
    source      = "/usr/share/groundcrew/image.cdx.json"
    destination = "${path.cwd}/${var.name}-${source.name}-${var.version}.cdx.json"
  }

  provisioner "shell" {
    inline = ["sudo rm -rf ${local.scripts}"]
  }

  # Which image has which id: what a pipeline hands to the fleet.
  post-processor "manifest" {
    output     = "${path.cwd}/${var.name}-${var.version}.manifest.json"
    strip_path = true
    custom_data = {
      version = var.version
      node    = var.node_version
    }
  }
}
