//! Lines of the embedded metric format: the service makes metrics of them, so each arrives as it
//! was printed, whatever the rules do to other lines.

use super::*;

#[test]
fn every_line_arrives_byte_for_byte() {
    let endpoint = LogEndpoint::start_tls();
    endpoint.keep("emf");
    let world = world_of(&endpoint);
    let printers = Printers { tier: "emf", processes: 1, rate: 100, first: 1 };
    let release = printers
        .join(Release::new("v1"), &world)
        .set("tier.emf.env.APP_EMF", "yes")
        .set("tier.emf.logs.rate_max", "1/s")
        .set("tier.emf.logs.sample.info", "0%")
        .set("tier.emf.logs.multiline", "^never$");
    world.release(&release);
    let patterns: toml::Value = vec!["\\d{13}", "latency", "[0-9.]+,"].into();
    let redact = to_cloudwatch(&[("logs.redact.patterns", patterns)]);
    let agent = Agent::start_with(&world, &redact);
    agent.wait_for_settled("v1");
    wait_for_printed(&world, 500);
    let owed = owed(&world);
    assert_paid(&endpoint, &owed);

    let process = agent.processes("emf").remove(0).id;
    let file = world.path().join(format!("state/logs/emf/{process}.stdout.log"));
    let printed = fs::read_to_string(file).unwrap();
    let printed: Vec<&str> = printed.lines().collect();
    let kept = endpoint.kept();
    let (_, arrived) = kept.iter().find(|(name, _)| name.contains(&process)).unwrap();
    let arrived: Vec<&str> = arrived.iter().map(|(_, message)| message.as_str()).collect();
    let count = usize::try_from(owed[&1]).unwrap();
    assert!(arrived.len() >= count && printed.len() >= count);
    assert_eq!(arrived[..count], printed[..count]);
    assert!(printed[0].contains("\"_aws\":{\"Timestamp\":"), "{}", printed[0]);
    let sums = audit(&world);
    assert_eq!((sums["rejected"], sums["dropped"]), (0, 0), "{sums:?}");
}
