//! The manifest of a dump: written last, so that a dump without one is none. It says what is
//! stored, what came out of the database, and how to tell that both are still the same. What is
//! read here comes from a bucket: it is believed only as far as it can be checked.

use std::collections::BTreeMap;

use groundcrew_core::backups::Kind;
use groundcrew_core::backups::backup::{Backup, BackupState, Marks, Tag};
use groundcrew_core::backups::slot::JobName;
use groundcrew_core::types::Digest;
use serde::{Deserialize, Serialize};

/// The version that is written.
const VERSION: u32 = 1;
/// Bytes of a manifest: ten thousand tables of long names.
pub const BYTES_MAX: u64 = 4 * 1024 * 1024;
/// Tables that are named; of a database with more, those with most rows.
pub const TABLES_MAX: usize = 10_000;

/// The whole object.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// [`VERSION`]. Another one is an error of the reader.
    version: u32,
    /// The job.
    pub job: JobName,
    /// The slot, as in the key.
    pub slot: String,
    /// How it was made.
    pub kind: Kind,
    /// The name of the data's object, beside the manifest's.
    pub data: String,
    /// When it was dumped, in seconds since 1970-01-01 UTC.
    pub created_s: i64,
    /// What the client wrote.
    pub plain: Content,
    /// What is stored: compressed with zstd, then encrypted.
    pub stored: Content,
    /// How it is encrypted.
    pub seal: SealNote,
    /// What it is a dump of.
    pub server: Server,
    /// The client's major version: an older one may not be able to read what it wrote.
    pub client_major: u32,
    /// What made it, such as `pg_dump (PostgreSQL) 15.18`.
    pub tools: Vec<String>,
    /// The same as a snapshot's tags.
    pub tags: Vec<Tag>,
}

/// How long something is, and its SHA-256.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Content {
    /// Bytes.
    pub bytes: u64,
    /// Its hash.
    pub sha256: Digest,
}

/// How a dump is encrypted, without anything secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", deny_unknown_fields)]
pub enum SealNote {
    /// Not at all.
    None,
    /// To these recipients, as an age file.
    Age(Vec<String>),
    /// In groundcrew's own frames, with a data key of KMS.
    Kms {
        /// The key's ARN or alias.
        key: String,
        /// The data key, encrypted with it, as base64.
        blob: String,
    },
}

/// What a server said about itself and the database.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Server {
    /// Its version, such as `15.18` or `10.11.6-MariaDB`.
    pub version: String,
    /// The number that compatibility goes by.
    pub major: u32,
    /// Names the database for as long as it lives.
    pub system: String,
    /// The database's name.
    pub database: String,
    /// The write-ahead log's position before the dump, if it may be asked.
    pub lsn: Option<String>,
    /// The encoding of its text.
    pub encoding: String,
    /// Extensions, and the schemas they are in.
    pub extensions: Vec<(String, String)>,
    /// Roles, without their passwords: rules of what is restored may name them.
    pub roles: Vec<String>,
    /// The hash of tables, columns, indexes and constraints, after the version of what is hashed,
    /// such as `2:e3b0...`; `None` when it changed during the dump or cannot be told.
    pub schema_sha256: Option<String>,
    /// Its tables.
    pub tables: Vec<Table>,
}

impl Server {
    /// Forgets what was not the same before a dump and `after` it, or is not known: what changed
    /// meanwhile cannot be told from what is damaged. Of rows the lower number counts, and a table
    /// that is gone may have been gone before it was dumped.
    pub fn settle(&mut self, after: Option<&Self>) {
        let schema = after.and_then(|after| after.schema_sha256.as_ref());
        self.schema_sha256 = self.schema_sha256.take().filter(|before| Some(before) == schema);
        let rows: BTreeMap<(&str, &str), Option<u64>> = after
            .iter()
            .flat_map(|after| &after.tables)
            .map(|table| ((table.schema.as_str(), table.name.as_str()), table.rows))
            .collect();
        if after.is_some() {
            let is_there =
                |table: &Table| rows.contains_key(&(table.schema.as_str(), table.name.as_str()));
            self.tables.retain(is_there);
        }
        for table in &mut self.tables {
            let after = rows.get(&(table.schema.as_str(), table.name.as_str())).copied().flatten();
            table.rows = table.rows.zip(after).map(|(before, after)| before.min(after));
        }
    }
}

/// A table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Table {
    /// Its schema; of MySQL, the database.
    pub schema: String,
    /// Its name.
    pub name: String,
    /// How many rows the server thinks it has, at least; `None` when it does not know.
    pub rows: Option<u64>,
}

/// A manifest that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ManifestError {
    /// It is none.
    #[error("the manifest {key} cannot be read")]
    Json {
        /// Its key.
        key: String,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
    /// A newer agent wrote it.
    #[error("the manifest {key} is of version {version}, and this agent knows {VERSION}")]
    Version {
        /// Its key.
        key: String,
        /// Its version.
        version: u32,
    },
    /// It is not the one of its key.
    #[error("the manifest {key} is of another dump: {found}")]
    Another {
        /// Its key.
        key: String,
        /// Whose it is.
        found: String,
    },
    /// Its data has no name beside it.
    #[error("the manifest {key} names {data:?} as its data")]
    Data {
        /// Its key.
        key: String,
        /// The name.
        data: String,
    },
}

/// The version alone, before anything else is read.
#[derive(Deserialize)]
struct Head {
    version: u32,
}

/// What a dump is, before it is committed.
#[derive(Debug)]
pub struct Draft {
    /// See [`Manifest`].
    pub job: JobName,
    /// See [`Manifest`].
    pub slot: String,
    /// See [`Manifest`].
    pub kind: Kind,
    /// See [`Manifest`].
    pub data: String,
    /// See [`Manifest`].
    pub created_s: i64,
    /// See [`Manifest`].
    pub plain: Content,
    /// See [`Manifest`].
    pub stored: Content,
    /// See [`Manifest`].
    pub seal: SealNote,
    /// See [`Manifest`].
    pub server: Server,
    /// See [`Manifest`].
    pub client_major: u32,
    /// See [`Manifest`].
    pub tools: Vec<String>,
}

impl Manifest {
    /// With the tags that it gets when it is committed.
    #[must_use]
    pub fn new(draft: &Draft, tags: Vec<Tag>) -> Self {
        Self {
            version: VERSION,
            job: draft.job.clone(),
            slot: draft.slot.clone(),
            kind: draft.kind,
            data: draft.data.clone(),
            created_s: draft.created_s,
            plain: draft.plain,
            stored: draft.stored,
            seal: draft.seal.clone(),
            server: draft.server.clone(),
            client_major: draft.client_major,
            tools: draft.tools.clone(),
            tags,
        }
    }

    /// Reads the manifest that `key` holds, which is the one of `job` and `slot`.
    pub fn read(key: &str, job: &JobName, slot: &str, json: &[u8]) -> Result<Self, ManifestError> {
        let unread = |source| ManifestError::Json { key: key.to_owned(), source };
        let Head { version } = serde_json::from_slice(json).map_err(unread)?;
        if version != VERSION {
            return Err(ManifestError::Version { key: key.to_owned(), version });
        }
        let manifest: Self = serde_json::from_slice(json).map_err(unread)?;
        if manifest.job != *job || manifest.slot != slot {
            let found = format!("{} of {}", manifest.slot, manifest.job);
            return Err(ManifestError::Another { key: key.to_owned(), found });
        }
        let plain = |c: char| c.is_ascii_alphanumeric() || c == '-';
        let name = manifest.data.strip_suffix(".dump");
        if name.is_none_or(|name| name.is_empty() || !name.chars().all(plain)) {
            let data = manifest.data.chars().take(80).collect();
            return Err(ManifestError::Data { key: key.to_owned(), data });
        }
        Ok(manifest)
    }

    /// The whole object.
    #[must_use]
    pub fn json(&self) -> Vec<u8> {
        // Texts, numbers and lists of them: there is nothing in it that JSON cannot hold.
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// As the core sees it, with these tags.
    #[must_use]
    pub fn backup(&self, url: String, tags: &[Tag]) -> Backup {
        Backup {
            id: self.slot.clone(),
            arn: url,
            state: BackupState::Available,
            marks: Marks::of(tags),
            resource: self.server.system.clone(),
            created_s: Some(self.created_s),
            bytes: Some(self.plain.bytes),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_server_says_counts_when_it_says_so_twice() {
        let server = |schema: &str, tables: &[(&str, Option<u64>)]| Server {
            version: "15.1".into(),
            major: 15,
            system: "1/2".into(),
            database: "shop".into(),
            lsn: None,
            encoding: "UTF8".into(),
            extensions: Vec::new(),
            roles: Vec::new(),
            schema_sha256: Some(schema.to_owned()),
            tables: tables
                .iter()
                .map(|(name, rows)| Table {
                    schema: "public".into(),
                    name: (*name).to_owned(),
                    rows: *rows,
                })
                .collect(),
        };
        let check = |after: Option<Server>, schema: Option<&str>, rows: &[Option<u64>]| {
            let mut before = server("x", &[("a", Some(5000)), ("b", None), ("c", Some(7))]);
            before.settle(after.as_ref());
            assert_eq!(before.schema_sha256.as_deref(), schema);
            assert_eq!(before.tables.iter().map(|table| table.rows).collect::<Vec<_>>(), rows);
        };
        check(None, None, &[None; 3]);
        let drained = server("x", &[("a", Some(0)), ("b", Some(9)), ("c", Some(8))]);
        check(Some(drained), Some("x"), &[Some(0), None, Some(7)]);
        check(Some(server("y", &[("a", Some(6000))])), None, &[Some(5000)]);
    }
}
