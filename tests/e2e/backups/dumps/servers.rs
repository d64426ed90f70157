//! Database servers of a test: in its directory, as users without rights, ended with it.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, Uid, User};

use crate::harness::{free_port, wait_until};

const READY_WITHIN: Duration = Duration::from_mins(1);
/// What nobody may see.
pub const PASSWORD: &str = "hunter2:with\\odd\"letters";

/// A server with a user `app`, who has [`PASSWORD`], and a database `shop` of theirs.
pub struct Server {
    /// It listens on 127.0.0.1.
    pub port: u16,
    child: Child,
    programs: PathBuf,
    directory: tempfile::TempDir,
}

/// A directory that belongs to a user who may nothing, if this is root's test.
fn directory_of(name: &str) -> (tempfile::TempDir, Option<User>) {
    let directory = tempfile::Builder::new().prefix("gc-db-").tempdir_in("/tmp").unwrap();
    let user = User::from_name(name).unwrap().filter(|_| Uid::effective().is_root());
    if let Some(user) = &user {
        let (uid, gid) = (Some(user.uid.as_raw()), Some(user.gid.as_raw()));
        chown(directory.path(), uid, gid).unwrap();
    }
    fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o700)).unwrap();
    (directory, user)
}

fn as_user(program: &Path, user: Option<&User>) -> Command {
    let mut command = Command::new(program);
    if let Some(user) = user {
        command.uid(user.uid.as_raw()).gid(user.gid.as_raw());
    }
    command.current_dir("/").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command
}

impl Server {
    /// The newest PostgreSQL of this machine.
    pub fn postgres() -> Self {
        let (directory, user) = directory_of("postgres");
        let programs = postgres_programs();
        let data = directory.path().join("data");
        let initdb = as_user(&programs.join("initdb"), user.as_ref())
            .args(["--auth-local=trust", "--auth-host=scram-sha-256", "--username=postgres"])
            .args(["--encoding=UTF8", "--locale=C", "--no-sync", "--pgdata"])
            .arg(&data)
            .status();
        assert!(initdb.expect("PostgreSQL is not there: run scripts/setup").success());
        let port = free_port();
        let child = as_user(&programs.join("postgres"), user.as_ref())
            .arg("-D")
            .arg(&data)
            .arg("-k")
            .arg(directory.path())
            .args(["-c", "fsync=off", "-c", "listen_addresses=127.0.0.1"])
            .args(["-p", &port.to_string()])
            .spawn()
            .unwrap();
        let server = Self { port, child, programs, directory };
        wait_until(READY_WITHIN, "PostgreSQL answers", || server.try_sql("postgres", "select 1"));
        let password = PASSWORD.replace('\'', "''");
        server.sql("postgres", &format!("create role app login password '{password}'"));
        server.sql("postgres", "create database shop owner app");
        server
    }

    /// The PostgreSQL program of this name.
    pub fn program(&self, name: &str) -> PathBuf {
        self.programs.join(name)
    }

    /// As its superuser.
    #[track_caller]
    pub fn sql(&self, database: &str, sql: &str) -> String {
        self.try_sql(database, sql).unwrap_or_else(|error| panic!("{sql}: {error}"))
    }

    /// As its superuser, who is not obeyed.
    #[track_caller]
    pub fn refused(&self, database: &str, sql: &str) {
        assert!(self.try_sql(database, sql).is_err(), "{sql}");
    }

    fn try_sql(&self, database: &str, sql: &str) -> Result<String, String> {
        let output = Command::new(self.program("psql"))
            .args(["-XAtq", "-v", "ON_ERROR_STOP=1", "-U", "postgres", "-d", database, "-c", sql])
            .args(["-p", &self.port.to_string(), "-h"])
            .arg(self.directory.path())
            .output()
            .map_err(|error| error.to_string())?;
        if output.status.success() {
            Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
        } else {
            Err(String::from_utf8_lossy(&output.stderr).into_owned())
        }
    }

    /// Everything in a database, as text: two databases with the same are the same.
    pub fn text_of(&self, database: &str) -> String {
        let output = Command::new(self.program("pg_dump"))
            .args(["--no-owner", "--no-acl", "-U", "postgres", "-d", database])
            .args(["-p", &self.port.to_string(), "-h"])
            .arg(self.directory.path())
            .output()
            .unwrap();
        assert!(output.status.success());
        let text = String::from_utf8(output.stdout).unwrap();
        // Newer ones mark their own text with something random.
        let lines = text.lines().filter(|line| !line.contains("restrict "));
        lines.collect::<Vec<_>>().join("\n")
    }

    /// MariaDB as this machine has it.
    pub fn mariadb() -> Self {
        let (directory, user) = directory_of("mysql");
        let programs = PathBuf::from("/usr/bin");
        let data = directory.path().join("data");
        let installed = as_user(&programs.join("mariadb-install-db"), user.as_ref())
            .args(["--no-defaults", "--auth-root-authentication-method=normal"])
            .args(["--skip-test-db", "--basedir=/usr"])
            .arg(format!("--datadir={}", data.display()))
            .status();
        assert!(installed.expect("MariaDB is not there: run scripts/setup").success());
        let port = free_port();
        let child = as_user(Path::new("/usr/sbin/mariadbd"), user.as_ref())
            .args(["--no-defaults", "--bind-address=127.0.0.1", "--skip-log-bin"])
            .args([format!("--port={port}"), format!("--datadir={}", data.display())])
            .arg(format!("--socket={}/mysqld.sock", directory.path().display()))
            .arg(format!("--pid-file={}/pid", directory.path().display()))
            .spawn()
            .unwrap();
        let server = Self { port, child, programs, directory };
        wait_until(READY_WITHIN, "MariaDB answers", || server.try_mysql("select 1"));
        let password = PASSWORD.replace('\\', "\\\\").replace('\'', "\\'");
        server.mysql(&format!(
            "create database shop; create user app@'127.0.0.1' identified by '{password}'; \
             grant all on *.* to app@'127.0.0.1'"
        ));
        server
    }

    /// As root of MariaDB.
    #[track_caller]
    pub fn mysql(&self, sql: &str) -> String {
        self.try_mysql(sql).unwrap_or_else(|error| panic!("{sql}: {error}"))
    }

    fn try_mysql(&self, sql: &str) -> Result<String, String> {
        let output = Command::new(self.program("mariadb"))
            .arg("--no-defaults")
            .arg(format!("--socket={}/mysqld.sock", self.directory.path().display()))
            .args(["-uroot", "--batch", "--raw", "-N", "-e", sql])
            .output()
            .map_err(|error| error.to_string())?;
        if output.status.success() {
            Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
        } else {
            Err(String::from_utf8_lossy(&output.stderr).into_owned())
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // SIGQUIT is an immediate end to PostgreSQL; MariaDB takes a while to SIGTERM.
        let pid = Pid::from_raw(i32::try_from(self.child.id()).unwrap());
        let signal = if self.programs.ends_with("bin") && self.program("postgres").exists() {
            Signal::SIGQUIT
        } else {
            Signal::SIGKILL
        };
        let _ = kill(pid, signal);
        drop(self.child.wait());
    }
}

/// The newest of those that stand side by side.
fn postgres_programs() -> PathBuf {
    let entries = fs::read_dir("/usr/lib/postgresql").expect("no PostgreSQL: run scripts/setup");
    let versions = entries.filter_map(|entry| {
        let path = entry.ok()?.path();
        let major: u32 = path.file_name()?.to_str()?.parse().ok()?;
        Some((major, path.join("bin")))
    });
    versions.max().expect("no PostgreSQL: run scripts/setup").1
}
