//! How a client is told where to go and who it is: by its environment, and with the password in a
//! file that exists in this process's memory alone. Never by its arguments, which everybody on the
//! host can read.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::AsRawFd;

use camino::{Utf8Path, Utf8PathBuf};
use groundcrew_core::backups::Kind;
use groundcrew_core::backups::settings::{Connection, Tls};
use rustix::fs::{MemfdFlags, Mode, fchmod, memfd_create};
use tokio::process::Command;

use super::child::command;
use super::clients::Clients;
use crate::backups::secrets::{Login, Secret};

/// Where hosts keep the certificates that they trust (Debian, Red Hat).
const CA_FILES: [&str; 2] =
    ["/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt"];
/// How long a client may take to connect, in seconds.
const CONNECT_WITHIN_S: &str = "20";
/// What a session of hours needs: nobody ends its statements, nor its transaction while it waits
/// for the bucket. Locks alone are not waited for for ever.
const PG_OPTIONS: &str =
    "-c statement_timeout=0 -c idle_in_transaction_session_timeout=0 -c lock_timeout=300000";

/// A connection that cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum SessionError {
    /// The password cannot be written down.
    #[error("the password of {user} has a line break in it, which clients cannot be given")]
    Password {
        /// Whose.
        user: String,
    },
    /// The password cannot be passed on.
    #[error("could not keep the password of {user} for its client")]
    Keep {
        /// Whose.
        user: String,
        /// What the system answered.
        #[source]
        source: io::Error,
    },
    /// There is nothing that certificates could be checked against.
    #[error("tls = \"verify-full\" needs certificates: this host keeps none, name a tls_ca_file")]
    NoCertificates,
}

/// A database, and the way in. The password's file goes when this is dropped.
#[derive(Debug)]
pub struct Session {
    kind: Kind,
    connection: Connection,
    database: String,
    user: String,
    ca_file: Option<Utf8PathBuf>,
    password: Option<Secret>,
    /// Of PostgreSQL, which has a file for the password alone.
    pass_file: Option<File>,
    /// Of MySQL, which has all of it in one file: of MySQL's clients, and of MariaDB's.
    options: Option<[File; 2]>,
}

impl Session {
    /// The way to `database`.
    pub fn open(
        kind: Kind,
        connection: &Connection,
        database: &str,
        login: Login,
    ) -> Result<Self, SessionError> {
        let Login { user, password } = login;
        if password.as_ref().is_some_and(|secret| secret.reveal().contains(['\n', '\r', '\0'])) {
            return Err(SessionError::Password { user });
        }
        let ca_file = match (&connection.tls_ca_file, connection.tls) {
            (Some(file), _) => Some(file.into()),
            (None, Tls::VerifyFull) => {
                let there = CA_FILES.into_iter().find(|file| Utf8Path::new(file).is_file());
                Some(there.ok_or(SessionError::NoCertificates)?.into())
            }
            (None, Tls::Require | Tls::Off) => None,
        };
        let (connection, database) = (connection.clone(), database.to_owned());
        let mut session = Self {
            kind,
            connection,
            database,
            user,
            ca_file,
            password,
            pass_file: None,
            options: None,
        };
        let keep = |source| SessionError::Keep { user: session.user.clone(), source };
        if kind == Kind::MysqlDump {
            let [mysql, mariadb] = [false, true].map(|mariadb| session.my_cnf(mariadb));
            let both = in_memory(&mysql).and_then(|one| Ok([one, in_memory(&mariadb)?]));
            session.options = Some(both.map_err(keep)?);
        } else if let Some(secret) = &session.password {
            let line = format!("*:*:*:*:{}\n", pgpass(secret.reveal()));
            session.pass_file = Some(in_memory(&line).map_err(keep)?);
        }
        Ok(session)
    }

    /// The database's name.
    #[must_use]
    pub fn database(&self) -> &str {
        &self.database
    }

    /// The server, for people and for names.
    #[must_use]
    pub fn server(&self) -> String {
        format!("{}:{}", self.connection.host, self.connection.port)
    }

    /// The same server and user, another database.
    pub fn to(&self, database: &str) -> Result<Self, SessionError> {
        let login = Login { user: self.user.clone(), password: self.password.clone() };
        Self::open(self.kind, &self.connection, database, login)
    }

    /// A command for one of the programs of `clients`, which will find its way.
    #[must_use]
    pub fn command(&self, program: &Utf8Path, clients: &Clients) -> Command {
        let mut command = command(program);
        match &self.options {
            Some([mysql, mariadb]) => {
                let file = if clients.mariadb { mariadb } else { mysql };
                // First of all, or clients do not take it.
                command.arg(format!("--defaults-file={}", path(file)));
            }
            None => self.postgres(&mut command),
        }
        command
    }

    fn postgres(&self, command: &mut Command) {
        let Connection { host, port, tls, .. } = &self.connection;
        let mode = match tls {
            Tls::VerifyFull => "verify-full",
            Tls::Require => "require",
            Tls::Off => "disable",
        };
        command.envs([("PGHOST", host.as_str()), ("PGUSER", &self.user)]);
        command.envs([("PGPORT", port.to_string()), ("PGDATABASE", self.database.clone())]);
        command.envs([("PGSSLMODE", mode), ("PGAPPNAME", "groundcrew")]);
        command.envs([("PGCONNECT_TIMEOUT", CONNECT_WITHIN_S), ("PGOPTIONS", PG_OPTIONS)]);
        // Nobody's own files decide anything.
        command.envs([("PGSERVICEFILE", "/dev/null"), ("PGSYSCONFDIR", "/nonexistent")]);
        let pass_file = self.pass_file.as_ref();
        command.env("PGPASSFILE", pass_file.map_or("/dev/null".into(), path));
        if let Some(file) = &self.ca_file {
            command.env("PGSSLROOTCERT", file.as_str());
        }
    }

    /// The whole connection as an option file. MariaDB's clients stop at options that only MySQL's
    /// know, and the other way round.
    fn my_cnf(&self, mariadb: bool) -> String {
        let Connection { host, port, tls, .. } = &self.connection;
        let mut lines = vec!["[client]".to_owned(), format!("user={}", quoted(&self.user))];
        if host.starts_with('/') {
            lines.push(format!("socket={}", quoted(socket(host).as_str())));
        } else {
            lines.push(format!("host={}\nport={port}\nprotocol=tcp", quoted(host)));
        }
        if let Some(secret) = &self.password {
            lines.push(format!("password={}", quoted(secret.reveal())));
        }
        lines.push(match (mariadb, tls) {
            (true, Tls::VerifyFull) => "ssl\nssl-verify-server-cert".to_owned(),
            (true, Tls::Require) => "ssl\nskip-ssl-verify-server-cert".to_owned(),
            (true, Tls::Off) => "skip-ssl".to_owned(),
            (false, Tls::VerifyFull) => "ssl-mode=VERIFY_IDENTITY".to_owned(),
            (false, Tls::Require) => "ssl-mode=REQUIRED".to_owned(),
            (false, Tls::Off) => "ssl-mode=DISABLED".to_owned(),
        });
        if let Some(file) = &self.ca_file {
            lines.push(format!("ssl-ca={}", quoted(file.as_str())));
        }
        lines.push(format!("[mysql]\nconnect-timeout={CONNECT_WITHIN_S}\n"));
        lines.join("\n")
    }
}

/// The socket in a directory, or the path itself when it is one.
fn socket(host: &str) -> Utf8PathBuf {
    let host = Utf8PathBuf::from(host);
    let usual = ["mysqld.sock", "mysql.sock"].map(|name| host.join(name));
    usual.into_iter().find(|path| path.exists()).unwrap_or(host)
}

/// A file that has no name on any disk, and is gone with this process. Clients insist on a regular
/// file that its owner alone may read.
fn in_memory(text: &str) -> io::Result<File> {
    let mut file = File::from(memfd_create("groundcrew-login", MemfdFlags::CLOEXEC)?);
    fchmod(&file, Mode::RUSR | Mode::WUSR)?;
    file.write_all(text.as_bytes())?;
    Ok(file)
}

/// Where a process of the same user finds the file.
fn path(file: &File) -> String {
    format!("/proc/{}/fd/{}", std::process::id(), file.as_raw_fd())
}

/// A field of a `.pgpass` file (libpq-pgpass).
fn pgpass(text: &str) -> String {
    text.replace('\\', r"\\").replace(':', r"\:")
}

/// A value of an option file (MySQL: option-files).
fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', r"\\").replace('"', "\\\""))
}

#[cfg(test)]
mod tests {
    use super::*;
    use groundcrew_core::backups::settings::Password;

    fn connection(tls: Tls) -> Connection {
        Connection {
            host: "db.example".into(),
            port: 5433,
            user: "app".into(),
            password: Password::None,
            tls,
            tls_ca_file: None,
        }
    }

    fn login(password: &str) -> Login {
        Login { user: "app".into(), password: Some(Secret::new(password.into())) }
    }

    #[test]
    fn the_password_is_in_a_private_file_and_nowhere_else() {
        let connection = connection(Tls::Require);
        let session =
            Session::open(Kind::PgDump, &connection, "shop", login(r"hun:ter\2")).unwrap();
        let clients = Clients {
            directory: "/bin".into(),
            major: 15,
            version: String::new(),
            mariadb: false,
            dump: "pg_dump",
        };
        let command = session.command(Utf8Path::new("/bin/true"), &clients);
        let shown = format!("{session:?} {command:?}");
        assert!(!shown.contains("hun"), "{shown}");
        let environment: std::collections::BTreeMap<_, _> = command.as_std().get_envs().collect();
        let variable = |name: &str| environment[std::ffi::OsStr::new(name)].unwrap().to_str();
        assert_eq!(variable("PGSSLMODE"), Some("require"));
        assert_eq!(variable("PGDATABASE"), Some("shop"));
        let file = variable("PGPASSFILE").unwrap();
        assert_eq!(std::fs::read_to_string(file).unwrap(), "*:*:*:*:hun\\:ter\\\\2\n");
        let mode = std::os::unix::fs::PermissionsExt::mode;
        assert_eq!(mode(&std::fs::metadata(file).unwrap().permissions()) & 0o777, 0o600);
        let file = file.to_owned();
        drop(session);
        assert!(std::fs::read_to_string(file).map_or(true, |text| !text.contains("hun")));
    }

    #[test]
    fn options_suit_the_clients_of_both_makers() {
        let session =
            Session::open(Kind::MysqlDump, &connection(Tls::Off), "shop", login("a\"b\\c#d"));
        let session = session.unwrap();
        let read = |n: usize| std::fs::read_to_string(path(&session.options.as_ref().unwrap()[n]));
        let (mysql, mariadb) = (read(0).unwrap(), read(1).unwrap());
        assert!(mysql.contains("ssl-mode=DISABLED") && !mysql.contains("skip-ssl"), "{mysql}");
        assert!(mariadb.contains("skip-ssl") && !mariadb.contains("ssl-mode"), "{mariadb}");
        for text in [mysql, mariadb] {
            assert!(text.contains(r#"password="a\"b\\c#d""#), "{text}");
            assert!(text.contains("host=\"db.example\"\nport=5433"), "{text}");
        }
    }

    #[test]
    fn a_password_with_a_line_break_is_refused_without_being_shown() {
        let error = Session::open(Kind::PgDump, &connection(Tls::Off), "d", login("a\nhost=x"));
        assert_eq!(
            error.unwrap_err().to_string(),
            "the password of app has a line break in it, which clients cannot be given"
        );
    }
}
