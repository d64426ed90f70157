# One application load balancer, and a target group for each tier behind it. Public ones stand in
# the public subnets; internal ones, between two tiers, beside the instances.
#
# Who may send to the instances is not decided here: modules/fleet opens this balancer's security
# group towards its own, and its own towards this one, so that there is no circle between the two.

data "aws_caller_identity" "current" {}

locals {
  # Who may come in: everybody, ranges, lists (such as CloudFront's), or other tiers.
  ingress = merge(
    { for cidr in var.allowed_cidrs : "cidr ${cidr}" => { cidr = cidr, list = null, group = null } },
    { for list in var.allowed_prefix_list_ids : "list ${list}" => { cidr = null, list = list, group = null } },
    { for name, group in var.allowed_security_groups : "tier ${name}" => { cidr = null, list = null, group = group } },
  )
  # Port 80 is only there for people who type a name into a browser.
  redirect = !var.internal

  # Whether there is one is no secret, and decides which rules there are.
  with_secret = nonsensitive(var.origin_secret != null)

  routed = { for name, target in var.targets : name => target if name != var.default_target }
}

resource "aws_security_group" "this" {
  name_prefix = "${var.name}-edge-"
  description = "Load balancer ${var.name}"
  vpc_id      = var.vpc_id
  tags        = merge(var.tags, { Name = "${var.name}-edge" })

  lifecycle {
    create_before_destroy = true
  }
}

resource "aws_vpc_security_group_ingress_rule" "https" {
  for_each = local.ingress

  security_group_id            = aws_security_group.this.id
  description                  = "HTTPS from ${each.key}"
  cidr_ipv4                    = each.value.cidr
  prefix_list_id               = each.value.list
  referenced_security_group_id = each.value.group
  ip_protocol                  = "tcp"
  from_port                    = 443
  to_port                      = 443
}

resource "aws_vpc_security_group_ingress_rule" "http" {
  for_each = local.redirect ? { for key, source in local.ingress : key => source if source.cidr != null } : {}

  security_group_id = aws_security_group.this.id
  description       = "HTTP from ${each.key}, answered with a redirect"
  cidr_ipv4         = each.value.cidr
  ip_protocol       = "tcp"
  from_port         = 80
  to_port           = 80
}

# The other half of what lets a tier in to an internal balancer: its own group lets nothing out that
# is not named.
resource "aws_vpc_security_group_egress_rule" "clients" {
  for_each = var.allowed_security_groups

  security_group_id            = each.value
  description                  = "HTTPS to load balancer ${var.name}"
  referenced_security_group_id = aws_security_group.this.id
  ip_protocol                  = "tcp"
  from_port                    = 443
  to_port                      = 443
}

resource "aws_lb" "this" {
  name               = var.name
  load_balancer_type = "application"
  internal           = var.internal
  subnets            = var.subnet_ids
  security_groups    = [aws_security_group.this.id]

  # Less than the 75 s for which the agent lets Node keep idle connections: whoever closes first must
  # be the balancer, or some requests are answered with 502. `groundcrew doctor` checks the same.
  idle_timeout      = var.idle_timeout_seconds
  client_keep_alive = var.client_keep_alive_seconds

  drop_invalid_header_fields = true
  desync_mitigation_mode     = "defensive"
  preserve_host_header       = true
  enable_deletion_protection = var.deletion_protection
  # An outage of the firewall must not be one of the product.
  enable_waf_fail_open = true

  dynamic "access_logs" {
    for_each = var.access_logs_bucket == null ? [] : [var.access_logs_bucket]

    content {
      bucket  = access_logs.value
      prefix  = "alb/${var.name}"
      enabled = true
    }
  }

  tags = merge(var.tags, { Name = var.name })
}

resource "aws_lb_target_group" "this" {
  for_each = var.targets

  # The prefix lets a changed one stand beside the old one while listeners move.
  name_prefix = substr("${each.key}-", 0, 6)
  vpc_id      = var.vpc_id
  target_type = "instance"
  protocol    = "HTTP"
  port        = each.value.port

  deregistration_delay = each.value.deregistration_delay_seconds
  slow_start           = each.value.slow_start_seconds
  # Processes bleed and accept by themselves; a host that is slower than the others gets less.
  load_balancing_algorithm_type = each.value.slow_start_seconds > 0 ? "round_robin" : "least_outstanding_requests"

  # The tier's own path on its own port, not the agent's /ready: while an agent is upgraded or
  # crashed the tier serves on, and must not be taken out for it.
  health_check {
    protocol            = "HTTP"
    port                = "traffic-port"
    path                = each.value.health_path
    matcher             = "200-299"
    interval            = each.value.health_interval_seconds
    timeout             = each.value.health_timeout_seconds
    healthy_threshold   = 2
    unhealthy_threshold = each.value.unhealthy_threshold
  }

  dynamic "stickiness" {
    for_each = each.value.sticky_seconds > 0 ? [each.value.sticky_seconds] : []

    content {
      type            = "lb_cookie"
      cookie_duration = stickiness.value
    }
  }

  tags = merge(var.tags, { Name = "${var.name}-${each.key}" })

  lifecycle {
    create_before_destroy = true
  }
}

resource "aws_lb_listener" "https" {
  load_balancer_arn = aws_lb.this.arn
  port              = 443
  protocol          = "HTTPS"
  ssl_policy        = var.ssl_policy
  certificate_arn   = var.certificate_arn
  tags              = var.tags

  # With a secret between CloudFront and here, what does not bring it is refused; the rules below
  # let through what does.
  dynamic "default_action" {
    for_each = local.with_secret ? [1] : []

    content {
      type = "fixed-response"

      fixed_response {
        content_type = "text/plain"
        message_body = "Forbidden"
        status_code  = "403"
      }
    }
  }

  dynamic "default_action" {
    for_each = local.with_secret ? [] : [1]

    content {
      type             = "forward"
      target_group_arn = aws_lb_target_group.this[var.default_target].arn
    }
  }
}

resource "aws_lb_listener" "redirect" {
  count = local.redirect ? 1 : 0

  load_balancer_arn = aws_lb.this.arn
  port              = 80
  protocol          = "HTTP"
  tags              = var.tags

  default_action {
    type = "redirect"

    redirect {
      port        = "443"
      protocol    = "HTTPS"
      status_code = "HTTP_301"
    }
  }
}

resource "aws_lb_listener_rule" "routed" {
  for_each = local.routed

  listener_arn = aws_lb_listener.https.arn
  priority     = each.value.priority
  tags         = var.tags

  action {
    type             = "forward"
    target_group_arn = aws_lb_target_group.this[each.key].arn
  }

  dynamic "condition" {
    for_each = length(each.value.paths) > 0 ? [each.value.paths] : []

    content {
      path_pattern {
        values = condition.value
      }
    }
  }

  dynamic "condition" {
    for_each = length(each.value.hosts) > 0 ? [each.value.hosts] : []

    content {
      host_header {
        values = condition.value
      }
    }
  }

  dynamic "condition" {
    for_each = local.with_secret ? [1] : []

    content {
      http_header {
        http_header_name = "X-Origin-Secret"
        values           = [var.origin_secret]
      }
    }
  }
}

# The default target again, for who brings the secret.
resource "aws_lb_listener_rule" "default_by_secret" {
  count = local.with_secret ? 1 : 0

  listener_arn = aws_lb_listener.https.arn
  priority     = 50000
  tags         = var.tags

  action {
    type             = "forward"
    target_group_arn = aws_lb_target_group.this[var.default_target].arn
  }

  condition {
    http_header {
      http_header_name = "X-Origin-Secret"
      values           = [var.origin_secret]
    }
  }
}
