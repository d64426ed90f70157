//! What a dump takes for granted and does not hold: its roles, and extensions that only a superuser
//! may make. And what a restorer says against the backdrop of that: nothing that this host is to
//! blame for is held against a dump.

use std::collections::BTreeSet;

use tokio_util::sync::CancellationToken;

use super::scratch::{self, Scratch};
use super::{RESTORED, not_here};
use crate::backups::dump::DumpError;
use crate::backups::dump::child::ChildError;
use crate::backups::dump::clients::Clients;
use crate::backups::dump::restore::{Fed, encoding, statement};
use crate::backups::manifest::{Manifest, Server};

/// Extensions of one database that are made beforehand.
const EXTENSIONS_MAX: usize = 100;
/// Roles that are made beforehand.
const ROLES_MAX: usize = 1000;
/// Schemas that every database has.
const USUAL_SCHEMAS: [&str; 2] = ["public", "pg_catalog"];
/// How pg_restore begins a line that is an error.
const ERROR: &str = "pg_restore: error: ";
/// What a restorer or its server says when the host has too little of something, or when the server
/// is gone.
const OF_THIS_HOST: [&str; 7] = [
    "No space left on device",
    "out of memory",
    "Cannot allocate memory",
    "server closed the connection",
    "no connection to the server",
    "connection to server",
    "terminating connection",
];

/// Makes the database of `scratch` with all that a dump of `manifest` takes for granted.
pub(super) async fn prepare(
    scratch: &Scratch,
    clients: &Clients,
    manifest: &Manifest,
    stop: &CancellationToken,
) -> Result<(), DumpError> {
    let kind = manifest.kind;
    let server = &manifest.server;
    let admin = scratch.session(scratch::SUPERUSER, "postgres")?;
    let mut roles = vec![RESTORED];
    let known = [RESTORED, scratch::SUPERUSER];
    let others = server.roles.iter().map(String::as_str).filter(|role| !known.contains(role));
    roles.extend(others.take(ROLES_MAX));
    for role in roles {
        let login = if role == RESTORED { "login" } else { "nologin" };
        let sql = format!("create role {} {login}", quoted(role));
        statement(&admin, clients, kind, &sql, stop).await?;
    }
    let encoding = encoding(server);
    let sql = format!(
        "create database {RESTORED} owner {RESTORED} template template0 locale 'C' \
         encoding '{encoding}'"
    );
    statement(&admin, clients, kind, &sql, stop).await?;
    let own = scratch.session(scratch::SUPERUSER, RESTORED)?;
    for schema in schemas(server) {
        let sql = format!("create schema {} authorization {RESTORED}", quoted(schema));
        statement(&own, clients, kind, &sql, stop).await?;
    }
    let mut left: Vec<_> = server.extensions.iter().take(EXTENSIONS_MAX).collect();
    // Some need others, in schemas that are not theirs: in an order that nobody has written down.
    while !left.is_empty() {
        let (mut failed, mut why) = (Vec::new(), String::new());
        for one @ (name, schema) in &left {
            let (name, schema) = (quoted(name), quoted(schema));
            let sql = format!("create extension if not exists {name} schema {schema}");
            match statement(&own, clients, kind, &sql, stop).await {
                Ok(_) => {}
                Err(ChildError::Failed { said, .. }) => {
                    why = format!("extension {name} cannot be made: {said}");
                    failed.push(*one);
                }
                Err(error) => return Err(error.into()),
            }
        }
        if failed.len() == left.len() {
            return Err(not_here(why));
        }
        left = failed;
    }
    Ok(())
}

/// The schemas of extensions that have to be there before them.
fn schemas(server: &Server) -> BTreeSet<&str> {
    let extensions = server.extensions.iter().take(EXTENSIONS_MAX);
    let all = extensions.map(|(_, schema)| schema.as_str());
    all.filter(|schema| !USUAL_SCHEMAS.contains(schema)).collect()
}

/// What `pg_restore` found wrong with a dump of `server`, as clauses.
pub(super) fn judge(
    fed: Fed,
    server: &Server,
    program: &camino::Utf8Path,
) -> Result<Vec<String>, DumpError> {
    let said = fed.said.clone();
    let is_read = fed.fetched.findings.is_empty() && !fed.fetched.refused;
    if is_read && is_about_schemas_alone(&said, &schemas(server)) {
        return Ok(Vec::new());
    }
    let is_read = fed.fetched.findings.is_empty();
    let findings = fed.findings(program);
    let here = said.lines().find(|line| OF_THIS_HOST.iter().any(|words| line.contains(words)));
    match here {
        Some(line) if is_read && !findings.is_empty() => {
            Err(not_here(line.chars().filter(|c| !c.is_control()).take(300).collect()))
        }
        _ => Ok(findings),
    }
}

/// Whether all that a restorer complains about is that schemas are there, which were made for it.
fn is_about_schemas_alone(said: &str, schemas: &BTreeSet<&str>) -> bool {
    let errors: Vec<_> = said.lines().filter_map(|line| line.strip_prefix(ERROR)).collect();
    let expected = |error: &&str| {
        let name = error.strip_prefix("could not execute query: ERROR:  schema \"");
        let name = name.and_then(|rest| rest.strip_suffix("\" already exists"));
        name.is_some_and(|name| schemas.contains(name))
    };
    let counted = format!("pg_restore: warning: errors ignored on restore: {}", errors.len());
    // What is cut has no such end.
    !errors.is_empty() && errors.iter().all(expected) && said.trim_end().ends_with(&counted)
}

/// An identifier, whatever it holds.
fn quoted(name: &str) -> String {
    let name: String = name.chars().filter(|c| *c != '\0').collect();
    format!("\"{}\"", name.replace('"', "\"\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_but_schemas_that_were_made_beforehand_is_let_pass() {
        let schemas = BTreeSet::from(["ext", "odd \" name"]);
        let error = |schema: &str| {
            format!(
                "pg_restore: while PROCESSING TOC:\n\
                 pg_restore: from TOC entry 6; 2615 16387 SCHEMA {schema} postgres\n\
                 {ERROR}could not execute query: ERROR:  schema \"{schema}\" already exists\n\
                 Command was: CREATE SCHEMA {schema};\n\n\n"
            )
        };
        let end = |count| format!("pg_restore: warning: errors ignored on restore: {count}\n");
        let check = |said: String, expected| {
            assert_eq!(is_about_schemas_alone(&said, &schemas), expected, "{said}");
        };
        check(error("ext") + &end(1), true);
        check(error("ext") + &error("odd \" name") + &end(2), true);
        check(error("ext") + &end(2), false);
        check(error("ext"), false);
        check(error("other") + &end(1), false);
        let other = format!("{ERROR}could not execute query: ERROR:  no such type\n");
        check(error("ext") + &other + &end(2), false);
        check(end(0), false);
        check(String::new(), false);
    }
}
