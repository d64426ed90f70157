//! Proves that a dump is one: that it can be read to its end (L1), and that it can be restored and
//! is then what it was (L2). What is found wrong is said as clauses; what keeps a proof from being
//! tried says nothing about the dump, and is an error. Whatever is started here is ended here.

mod assertions;
mod compare;
mod prepare;
mod scratch;

use std::time::Duration;

use camino::Utf8Path;
use groundcrew_core::backups::Kind;
use groundcrew_core::backups::call::CallError;
use groundcrew_core::backups::limits::PROVE_WITHIN;
use groundcrew_core::backups::proof::Level;
use groundcrew_core::backups::settings::BackupSettings;
use tokio_util::sync::CancellationToken;

use super::dump::child::command;
use super::dump::clients::{self, Clients};
use super::dump::fetch::{Fetched, fetch};
use super::dump::restore::statement_within;
use super::dump::{DumpError, Dumps, directory, facts};
use super::manifest::Manifest;
use super::seal;
use crate::errors::Chain;
pub use assertions::assert_at;
use assertions::assertions;
use prepare::{judge, prepare};
use scratch::Scratch;

/// How long the rows of all tables may take to be counted.
const COUNT_WITHIN: Duration = Duration::from_hours(1);
/// How long what was restored may take to be analyzed.
const ANALYZE_WITHIN: Duration = Duration::from_mins(30);
/// The database of a scratch server, and who owns it.
const RESTORED: &str = "restored";
/// How many times the dump's size a scratch server needs: the data, its indexes, and what is
/// written ahead.
const SPACE_TIMES: u64 = 3;

const _: () = assert!(COUNT_WITHIN.as_secs() < PROVE_WITHIN.as_secs());

impl Dumps {
    /// Proves L1 or L2 of a dump on this host. What is wrong, as clauses. `progress` is told the
    /// bytes that have come, and all that are stored. Once `stop` fires, all that was started is
    /// ended.
    pub async fn prove(
        &self,
        level: Level,
        id: &str,
        progress: &(dyn Fn(u64, u64) + Sync),
        stop: &CancellationToken,
    ) -> Result<Vec<String>, CallError> {
        let work = async {
            match level {
                Level::L1 => {
                    self.read_by(id, Box::pin(self.read_through(id, progress, stop))).await
                }
                Level::L2 => {
                    self.read_by(id, Box::pin(self.restore_here(id, progress, stop))).await
                }
                Level::L0 | Level::L3 => Err(not_here(format!("{level} is proved by RDS's word"))),
            }
        };
        let done = tokio::select! {
            done = work => done,
            () = stop.cancelled() => Err(DumpError::Stopped),
        };
        done.map_err(|error| error.call_error())
    }

    /// L1: all of it is fetched, opened, and read by the program that would restore it.
    async fn read_through(
        &self,
        id: &str,
        progress: &(dyn Fn(u64, u64) + Sync),
        stop: &CancellationToken,
    ) -> Result<Vec<String>, DumpError> {
        let manifest = self.manifest(id).await?;
        let Some(opener) = self.opened(&manifest).await? else { return Ok(vec![no_key()]) };
        let all = manifest.stored.bytes;
        let progress = |bytes| progress(bytes, all);
        if manifest.kind == Kind::MysqlDump {
            // There is no reader of statements but a server: what is left are hashes and the mark
            // of the end.
            let shelf = self.parts().1;
            let fetching = fetch(shelf, &manifest, opener, std::io::sink(), &progress);
            let Fetched { findings, .. } = fetching.await?;
            return Ok(findings);
        }
        let found = clients::find(manifest.kind, stop).await;
        let clients = clients::choose(&found, "pg_restore", manifest.client_major)
            .map_err(|error| not_here(error.to_string()))?;
        let program = clients.program("pg_restore");
        let mut command = command(&program);
        command.args(["--format=custom", "--file=/dev/null"]);
        self.feed(&program, command, &manifest, opener, &progress).await
    }

    /// What opens it; `None` when KMS says that the key is not the one, which no time will mend.
    async fn opened(&self, manifest: &Manifest) -> Result<Option<seal::Opener>, DumpError> {
        match self.opener(manifest).await {
            Ok(opener) => Ok(Some(opener)),
            Err(DumpError::Seal(seal::SealError::Key { .. })) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// L2: it is restored to a server of its own on this host, and compared with what was dumped.
    async fn restore_here(
        &self,
        id: &str,
        progress: &(dyn Fn(u64, u64) + Sync),
        stop: &CancellationToken,
    ) -> Result<Vec<String>, DumpError> {
        let (settings, ..) = self.parts();
        let manifest = self.manifest(id).await?;
        let Some(opener) = self.opened(&manifest).await? else { return Ok(vec![no_key()]) };
        if manifest.kind == Kind::MysqlDump {
            return Err(not_here("scratch servers of MySQL are not started".to_owned()));
        }
        let found = clients::find(manifest.kind, stop).await;
        let servers: Vec<Clients> = found.into_iter().filter(scratch::has_server).collect();
        let clients = clients::choose(&servers, "a PostgreSQL server", manifest.client_major)
            .map_err(|error| not_here(error.to_string()))?;
        let needed = manifest.plain.bytes.saturating_mul(SPACE_TIMES);
        let scratch = Scratch::start(&directory(settings), &clients, needed, stop).await?;
        let all = manifest.stored.bytes;
        let progress = |bytes| progress(bytes, all);
        let restoring =
            self.restore_to_scratch(&scratch, &clients, &manifest, opener, &progress, stop);
        let proved = restoring.await;
        scratch.end().await;
        proved
    }

    async fn restore_to_scratch(
        &self,
        scratch: &Scratch,
        clients: &Clients,
        manifest: &Manifest,
        opener: seal::Opener,
        progress: &(dyn Fn(u64) + Sync),
        stop: &CancellationToken,
    ) -> Result<Vec<String>, DumpError> {
        let (settings, ..) = self.parts();
        prepare(scratch, clients, manifest, stop).await?;
        // What is in a dump is done as somebody who is nobody elsewhere: a superuser could run
        // programs on this host.
        let session = scratch.session(RESTORED, RESTORED)?;
        let program = clients.program("pg_restore");
        let mut command = session.command(&program, clients);
        command.args(["--no-owner", "--no-acl", "--no-comments", "--no-security-labels"]);
        command.args(["--no-publications", "--no-subscriptions", "--no-tablespaces"]);
        command.args(["--no-password", "--dbname", RESTORED]);
        let fed = self.feed_to(&program, command, manifest, opener, progress).await?;
        let mut findings = judge(fed, &manifest.server, &program)?;
        if !findings.is_empty() {
            return Ok(findings);
        }
        // Nobody plans well without it. What cannot be analyzed is slower, and as good.
        let kind = manifest.kind;
        let analyzed =
            statement_within(&session, clients, kind, "analyze", ANALYZE_WITHIN, stop).await;
        if let Err(error) = analyzed {
            tracing::warn!(error = %Chain(&error), "what was restored is not analyzed");
        }
        let failed = |source| DumpError::Facts { database: RESTORED.to_owned(), source };
        let own = scratch.session(scratch::SUPERUSER, RESTORED)?;
        let restored = facts::ask_server(kind, &own, clients, stop).await;
        let restored = restored.map_err(failed)?;
        let counted = facts::count_rows(&own, clients, COUNT_WITHIN, stop).await.map_err(failed)?;
        let percent_min = settings.proof.rows_percent_min;
        findings.extend(compare::compare(&manifest.server, &restored, &counted));
        for fewer in compare::fewer(&manifest.server, &counted, percent_min) {
            tracing::warn!(job = %manifest.job, slot = %manifest.slot, "{fewer}");
        }
        let all = &settings.proof.assertions;
        findings.extend(assertions(all, &session, clients, kind, stop).await?);
        Ok(findings)
    }
}

/// Removes what scratch servers of earlier lives have left in the directory of `settings`, which
/// ends them first. Blocks: for a thread that may.
pub fn clean_up(settings: &BackupSettings) {
    scratch::sweep(Utf8Path::new(&directory(settings)));
}

fn not_here(why: String) -> DumpError {
    DumpError::NotHere { why }
}

fn no_key() -> String {
    "its manifest does not hold the key that it was encrypted with".to_owned()
}
