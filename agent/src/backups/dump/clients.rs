//! Which client programs a host has, and which of them fits a server: `pg_dump` refuses a server of
//! a newer major version than its own, and an older one would leave things out.

use std::time::Duration;

use camino::{Utf8Path, Utf8PathBuf};
use groundcrew_core::backups::Kind;
use tokio_util::sync::CancellationToken;

use super::child::{ChildError, ask, command};
use crate::backups::manifest::Server;

/// Directories that are looked at.
const DIRECTORIES_MAX: usize = 64;
/// How long a program may take to say its version.
const VERSION_WITHIN: Duration = Duration::from_secs(10);
/// Where packages put clients of several versions side by side (Debian, Red Hat).
const VERSIONED: [(&str, &str, &str); 2] =
    [("/usr/lib/postgresql", "", "bin"), ("/usr", "pgsql-", "bin")];
const USUAL_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Client programs of one version, in one directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Clients {
    /// Where they are.
    pub directory: Utf8PathBuf,
    /// The number that compatibility goes by.
    pub major: u32,
    /// What the dumping program says of itself.
    pub version: String,
    /// They are MariaDB's.
    pub mariadb: bool,
    /// The dumping program's name: MariaDB calls it two ways.
    pub dump: &'static str,
}

/// No client fits.
#[derive(Debug, thiserror::Error)]
pub enum ClientsError {
    /// There is none at all.
    #[error("this host has no {tool}: install the server's version of it or a newer one")]
    None {
        /// The program.
        tool: &'static str,
    },
    /// There are only older ones.
    #[error("version {server} is needed, and {tool} of this host is {found}: install a newer one")]
    Older {
        /// The program.
        tool: &'static str,
        /// The version that is needed: the server's, or that of who wrote the dump.
        server: u32,
        /// The newest that there is.
        found: u32,
    },
    /// One of them cannot be run.
    #[error(transparent)]
    Child(#[from] ChildError),
}

impl Clients {
    /// The program that asks questions.
    #[must_use]
    pub fn asker(&self, kind: Kind) -> &'static str {
        match kind {
            Kind::PgDump | Kind::RdsSnapshot => "psql",
            Kind::MysqlDump if self.mariadb => "mariadb",
            Kind::MysqlDump => "mysql",
        }
    }

    /// One of the programs beside the dumping one.
    #[must_use]
    pub fn program(&self, name: &str) -> Utf8PathBuf {
        self.directory.join(name)
    }
}

/// All clients of this host, those of `PATH` first.
pub async fn find(kind: Kind, stop: &CancellationToken) -> Vec<Clients> {
    let names: &[&'static str] = match kind {
        Kind::PgDump | Kind::RdsSnapshot => &["pg_dump"],
        Kind::MysqlDump => &["mariadb-dump", "mysqldump"],
    };
    let mut found: Vec<Clients> = Vec::new();
    for (directory, dump) in programs(names) {
        let program = directory.join(dump);
        let mut asked = command(&program);
        asked.arg("--version");
        // One that cannot even say its version is not used; another may do.
        match ask(&program, asked, String::new(), VERSION_WITHIN, stop).await {
            Ok(version) => {
                let version = version.trim().to_owned();
                let mariadb = version.contains("MariaDB");
                if let Some(major) = major(&version) {
                    found.push(Clients { directory, major, version, mariadb, dump });
                }
            }
            Err(error) => tracing::warn!(error = %crate::errors::Chain(&error), "not used"),
        }
    }
    found
}

/// The oldest that is not older than the server: nothing is left out, and what it writes can be
/// restored to most servers.
pub fn choose(found: &[Clients], tool: &'static str, server: u32) -> Result<Clients, ClientsError> {
    let newest = found.iter().map(|clients| clients.major).max();
    let newest = newest.ok_or(ClientsError::None { tool })?;
    let fits = found.iter().filter(|clients| clients.major >= server);
    let oldest = fits.min_by_key(|clients| clients.major).cloned();
    oldest.ok_or(ClientsError::Older { tool, server, found: newest })
}

/// The same for `server` as it is or was, of either kind. Clients of MySQL and MariaDB refuse no
/// server, but each knows best what its own maker's has: the maker counts first, then the version.
pub fn choose_for(
    found: &[Clients],
    kind: Kind,
    tool: &'static str,
    server: &Server,
) -> Result<Clients, ClientsError> {
    match kind {
        Kind::PgDump | Kind::RdsSnapshot => choose(found, tool, server.major),
        Kind::MysqlDump => {
            let mariadb = server.version.contains("MariaDB");
            choose_mysql(found, tool, mariadb, server.major)
        }
    }
}

fn choose_mysql(
    found: &[Clients],
    tool: &'static str,
    mariadb: bool,
    server: u32,
) -> Result<Clients, ClientsError> {
    let best = found.iter().min_by_key(|clients| {
        let Clients { major, .. } = **clients;
        let is_older = major < server;
        // Of older ones the newest.
        let distance = if is_older { server - major } else { major - server };
        (clients.mariadb != mariadb, is_older, distance)
    });
    best.cloned().ok_or(ClientsError::None { tool })
}

/// The first number in what a program says of its version: `pg_dump (PostgreSQL) 15.18 (Debian)`,
/// `mysqldump  Ver 8.0.36 for Linux`; of MariaDB the number of its distribution, as in
/// `mariadb-dump  Ver 10.19 Distrib 10.11.6-MariaDB`.
fn major(version: &str) -> Option<u32> {
    let after = version.split_once("Distrib").map_or(version, |(_, after)| after);
    let after = after.split_once("from ").map_or(after, |(_, after)| after);
    let mut words = after.split(|c: char| c.is_whitespace() || c == ',');
    words.find_map(|word| word.split('.').next()?.parse().ok())
}

/// The programs of these names. One that is there under two of them is found once.
fn programs(names: &[&'static str]) -> Vec<(Utf8PathBuf, &'static str)> {
    let mut all = Vec::new();
    for directory in directories() {
        let mut seen = std::collections::BTreeSet::new();
        for name in names.iter().filter(|name| is_itself(&directory.join(name), names)) {
            if directory.join(name).canonicalize_utf8().is_ok_and(|real| seen.insert(real)) {
                all.push((directory.clone(), *name));
            }
        }
    }
    all
}

/// Whether it is the program that it is called. Debian puts a script in its place that chooses a
/// version by itself.
fn is_itself(path: &Utf8Path, names: &[&str]) -> bool {
    let real = path.canonicalize_utf8().ok().filter(|path| path.is_file());
    real.as_ref().and_then(|path| path.file_name()).is_some_and(|name| names.contains(&name))
}

fn directories() -> Vec<Utf8PathBuf> {
    let path = std::env::var("PATH").unwrap_or_else(|_| USUAL_PATH.to_owned());
    let mut all: Vec<Utf8PathBuf> =
        path.split(':').filter(|directory| directory.starts_with('/')).map(Into::into).collect();
    for (parent, prefix, below) in VERSIONED {
        // A host need not have either.
        let Ok(entries) = Utf8Path::new(parent).read_dir_utf8() else { continue };
        let entries = entries.take(10_000).filter_map(Result::ok);
        let versions = entries.filter(|entry| {
            let number = entry.file_name().strip_prefix(prefix);
            number.is_some_and(|number| number.parse::<f64>().is_ok())
        });
        all.extend(versions.map(|entry| entry.path().join(below)));
    }
    let mut seen = std::collections::BTreeSet::new();
    // Where /bin is a link to /usr/bin, everything would be found twice.
    all.retain(|one| one.canonicalize_utf8().is_ok_and(|real| seen.insert(real)));
    all.truncate(DIRECTORIES_MAX);
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    fn clients(major: u32) -> Clients {
        let directory = format!("/usr/lib/postgresql/{major}/bin").into();
        Clients { directory, major, version: String::new(), mariadb: false, dump: "pg_dump" }
    }

    #[test]
    fn the_oldest_that_is_not_older_than_the_server_is_taken() {
        let all = [clients(16), clients(13), clients(15), clients(17)];
        for (server, expected) in [(9, 13), (13, 13), (14, 15), (16, 16), (17, 17)] {
            assert_eq!(choose(&all, "pg_dump", server).unwrap().major, expected, "{server}");
        }
        let error = choose(&all, "pg_dump", 18).unwrap_err().to_string();
        assert!(error.contains("18") && error.contains("17"), "{error}");
        let error = choose(&[], "pg_dump", 16).unwrap_err().to_string();
        assert!(error.contains("no pg_dump"), "{error}");
    }

    #[test]
    fn of_two_makers_the_servers_own_is_taken_first() {
        let of = |mariadb: bool, major| Clients { mariadb, ..clients(major) };
        let all = [of(true, 10), of(false, 8), of(true, 11), of(false, 9), of(false, 5)];
        for (mariadb, server, expected) in [
            (false, 8, (false, 8)),
            (false, 5, (false, 5)),
            (false, 9, (false, 9)),
            (false, 12, (false, 9)),
            (true, 10, (true, 10)),
            (true, 5, (true, 10)),
            (true, 12, (true, 11)),
        ] {
            let best = choose_mysql(&all, "mysqldump", mariadb, server).unwrap();
            assert_eq!((best.mariadb, best.major), expected, "{mariadb} {server}");
        }
        let other = choose_mysql(&[of(true, 10), of(true, 11)], "mysqldump", false, 8).unwrap();
        assert_eq!(other.major, 10);
        let none = choose_mysql(&[], "mysqldump", false, 8).unwrap_err().to_string();
        assert!(none.contains("no mysqldump"), "{none}");
    }

    #[test]
    fn versions_are_read_as_programs_say_them() {
        let check = |said, expected| assert_eq!(major(said), expected, "{said}");
        check("pg_dump (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)", Some(15));
        check("pg_dump (PostgreSQL) 18beta1", None);
        check("pg_dump (PostgreSQL) 9.6.24", Some(9));
        check("mysqldump  Ver 8.0.36 for Linux on x86_64 (MySQL Community Server - GPL)", Some(8));
        check("mysqldump  Ver 10.19 Distrib 10.11.6-MariaDB, for debian-linux-gnu", Some(10));
        check("mariadb-dump from 11.4.2-MariaDB, client 10.19 for Linux (x86_64)", Some(11));
        check("nonsense", None);
    }
}
