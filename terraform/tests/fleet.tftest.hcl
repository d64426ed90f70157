# A fleet that agrees with the agent: hooks that hold for a drain, metadata for nobody else, rights on
# what is its own, no way in but from its load balancers.

mock_provider "aws" {
  source = "./mocks"
}

variables {
  name        = "shop-production-web"
  environment = "production"
  tier        = "web"
  region      = "eu-west-1"
  vpc_id      = "vpc-0123456789abcdef0"
  subnet_ids  = ["subnet-a", "subnet-b"]
  ami_id      = "ami-0123456789abcdef0"
  key_arn     = "arn:aws:kms:eu-west-1:123456789012:key/11111111-2222-3333-4444-555555555555"
  releases    = { bucket = "shop-production-releases-123456789012", prefix = "shop" }
  log_group   = "/groundcrew/shop-production/{tier}"
  log_group_arns = [
    "arn:aws:logs:eu-west-1:123456789012:log-group:/groundcrew/shop-production/web",
    "arn:aws:logs:eu-west-1:123456789012:log-group:/groundcrew/shop-production/agent",
  ]
  load_balancers = {
    web = {
      target_group_arn             = "arn:aws:elasticloadbalancing:eu-west-1:123456789012:targetgroup/web/0123456789abcdef"
      target_group_arn_suffix      = "targetgroup/web/0123456789abcdef"
      balancer_arn_suffix          = "app/web/0123456789abcdef"
      security_group_id            = "sg-0balancer"
      port                         = 8080
      deregistration_delay_seconds = 60
    }
  }
  process = {
    port    = 8080
    env     = { API_URL = "https://api.shop.example.com" }
    secrets = { SESSION_KEY = { arn = "arn:aws:secretsmanager:eu-west-1:123456789012:secret:shop/session", member = "key" } }
  }
}

run "an_ordinary_tier" {
  module {
    source = "../modules/fleet"
  }

  # ---- metadata, disks, addresses, keys

  assert {
    condition = (
      aws_launch_template.this.metadata_options[0].http_tokens == "required"
      && aws_launch_template.this.metadata_options[0].http_put_response_hop_limit == 1
      && aws_launch_template.this.metadata_options[0].instance_metadata_tags == "enabled"
    )
    error_message = "IMDSv2 is required, over no hop, with the instance's tags."
  }

  assert {
    condition     = aws_launch_template.this.key_name == null || aws_launch_template.this.key_name == ""
    error_message = "There is no key pair: people come by Session Manager."
  }

  assert {
    condition     = alltrue([for mapping in aws_launch_template.this.block_device_mappings : mapping.ebs[0].encrypted == "true" && mapping.ebs[0].kms_key_id == var.key_arn && mapping.ebs[0].volume_type == "gp3"])
    error_message = "Disks are encrypted under the environment's key."
  }

  assert {
    condition     = alltrue([for interface in aws_launch_template.this.network_interfaces : interface.associate_public_ip_address == "false"])
    error_message = "Instances have no public address."
  }

  assert {
    condition     = aws_launch_template.this.ebs_optimized == "true" && aws_launch_template.this.monitoring[0].enabled
    error_message = "Scaling sees CPU every minute."
  }

  assert {
    condition     = toset(aws_launch_template.this.tag_specifications[*].resource_type) == toset(["instance", "volume", "network-interface"])
    error_message = "What the group starts has tags."
  }

  assert {
    condition     = alltrue([for specification in aws_launch_template.this.tag_specifications : specification.tags["groundcrew"] == "production" && specification.tags["tier"] == "web"])
    error_message = "Prometheus finds hosts by the tag groundcrew."
  }

  # ---- the hooks

  assert {
    condition     = length(aws_autoscaling_group.this.initial_lifecycle_hook) == 2 && alltrue([for hook in aws_autoscaling_group.this.initial_lifecycle_hook : startswith(hook.name, "groundcrew-")])
    error_message = "There are two hooks, which the agent knows as its own."
  }

  assert {
    condition = alltrue([
      for hook in aws_autoscaling_group.this.initial_lifecycle_hook :
      hook.default_result == (hook.lifecycle_transition == "autoscaling:EC2_INSTANCE_LAUNCHING" ? "ABANDON" : "CONTINUE")
    ])
    error_message = "A host that cannot start must not count, and one whose agent is gone must not stay."
  }

  # 60 deregistration + 30 bleed + 10 stop + 60 logs + 5 reserve
  assert {
    condition     = output.drain_seconds == 165 && alltrue([for hook in aws_autoscaling_group.this.initial_lifecycle_hook : hook.heartbeat_timeout >= output.drain_seconds])
    error_message = "The terminate hook holds for a whole drain."
  }

  assert {
    condition     = alltrue([for hook in aws_autoscaling_group.this.initial_lifecycle_hook : 100 * hook.heartbeat_timeout >= 900])
    error_message = "The launch hook holds for lifecycle.launch_within."
  }

  # ---- the group

  assert {
    condition     = aws_autoscaling_group.this.min_size == 2 && aws_autoscaling_group.this.max_size == 8
    error_message = "There are two at least, and room for four times that."
  }

  assert {
    condition     = aws_autoscaling_group.this.health_check_type == "ELB"
    error_message = "A host that serves nothing is replaced."
  }

  assert {
    condition     = aws_autoscaling_group.this.launch_template[0].version == "7"
    error_message = "The version is a number: nothing can be rolled back to $Latest."
  }

  assert {
    condition     = length(aws_autoscaling_group.this.mixed_instances_policy) == 0 && !aws_autoscaling_group.this.capacity_rebalance
    error_message = "Nothing is bought on the spot market without being asked for."
  }

  assert {
    condition     = length(aws_autoscaling_group.this.warm_pool) == 0 && length(aws_autoscaling_group.this.instance_refresh) == 0
    error_message = "No warm pool without being asked for; and refreshes are the CLI's."
  }

  assert {
    condition     = aws_autoscaling_group.this.wait_for_capacity_timeout == "0"
    error_message = "The first apply does not wait for a release that nobody can have published."
  }

  assert {
    condition     = toset(keys(aws_autoscaling_traffic_source_attachment.this)) == toset(["web"])
    error_message = "The group stands in its target group."
  }

  assert {
    condition     = aws_autoscaling_policy.cpu[0].target_tracking_configuration[0].target_value == 50
    error_message = "At half its CPU there is time to scale."
  }

  # ---- who reaches whom

  assert {
    condition = alltrue([
      for rule in values(aws_vpc_security_group_ingress_rule.balancer) :
      rule.referenced_security_group_id == "sg-0balancer" && rule.cidr_ipv4 == null && rule.from_port == 8080 && rule.to_port == 8080
    ]) && length(aws_vpc_security_group_ingress_rule.balancer) == 1 && length(aws_vpc_security_group_ingress_rule.metrics) == 0
    error_message = "The tier is reached on its port, from its load balancer, and in no other way; so there is no SSH."
  }

  assert {
    condition     = aws_vpc_security_group_egress_rule.balancer["web"].security_group_id == "sg-0balancer" && aws_vpc_security_group_egress_rule.balancer["web"].to_port == 8080
    error_message = "The load balancer may reach its targets."
  }

  assert {
    condition     = aws_vpc_security_group_egress_rule.https.from_port == 443 && aws_vpc_security_group_egress_rule.https.to_port == 443 && length(aws_vpc_security_group_egress_rule.extra) == 0
    error_message = "The tier goes out over HTTPS only."
  }

  # ---- the role

  # "*" stands only beside these, of which none names a resource.
  assert {
    condition = alltrue(flatten([
      for policy in [aws_iam_role_policy.agent.policy, aws_iam_role_policy.releases.policy, aws_iam_role_policy.session_manager.policy] : [
        for statement in jsondecode(policy).Statement : [
          for action in flatten([statement.Action]) : can(regex(
            "^(autoscaling:Describe|elasticloadbalancing:Describe|ec2messages:|ssmmessages:|ssm:UpdateInstanceInformation$|cloudwatch:PutMetricData$)", action
          ))
        ] if contains(flatten([statement.Resource]), "*")
      ]
    ]))
    error_message = "A role names every resource that can be named."
  }

  assert {
    condition = alltrue(flatten([
      for policy in [aws_iam_role_policy.agent.policy, aws_iam_role_policy.releases.policy, aws_iam_role_policy.session_manager.policy] : [
        for statement in jsondecode(policy).Statement : [for action in flatten([statement.Action]) : !strcontains(action, "*")]
      ]
    ]))
    error_message = "A role names every action."
  }

  assert {
    condition = alltrue([
      for statement in jsondecode(aws_iam_role_policy.agent.policy).Statement :
      endswith(statement.Resource, ":autoScalingGroup:*:autoScalingGroupName/shop-production-web") if statement.Sid == "OwnGroup"
    ])
    error_message = "It completes hooks of its own group only."
  }

  assert {
    condition = alltrue([
      for statement in jsondecode(aws_iam_role_policy.agent.policy).Statement :
      statement.Condition.StringEquals["cloudwatch:namespace"] == ["groundcrew"] if statement.Sid == "Metrics"
    ])
    error_message = "It writes metrics of the agents' namespace only."
  }

  assert {
    condition = toset(flatten([
      for statement in jsondecode(aws_iam_role_policy.releases.policy).Statement : statement.Resource if statement.Sid == "ReadReleases"
      ])) == toset([
      for kind in ["artifacts", "releases", "channels"] : "arn:aws:s3:::shop-production-releases-123456789012/shop/${kind}/*"
    ])
    error_message = "It reads releases below its prefix, and nothing else of the bucket."
  }

  assert {
    condition = toset(flatten([
      for policy in [aws_iam_role_policy.agent.policy, aws_iam_role_policy.releases.policy] : [
        for statement in jsondecode(policy).Statement : statement.Resource if contains(flatten([statement.Action]), "s3:PutObject")
      ]
    ])) == toset(["arn:aws:s3:::shop-production-releases-123456789012/shop/logs/*"])
    error_message = "It writes the logs that it could not ship, and never a release or a channel."
  }

  assert {
    condition = toset(flatten([
      for statement in jsondecode(aws_iam_role_policy.agent.policy).Statement : statement.Resource if contains(flatten([statement.Action]), "secretsmanager:GetSecretValue")
    ])) == toset(["arn:aws:secretsmanager:eu-west-1:123456789012:secret:shop/session"])
    error_message = "It reads its own secrets."
  }

  # What docs/lifecycle.md and docs/logs.md ask for.
  assert {
    condition = length(setsubtract(
      [
        "autoscaling:DescribeAutoScalingInstances", "autoscaling:DescribeAutoScalingGroups",
        "autoscaling:DescribeLifecycleHooks", "autoscaling:RecordLifecycleActionHeartbeat",
        "autoscaling:CompleteLifecycleAction", "autoscaling:EnterStandby", "autoscaling:ExitStandby",
        "elasticloadbalancing:DeregisterTargets", "elasticloadbalancing:RegisterTargets",
        "elasticloadbalancing:DescribeTargetGroups", "elasticloadbalancing:DescribeTargetGroupAttributes",
        "elasticloadbalancing:DescribeLoadBalancerAttributes", "logs:PutLogEvents", "logs:CreateLogStream",
        "cloudwatch:PutMetricData",
      ],
      flatten([for statement in jsondecode(aws_iam_role_policy.agent.policy).Statement : statement.Action])
    )) == 0
    error_message = "The agent may do what its documentation asks for."
  }

  # ---- the first boot

  assert {
    condition     = length(aws_launch_template.this.user_data) < 16384 * 4 / 3 && startswith(base64decode(aws_launch_template.this.user_data), "#!/bin/bash\n")
    error_message = "User data is a script of at most 16 KiB."
  }

  assert {
    condition     = strcontains(base64decode(aws_launch_template.this.user_data), output.configuration)
    error_message = "It brings the agent's configuration."
  }

  assert {
    condition = alltrue([for line in [
      "environment = \"production\"",
      "source = \"s3://shop-production-releases-123456789012/shop\"",
      "tiers = [\"web\"]",
      "hooks = [\"groundcrew-launch\",\"groundcrew-terminate\"]",
      "launch_within = \"900s\"",
      "group = \"/groundcrew/shop-production/{tier}\"",
      "create = true",
      "port = 8080",
      "user = \"app\"",
      "API_URL = \"https://api.shop.example.com\"",
      "SESSION_KEY = \"{{secret arn:aws:secretsmanager:eu-west-1:123456789012:secret:shop/session key}}\"",
    ] : contains(split("\n", output.configuration), line)])
    error_message = "The configuration says what Terraform knows, and names secrets instead of holding them."
  }
}

run "spot_of_three_types" {
  state_key = "spot"

  module {
    source = "../modules/fleet"
  }

  variables {
    instance_types = ["m7g.large", "m6g.large", "c7g.large"]
    spot_percent   = 50
    on_demand_base = 2
  }

  assert {
    condition     = aws_autoscaling_group.this.capacity_rebalance && aws_autoscaling_group.this.mixed_instances_policy[0].instances_distribution[0].on_demand_percentage_above_base_capacity == 50
    error_message = "Half of what is above two is spot, and is replaced before it goes."
  }

  assert {
    condition     = length(aws_autoscaling_group.this.launch_template) == 0 && aws_autoscaling_group.this.mixed_instances_policy[0].launch_template[0].launch_template_specification[0].version == "7" && length(aws_autoscaling_group.this.mixed_instances_policy[0].launch_template[0].override) == 3
    error_message = "All types may be chosen from."
  }
}

run "more_of_everything" {
  module {
    source = "../modules/fleet"
  }

  variables {
    requests_per_instance_target     = 1000
    warm_pool                        = { state = "Stopped", min_size = 2 }
    schedules                        = { morning = { recurrence = "0 7 * * MON-FRI", time_zone = "Europe/Berlin", min_instances = 4 } }
    metrics_source_security_group_id = "sg-0prometheus"
    metrics                          = { namespace = "shop", per_instance = true, dimensions = ["route"] }
    metrics_namespaces               = ["shop-app"]
    notify                           = { ticket = { topic_arn = "arn:aws:sns:eu-west-1:123456789012:ticket", topics = ["deployment"] } }
    traces_sample                    = "5%"
    policies                         = { queue = "{}" }
    egress                           = { "SMTP of the mail provider" = { cidr = "198.51.100.0/24", port = 587 } }
    configuration_extra              = "[poll]\ninterval = \"5s\""
  }

  assert {
    condition     = aws_autoscaling_policy.requests["web"].target_tracking_configuration[0].predefined_metric_specification[0].resource_label == "app/web/0123456789abcdef/targetgroup/web/0123456789abcdef"
    error_message = "Scaling by requests looks at its own target group."
  }

  assert {
    condition     = aws_autoscaling_group.this.warm_pool[0].min_size == 2 && aws_autoscaling_schedule.this["morning"].time_zone == "Europe/Berlin" && aws_autoscaling_schedule.this["morning"].max_size == -1
    error_message = "There is a warm pool, and more hosts in the morning."
  }

  assert {
    condition     = strcontains(output.configuration, "listen = \"0.0.0.0:9180\"") && aws_vpc_security_group_ingress_rule.metrics[0].referenced_security_group_id == "sg-0prometheus"
    error_message = "Prometheus reaches the agent, and nobody else does."
  }

  assert {
    condition = (
      strcontains(output.configuration, "namespace = \"shop\"\nper_instance = true\ndimensions = [\"route\"]")
      && strcontains(output.configuration, "[[notify]]\nname = \"ticket\"\nkind = \"sns\"\ntopic_arn = \"arn:aws:sns:eu-west-1:123456789012:ticket\"\nmin_level = \"warning\"\ntopics = [\"deployment\"]")
      && strcontains(output.configuration, "[traces]\nsample = \"5%\"")
    )
    error_message = "The agent is told where metrics, messages and traces go."
  }

  assert {
    condition = alltrue([
      for statement in jsondecode(aws_iam_role_policy.agent.policy).Statement : (
        statement.Sid == "Metrics" ? statement.Condition.StringEquals["cloudwatch:namespace"] == ["shop", "shop-app"]
        : statement.Sid == "Notify" ? statement.Action == "sns:Publish" && statement.Resource == ["arn:aws:sns:eu-west-1:123456789012:ticket"]
        : statement.Sid == "Traces" ? statement.Action == "xray:PutTraceSegments"
        : true
      )
    ]) && length(setintersection([for statement in jsondecode(aws_iam_role_policy.agent.policy).Statement : statement.Sid], ["Metrics", "Notify", "Traces"])) == 3
    error_message = "It may send them there, and nowhere else."
  }

  assert {
    condition     = endswith(trimspace(output.configuration), "[poll]\ninterval = \"5s\"") && aws_iam_role_policy.extra["queue"].policy == "{}"
    error_message = "What is added is there."
  }

  assert {
    condition     = aws_vpc_security_group_egress_rule.extra["SMTP of the mail provider"].from_port == 587 && can(regex("^[a-zA-Z0-9. _:/()#,@\\[\\]+=&;{}!$*-]+$", aws_vpc_security_group_ingress_rule.metrics[0].description))
    error_message = "It may call what is named."
  }
}

run "a_worker_has_no_way_in" {
  module {
    source = "../modules/fleet"
  }

  variables {
    load_balancers     = {}
    cpu_target_percent = null
    process            = {}
  }

  assert {
    condition     = length(aws_vpc_security_group_ingress_rule.balancer) == 0 && aws_autoscaling_group.this.health_check_type == "EC2" && length(aws_autoscaling_policy.cpu) == 0
    error_message = "Nobody reaches a worker."
  }

  assert {
    condition     = !strcontains(aws_iam_role_policy.agent.policy, "RegisterTargets") && !strcontains(aws_iam_role_policy.agent.policy, "secretsmanager")
    error_message = "A worker may do less."
  }
}

run "a_hook_shorter_than_a_drain_is_refused" {
  command = plan

  module {
    source = "../modules/fleet"
  }

  variables {
    terminate_heartbeat_seconds = 150
  }

  expect_failures = [var.terminate_heartbeat_seconds]
}

run "a_hook_shorter_than_a_hanging_agent_is_refused" {
  command = plan

  module {
    source = "../modules/fleet"
  }

  variables {
    launch_heartbeat_seconds = 60
  }

  expect_failures = [var.launch_heartbeat_seconds]
}

run "a_deregistration_shorter_than_the_bleed_is_refused" {
  command = plan

  module {
    source = "../modules/fleet"
  }

  variables {
    drain                       = { bleed_seconds = 90 }
    terminate_heartbeat_seconds = 600
  }

  expect_failures = [var.load_balancers]
}

run "a_drain_longer_than_systemd_waits_is_refused" {
  command = plan

  module {
    source = "../modules/fleet"
  }

  variables {
    load_balancers              = {}
    drain                       = { bleed_seconds = 290 }
    terminate_heartbeat_seconds = 600
  }

  expect_failures = [var.drain]
}

run "a_drain_longer_than_a_spot_notice_is_refused" {
  command = plan

  module {
    source = "../modules/fleet"
  }

  variables {
    load_balancers              = {}
    instance_types              = ["m7g.large", "m6g.large", "c7g.large"]
    spot_percent                = 100
    drain                       = { bleed_seconds = 120 }
    terminate_heartbeat_seconds = 600
  }

  expect_failures = [var.drain]
}

run "a_parameter_instead_of_an_image_is_refused" {
  command = plan

  module {
    source = "../modules/fleet"
  }

  variables {
    ami_id = "resolve:ssm:/aws/service/ami"
  }

  expect_failures = [var.ami_id]
}

run "tags_that_metadata_cannot_offer_are_refused" {
  command = plan

  module {
    source = "../modules/fleet"
  }

  variables {
    tags = { "cost center" = "42" }
  }

  expect_failures = [var.tags]
}

run "descriptions_that_ec2_refuses_are_refused" {
  command = plan

  module {
    source = "../modules/fleet"
  }

  variables {
    egress = { "The provider's SMTP" = { cidr = "198.51.100.0/24", port = 587 } }
  }

  expect_failures = [var.egress]
}

run "variables_of_the_agent_are_refused" {
  command = plan

  module {
    source = "../modules/fleet"
  }

  variables {
    process = { env = { PORT = "8080" } }
  }

  expect_failures = [var.process]
}
