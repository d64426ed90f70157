//! What is said about logs, in both files.

use groundcrew_core::logs::{Destination, Level, LogRules, LogSettings, Multiline};

use super::{bad_host, bad_release, host, parse_host, parse_release};

/// The sample of the issue that asked for it.
const LOGS: &str = r#"
[logs]
group = "/groundcrew/{environment}/{tier}"
stream = "{instance}/{process}"
create = true
retention_days = 30
disk_max = "2 GiB"
[[logs.file]]
path = "/var/log/nginx/*.log"
multiline = "timestamp"
[[logs.file]]
path = "/opt/app/{a,b}/[0-9]?.log"
multiline = '^\w+ begins'
group = "/files/{file}"
stream = "{instance}"
[[logs.journal]]
units = ["sshd.service", 'dev-disk-by\x2duuid.device', "getty@tty1.service"]
[logs.redact]
patterns = ["(?i)authorization: \\S+"]
[logs.to]
kind = "cloudwatch"
"#;

#[test]
fn the_usual_logs() {
    let logs = parse_host(LOGS).logs;
    let usual = LogSettings::default();
    assert_eq!((&logs.group, &logs.stream), (&usual.group, &usual.stream));
    assert_eq!((logs.create, logs.retention_days), (true, Some(30)));
    assert_eq!((logs.disk_bytes_max, &logs.to), (2 << 30, &Destination::CloudWatch));
    assert_eq!(logs.files[0].path, "/var/log/nginx/*.log");
    assert_eq!(logs.files[0].multiline, Multiline::Timestamp);
    assert_eq!((&logs.files[0].group, &logs.files[0].stream), (&None, &None));
    assert_eq!(logs.files[1].multiline, Multiline::Pattern(r"^\w+ begins".to_owned()));
    let shown = |template: &Option<_>| template.as_ref().map(ToString::to_string);
    assert_eq!(shown(&logs.files[1].group).as_deref(), Some("/files/{file}"));
    assert_eq!(shown(&logs.files[1].stream).as_deref(), Some("{instance}"));
    assert_eq!(logs.journals[0].units.len(), 3);
    assert_eq!(logs.redact, [r"(?i)authorization: \S+"]);
}

#[test]
fn without_the_table_there_are_the_defaults() {
    assert_eq!(parse_host("").logs, LogSettings::default());
    assert_eq!(parse_host("[logs]\n").logs, LogSettings::default());
}

#[test]
fn single_settings() {
    let to = |lines: &str| parse_host(&format!("[logs.to]\n{lines}\n")).logs.to;
    assert_eq!(to("kind = \"stdout\""), Destination::Stdout);
    assert_eq!(to("kind = \"none\""), Destination::Nowhere);
    let file = Destination::File("/tmp/all.ndjson".to_owned());
    assert_eq!(to("kind = \"file\"\npath = \"/tmp/all.ndjson\""), file);
    let days =
        |days: &str| parse_host(&format!("[logs]\nretention_days = {days}\n")).logs.retention_days;
    assert_eq!((days("\"never\""), days("1"), days("3653")), (None, Some(1), Some(3653)));
    let multiline = |word: &str| {
        let lines = format!("[[logs.file]]\npath = \"/x\"\nmultiline = \"{word}\"\n");
        parse_host(&lines).logs.files.remove(0).multiline
    };
    assert_eq!(multiline("traces"), Multiline::Traces);
    assert_eq!(multiline("off"), Multiline::Off);
    assert_eq!(multiline("indent"), Multiline::Indent);
}

#[test]
fn everything_that_is_wrong_is_said_at_once() {
    let said = bad_host(
        r#"[logs]
group = "/groundcrew/{env}"
stream = "{instance}:{process}"
create = "yes"
retention_days = 45
disk_max = "32 MiB"
filter = 1
[[logs.file]]
path = "var/log/*.log"
multiline = "timestmap"
group = ""
[[logs.file]]
path = "/var/log/[.log"
multiline = "(a"
pat = 1
[[logs.file]]
stream = "{a"
[[logs.journal]]
units = ["sshd", "a b.service", 7]
[[logs.journal]]
units = []
[logs.redact]
patterns = ["a{2", "x*", '\w{1000}']
[logs.to]
kind = "cloud"
path = "/var/log/../x"
"#,
    );
    insta::assert_snapshot!(said, @r#"
    groundcrew.toml:4: logs.group: "/groundcrew/{env}" asks for {env}; there are {environment}, {tier}, {instance}, {process}, {unit}, {file}; write it like "/groundcrew/{environment}"
    groundcrew.toml:5: logs.stream: "{instance}:{process}" holds ':', which no such name may; write it like "{instance}/{process}"
    groundcrew.toml:6: logs.create: found the string "yes", wanted true or false
    groundcrew.toml:7: logs.retention_days: CloudWatch does not take 45 days; the nearest that it takes: 30, 60; for ever is "never"
    groundcrew.toml:8: logs.disk_max: 32 MiB is less than 64 MiB
    groundcrew.toml:9: logs.filter: unknown key; the keys here are group, stream, create, retention_days, disk_max, file, journal, redact, to
    groundcrew.toml:11: logs.file[0].path: "var/log/*.log" is not the absolute path of a file; begin with / and leave ".." out
    groundcrew.toml:12: logs.file[0].multiline: "timestmap" is not "traces", "off", "timestamp", "indent" or a regular expression; begin an expression with ^
    groundcrew.toml:13: logs.file[0].group: "" is empty; write it like "/groundcrew/{environment}"
    groundcrew.toml:15: logs.file[1].path: "/var/log/[.log" is no glob: unclosed character class; missing ']'; write it like "/var/log/nginx/*.log"
    groundcrew.toml:16: logs.file[1].multiline: "(a" is not a regular expression: unclosed group, at character 1; in TOML a pattern is best put in single quotes: '\d+ ms'
    groundcrew.toml:17: logs.file[1].pat: unknown key; did you mean path?
    groundcrew.toml:18: logs.file[2].path: is missing; say which files, such as path = "/var/log/nginx/*.log"
    groundcrew.toml:19: logs.file[2].stream: "{a" has a brace without its partner; write it like "{instance}/{process}"
    groundcrew.toml:21: logs.journal[0].units[0]: "sshd" is not the name of a unit; write it in full, like "sshd.service"
    groundcrew.toml:21: logs.journal[0].units[1]: "a b.service" is not the name of a unit; write it in full, like "sshd.service"
    groundcrew.toml:21: logs.journal[0].units[2]: found the number 7, wanted a unit, such as "sshd.service"
    groundcrew.toml:23: logs.journal[1].units: names no unit; name one, such as "sshd.service"
    groundcrew.toml:25: logs.redact.patterns[0]: "a{2" is not a regular expression: unclosed counted repetition, at character 2; in TOML a pattern is best put in single quotes: '\d+ ms'
    groundcrew.toml:25: logs.redact.patterns[1]: "x*" also matches where there is nothing; let it match at least one character
    groundcrew.toml:25: logs.redact.patterns[2]: "\\w{1000}" takes more than 1048576 bytes when it is compiled; make its repetitions smaller, or put (?-u) in front
    groundcrew.toml:27: logs.to.kind: "cloud" is not "cloudwatch" or "stdout" or "file" or "none"
    groundcrew.toml:28: logs.to.path: "/var/log/../x" is not the absolute path of a file; begin with / and leave ".." out
    "#);
}

#[test]
fn what_does_not_go_together_in_the_logs() {
    let days = |days: &str| bad_host(&format!("[logs]\nretention_days = {days}\n"));
    insta::assert_snapshot!(days("0"), @r#"groundcrew.toml:4: logs.retention_days: CloudWatch does not take 0 days; the nearest that it takes: 1; for ever is "never""#);
    insta::assert_snapshot!(days("\"ever\""), @r#"groundcrew.toml:4: logs.retention_days: found the string "ever", wanted a number of days that CloudWatch takes, such as 30, or "never""#);
    let to = |lines: &str| bad_host(&format!("[logs.to]\n{lines}\n"));
    insta::assert_snapshot!(to("kind = \"file\""), @r#"groundcrew.toml:3: logs.to: has kind = "file" and no path; say which file, such as path = "/var/log/all.ndjson""#);
    insta::assert_snapshot!(to("path = \"/x\""), @r#"groundcrew.toml:3: logs.to.kind: is missing; say where to, such as kind = "cloudwatch""#);
    insta::assert_snapshot!(to("kind = \"none\"\npath = \"/x\""), @r#"groundcrew.toml:5: logs.to.path: belongs to kind = "file" alone; remove it"#);
    let circle = "[[logs.file]]\npath = \"/var/log/*.log\"\n\
                  [logs.to]\nkind = \"file\"\npath = \"/var/log/all.log\"\n";
    insta::assert_snapshot!(bad_host(circle), @"groundcrew.toml:7: logs.to.path: /var/log/all.log is one of the files /var/log/*.log; what is written there would be read again, for ever");
    // A star does not reach over a slash.
    parse_host(&circle.replace("all.log", "out/all.log"));
    let many = "[[logs.file]]\npath = \"/x\"\n".repeat(65);
    insta::assert_snapshot!(bad_host(&many), @"groundcrew.toml:3: logs.file: 65 are more than 64");
    insta::assert_snapshot!(bad_host("[logs]\nfile = \"/x\"\n"), @r#"groundcrew.toml:4: logs.file: found the string "/x", wanted [[logs.file]] tables"#);
}

fn rules(lines: &str) -> LogRules {
    let text = format!("[tier.web]\ncommand = [\"node\"]\n[tier.web.logs]\n{lines}\n");
    parse_release(&text).spec.tiers.remove(&"web".parse().unwrap()).unwrap().logs
}

#[test]
fn a_release_says_what_of_its_logs_is_shipped() {
    assert_eq!(rules(""), LogRules::default());
    let all = rules(
        "multiline = \"indent\"\nrate_max = \"5000/s\"\n\
         sample = { debug = \"1%\", trace = \"0%\" }",
    );
    let sample_ppm = [(Level::Trace, 0), (Level::Debug, 10_000)].into();
    let wanted = LogRules { multiline: Multiline::Indent, rate_max: Some(5000), sample_ppm };
    assert_eq!(all, wanted);
    assert_eq!(rules("rate_max = 200").rate_max, Some(200));
    let as_json = serde_json::to_string(&all).unwrap();
    assert_eq!(serde_json::from_str::<LogRules>(&as_json).unwrap(), all, "{as_json}");
}

#[test]
fn a_release_from_before_there_were_rules_is_still_read() {
    let spec = parse_release("[tier.web]\ncommand = [\"node\"]\n").spec;
    let mut json = serde_json::to_value(&spec).unwrap();
    let web = json["tiers"]["web"].as_object_mut().unwrap();
    assert!(web.remove("logs").is_some());
    let read: groundcrew_core::spec::ReleaseSpec = serde_json::from_value(json).unwrap();
    assert_eq!(read, spec);
}

#[test]
fn bad_rules_of_a_release() {
    let said = bad_release(
        r#"[tier.a]
command = ["node"]
logs = { multiline = "[", rate_max = "5/m", sample = { debug = "101%", dbug = "1%" } }
[tier.b]
command = ["node"]
logs = { rate_max = 0, rate = 1 }
"#,
    );
    insta::assert_snapshot!(said, @r#"
    release.toml:3: tier.a.logs.multiline: "[" is not a regular expression: unclosed character class, at character 1; in TOML a pattern is best put in single quotes: '\d+ ms'
    release.toml:3: tier.a.logs.rate_max: found the string "5/m", wanted events a second, such as "5000/s"
    release.toml:3: tier.a.logs.sample.debug: "101%" is more than everything; write it like "5%", "0.5%"
    release.toml:3: tier.a.logs.sample.dbug: unknown key; did you mean debug?
    release.toml:6: tier.b.logs.rate_max: 0 events a second are not within 1 to 1000000; leave it out for any number
    release.toml:6: tier.b.logs.rate: unknown key; the keys here are multiline, rate_max, sample
    "#);
}

#[test]
fn every_key_is_listed_once() {
    let keys: Vec<_> = host::keys().filter(|key| key.starts_with("logs.")).collect();
    insta::assert_snapshot!(keys.join(" "), @"logs.group logs.stream logs.create logs.retention_days logs.disk_max logs.file.path logs.file.multiline logs.file.group logs.file.stream logs.journal.units logs.journal.group logs.journal.stream logs.redact.patterns logs.to.kind logs.to.path");
}
