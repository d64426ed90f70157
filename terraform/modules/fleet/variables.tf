variable "name" {
  description = "Of the group and what belongs to it, such as \"shop-production-web\"."
  type        = string

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]*[a-z0-9]$", var.name)) && length(var.name) <= 40
    error_message = "Choose a name of at most 40 lower-case letters, digits and hyphens."
  }
}

variable "environment" {
  description = "The channel that the agents follow: what `groundcrew promote --environment` names."
  type        = string

  validation {
    condition     = can(regex("^[A-Za-z0-9_][A-Za-z0-9._-]{0,63}$", var.environment))
    error_message = "Name the environment with letters, digits and . - _, up to 64 of them, beginning with a letter or a digit."
  }
}

variable "tier" {
  description = "The tier of the release that these instances run."
  type        = string

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]*$", var.tier))
    error_message = "Name the tier as release.toml does, with lower-case letters, digits and hyphens."
  }
}

variable "region" {
  description = "The region, as AWS writes it."
  type        = string
}

variable "vpc_id" {
  description = "The VPC."
  type        = string
}

variable "subnet_ids" {
  description = "The instances' subnets, of two zones at least."
  type        = list(string)

  validation {
    condition     = length(var.subnet_ids) >= 2
    error_message = "Name subnets of two zones at least: one zone may fail."
  }
}

variable "ami_id" {
  description = "The image of the first instances. Later ones are rolled out by `groundcrew fleet refresh --ami`, and this is not looked at again."
  type        = string

  validation {
    condition     = can(regex("^ami-[0-9a-f]{8,17}$", var.ami_id))
    error_message = "Give ami_id an image's id, such as \"ami-0a1b2c3d4e5f67890\", and not a parameter that points to one: nothing can be rolled back to that."
  }
}

variable "instance_types" {
  description = "Types to choose from, the preferred one first. All must be of the image's architecture."
  type        = list(string)
  default     = ["t4g.small"]

  validation {
    condition     = length(var.instance_types) >= 1 && length(var.instance_types) <= 40
    error_message = "Name at least one instance type."
  }

  validation {
    condition     = var.spot_percent == 0 || length(var.instance_types) >= 3
    error_message = "Name three instance types or more where spot_percent is above 0: a market of one type runs dry."
  }
}

variable "root_device" {
  description = "The root device of the image: /dev/xvda of Amazon Linux and Debian."
  type        = string
  default     = "/dev/xvda"
}

variable "disk_gib" {
  description = "The root disk. The agent keeps up to 10 GiB of releases and 2 GiB of logs."
  type        = number
  default     = 20

  validation {
    condition     = var.disk_gib >= 16
    error_message = "Give disk_gib as 16 or more: the agent keeps up to 10 GiB of releases and 2 GiB of logs beside the system."
  }
}

variable "key_arn" {
  description = "The key of disks, releases and secrets."
  type        = string
}

variable "permissions_boundary_arn" {
  description = "A boundary for the role, where the account asks for one."
  type        = string
  default     = null
}

variable "releases" {
  description = "Where releases live."
  type = object({
    bucket = string
    prefix = optional(string, "")
  })

  validation {
    condition     = !startswith(var.releases.prefix, "/") && !endswith(var.releases.prefix, "/")
    error_message = "Write releases.prefix without slashes at its ends, such as \"shop\"."
  }
}

variable "process" {
  description = "The tier on each instance: what the release leaves to the host. secrets are environment variables with the ARN of a secret and, when it holds JSON, the member of it."
  type = object({
    port       = optional(number)
    user       = optional(string, "app")
    processes  = optional(string)
    memory_max = optional(string)
    pids_max   = optional(number)
    cpu_max    = optional(string)
    env        = optional(map(string), {})
    secrets = optional(map(object({
      arn    = string
      member = optional(string)
    })), {})
  })
  default = {}

  validation {
    condition     = alltrue([for key in concat(keys(var.process.env), keys(var.process.secrets)) : can(regex("^[A-Za-z_][A-Za-z0-9_]*$", key)) && !can(regex("^(PORT$|LISTEN_|GROUNDCREW_)", key))])
    error_message = "Name environment variables with letters, digits and _, and not PORT, LISTEN_... or GROUNDCREW_..., which are the agent's."
  }

  validation {
    condition     = length(setintersection(keys(var.process.env), keys(var.process.secrets))) == 0
    error_message = "Let each environment variable be in env or in secrets, not in both."
  }

  validation {
    condition     = !anytrue([for value in values(var.process.env) : strcontains(value, "{{secret")])
    error_message = "Name secrets in process.secrets: user data may not hold them, nor stand for them in env."
  }
}

variable "load_balancers" {
  description = "The target groups that these instances stand in: entries of modules/edge's output targets, by a name of your own."
  type = map(object({
    target_group_arn             = string
    target_group_arn_suffix      = string
    balancer_arn_suffix          = string
    security_group_id            = string
    port                         = number
    deregistration_delay_seconds = number
  }))
  default = {}

  validation {
    condition = alltrue([
      for balancer in values(var.load_balancers) :
      balancer.deregistration_delay_seconds >= var.drain.bleed_seconds && balancer.deregistration_delay_seconds <= 10 * var.drain.bleed_seconds
    ])
    error_message = "Let the deregistration delay of each target group be between the release's bleed and ten times that: with less, the balancer fails requests that the host would still answer; with more, the host cuts those that the balancer would wait for."
  }
}

variable "drain" {
  description = "What leaving takes, as the release's release.toml has it: the longest bleed and stop of the tier."
  type = object({
    bleed_seconds = optional(number, 30)
    stop_seconds  = optional(number, 10)
  })
  default = {}

  # TimeoutStopSec of groundcrew.service is 300 s; 5 s are the agent's reserve.
  validation {
    condition     = var.drain.bleed_seconds + var.drain.stop_seconds + 5 <= 300
    error_message = "Let bleed and stop be 295 s at most together, or raise TimeoutStopSec of groundcrew.service in the image: systemd kills what takes longer."
  }

  # A spot notice comes 120 s ahead at most.
  validation {
    condition     = var.spot_percent == 0 || var.drain.bleed_seconds + var.drain.stop_seconds + 5 <= 120
    error_message = "Let bleed and stop be 115 s at most together where spot_percent is above 0: the spot market gives 120 s."
  }
}

variable "launch_heartbeat_seconds" {
  description = "Heartbeat timeout of the launch hook. It is a property of the group's first moment: see the README to change it later."
  type        = number
  default     = 300

  validation {
    condition     = var.launch_heartbeat_seconds >= 120 && var.launch_heartbeat_seconds <= 7200
    error_message = "Give launch_heartbeat_seconds as 120 to 7200: the agent sends a heartbeat at half of it, and may be away for 60 s."
  }
}

variable "launch_within_seconds" {
  description = "How long a launch may take before the agent gives it up and the group replaces the instance."
  type        = number
  default     = 900

  validation {
    condition     = var.launch_within_seconds >= 30 && var.launch_within_seconds <= min(172800, 100 * var.launch_heartbeat_seconds)
    error_message = "Give launch_within_seconds as 30 to a hundred times launch_heartbeat_seconds, 172800 at most: a hook holds no longer."
  }
}

variable "terminate_heartbeat_seconds" {
  description = "Heartbeat timeout of the terminate hook. It is a property of the group's first moment: see the README to change it later."
  type        = number
  default     = 300

  validation {
    condition     = var.terminate_heartbeat_seconds >= 120 && var.terminate_heartbeat_seconds <= 7200
    error_message = "Give terminate_heartbeat_seconds as 120 to 7200: the agent sends a heartbeat at half of it, and may be away for 60 s."
  }

  # The agent's heartbeats make it last longer; this is what a drain has whose agent cannot send any.
  # 60 s are for the last logs (LOGS_SHIP_WITHIN), 5 s the reserve (DRAIN_RESERVE).
  validation {
    condition = var.terminate_heartbeat_seconds >= (
      max(concat([0], [for balancer in values(var.load_balancers) : balancer.deregistration_delay_seconds])...)
      + var.drain.bleed_seconds + var.drain.stop_seconds + 60 + 5
    )
    error_message = "Let terminate_heartbeat_seconds hold for a whole drain: the longest deregistration delay, bleed, stop, 60 s for the last logs and 5 s in reserve. Raise it, or lower those."
  }
}

variable "rebalance" {
  description = "What the agent does at a rebalance recommendation: ignore, prepare or drain."
  type        = string
  default     = "prepare"

  validation {
    condition     = contains(["ignore", "prepare", "drain"], var.rebalance)
    error_message = "Let rebalance be ignore, prepare or drain."
  }
}

variable "min_instances" {
  description = "Instances at least."
  type        = number
  default     = 2

  validation {
    condition     = var.min_instances >= 0
    error_message = "Give min_instances as 0 or more."
  }
}

variable "max_instances" {
  description = "Instances at most; null for four times min_instances."
  type        = number
  default     = null
}

variable "warmup_seconds" {
  description = "How long after its launch an instance's numbers do not count for scaling."
  type        = number
  default     = 60
}

variable "max_lifetime_days" {
  description = "After so many days an instance is replaced, which drains it; null for never."
  type        = number
  default     = null

  validation {
    condition     = var.max_lifetime_days == null || try(var.max_lifetime_days >= 1 && var.max_lifetime_days <= 365, false)
    error_message = "Give max_lifetime_days as 1 to 365, or null."
  }
}

variable "on_demand_base" {
  description = "Instances that are on demand in any case."
  type        = number
  default     = 0
}

variable "spot_percent" {
  description = "Share of spot instances above on_demand_base."
  type        = number
  default     = 0

  validation {
    condition     = var.spot_percent >= 0 && var.spot_percent <= 100
    error_message = "Give spot_percent as 0 to 100."
  }
}

variable "cpu_target_percent" {
  description = "CPU that target tracking aims at; null for no scaling by CPU. At 50, twice the load fits until new instances are there."
  type        = number
  default     = 50

  validation {
    condition     = var.cpu_target_percent == null || try(var.cpu_target_percent >= 10 && var.cpu_target_percent <= 90, false)
    error_message = "Give cpu_target_percent as 10 to 90, or null."
  }
}

variable "requests_per_instance_target" {
  description = "Requests a minute and instance that target tracking aims at; null for no scaling by requests."
  type        = number
  default     = null
}

variable "schedules" {
  description = "Sizes at times known beforehand, by name. -1 leaves a number as it is."
  type = map(object({
    recurrence        = string
    time_zone         = optional(string, "Etc/UTC")
    min_instances     = optional(number, -1)
    max_instances     = optional(number, -1)
    desired_instances = optional(number, -1)
  }))
  default = {}

  validation {
    condition     = alltrue([for schedule in values(var.schedules) : length(split(" ", schedule.recurrence)) == 5])
    error_message = "Write recurrence as cron does, with five fields, such as \"0 7 * * MON-FRI\"."
  }
}

variable "warm_pool" {
  description = "Instances prepared beforehand, where a start takes minutes; null for none. It only costs money where one takes seconds."
  type = object({
    state             = optional(string, "Stopped")
    min_size          = optional(number, 1)
    max_prepared      = optional(number)
    reuse_on_scale_in = optional(bool, false)
  })
  default = null

  validation {
    condition     = var.warm_pool == null || try(contains(["Stopped", "Running", "Hibernated"], var.warm_pool.state), false)
    error_message = "Let warm_pool.state be Stopped, Running or Hibernated."
  }

  validation {
    condition     = var.warm_pool == null || (var.spot_percent == 0 && length(var.instance_types) == 1)
    error_message = "Let there be one instance type and no spot_percent where there is a warm pool: AWS has long refused both in one group."
  }
}

variable "egress" {
  description = "What the tier calls beside HTTPS, by description."
  type = map(object({
    cidr     = string
    port     = number
    protocol = optional(string, "tcp")
  }))
  default = {}

  validation {
    condition     = alltrue([for description in keys(var.egress) : can(regex("^[a-zA-Z0-9. _:/()#,@\\[\\]+=&;{}!$*-]{1,255}$", description))])
    error_message = "Let the keys of egress be of letters, digits, spaces and ._-:/()#,@[]+=&;{}!$*: EC2 takes no others in the description of a rule, such as an apostrophe."
  }
}

variable "metrics_source_security_group_id" {
  description = "Security group of a Prometheus that scrapes the agents; null for none, and /metrics on this host only."
  type        = string
  default     = null
}

variable "metrics" {
  description = "How the agent's metrics go to CloudWatch: see docs/metrics.md for what each costs."
  type = object({
    namespace    = optional(string, "groundcrew")
    per_instance = optional(bool, false)
    dimensions   = optional(list(string), [])
  })
  default = {}
}

variable "metrics_namespaces" {
  description = "Further namespaces of CloudWatch that the instances may write to, such as that of the application."
  type        = list(string)
  default     = []
}

variable "log_group" {
  description = "The log group of a tier, with the agent's places, such as \"/groundcrew/shop-production/{tier}\"."
  type        = string
}

variable "log_group_arns" {
  description = "The log groups that the instances may write to."
  type        = list(string)

  validation {
    condition     = length(var.log_group_arns) > 0
    error_message = "Name the tier's log group and those of the agent: modules/observability makes them."
  }
}

variable "notify" {
  description = "Topics of SNS that the agent tells of what happens, by the name of the target; see docs/notify.md."
  type = map(object({
    topic_arn = string
    min_level = optional(string, "warning")
    topics    = optional(list(string), [])
  }))
  default = {}

  validation {
    condition     = alltrue([for target in values(var.notify) : contains(["normal", "warning", "error"], target.min_level)])
    error_message = "Let min_level be normal, warning or error."
  }
}

variable "traces_sample" {
  description = "The share of requests that become segments in X-Ray, such as \"5%\"; null for none."
  type        = string
  default     = null

  validation {
    condition     = var.traces_sample == null || can(regex("^[0-9]+(\\.[0-9]+)?%$", var.traces_sample))
    error_message = "Write traces_sample as a percentage, such as \"5%\"."
  }
}

variable "policies" {
  description = "What else the tier may do: IAM policies as JSON, by name."
  type        = map(string)
  default     = {}
}

variable "detailed_monitoring" {
  description = "EC2's metrics every minute instead of every five: scaling by CPU needs it to be quick."
  type        = bool
  default     = true
}

variable "backup_store" {
  description = "Where the fleet remembers its backups and keeps its dumps: an S3 URL; null where there are none."
  type        = string
  default     = null
}

variable "backups" {
  description = "Nightly jobs, by name; see docs/backups.md. keep holds rules such as keep_daily, copies what other regions get, connection how a dump is made, restore where a snapshot is restored for proof."
  type = map(object({
    kind     = string
    database = string
    schedule = string
    timezone = optional(string, "UTC")
    levels   = optional(list(string), ["L0"])
    keep     = map(number)
    copies   = optional(map(object({ key_arn = string, keep = map(number) })), {})
    connection = optional(object({
      host           = string
      port           = number
      user           = string
      tls_ca_file    = string
      age_recipients = optional(list(string), [])
      kms_key        = optional(string)
    }))
    restore = optional(object({
      subnet_group    = string
      security_groups = list(string)
      class           = string
      parameter_group = optional(string)
    }))
  }))
  default = {}
}

variable "configuration_extra" {
  description = "More of the agent's configuration, as TOML that begins with a table, such as \"[poll]\\ninterval = \\\"5s\\\"\"."
  type        = string
  default     = ""

  validation {
    condition     = var.configuration_extra == "" || startswith(trimspace(var.configuration_extra), "[")
    error_message = "Let configuration_extra begin with a table, such as [poll]: it is appended to what is there."
  }
}

variable "user_data_extra" {
  description = "More of the first boot, as bash. It runs before the agent starts, and must hold no secret."
  type        = string
  default     = ""
}

variable "tags" {
  description = "Tags of everything here, the instances included, beside those of the provider."
  type        = map(string)
  default     = {}

  # The metadata service offers tags as paths, so AWS refuses to start an instance with others.
  validation {
    condition     = alltrue([for key in keys(var.tags) : can(regex("^[A-Za-z0-9+=.,_:@-]+$", key))])
    error_message = "Write the keys of tags without spaces and slashes: instances offer them in their metadata."
  }
}
