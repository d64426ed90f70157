//! Dumps of real servers into a real S3 server: made, proved, restored, and damaged in every way
//! that has cost somebody a backup.

mod damage;
mod faults;
mod keeping;
mod mysql;
mod schemas;
mod servers;
mod takeover;
mod whole;

use std::fs;
use std::sync::Arc;

use age::secrecy::ExposeSecret;
use camino::Utf8PathBuf;
use groundcrew::backups::dump::Dumps;
use groundcrew::backups::objects::Objects;
use groundcrew_core::backups::backup::{Tag, tags};
use groundcrew_core::backups::call::Ticket;
use groundcrew_core::backups::civil::DateTime;
use groundcrew_core::backups::proof::{DumpFacts, DumpRules, judge};
use groundcrew_core::backups::retention::Policy;
use groundcrew_core::backups::settings::{
    Assertion, BackupSettings, Connection, Encryption, Password, ProofSettings, Store, Tls,
};
use groundcrew_core::backups::slot::Slot;
use groundcrew_core::backups::zone::Zone;
use groundcrew_core::backups::{JobSettings, Kind, limits};
use tokio_util::sync::CancellationToken;

use crate::harness::emulator::{Emulator, Services, sdk_environment};
use crate::harness::fault_proxy::FaultProxy;
use servers::{PASSWORD, Server};

const BUCKET: &str = "backups";

/// A bucket behind a proxy that fails on command, a database server, and a host's files.
struct World {
    emulator: Emulator,
    proxy: FaultProxy,
    server: Server,
    directory: Utf8PathBuf,
    identity: age::x25519::Identity,
    kind: Kind,
    _keep: tempfile::TempDir,
}

impl World {
    fn new(kind: Kind, services: Services) -> Self {
        let emulator = Emulator::start(services);
        emulator.create_bucket(BUCKET);
        let proxy = FaultProxy::start(emulator.address());
        for (name, value) in sdk_environment(&proxy.endpoint()) {
            // SAFETY: every test is a process of its own, and nothing else of it runs yet.
            unsafe { std::env::set_var(name, value) };
        }
        let server = match kind {
            Kind::MysqlDump => Server::mariadb(),
            Kind::PgDump | Kind::RdsSnapshot => Server::postgres(),
        };
        let keep = tempfile::Builder::new().prefix("gc-").tempdir_in("/tmp").unwrap();
        let directory = Utf8PathBuf::from_path_buf(keep.path().to_owned()).unwrap();
        let permissions = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        fs::set_permissions(&directory, permissions).unwrap();
        let identity = age::x25519::Identity::generate();
        fs::write(directory.join("identity"), identity.to_string().expose_secret()).unwrap();
        fs::write(directory.join("password"), PASSWORD).unwrap();
        Self { emulator, proxy, server, directory, identity, kind, _keep: keep }
    }

    fn postgres() -> Self {
        Self::postgres_with(Services::S3)
    }

    fn postgres_with(services: Services) -> Self {
        let world = Self::new(Kind::PgDump, services);
        world.server.sql(
            "shop",
            "set role app;
             create schema \"odd \"\" name\";
             create table customers (id bigserial primary key, name text not null,
               since timestamptz default now(), tags jsonb, picture bytea);
             create table \"odd \"\" name\".\"a;b\" (id int references customers, v numeric(9,2));
             create index on customers (since);
             create view recent as select * from customers where since > now() - interval '1 day';
             insert into customers (name, tags, picture)
               select 'c' || n, jsonb_build_object('n', n), sha256(n::text::bytea)
               from generate_series(1, 20000) n;
             insert into \"odd \"\" name\".\"a;b\" select n, n * 1.5 from generate_series(1, 500) n;
             create policy own on customers to app using (true);
             alter table customers enable row level security;",
        );
        world.server.sql("shop", "create extension if not exists pgcrypto; analyze");
        world
    }

    fn settings(&self) -> BackupSettings {
        let assertion = |name: &str, sql: &str| Assertion { name: name.into(), sql: sql.into() };
        BackupSettings {
            job: JobSettings {
                name: "shop".parse().unwrap(),
                kind: self.kind,
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
                encrypted: true,
                restore_within: limits::RESTORE_WITHIN_USUAL,
                dump: DumpRules::default(),
                instance: "i-1".into(),
                run: "i-1.1".into(),
            },
            copy_keys: std::collections::BTreeMap::new(),
            connection: Some(Connection {
                host: "127.0.0.1".into(),
                port: self.server.port,
                user: "app".into(),
                password: Password::File(self.directory.join("password").to_string()),
                tls: Tls::Off,
                tls_ca_file: None,
            }),
            encryption: Encryption::Age(vec![self.identity.to_public().to_string()]),
            proof: ProofSettings {
                identity_file: Some(self.directory.join("identity").to_string()),
                directory: Some(self.directory.join("proof").to_string()),
                rows_percent_min: 90,
                assertions: vec![assertion(
                    "there are customers",
                    "select count(*) > 10 from customers",
                )],
                restore: None,
            },
        }
    }

    fn dumps(&self) -> Dumps {
        dumps(self.settings())
    }

    /// All keys of the bucket.
    fn keys(&self) -> Vec<String> {
        let listing = self.emulator.s3("GET", &format!("/{BUCKET}?list-type=2"), b"").text();
        let keys = listing.split("<Key>").skip(1);
        keys.map(|rest| rest.split('<').next().unwrap().to_owned()).collect()
    }

    /// The key of the only dump's data.
    fn data_key(&self) -> String {
        let mut keys = self.keys().into_iter().filter(|key| key.strip_suffix(".dump").is_some());
        let key = keys.next().expect("no data");
        assert_eq!(keys.next(), None);
        key
    }

    fn object(&self, key: &str) -> Vec<u8> {
        let answer = self.emulator.s3("GET", &format!("/{BUCKET}/{key}"), b"");
        assert_eq!(answer.status, 200);
        answer.body
    }

    fn put(&self, key: &str, bytes: &[u8]) {
        assert_eq!(self.emulator.s3("PUT", &format!("/{BUCKET}/{key}"), bytes).status, 200);
    }

    /// Uploads that are neither completed nor aborted.
    fn uploads(&self) -> usize {
        let listing = self.emulator.s3("GET", &format!("/{BUCKET}?uploads"), b"").text();
        listing.matches("<UploadId>").count()
    }
}

fn dumps(settings: BackupSettings) -> Dumps {
    let store = Store { bucket: BUCKET.into(), prefix: "acme".into() };
    Dumps::connect(Arc::new(settings), Arc::new(Objects::connect(&store)))
}

fn slot() -> Slot {
    let nominal: DateTime = "2026-11-21T00:20".parse().unwrap();
    Slot { nominal, at_s: nominal.seconds(), daily: true }
}

fn tags_of(slot: Slot) -> Vec<Tag> {
    tags(&"shop".parse().unwrap(), slot, 0, "i-1", false)
}

fn never() -> CancellationToken {
    CancellationToken::new()
}

fn run<T>(work: impl Future<Output = T>) -> T {
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    runtime.worker_threads(2).enable_all().build().unwrap().block_on(work)
}

/// Dumps and commits, which has to work.
async fn make(dumps: &Dumps, slot: Slot) -> DumpFacts {
    let facts = dumps.dump(Ticket(7), slot, 1, never()).await.unwrap();
    assert_eq!(judge(&facts, &DumpRules::default()), Vec::<String>::new(), "{facts:?}");
    dumps.commit(slot, Ticket(7), tags_of(slot)).await.unwrap();
    *facts
}
