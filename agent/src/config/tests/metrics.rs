//! What is said about metrics in the host's file.

use groundcrew_core::metrics::settings::{Destination, MetricsSettings, Prices};

use super::{bad_host, host, parse_host};

#[test]
fn without_the_table_there_are_the_defaults() {
    let usual = MetricsSettings::default();
    assert_eq!(parse_host("").metrics, usual);
    assert_eq!(parse_host("[metrics]\n").metrics, usual);
    assert_eq!(parse_host("[metrics.prices]\n").metrics, usual);
    assert_eq!(usual.to, Destination::CloudWatch);
}

#[test]
fn all_of_it() {
    let metrics = parse_host(
        "[metrics]\nnamespace = \"shop/web\"\nper_instance = true\n\
         dimensions = [\"route\", \"plan\"]\nseries_max = 20\n\
         [metrics.to]\nkind = \"none\"\n\
         [metrics.prices]\nmetric = 0.30\nput_metric_data = \"0.01\"\nlogs = 1\ns3_get = 0.00043\n",
    )
    .metrics;
    let prices = Prices {
        metric_micro_usd: 300_000,
        put_metric_data_micro_usd: 10_000,
        logs_micro_usd: 1_000_000,
        s3_get_micro_usd: 430,
    };
    let wanted = MetricsSettings {
        to: Destination::Nowhere,
        namespace: "shop/web".to_owned(),
        per_instance: true,
        dimensions: vec!["route".to_owned(), "plan".to_owned()],
        series_max: 20,
        prices,
    };
    assert_eq!(metrics, wanted);
}

#[test]
fn everything_that_is_wrong_is_said_at_once() {
    let said = bad_host(
        r#"[metrics]
namespace = "AWS/EC2"
per_instance = 1
dimensions = ["route", "route", "a b", "environment", 7, ""]
series_max = 801
perinstance = true
[metrics.to]
kind = "prometheus"
[metrics.prices]
metric = "free"
put_metric_data = -1
logs = 1000.1
s3_get = 0.0000001
gb = 1
"#,
    );
    insta::assert_snapshot!(said, @r#"
    groundcrew.toml:4: metrics.namespace: "AWS/EC2" belongs to AWS's own services; name it after the product, such as "shop"
    groundcrew.toml:5: metrics.per_instance: found the number 1, wanted true or false
    groundcrew.toml:6: metrics.dimensions[1]: "route" is named twice
    groundcrew.toml:6: metrics.dimensions[2]: "a b" cannot be a dimension; printable ASCII without spaces can
    groundcrew.toml:6: metrics.dimensions[3]: environment is a dimension of the agent's own; remove it
    groundcrew.toml:6: metrics.dimensions[4]: found the number 7, wanted the name of a tag
    groundcrew.toml:6: metrics.dimensions[5]: "" cannot be a dimension; printable ASCII without spaces can
    groundcrew.toml:7: metrics.series_max: 801 is not within 0 to 800
    groundcrew.toml:8: metrics.perinstance: unknown key; did you mean per_instance?
    groundcrew.toml:10: metrics.to.kind: "prometheus" is not "cloudwatch" or "none"
    groundcrew.toml:12: metrics.prices.metric: found the string "free", wanted a price in USD, such as 0.30
    groundcrew.toml:13: metrics.prices.put_metric_data: found the number -1, wanted a price in USD, such as 0.30
    groundcrew.toml:14: metrics.prices.logs: 1000.1 USD is more than 1000 USD
    groundcrew.toml:15: metrics.prices.s3_get: found the number 0.0000001, wanted a price in USD, such as 0.30
    groundcrew.toml:16: metrics.prices.gb: unknown key; the keys here are metric, put_metric_data, logs, s3_get
    "#);
}

#[test]
fn single_mistakes() {
    insta::assert_snapshot!(bad_host("[metrics]\nnamespace = \"\"\n"), @r#"groundcrew.toml:4: metrics.namespace: "" is not the name of a namespace; letters, digits and .-_/#: make one, up to 255"#);
    insta::assert_snapshot!(bad_host("[metrics]\nnamespace = \"a,b\"\n"), @r#"groundcrew.toml:4: metrics.namespace: "a,b" is not the name of a namespace; letters, digits and .-_/#: make one, up to 255"#);
    insta::assert_snapshot!(bad_host("[metrics.to]\n"), @r#"groundcrew.toml:3: metrics.to.kind: is missing; say where to, such as kind = "cloudwatch""#);
    let many: Vec<_> = (0..11).map(|n| format!("\"t{n}\"")).collect();
    let many = format!("[metrics]\ndimensions = [{}]\n", many.join(", "));
    insta::assert_snapshot!(bad_host(&many), @"groundcrew.toml:4: metrics.dimensions: 11 are more than 10; every value of each of them is a metric to be paid for");
}

#[test]
fn every_key_is_listed_once() {
    let keys: Vec<_> = host::keys().filter(|key| key.starts_with("metrics.")).collect();
    insta::assert_snapshot!(keys.join(" "), @"metrics.namespace metrics.per_instance metrics.dimensions metrics.series_max metrics.to.kind metrics.prices.metric metrics.prices.put_metric_data metrics.prices.logs metrics.prices.s3_get metrics.statsd.listen metrics.statsd.socket metrics.statsd.series_max");
}
