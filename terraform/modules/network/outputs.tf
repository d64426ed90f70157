output "vpc_id" {
  description = "The VPC."
  value       = aws_vpc.this.id
}

output "cidr" {
  description = "Its addresses."
  value       = aws_vpc.this.cidr_block
}

output "public_subnet_ids" {
  description = "Subnets for public load balancers."
  value       = [for subnet in aws_subnet.public : subnet.id]
}

output "app_subnet_ids" {
  description = "Subnets for instances and internal load balancers."
  value       = [for subnet in aws_subnet.app : subnet.id]
}

output "database_subnet_ids" {
  description = "Subnets for databases, caches and search."
  value       = [for subnet in aws_subnet.database : subnet.id]
}

output "nat_addresses" {
  description = "Addresses that instances are seen with from outside, for the allow lists of others."
  value       = [for address in aws_eip.nat : address.public_ip]
}
