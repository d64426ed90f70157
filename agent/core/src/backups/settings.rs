//! What the host's file says about backups, beside what is decided with: where they are kept, how
//! the database is reached, and who can read them. Secrets are named here and never held.

use super::{JobSettings, Kind};
use std::collections::BTreeMap;

/// `[[backup]]`, checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BackupSettings {
    /// What is decided with.
    pub job: JobSettings,
    /// The KMS keys of copies, by region; a region that is not here takes RDS's own key.
    pub copy_keys: BTreeMap<String, String>,
    /// How dumps connect; `None`: the job makes snapshots.
    pub connection: Option<Connection>,
    /// Who can read dumps.
    pub encryption: Encryption,
    /// How backups are proved.
    pub proof: ProofSettings,
}

/// Where records, leases and dumps are kept: `backup_store = "s3://BUCKET/PREFIX"`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Store {
    /// The bucket.
    pub bucket: String,
    /// Before every key, without a slash at its end; may be empty.
    pub prefix: String,
}

/// How a dump reaches its server. The database's name is [`JobSettings::database`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Connection {
    /// The server's name or address, or the directory of its unix socket. A read replica spares the
    /// primary.
    pub host: String,
    /// The server's port.
    pub port: u16,
    /// Who connects; with [`Password::Secret`], the secret's own `username` when this is empty.
    pub user: String,
    /// How it proves to be that.
    pub password: Password,
    /// How far the server has to prove who it is.
    pub tls: Tls,
    /// Certificates that are trusted, in a PEM file; `None`: those of the host.
    pub tls_ca_file: Option<String>,
}

/// Where a password comes from, each time anew: passwords are rotated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Password {
    /// None is needed: the server believes the unix user, or everybody.
    None,
    /// In a file; a name without a slash is that of a systemd credential.
    File(String),
    /// In Secrets Manager, by name or ARN: plain, or JSON with `username` and `password`, as RDS
    /// keeps it.
    Secret(String),
    /// A token that IAM signs for [`Connection::user`], good for 15 minutes.
    Iam,
}

/// How far the server has to prove who it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tls {
    /// Certificate and name are checked.
    VerifyFull,
    /// Encrypted, and anybody's certificate will do.
    Require,
    /// Not at all; for unix sockets and tests.
    Off,
}

/// Who can read dumps.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Encryption {
    /// Everybody who can read the bucket.
    None,
    /// Who has the identity of one of these age recipients (`age1...`). It need not be on the
    /// fleet.
    Age(Vec<String>),
    /// Who may call `kms:Decrypt` with this key: its ARN or alias.
    Kms(String),
}

/// How backups are proved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProofSettings {
    /// The age identity that reads dumps, in a file; a name without a slash is that of a systemd
    /// credential. Without it, what is encrypted to recipients is not proved here at L1 and L2.
    pub identity_file: Option<String>,
    /// Where a scratch server of L2 keeps its files; `None`: below the agent's own directory.
    pub directory: Option<String>,
    /// How many rows each table should have at least, in percent of what its server estimated when
    /// it was dumped: fewer are told in the log, and refute nothing.
    pub rows_percent_min: u8,
    /// What must be true of what was restored, at L2 and L3.
    pub assertions: Vec<Assertion>,
    /// Where snapshots are restored for L3; `None`: L3 is not proved.
    pub restore: Option<RestoreSettings>,
}

/// A statement of SQL whose first column must be true in its only row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Assertion {
    /// What people are told when it is not.
    pub name: String,
    /// The statement.
    pub sql: String,
}

/// Where a snapshot is restored for proof: nobody's way to the application may lead there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RestoreSettings {
    /// The DB subnet group.
    pub subnet_group: String,
    /// Its security groups: without them RDS would take the default one.
    pub security_groups: Vec<String>,
    /// Its class, such as `db.t4g.medium`.
    pub class: String,
    /// Its parameter group; `None`: the engine's default.
    pub parameter_group: Option<String>,
    /// Who asks the assertions, and by what: host and port are those of the restored instance.
    pub connection: Option<Connection>,
    /// The database on the server that they are asked in.
    pub database: String,
    /// Whose protocol the engine speaks: that of `pg_dump` or that of `mysqldump`.
    pub speaks: Kind,
}
