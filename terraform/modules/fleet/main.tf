# The instances of one tier: a launch template, an Auto Scaling group whose hooks agree with the agent,
# and scaling. What an instance may do is in iam.tf.
#
# Which image and which version of the template the group runs is not Terraform's: the provider would
# write it to the group before the refresh begins, so that a rollback went to the new one, and would not
# wait for its end. Terraform makes new versions; `groundcrew fleet refresh` (or the console) rolls them
# out.

data "aws_caller_identity" "current" {}

data "aws_partition" "current" {}

locals {
  account   = data.aws_caller_identity.current.account_id
  partition = data.aws_partition.current.partition

  hooks = { launch = "groundcrew-launch", terminate = "groundcrew-terminate" }

  # "2 to N with room for four times the usual load" is the default of N.
  max_instances = coalesce(var.max_instances, 4 * max(var.min_instances, 1))

  # Several types are a policy of their own; one is the template's.
  mixed = length(var.instance_types) > 1

  tags = merge(var.tags, {
    Name        = var.name
    groundcrew  = var.environment
    environment = var.environment
    tier        = var.tier
  })

}

module "configuration" {
  source = "./configuration"

  environment           = var.environment
  region                = var.region
  source_url            = "s3://${var.releases.bucket}${var.releases.prefix == "" ? "" : "/${var.releases.prefix}"}"
  tiers                 = { (var.tier) = var.process }
  listen                = var.metrics_source_security_group_id == null ? "127.0.0.1:9180" : "0.0.0.0:9180"
  hooks                 = values(local.hooks)
  launch_within_seconds = var.launch_within_seconds
  rebalance             = var.rebalance
  log_group             = var.log_group
  metrics               = var.metrics
  traces_sample         = var.traces_sample
  notify                = var.notify
  backup_store          = var.backup_store
  backups               = var.backups
  extra                 = var.configuration_extra
  user_data_extra       = var.user_data_extra
}

resource "aws_security_group" "this" {
  name_prefix = "${var.name}-"
  description = "Instances of ${var.name}"
  vpc_id      = var.vpc_id
  tags        = merge(local.tags, { Name = var.name })

  lifecycle {
    create_before_destroy = true
  }
}

# A tier is reached from its load balancers, on its port, and from nowhere else. There is no SSH:
# `aws ssm start-session` needs no open port.
resource "aws_vpc_security_group_ingress_rule" "balancer" {
  for_each = var.load_balancers

  security_group_id            = aws_security_group.this.id
  description                  = "Requests from load balancer ${each.key}"
  referenced_security_group_id = each.value.security_group_id
  ip_protocol                  = "tcp"
  from_port                    = each.value.port
  to_port                      = each.value.port
}

# The other half, on the balancer's side: it reaches its targets and nothing else.
resource "aws_vpc_security_group_egress_rule" "balancer" {
  for_each = var.load_balancers

  security_group_id            = each.value.security_group_id
  description                  = "Requests and health checks to ${var.name}"
  referenced_security_group_id = aws_security_group.this.id
  ip_protocol                  = "tcp"
  from_port                    = each.value.port
  to_port                      = each.value.port
}

# AWS, and what the application calls, are reached over HTTPS. Plain ports of other services are
# opened one by one, by the modules that make them (database, cache, search) or by egress.
resource "aws_vpc_security_group_egress_rule" "https" {
  security_group_id = aws_security_group.this.id
  description       = "HTTPS to AWS and to services of others"
  cidr_ipv4         = "0.0.0.0/0"
  ip_protocol       = "tcp"
  from_port         = 443
  to_port           = 443
}

resource "aws_vpc_security_group_egress_rule" "extra" {
  for_each = var.egress

  security_group_id = aws_security_group.this.id
  description       = each.key
  cidr_ipv4         = each.value.cidr
  ip_protocol       = each.value.protocol
  from_port         = each.value.port
  to_port           = each.value.port
}

resource "aws_vpc_security_group_ingress_rule" "metrics" {
  count = var.metrics_source_security_group_id == null ? 0 : 1

  security_group_id            = aws_security_group.this.id
  description                  = "Metrics of the agent, from Prometheus"
  referenced_security_group_id = var.metrics_source_security_group_id
  ip_protocol                  = "tcp"
  from_port                    = 9180
  to_port                      = 9180
}

resource "aws_launch_template" "this" {
  name_prefix = "${var.name}-"
  description = "Instances of ${var.name}"
  image_id    = var.ami_id
  # The preferred one; a policy of several overrides it.
  instance_type = var.instance_types[0]
  user_data     = base64encode(module.configuration.user_data)
  # Taken by whoever starts an instance by hand; the group names its version.
  update_default_version = true
  ebs_optimized          = true

  iam_instance_profile {
    arn = aws_iam_instance_profile.this.arn
  }

  # No key_name: there is no key pair that could be lost.

  # IMDSv2 only, and not over a hop: a container or a forged request gets no credentials. The agent
  # keeps the tiers' users from it as well (systemd/imds-guard.nft).
  metadata_options {
    http_endpoint               = "enabled"
    http_tokens                 = "required"
    http_put_response_hop_limit = 1
    instance_metadata_tags      = "enabled"
  }

  network_interfaces {
    device_index                = 0
    associate_public_ip_address = false
    delete_on_termination       = true
    security_groups             = [aws_security_group.this.id]
  }

  block_device_mappings {
    device_name = var.root_device

    ebs {
      volume_type           = "gp3"
      volume_size           = var.disk_gib
      encrypted             = true
      kms_key_id            = var.key_arn
      delete_on_termination = true
    }
  }

  monitoring {
    enabled = var.detailed_monitoring
  }

  dynamic "tag_specifications" {
    # Tags of the provider do not reach what the group starts.
    for_each = ["instance", "volume", "network-interface"]

    content {
      resource_type = tag_specifications.value
      tags          = local.tags
    }
  }

  tags = local.tags

  lifecycle {
    create_before_destroy = true
    # `groundcrew fleet refresh --ami` makes versions with newer images. Without this the next apply
    # would take the first image again. Their description is the one above, as it was copied.
    ignore_changes = [image_id]
  }
}

resource "aws_autoscaling_group" "this" {
  name                = var.name
  vpc_zone_identifier = var.subnet_ids
  min_size            = var.min_instances
  max_size            = local.max_instances
  desired_capacity    = var.min_instances

  # A host that serves nothing is replaced. The grace period begins when the launch hook is completed,
  # which the agent does when every tier is ready.
  health_check_type         = length(var.load_balancers) > 0 ? "ELB" : "EC2"
  health_check_grace_period = 60
  default_instance_warmup   = var.warmup_seconds
  default_cooldown          = 60
  capacity_rebalance        = var.spot_percent > 0
  max_instance_lifetime     = var.max_lifetime_days == null ? null : var.max_lifetime_days * 86400
  termination_policies      = ["OldestLaunchTemplate", "OldestInstance"]
  enabled_metrics = [
    "GroupDesiredCapacity", "GroupInServiceInstances", "GroupMaxSize", "GroupMinSize",
    "GroupPendingInstances", "GroupStandbyInstances", "GroupTerminatingInstances", "GroupTotalInstances",
  ]
  metrics_granularity = "1Minute"

  # The first apply makes the bucket, and only then can a release be published: nothing would ever be
  # in service while this waited.
  wait_for_capacity_timeout = "0"

  # A host that cannot run the release must not count (ABANDON); a host whose agent is gone must not
  # stay (CONTINUE). Both are initial hooks, because separate ones miss the first instances, and are
  # destroyed before the instances. The provider neither refreshes nor changes initial hooks: to
  # change one, `aws autoscaling put-lifecycle-hook`, then the variable. `groundcrew doctor` compares
  # them with what a drain takes.
  initial_lifecycle_hook {
    name                 = local.hooks.launch
    lifecycle_transition = "autoscaling:EC2_INSTANCE_LAUNCHING"
    heartbeat_timeout    = var.launch_heartbeat_seconds
    default_result       = "ABANDON"
  }

  initial_lifecycle_hook {
    name                 = local.hooks.terminate
    lifecycle_transition = "autoscaling:EC2_INSTANCE_TERMINATING"
    heartbeat_timeout    = var.terminate_heartbeat_seconds
    default_result       = "CONTINUE"
  }

  # A replacement is there before what it replaces goes.
  instance_maintenance_policy {
    min_healthy_percentage = 100
    max_healthy_percentage = 110
  }

  # The version is a number, because a rollback from $Latest goes nowhere.
  dynamic "launch_template" {
    for_each = local.mixed ? [] : [1]

    content {
      id      = aws_launch_template.this.id
      version = aws_launch_template.this.latest_version
    }
  }

  dynamic "mixed_instances_policy" {
    for_each = local.mixed ? [1] : []

    content {
      instances_distribution {
        on_demand_base_capacity                  = var.on_demand_base
        on_demand_percentage_above_base_capacity = 100 - var.spot_percent
        on_demand_allocation_strategy            = "prioritized"
        spot_allocation_strategy                 = "price-capacity-optimized"
      }

      launch_template {
        launch_template_specification {
          launch_template_id = aws_launch_template.this.id
          version            = aws_launch_template.this.latest_version
        }

        dynamic "override" {
          for_each = var.instance_types

          content {
            instance_type = override.value
          }
        }
      }
    }
  }

  dynamic "warm_pool" {
    for_each = var.warm_pool == null ? [] : [var.warm_pool]

    content {
      pool_state                  = warm_pool.value.state
      min_size                    = warm_pool.value.min_size
      max_group_prepared_capacity = warm_pool.value.max_prepared

      instance_reuse_policy {
        reuse_on_scale_in = warm_pool.value.reuse_on_scale_in
      }
    }
  }

  dynamic "tag" {
    for_each = local.tags

    content {
      key   = tag.key
      value = tag.value
      # The launch template tags instances, and their disks as well.
      propagate_at_launch = false
    }
  }

  lifecycle {
    ignore_changes = [
      desired_capacity,
      launch_template[0].version,
      mixed_instances_policy[0].launch_template[0].launch_template_specification[0].version,
      # Attached below, one by one.
      target_group_arns,
      traffic_source,
    ]

    precondition {
      condition     = local.max_instances >= var.min_instances
      error_message = "Let max_instances of ${var.name} be ${var.min_instances} or more."
    }
  }

  # An instance that starts without its rights would fail its launch.
  depends_on = [aws_iam_role_policy.agent, aws_iam_role_policy.releases, aws_iam_role_policy.session_manager]
}

resource "aws_autoscaling_traffic_source_attachment" "this" {
  for_each = var.load_balancers

  autoscaling_group_name = aws_autoscaling_group.this.name

  traffic_source {
    identifier = each.value.target_group_arn
    type       = "elbv2"
  }
}

resource "aws_autoscaling_policy" "cpu" {
  count = var.cpu_target_percent == null ? 0 : 1

  name                   = "cpu"
  autoscaling_group_name = aws_autoscaling_group.this.name
  policy_type            = "TargetTrackingScaling"

  target_tracking_configuration {
    target_value = var.cpu_target_percent

    predefined_metric_specification {
      predefined_metric_type = "ASGAverageCPUUtilization"
    }
  }
}

# Scaling by requests is quicker than by CPU where the tier waits for others.
resource "aws_autoscaling_policy" "requests" {
  for_each = var.requests_per_instance_target == null ? {} : var.load_balancers

  name                   = "requests-${each.key}"
  autoscaling_group_name = aws_autoscaling_group.this.name
  policy_type            = "TargetTrackingScaling"

  target_tracking_configuration {
    target_value = var.requests_per_instance_target

    predefined_metric_specification {
      predefined_metric_type = "ALBRequestCountPerTarget"
      resource_label         = "${each.value.balancer_arn_suffix}/${each.value.target_group_arn_suffix}"
    }
  }

  depends_on = [aws_autoscaling_traffic_source_attachment.this]
}

resource "aws_autoscaling_schedule" "this" {
  for_each = var.schedules

  scheduled_action_name  = each.key
  autoscaling_group_name = aws_autoscaling_group.this.name
  recurrence             = each.value.recurrence
  time_zone              = each.value.time_zone
  # -1 leaves a number as it is.
  min_size         = each.value.min_instances
  max_size         = each.value.max_instances
  desired_capacity = each.value.desired_instances
}
