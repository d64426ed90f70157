# A certificate for a name and everything one level below it, and the records. CloudFront takes its
# certificate from us-east-1 and nowhere else, so there may be a second one.

locals {
  further = flatten([for name in var.further_names : [name, "*.${name}"]])
  names   = { domain_name = var.domain, alternatives = concat(["*.${var.domain}"], local.further) }

  # A name and its wildcard are proved by the same record, in every region.
  proof = [for option in aws_acm_certificate.this.domain_validation_options : option if !contains(local.further, option.domain_name)][0]

  # An account has one record for each name. Of further names it is that of the environment whose they are:
  # made here as well, it would go when this goes, and with it the renewal there.
  further_proofs = distinct([for option in aws_acm_certificate.this.domain_validation_options : option.resource_record_name if contains(local.further, option.domain_name)])
}

resource "aws_acm_certificate" "this" {
  domain_name               = local.names.domain_name
  subject_alternative_names = local.names.alternatives
  validation_method         = "DNS"
  key_algorithm             = "EC_prime256v1"
  tags                      = var.tags

  lifecycle {
    create_before_destroy = true
  }
}

# It has to stay: ACM renews the certificate by it.
resource "aws_route53_record" "proof" {
  zone_id         = var.zone_id
  name            = local.proof.resource_record_name
  type            = local.proof.resource_record_type
  records         = [local.proof.resource_record_value]
  ttl             = 300
  allow_overwrite = true
}

resource "aws_acm_certificate_validation" "this" {
  certificate_arn         = aws_acm_certificate.this.arn
  validation_record_fqdns = concat([aws_route53_record.proof.fqdn], local.further_proofs)
}

resource "aws_acm_certificate" "cdn" {
  count    = var.cdn ? 1 : 0
  provider = aws.us_east_1

  domain_name               = local.names.domain_name
  subject_alternative_names = local.names.alternatives
  validation_method         = "DNS"
  key_algorithm             = "EC_prime256v1"
  tags                      = var.tags

  lifecycle {
    create_before_destroy = true
  }
}

resource "aws_acm_certificate_validation" "cdn" {
  count    = var.cdn ? 1 : 0
  provider = aws.us_east_1

  certificate_arn         = aws_acm_certificate.cdn[0].arn
  validation_record_fqdns = concat([aws_route53_record.proof.fqdn], local.further_proofs)
}

resource "aws_route53_record" "a" {
  #checkov:skip=CKV2_AWS_23:The record is an alias of a load balancer or a distribution, whose name comes from another module.
  for_each = var.aliases

  zone_id = var.zone_id
  name    = each.key == "" ? var.domain : "${each.key}.${var.domain}"
  type    = "A"

  alias {
    name                   = each.value.dns_name
    zone_id                = each.value.zone_id
    evaluate_target_health = each.value.evaluate_health
  }
}

resource "aws_route53_record" "aaaa" {
  for_each = { for name, alias in var.aliases : name => alias if alias.ipv6 }

  zone_id = var.zone_id
  name    = each.key == "" ? var.domain : "${each.key}.${var.domain}"
  type    = "AAAA"

  alias {
    name                   = each.value.dns_name
    zone_id                = each.value.zone_id
    evaluate_target_health = each.value.evaluate_health
  }
}
