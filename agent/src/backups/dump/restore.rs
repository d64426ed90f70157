//! A dump put back into a database by a person: into one that is not there yet or holds nothing.
//! Nothing is ever written over what is there, and of PostgreSQL all of a dump is there in the end,
//! or none of it.

use std::process::ExitStatus;
use std::time::Duration;

use groundcrew_core::backups::Kind;
use groundcrew_core::backups::call::CallError;
use groundcrew_core::backups::settings::{Connection, Password, Tls};
use tokio::process::Command;
use tokio_util::sync::CancellationToken;

use super::child::{ChildError, Client, ask, complaint};
use super::clients::{self, Clients};
use super::error::DumpError;
use super::fetch::{Fetched, fetch};
use super::session::Session;
use super::{Dumps, ask_any, context};
use crate::backups::manifest::{Manifest, Server};
use crate::backups::seal::Opener;
use crate::backups::secrets::{self, Login, Secret};

/// How long a small statement may take.
const STATEMENT_WITHIN: Duration = Duration::from_mins(1);

/// A database to restore to, as a person names it: `postgres://USER@HOST:PORT/DATABASE`, or
/// `mysql://...`. `?host=/run/postgresql` is a unix socket, `?sslmode=` is `verify-full`, which is
/// the usual one, `require` or `disable`. Without a password, which would be seen by everybody.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    kind: Kind,
    connection: Connection,
    database: String,
}

/// What came of a client that was fed a dump.
pub(in crate::backups) struct Fed {
    /// What came of the dump.
    pub(in crate::backups) fetched: Fetched,
    /// How the client ended.
    pub(in crate::backups) status: ExitStatus,
    /// The beginning of what it said.
    pub(in crate::backups) said: String,
}

/// What was restored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Restored {
    /// Bytes that the dump holds.
    pub bytes: u64,
    /// Tables that the database has now.
    pub tables: usize,
}

impl Target {
    /// Reads what a person wrote.
    pub fn parse(text: &str) -> Result<Self, DumpError> {
        let refuse = |why: &str| DumpError::Target(format!("the target {why}"));
        let (scheme, rest) = text
            .split_once("://")
            .ok_or_else(|| refuse("is no URL; it looks like postgres://USER@HOST:PORT/DATABASE"))?;
        let (kind, port) = match scheme {
            "postgres" | "postgresql" => (Kind::PgDump, 5432),
            "mysql" | "mariadb" => (Kind::MysqlDump, 3306),
            _ => return Err(refuse("is neither postgres:// nor mysql://")),
        };
        let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (server, database) = rest.split_once('/').ok_or_else(|| refuse("names no database"))?;
        let (user, server) = server.rsplit_once('@').unwrap_or(("", server));
        if user.contains(':') {
            return Err(refuse(
                "holds a password, which everybody on the host can read: \
                               set PGPASSWORD or MYSQL_PWD",
            ));
        }
        let (host, port) = match server.rsplit_once(':') {
            Some((host, number)) if !number.ends_with(']') => {
                (host, number.parse().map_err(|_| refuse("has no number for a port"))?)
            }
            _ => (server, port),
        };
        let mut connection = Connection {
            host: host.trim_matches(['[', ']']).to_owned(),
            port,
            user: user.to_owned(),
            password: Password::None,
            tls: Tls::VerifyFull,
            tls_ca_file: None,
        };
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            match (&*name, &*value) {
                ("host", path) if path.starts_with('/') => {
                    (connection.host, connection.tls) = (path.to_owned(), Tls::Off);
                }
                ("sslmode", "verify-full") => connection.tls = Tls::VerifyFull,
                ("sslmode", "require") => connection.tls = Tls::Require,
                ("sslmode", "disable") => connection.tls = Tls::Off,
                ("sslrootcert", path) => connection.tls_ca_file = Some(path.to_owned()),
                _ => {
                    return Err(refuse(
                        "has a parameter that is not known; those are host=/DIRECTORY, \
                         sslmode=verify-full, require or disable, and sslrootcert=FILE",
                    ));
                }
            }
        }
        let plain = |c: char| c.is_ascii_alphanumeric() || "_-.$".contains(c);
        if database.is_empty() || !database.chars().all(plain) {
            return Err(refuse("names no database, or one of other than letters, digits, _-.$"));
        }
        if connection.host.is_empty() || connection.user.is_empty() {
            return Err(refuse("names no server or no user"));
        }
        Ok(Self { kind, connection, database: database.to_owned() })
    }

    /// For people.
    #[must_use]
    pub fn database(&self) -> &str {
        &self.database
    }
}

impl Dumps {
    /// Restores a dump to `target`, whose database is created if it is not there, and refused if it
    /// holds anything. `progress` is told the bytes that have come, and all that are stored.
    pub async fn restore_to(
        &self,
        id: &str,
        target: &Target,
        progress: &(dyn Fn(u64, u64) + Sync),
        stop: &CancellationToken,
    ) -> Result<Restored, CallError> {
        let work = self.read_by(id, Box::pin(self.try_restore(id, target, progress, stop)));
        let done = tokio::select! {
            done = work => done,
            () = stop.cancelled() => Err(DumpError::Stopped),
        };
        done.map_err(|error| error.call_error())
    }

    async fn try_restore(
        &self,
        id: &str,
        target: &Target,
        progress: &(dyn Fn(u64, u64) + Sync),
        stop: &CancellationToken,
    ) -> Result<Restored, DumpError> {
        let manifest = self.manifest(id).await?;
        if manifest.kind != target.kind {
            return Err(DumpError::Target("the dump is of another kind of server".to_owned()));
        }
        let opener = self.opener(&manifest).await?;
        let login = self.target_login(target).await?;
        let session = Session::open(target.kind, &target.connection, &target.database, login)?;
        let found = clients::find(target.kind, stop).await;
        let clients = match target.kind {
            Kind::PgDump | Kind::RdsSnapshot => {
                clients::choose(&found, "pg_restore", manifest.client_major)?
            }
            Kind::MysqlDump => clients::choose_for(&found, target.kind, "mysql", &manifest.server)?,
        };
        prepare(&session, &clients, &manifest, stop).await?;
        let all = manifest.stored.bytes;
        if target.kind == Kind::MysqlDump {
            // What MySQL was told is done. So it is told nothing before all of it was seen to be
            // right.
            let opener = self.opener(&manifest).await?;
            let Fetched { findings, .. } =
                fetch(self.parts().1, &manifest, opener, std::io::sink(), &|_| {}).await?;
            if !findings.is_empty() {
                return Err(DumpError::Restore(findings.join("; ")));
            }
        }
        let (name, arguments): (_, &[&str]) = match target.kind {
            Kind::PgDump | Kind::RdsSnapshot => (
                "pg_restore",
                &[
                    "--exit-on-error",
                    "--single-transaction",
                    "--no-owner",
                    "--no-acl",
                    "--no-password",
                ],
            ),
            // Nothing in a dump is a command to the client itself.
            Kind::MysqlDump => (clients.asker(target.kind), &["--batch", "--binary-mode"]),
        };
        let program = clients.program(name);
        let mut command = session.command(&program, &clients);
        command.args(arguments);
        let flag = if target.kind == Kind::MysqlDump { "--database" } else { "--dbname" };
        command.arg(format!("{flag}={}", target.database));
        let progress = |bytes| progress(bytes, all);
        let findings = self.feed(&program, command, &manifest, opener, &progress).await?;
        if !findings.is_empty() {
            return Err(DumpError::Restore(findings.join("; ")));
        }
        let tables = ask_any(target.kind, &session, &found, stop).await?.tables.len();
        Ok(Restored { bytes: manifest.plain.bytes, tables })
    }

    /// The password of a target: of whoever calls, or the job's own where it is the same server.
    async fn target_login(&self, target: &Target) -> Result<Login, DumpError> {
        let variable = match target.kind {
            Kind::PgDump | Kind::RdsSnapshot => "PGPASSWORD",
            Kind::MysqlDump => "MYSQL_PWD",
        };
        let user = target.connection.user.clone();
        if let Ok(password) = std::env::var(variable) {
            let password = Some(Secret::new(password));
            return Ok(Login { user, password, is_token: false });
        }
        match &self.parts().0.connection {
            Some(own) if own.host == target.connection.host => {
                let own = Connection { user, ..own.clone() };
                Ok(secrets::login(&own).await?)
            }
            _ => Ok(Login { user, password: None, is_token: false }),
        }
    }

    /// The manifest of a dump that is there.
    pub(in crate::backups) async fn manifest(&self, id: &str) -> Result<Manifest, DumpError> {
        let none = || DumpError::NoDump { id: id.to_owned() };
        Ok(self.parts().1.read(id).await?.ok_or_else(none)?.manifest)
    }

    /// What opens a dump on this host.
    pub(in crate::backups) async fn opener(
        &self,
        manifest: &Manifest,
    ) -> Result<Opener, DumpError> {
        let (settings, _, kms) = self.parts();
        let context = context(settings, &manifest.slot);
        let identity = settings.proof.identity_file.as_deref();
        Ok(Opener::make(&manifest.seal, identity, kms, &context).await?)
    }

    /// Fetches a dump into the stdin of a client, to the end of both. What is wrong, as clauses.
    pub(in crate::backups) async fn feed(
        &self,
        program: &camino::Utf8Path,
        command: Command,
        manifest: &Manifest,
        opener: Opener,
        progress: &(dyn Fn(u64) + Sync),
    ) -> Result<Vec<String>, DumpError> {
        let fed = self.feed_to(program, command, manifest, opener, progress).await?;
        Ok(fed.findings(program))
    }

    /// The same, with what the client said. One that was killed says nothing about the dump.
    pub(in crate::backups) async fn feed_to(
        &self,
        program: &camino::Utf8Path,
        mut command: Command,
        manifest: &Manifest,
        opener: Opener,
        progress: &(dyn Fn(u64) + Sync),
    ) -> Result<Fed, DumpError> {
        let failed = |source| DumpError::Bytes {
            operation: "make a pipe for",
            object: program.to_string(),
            source,
        };
        let (reader, writer) = std::io::pipe().map_err(failed)?;
        let _ = rustix::pipe::fcntl_setpipe_size(&reader, super::PIPE_BYTES);
        command.stdin(reader);
        let mut client = Client::start(program, command)?;
        let shelf = self.parts().1;
        let fetching = fetch(shelf, manifest, opener, writer, progress);
        let (fetched, ended) = tokio::join!(fetching, client.wait());
        let (fetched, (status, said)) = (fetched?, ended?);
        if fetched.findings.is_empty() && status.code().is_none() {
            let (program, said) = (program.to_owned(), status.to_string());
            return Err(ChildError::Failed { program, said, code: None }.into());
        }
        Ok(Fed { fetched, status, said })
    }
}

impl Fed {
    /// What is wrong, as clauses.
    pub(in crate::backups) fn findings(self, program: &camino::Utf8Path) -> Vec<String> {
        let Self { fetched: Fetched { mut findings, refused }, status, said } = self;
        let complaint = complaint(&said, status.success());
        if findings.is_empty() && (refused || !status.success() || complaint.is_some()) {
            let name = program.file_name().unwrap_or_default();
            let said = complaint.unwrap_or_else(|| status.to_string());
            findings.push(format!("{name} could not use it: {said}"));
        }
        findings
    }
}

/// Makes sure that there is a database, and nothing in it.
async fn prepare(
    session: &Session,
    clients: &Clients,
    manifest: &Manifest,
    stop: &CancellationToken,
) -> Result<(), DumpError> {
    let kind = manifest.kind;
    let name = session.database();
    // Names hold nothing that would have to be quoted in a text: see Target::parse.
    let (admin, look, create) = match kind {
        Kind::PgDump | Kind::RdsSnapshot => (
            session.to("postgres")?,
            format!("select count(*) from pg_database where datname = '{name}'"),
            format!(
                "create database \"{name}\" template template0 encoding '{}'",
                encoding(&manifest.server)
            ),
        ),
        Kind::MysqlDump => (
            session.to("")?,
            format!(
                "select count(*) from information_schema.schemata where schema_name = '{name}'"
            ),
            format!("create database `{name}`"),
        ),
    };
    if statement(&admin, clients, kind, &look, stop).await?.trim() == "0" {
        statement(&admin, clients, kind, &create, stop).await?;
        return Ok(());
    }
    let count = match kind {
        Kind::PgDump | Kind::RdsSnapshot => {
            "select count(*) from pg_class c join pg_namespace n on n.oid = c.relnamespace \
             where n.nspname !~ '^pg_' and n.nspname <> 'information_schema'"
                .to_owned()
        }
        Kind::MysqlDump => {
            format!("select count(*) from information_schema.tables where table_schema = '{name}'")
        }
    };
    let count = statement(session, clients, kind, &count, stop).await?;
    // What cannot be counted is not empty.
    match count.trim().parse().unwrap_or(usize::MAX) {
        0 => Ok(()),
        count => Err(DumpError::NotEmpty { database: name.to_owned(), count }),
    }
}

/// The encoding of the database that was dumped: a word, or the usual one.
pub(in crate::backups) fn encoding(server: &Server) -> &str {
    let is_word = |text: &str| text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    let encoding = server.encoding.as_str();
    if !encoding.is_empty() && is_word(encoding) { encoding } else { "UTF8" }
}

/// One statement, and its answer: columns apart by tabs.
pub(in crate::backups) async fn statement(
    session: &Session,
    clients: &Clients,
    kind: Kind,
    sql: &str,
    stop: &CancellationToken,
) -> Result<String, ChildError> {
    statement_within(session, clients, kind, sql, STATEMENT_WITHIN, stop).await
}

/// The same with a time of its own.
pub(in crate::backups) async fn statement_within(
    session: &Session,
    clients: &Clients,
    kind: Kind,
    sql: &str,
    within: Duration,
    stop: &CancellationToken,
) -> Result<String, ChildError> {
    let program = clients.program(clients.asker(kind));
    let mut command = session.command(&program, clients);
    match kind {
        Kind::PgDump | Kind::RdsSnapshot => {
            command.args(["--no-psqlrc", "--no-align", "--tuples-only", "--quiet"]);
            // An error is told from another by its SQLSTATE.
            command.args(["--set=ON_ERROR_STOP=1", "--set=VERBOSITY=verbose"]);
            command.args(["--field-separator=\t", "--command", sql]);
        }
        Kind::MysqlDump => {
            command.args(["--batch", "--raw", "--skip-column-names", "--binary-mode"]);
            if !session.database().is_empty() {
                command.arg(format!("--database={}", session.database()));
            }
            command.arg(format!("--execute={sql}"));
        }
    }
    ask(&program, command, String::new(), within, stop).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_are_urls_without_passwords() {
        let target = Target::parse("postgres://app@db.example:5433/shop_2").unwrap();
        assert_eq!((target.connection.host.as_str(), target.connection.port), ("db.example", 5433));
        assert_eq!((target.kind, target.database()), (Kind::PgDump, "shop_2"));
        assert_eq!(target.connection.tls, Tls::VerifyFull);
        let target = Target::parse("postgresql://app@/shop?host=/run/postgresql").unwrap();
        assert_eq!(
            (target.connection.host.as_str(), target.connection.tls),
            ("/run/postgresql", Tls::Off)
        );
        let target = Target::parse("mysql://root@[::1]:3307/shop?sslmode=require").unwrap();
        assert_eq!((target.connection.host.as_str(), target.connection.port), ("::1", 3307));
        let target = Target::parse("mysql://root@[::1]/shop").unwrap();
        assert_eq!((target.connection.host.as_str(), target.connection.port), ("::1", 3306));
        for wrong in [
            "",
            "shop",
            "http://a@b/c",
            "postgres://app@db",
            "postgres://app@db/",
            "postgres://db/shop",
            "postgres://app@/shop",
            "postgres://app@db:x/shop",
            "postgres://app@db/shop;drop",
            "postgres://app@db/shop'",
            "postgres://app@db/shop?options=-c",
            "postgres://app:hunter2@db/shop",
        ] {
            let error = Target::parse(wrong).unwrap_err().to_string();
            assert!(error.starts_with("the target ") && !error.contains("hunter2"), "{error}");
        }
    }
}
