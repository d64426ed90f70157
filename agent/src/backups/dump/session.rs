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
/// Where the certificates of RDS are looked for, which no host trusts by itself (rdsdocs:
/// UsingWithRDS.SSL).
const RDS_CA_FILES: [&str; 2] =
    ["/usr/share/groundcrew/rds-global-bundle.pem", "/etc/groundcrew/rds-global-bundle.pem"];
/// Where they come from.
const RDS_CA_URL: &str = "https://truststore.pki.rds.amazonaws.com/global/global-bundle.pem";
/// The same for the regions in China.
const RDS_CA_URL_CN: &str =
    "https://rds-truststore.s3.cn-north-1.amazonaws.com.cn/global/global-bundle.pem";
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
    /// The certificates of RDS are not there.
    #[error(
        "tls = \"verify-full\" with {host} needs the certificates of RDS: put {url} at {path}, or \
         name a tls_ca_file"
    )]
    NoRdsCertificates {
        /// The server.
        host: String,
        /// Where they come from.
        url: &'static str,
        /// Where they are looked for.
        path: &'static str,
    },
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
    is_token: bool,
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
        let Login { user, password, is_token } = login;
        if password.as_ref().is_some_and(|secret| secret.reveal().contains(['\n', '\r', '\0'])) {
            return Err(SessionError::Password { user });
        }
        let ca_file = ca_file(connection, |file| Utf8Path::new(file).is_file())?;
        let (connection, database) = (connection.clone(), database.to_owned());
        let mut session = Self {
            kind,
            connection,
            database,
            user,
            ca_file,
            password,
            is_token,
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
        let Self { user, password, is_token, .. } = self;
        let (user, password) = (user.clone(), password.clone());
        let login = Login { user, password, is_token: *is_token };
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
        if self.is_token && !mariadb && *tls != Tls::Off {
            // RDS takes the token as it is (rdsdocs: UsingWithRDS.IAMDBAuth). Clients of MySQL send
            // nothing so unless they are told to, and those of MariaDB know no such option.
            lines.push("enable-cleartext-plugin".to_owned());
        }
        lines.push(format!("[mysql]\nconnect-timeout={CONNECT_WITHIN_S}\n"));
        lines.join("\n")
    }
}

/// The certificates that a server is checked against. Those of RDS are signed by authorities of its
/// own; the proxies of RDS have certificates that everybody trusts.
fn ca_file(
    connection: &Connection,
    is_file: impl Fn(&str) -> bool,
) -> Result<Option<Utf8PathBuf>, SessionError> {
    match (&connection.tls_ca_file, connection.tls) {
        (Some(file), _) => return Ok(Some(file.into())),
        (None, Tls::Require | Tls::Off) => return Ok(None),
        (None, Tls::VerifyFull) => {}
    }
    let host = connection.host.trim_end_matches('.').to_ascii_lowercase();
    let (is_cn, is_rds) =
        (host.ends_with(".rds.amazonaws.com.cn"), host.ends_with(".rds.amazonaws.com"));
    let is_proxy = host.split('.').nth(1).is_some_and(|label| label.starts_with("proxy-"));
    let own = (is_cn || is_rds) && !is_proxy;
    let files = if own { RDS_CA_FILES } else { CA_FILES };
    let there = files.into_iter().find(|file| is_file(file));
    match there {
        Some(file) => Ok(Some(file.into())),
        None if own => Err(SessionError::NoRdsCertificates {
            host: connection.host.clone(),
            url: if is_cn { RDS_CA_URL_CN } else { RDS_CA_URL },
            path: RDS_CA_FILES[0],
        }),
        None => Err(SessionError::NoCertificates),
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
        let password = Some(Secret::new(password.into()));
        Login { user: "app".into(), password, is_token: false }
    }

    #[test]
    fn servers_of_rds_are_checked_against_its_own_authorities() {
        let check = |host: &str, there: &[&str], expected: Result<&str, &str>| {
            let connection = Connection { host: host.into(), ..connection(Tls::VerifyFull) };
            let found = ca_file(&connection, |file| there.contains(&file));
            let found = found.map(Option::unwrap).map_err(|error| error.to_string());
            match expected {
                Ok(file) => assert_eq!(found.as_deref(), Ok(Utf8Path::new(file)), "{host}"),
                Err(part) => {
                    let error = found.unwrap_err();
                    assert!(error.contains(part), "{error}");
                }
            }
        };
        let (public, usr, etc) = (CA_FILES[0], RDS_CA_FILES[0], RDS_CA_FILES[1]);
        let rds = "shop.abc.eu-central-1.rds.amazonaws.com";
        check(rds, &[public, usr, etc], Ok(usr));
        check("Shop.abc.eu-central-1.RDS.amazonaws.com.", &[public, etc], Ok(etc));
        check(rds, &[public], Err(RDS_CA_URL));
        check(rds, &[public], Err(usr));
        check("shop.abc.cn-north-1.rds.amazonaws.com.cn", &[public], Err(RDS_CA_URL_CN));
        check("shop.proxy-abc.eu-central-1.rds.amazonaws.com", &[public, usr], Ok(public));
        check("db.example", &[public, usr], Ok(public));
        check("db.example", &[usr], Err("this host keeps none"));
        let none = ca_file(&Connection { host: rds.into(), ..connection(Tls::Require) }, |_| true);
        assert_eq!(none.unwrap(), None);
        let own = Connection { tls_ca_file: Some("/x".into()), ..connection(Tls::VerifyFull) };
        assert_eq!(ca_file(&own, |_| false).unwrap().unwrap(), "/x");
    }

    #[test]
    fn a_token_is_sent_as_it_is_and_only_over_tls() {
        for (tls, is_token, expected) in [
            (Tls::Require, true, true),
            (Tls::VerifyFull, true, true),
            (Tls::Off, true, false),
            (Tls::Require, false, false),
        ] {
            let connection = Connection { tls_ca_file: Some("/x".into()), ..connection(tls) };
            let login = Login { is_token, ..login("token") };
            let session = Session::open(Kind::MysqlDump, &connection, "shop", login).unwrap();
            let other = session.to("other").unwrap();
            for session in [&session, &other] {
                let has = |mariadb| session.my_cnf(mariadb).contains("enable-cleartext-plugin");
                assert_eq!((has(false), has(true)), (expected, false), "{tls:?} {is_token}");
            }
        }
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
