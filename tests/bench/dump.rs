//! A dump into S3: pg_dump, compressed, encrypted and uploaded by the agent's own code, against
//! `pg_dump | zstd | aws s3 cp -`, which does not encrypt. Each run of ours is a process of its
//! own, so that its peak of memory is that of the dump.
//!
//!     scripts/bench dump [--megabytes 1000] [--rounds 3]

#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    clippy::cast_possible_truncation,
    dead_code,
    unused_imports,
    reason = "the harness of the end-to-end tests, without its own tests"
)]

#[path = "../e2e/harness/mod.rs"]
mod harness;
mod report;
#[path = "../e2e/backups/dumps/servers.rs"]
mod servers;

use std::fs;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use age::secrecy::ExposeSecret;
use groundcrew::backups::dump::Dumps;
use groundcrew::backups::objects::Objects;
use groundcrew_core::backups::backup::tags;
use groundcrew_core::backups::call::Ticket;
use groundcrew_core::backups::proof::{DumpRules, judge};
use groundcrew_core::backups::retention::Policy;
use groundcrew_core::backups::settings::{
    BackupSettings, Connection, Encryption, Password, ProofSettings, Store, Tls,
};
use groundcrew_core::backups::slot::Slot;
use groundcrew_core::backups::zone::Zone;
use groundcrew_core::backups::{JobSettings, Kind, limits};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use harness::emulator::{Emulator, Services, sdk_environment};
use report::{argument, rounded};
use servers::{PASSWORD, Server};

const BUCKET: &str = "backups";
/// What a run of ours is told by its parent.
const ORDER: &str = "GROUNDCREW_BENCH_DUMP";

fn main() {
    if let Ok(order) = std::env::var(ORDER) {
        return one(&serde_json::from_str(&order).unwrap());
    }
    let (megabytes, rounds) = (argument("megabytes", 1000), argument("rounds", 3));
    let server = Server::postgres();
    fill(&server, megabytes);
    let keep = tempfile::tempdir().unwrap();
    let password = keep.path().join("password");
    fs::write(&password, PASSWORD).unwrap();
    let recipient = age::x25519::Identity::generate().to_public().to_string();
    let (mut ours, mut theirs, mut plain) = (Vec::new(), Vec::new(), Vec::new());
    let (mut rss_kib, mut bytes, mut stored) = (0, 0, 0);
    // By turns: a machine that gets slower or faster does so for all.
    for round in 0..rounds {
        eprintln!("dump: round {}", round + 1);
        // A bucket of its own each time: the emulator keeps everything in memory.
        let run = |recipient: Option<&str>| {
            let emulator = Emulator::start(Services::S3);
            emulator.create_bucket(BUCKET);
            let order = json!({
                "port": server.port, "password": password, "recipient": recipient,
            });
            run_ours(&emulator, &order)
        };
        let seconds =
            |figures: &Value| Duration::from_secs_f64(figures["seconds"].as_f64().unwrap());
        // And nobody is always the one after the same other.
        for turn in 0..3 {
            match (round + turn) % 3 {
                0 => {
                    let figures = run(Some(&recipient));
                    ours.push(seconds(&figures));
                    rss_kib = rss_kib.max(figures["rss_kib"].as_u64().unwrap());
                    bytes = figures["bytes"].as_u64().unwrap();
                    stored = figures["stored"].as_u64().unwrap();
                }
                1 => plain.push(seconds(&run(None))),
                _ => theirs.push(run_theirs(&server, &password)),
            }
        }
    }
    eprintln!(
        "dump: seconds of ours {ours:.1?}, without encryption {plain:.1?}, theirs {theirs:.1?}"
    );
    let [ours, plain, theirs] = [ours, plain, theirs].map(report::median);
    let rate = |took: Duration| rounded(bytes as f64 / 1e6 / took.as_secs_f64());
    report::print(
        "dump",
        json!({
            "megabytes": rounded(bytes as f64 / 1e6),
            "stored_megabytes": rounded(stored as f64 / 1e6),
            "mb_per_s": rate(ours),
            "mb_per_s_without_encryption": rate(plain),
            "pipeline_mb_per_s": rate(theirs),
            "speed_against_pipeline": rounded(theirs.as_secs_f64() / ours.as_secs_f64()),
            "peak_rss_mib": rounded(rss_kib as f64 / 1024.0),
        }),
    );
}

/// Rows as an application has them: names, numbers, texts, and hashes that cannot be compressed.
fn fill(server: &Server, megabytes: u64) {
    let rows = megabytes * 1_000_000 / 250;
    server.sql(
        "shop",
        &format!(
            "set role app; create table orders as
               select n as id, n % 5000 as customer, now() - n * interval '1 second' as at,
                 'order of ' || (n % 977) || ' pieces, sent to street ' || (n % 6151) as note,
                 jsonb_build_object('price', n % 10007, 'state', 'sent', 'carrier', n % 7,
                   'comment', repeat('please ring twice ', (n % 4)::int)) as data,
                 md5(n::text) as token
               from generate_series(1, {rows}) n"
        ),
    );
    // Or else the first to read it writes what PostgreSQL notes at a row's first reading.
    server.sql("shop", "vacuum (freeze, analyze) orders");
    server.sql("shop", "checkpoint");
}

fn run_ours(emulator: &Emulator, order: &Value) -> Value {
    let output = Command::new(std::env::current_exe().unwrap())
        .env(ORDER, order.to_string())
        .envs(sdk_environment(&emulator.endpoint))
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// One dump by this process, as the agent makes it; prints what it took.
fn one(order: &Value) {
    groundcrew::memory::give_back_what_is_freed();
    let dumps = dumps(order);
    let nominal: groundcrew_core::backups::civil::DateTime = "2026-11-21T00:20".parse().unwrap();
    let slot = Slot { nominal, at_s: nominal.seconds(), daily: true };
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    let runtime = runtime.worker_threads(2).enable_all().build().unwrap();
    let started = Instant::now();
    let facts = runtime.block_on(async {
        let facts = dumps.dump(Ticket(1), slot, 1, CancellationToken::new()).await.unwrap();
        assert_eq!(judge(&facts, &DumpRules::default()), Vec::<String>::new());
        let tags = tags(&"shop".parse().unwrap(), slot, 0, "i-1", false);
        dumps.commit(slot, Ticket(1), tags).await.unwrap();
        facts
    });
    let seconds = started.elapsed().as_secs_f64();
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    let rss_kib: u64 = peak.split_whitespace().next().unwrap().parse().unwrap();
    let figures = json!({
        "seconds": seconds, "rss_kib": rss_kib, "bytes": facts.bytes,
        "stored": facts.stored_bytes,
    });
    println!("{figures}");
}

fn dumps(order: &Value) -> Dumps {
    let recipient = order["recipient"].as_str().map(|one| vec![one.to_owned()]);
    let settings = BackupSettings {
        job: JobSettings {
            name: "shop".parse().unwrap(),
            kind: Kind::PgDump,
            database: "shop".into(),
            schedule: "20 0 * * *".parse().unwrap(),
            zone: Zone::utc(),
            catch_up: limits::CATCH_UP_USUAL,
            spread: limits::SPREAD_USUAL,
            stale_after: None,
            retention: Policy::default(),
            copies: Vec::new(),
            levels: Vec::new(),
            elsewhere: Vec::new(),
            encrypted: false,
            restore_within: limits::RESTORE_WITHIN_USUAL,
            dump: DumpRules::default(),
            instance: "i-1".into(),
            run: "i-1.1".into(),
        },
        copy_keys: std::collections::BTreeMap::new(),
        connection: Some(Connection {
            host: "127.0.0.1".into(),
            port: order["port"].as_u64().and_then(|port| u16::try_from(port).ok()).unwrap(),
            user: "app".into(),
            password: Password::File(order["password"].as_str().unwrap().to_owned()),
            tls: Tls::Off,
            tls_ca_file: None,
        }),
        encryption: recipient.map_or(Encryption::None, Encryption::Age),
        proof: ProofSettings {
            identity_file: None,
            directory: None,
            rows_percent_min: 90,
            assertions: Vec::new(),
            restore: None,
        },
    };
    let store = Store { bucket: BUCKET.into(), prefix: String::new() };
    Dumps::connect(Arc::new(settings), Arc::new(Objects::connect(&store)))
}

/// As it stands in a hundred blogs, with the option that makes a failure one.
fn run_theirs(server: &Server, password: &std::path::Path) -> Duration {
    let emulator = Emulator::start(Services::S3);
    emulator.create_bucket(BUCKET);
    let pg_dump = server.program("pg_dump");
    let script = format!(
        "set -euo pipefail; PGPASSWORD=$(cat {}) {} -Fc -Z0 -h 127.0.0.1 -p {} -U app shop \
         | zstd -q -3 | aws s3 cp --quiet - s3://{BUCKET}/dump",
        password.display(),
        pg_dump.display(),
        server.port
    );
    let started = Instant::now();
    let status = Command::new("bash")
        .args(["-c", &script])
        .envs(sdk_environment(&emulator.endpoint))
        .status()
        .unwrap();
    assert!(status.success(), "the pipeline failed");
    started.elapsed()
}
