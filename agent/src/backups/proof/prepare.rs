//! What a dump takes for granted and does not hold: its roles, and extensions that only a superuser
//! may make. And what a restorer says against the backdrop of that: nothing that this host is to
//! blame for is held against a dump.

use std::collections::BTreeSet;

use groundcrew_core::backups::Kind;
use tokio_util::sync::CancellationToken;

use super::scratch::{self, Scratch};
use super::{RESTORED, not_here};
use crate::backups::dump::DumpError;
use crate::backups::dump::child::ChildError;
use crate::backups::dump::clients::Clients;
use crate::backups::dump::restore::{Fed, encoding, statement};
use crate::backups::dump::session::Session;
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

/// How pg_restore begins one about a statement.
const STATEMENT: &str = "pg_restore: error: could not execute query: ERROR:  ";
/// What a server says about a statement when whoever restores is no superuser, or when the host has
/// less than the server that was dumped: all words of a row, in one line.
const LACKED: [&[&str]; 8] = [
    &["permission denied to create"],
    &["permission denied for foreign-data wrapper"],
    &["permission denied for language"],
    &["must be superuser"],
    &["only superuser"],
    &["superuser-only"],
    &["could not create locale"],
    &["collation ", "does not exist"],
];
/// What it says about an event trigger: nothing needs one, and nobody but a superuser may make it.
const EVENT_TRIGGER: &str = "permission denied to create event trigger ";

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
    extensions(&own, clients, server, stop).await?;
    // Whoever may use the extension's wrapper makes the dump's servers of it.
    let sql = format!(
        "do $$ declare wrapper name; begin \
         for wrapper in select fdwname from pg_catalog.pg_foreign_data_wrapper loop \
         execute pg_catalog.format('grant usage on foreign data wrapper %I to {RESTORED}', \
         wrapper); end loop; end $$"
    );
    statement(&own, clients, kind, &sql, stop).await?;
    Ok(())
}

/// Makes the extensions of `server` in the database of `own`.
async fn extensions(
    own: &Session,
    clients: &Clients,
    server: &Server,
    stop: &CancellationToken,
) -> Result<(), DumpError> {
    let mut left: Vec<_> = server.extensions.iter().take(EXTENSIONS_MAX).collect();
    // Some need others, in schemas that are not theirs: in an order that nobody has written down.
    while !left.is_empty() {
        let (mut failed, mut why) = (Vec::new(), String::new());
        for one @ (name, schema) in &left {
            let (name, schema) = (quoted(name), quoted(schema));
            let sql = format!("create extension if not exists {name} schema {schema}");
            match statement(own, clients, Kind::PgDump, &sql, stop).await {
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
    let schemas = schemas(server);
    let is_read = fed.fetched.findings.is_empty() && !fed.fetched.refused;
    if is_read && is_as_expected(&said, &schemas) {
        return Ok(Vec::new());
    }
    let is_read = fed.fetched.findings.is_empty();
    let findings = fed.findings(program);
    let here = said.lines().find(|line| !is_expected(line, &schemas) && is_of_this_host(line));
    match here {
        Some(line) if is_read && !findings.is_empty() => {
            Err(not_here(line.chars().filter(|c| !c.is_control()).take(300).collect()))
        }
        _ => Ok(findings),
    }
}

/// Whether a line is about what this host lacks, or does not let a restorer do.
fn is_of_this_host(line: &str) -> bool {
    let lacks = |said: &str| LACKED.iter().any(|all| all.iter().all(|words| said.contains(words)));
    OF_THIS_HOST.iter().any(|words| line.contains(words))
        || line.strip_prefix(STATEMENT).is_some_and(lacks)
}

/// Whether a line says that a schema is there, which was made beforehand, or that an event trigger
/// was left out.
fn is_expected(line: &str, schemas: &BTreeSet<&str>) -> bool {
    let Some(said) = line.strip_prefix(STATEMENT) else { return false };
    let name =
        said.strip_prefix("schema \"").and_then(|rest| rest.strip_suffix("\" already exists"));
    said.starts_with(EVENT_TRIGGER) || name.is_some_and(|name| schemas.contains(name))
}

/// Whether a restorer complains about nothing but what is expected.
fn is_as_expected(said: &str, schemas: &BTreeSet<&str>) -> bool {
    let mut errors = said.lines().filter(|line| line.starts_with(ERROR));
    let counted = errors.clone().count();
    let end = format!("pg_restore: warning: errors ignored on restore: {counted}");
    // What is cut has no such end.
    counted > 0 && errors.all(|line| is_expected(line, schemas)) && said.trim_end().ends_with(&end)
}

/// An identifier, whatever it holds.
fn quoted(name: &str) -> String {
    let name: String = name.chars().filter(|c| *c != '\0').collect();
    format!("\"{}\"", name.replace('"', "\"\""))
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt;
    use std::process::ExitStatus;

    use super::*;
    use crate::backups::dump::fetch::Fetched;

    fn error(entry: &str, said: &str, command: &str) -> String {
        format!(
            "pg_restore: while PROCESSING TOC:\n\
             pg_restore: from TOC entry 6; 2615 16387 {entry} postgres\n\
             {ERROR}could not execute query: ERROR:  {said}\n\
             Command was: {command};\n\n\n"
        )
    }

    fn end(count: usize) -> String {
        format!("pg_restore: warning: errors ignored on restore: {count}\n")
    }

    fn schema(name: &str) -> String {
        let said = format!("schema \"{name}\" already exists");
        error(&format!("SCHEMA {name}"), &said, &format!("CREATE SCHEMA {name}"))
    }

    fn trigger() -> String {
        let said = "permission denied to create event trigger \"watch\"\n\
                    HINT:  Must be superuser to create an event trigger.";
        error("EVENT TRIGGER watch", said, "CREATE EVENT TRIGGER watch ON ddl_command_end")
    }

    #[test]
    fn nothing_but_what_was_made_beforehand_or_left_out_is_let_pass() {
        let schemas = BTreeSet::from(["ext", "odd \" name"]);
        let check = |said: String, expected| {
            assert_eq!(is_as_expected(&said, &schemas), expected, "{said}");
        };
        check(schema("ext") + &end(1), true);
        check(schema("ext") + &schema("odd \" name") + &end(2), true);
        check(schema("ext") + &trigger() + &end(2), true);
        check(schema("ext") + &end(2), false);
        check(schema("ext"), false);
        check(schema("other") + &end(1), false);
        let other = error("TABLE t", "no such type", "CREATE TABLE t");
        check(schema("ext") + &other + &end(2), false);
        check(end(0), false);
        check(String::new(), false);
    }

    /// What is made of what a restorer said that ended badly: `None`, it says nothing about a dump.
    fn judged(said: &str, findings: &[String]) -> Option<Vec<String>> {
        let server = Server {
            version: "15.1".into(),
            major: 15,
            system: "1/2".into(),
            database: "shop".into(),
            lsn: None,
            encoding: "UTF8".into(),
            extensions: vec![("cube".into(), "ext".into())],
            roles: Vec::new(),
            schema_sha256: None,
            tables: Vec::new(),
        };
        let fetched = Fetched { findings: findings.to_vec(), refused: false };
        let fed = Fed { fetched, status: ExitStatus::from_raw(256), said: said.to_owned() };
        match judge(fed, &server, "/usr/bin/pg_restore".into()) {
            Ok(findings) => Some(findings),
            Err(DumpError::NotHere { .. }) => None,
            Err(other) => panic!("{other}"),
        }
    }

    #[test]
    fn what_this_host_lacks_is_not_held_against_a_dump() {
        let damage = error("TABLE t", "syntax error at or near \"t\"", "CREATE TABLE t");
        for said in [
            "permission denied to create foreign-data wrapper \"w\"",
            "permission denied for foreign-data wrapper postgres_fdw",
            "permission denied for language c",
            "must be superuser to create an operator class",
            "only superuser can define a leakproof function",
            "password_required=false is superuser-only",
            "could not create locale \"de_DE.utf8\": No such file or directory",
            "collation \"pg_catalog.de_DE.utf8\" for encoding \"UTF8\" does not exist",
        ] {
            let lacked = error("X x", said, "CREATE X x");
            assert_eq!(judged(&(lacked.clone() + &end(1)), &[]), None, "{said}");
            assert_eq!(judged(&(schema("ext") + &lacked + &damage + &end(3)), &[]), None);
            // What is known to be damaged is damaged, whatever else is lacked.
            let torn = ["its hash differs".to_owned()];
            assert_eq!(judged(&(lacked + &end(1)), &torn), Some(torn.to_vec()));
            // Somebody's words are not the server's.
            let quoted = error("TABLE t", "syntax error", &format!("CREATE TABLE t -- {said}"));
            assert_eq!(judged(&(quoted + &end(1)), &[]).map(|all| all.len()), Some(1), "{said}");
        }
        assert_eq!(judged(&(trigger() + &schema("ext") + &end(2)), &[]), Some(Vec::new()));
        // A trigger that is left out hides nothing.
        let found = judged(&(trigger() + &damage + &end(2)), &[]);
        assert_eq!(found.map(|all| all.len()), Some(1));
    }
}
