output "targets" {
  description = "What a fleet needs to stand behind this balancer, by tier: hand an entry to modules/fleet as one of its load_balancers."
  value = {
    for name, group in aws_lb_target_group.this : name => {
      target_group_arn             = group.arn
      target_group_arn_suffix      = group.arn_suffix
      balancer_arn_suffix          = aws_lb.this.arn_suffix
      security_group_id            = aws_security_group.this.id
      port                         = var.targets[name].port
      deregistration_delay_seconds = var.targets[name].deregistration_delay_seconds
    }
  }
}

output "arn" {
  description = "The load balancer."
  value       = aws_lb.this.arn
}

output "arn_suffix" {
  description = "As CloudWatch's dimensions name it."
  value       = aws_lb.this.arn_suffix
}

output "dns_name" {
  description = "For alias records."
  value       = aws_lb.this.dns_name
}

output "zone_id" {
  description = "For alias records."
  value       = aws_lb.this.zone_id
}

output "security_group_id" {
  description = "The balancer's security group."
  value       = aws_security_group.this.id
}

output "reached_from" {
  description = "Who has a way in: addresses, lists, and tiers by name."
  value       = sort(keys(aws_vpc_security_group_ingress_rule.https))
}
