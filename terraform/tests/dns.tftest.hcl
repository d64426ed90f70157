# A certificate for a name and what is below it, in one region or two, and records.

mock_provider "aws" {
  source = "./mocks"
}

mock_provider "aws" {
  alias  = "us_east_1"
  source = "./mocks"
}

variables {
  domain  = "shop.example.com"
  zone_id = "Z0123456789"
  aliases = { "" = { dns_name = "d1.cloudfront.net", zone_id = "Z2FDTNDATAQYW2", ipv6 = true }, api = { dns_name = "lb.example", zone_id = "Z32O12XQLNTSW2" } }
}

run "one_region" {
  module {
    source = "../modules/dns"
  }

  assert {
    condition     = aws_acm_certificate.this.domain_name == "shop.example.com" && aws_acm_certificate.this.subject_alternative_names == toset(["*.shop.example.com"]) && aws_acm_certificate.this.validation_method == "DNS"
    error_message = "One certificate covers the environment's names."
  }

  assert {
    condition     = aws_route53_record.proof.type == "CNAME" && aws_acm_certificate_validation.this.certificate_arn == aws_acm_certificate.this.arn
    error_message = "It is proved by a record, and used when it is valid."
  }

  assert {
    condition     = aws_route53_record.a[""].name == "shop.example.com" && aws_route53_record.a["api"].name == "api.shop.example.com" && toset(keys(aws_route53_record.aaaa)) == toset([""])
    error_message = "Names point where they should."
  }

  assert {
    condition     = length(aws_acm_certificate.cdn) == 0 && output.cdn_certificate_arn == null
    error_message = "Without CloudFront there is no second certificate."
  }
}

run "two_regions" {
  module {
    source = "../modules/dns"
  }

  variables {
    cdn = true
  }

  assert {
    condition     = length(aws_acm_certificate_validation.cdn) == 1 && output.cdn_certificate_arn != null
    error_message = "CloudFront has its own."
  }
}

run "names_of_another_environment" {
  state_key = "further"

  module {
    source = "../modules/dns"
  }

  override_resource {
    target = aws_acm_certificate.this
    values = {
      arn = "arn:aws:acm:eu-central-1:123456789012:certificate/11111111-2222-3333-4444-555555555555"
      domain_validation_options = [
        { domain_name = "shop.example.com", resource_record_name = "_production.shop.example.com.", resource_record_type = "CNAME", resource_record_value = "_1.acm-validations.aws." },
        { domain_name = "*.shop.example.com", resource_record_name = "_production.shop.example.com.", resource_record_type = "CNAME", resource_record_value = "_1.acm-validations.aws." },
        { domain_name = "recovery.shop.example.com", resource_record_name = "_recovery.shop.example.com.", resource_record_type = "CNAME", resource_record_value = "_2.acm-validations.aws." },
      ]
    }
  }

  variables {
    domain        = "recovery.shop.example.com"
    further_names = ["shop.example.com"]
  }

  assert {
    condition     = aws_acm_certificate.this.subject_alternative_names == toset(["*.recovery.shop.example.com", "shop.example.com", "*.shop.example.com"])
    error_message = "The certificate covers what may point here."
  }

  assert {
    condition     = aws_route53_record.proof.name == "_recovery.shop.example.com." && contains(aws_acm_certificate_validation.this.validation_record_fqdns, "_production.shop.example.com.") && length(aws_acm_certificate_validation.this.validation_record_fqdns) == 2
    error_message = "The proof of another environment's name is its own, and stays when this goes."
  }
}

run "a_name_with_a_dot_at_its_end_is_refused" {
  command = plan

  module {
    source = "../modules/dns"
  }

  variables {
    domain = "shop.example.com."
  }

  expect_failures = [var.domain]
}
