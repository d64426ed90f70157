output "group_name" {
  description = "The Auto Scaling group."
  value       = aws_autoscaling_group.this.name
}

output "group_arn" {
  description = "The same, for policies."
  value       = aws_autoscaling_group.this.arn
}

output "max_instances" {
  description = "Instances at most, for an alarm before that."
  value       = local.max_instances
}

output "security_group_id" {
  description = "The instances' security group: what the next tier lets in."
  value       = aws_security_group.this.id
}

output "role_name" {
  description = "The instances' role."
  value       = aws_iam_role.this.name
}

output "role_arn" {
  description = "The same, for policies."
  value       = aws_iam_role.this.arn
}

output "launch_template_id" {
  description = "For `groundcrew fleet refresh`."
  value       = aws_launch_template.this.id
}

output "configuration" {
  description = "The agent's configuration, with names in the place of secrets."
  value       = module.configuration.configuration
}

output "drain_seconds" {
  description = "What leaving takes at most, which the terminate hook holds for."
  value = (
    max(concat([0], [for balancer in values(var.load_balancers) : balancer.deregistration_delay_seconds])...)
    + var.drain.bleed_seconds + var.drain.stop_seconds + 65
  )
}

output "reached_from" {
  description = "Who has a way in: load balancers, and Prometheus."
  value       = sort(concat(keys(aws_vpc_security_group_ingress_rule.balancer), aws_vpc_security_group_ingress_rule.metrics[*].description))
}
