//! What people assert of what was restored. Only the server's own word refutes a backup: an answer
//! that is not true, or an error about the statement itself. A server that is slow, full, busy or
//! gone says nothing about what it was restored from, and never makes a backup a bad one.

use std::time::Duration;

use groundcrew_core::backups::Kind;
use groundcrew_core::backups::call::CallError;
use groundcrew_core::backups::limits::PROVE_WITHIN;
use groundcrew_core::backups::settings::{Assertion, BackupSettings, Connection};
use tokio_util::sync::CancellationToken;

use super::compare;
use crate::backups::dump::DumpError;
use crate::backups::dump::child::ChildError;
use crate::backups::dump::clients::{self, Clients};
use crate::backups::dump::restore::{statement, statement_within};
use crate::backups::dump::session::Session;
use crate::backups::secrets;

/// How long one may take. An instance of RDS that was just restored loads its blocks when they are
/// read for the first time (rdsdocs: USER_RestoreFromSnapshot).
const ASSERTION_WITHIN: Duration = Duration::from_hours(1);
/// Classes of SQLSTATE that are not about the statement and its data: connections, transactions
/// that were rolled back, a lack of resources, somebody who intervened, the system.
const PASSING_CLASSES: [&str; 5] = ["08", "40", "53", "57", "58"];
/// A lock was not to be had.
const LOCK_NOT_AVAILABLE: &str = "55P03";
/// The same of MySQL and MariaDB, whose SQLSTATEs do not tell: disk, memory, shutdown, threads,
/// packets and network, locks, statements that were ended (Server Error Message Reference).
const PASSING_NUMBERS: [u32; 20] = [
    1021, 1037, 1038, 1041, 1053, 1077, 1135, 1152, 1158, 1159, 1160, 1161, 1184, 1205, 1213, 1317,
    1927, 1969, 3024, 4031,
];
/// Errors of MySQL's clients themselves (Client Error Message Reference).
const OF_CLIENTS: std::ops::Range<u32> = 2000..3000;

const _: () = assert!(ASSERTION_WITHIN.as_secs() < PROVE_WITHIN.as_secs());

/// Which assertions do not hold, as clauses.
pub(super) async fn assertions(
    all: &[Assertion],
    session: &Session,
    clients: &Clients,
    kind: Kind,
    stop: &CancellationToken,
) -> Result<Vec<String>, DumpError> {
    let mut findings = Vec::new();
    for Assertion { name, sql } in all {
        // A client would take it for a command of its own.
        let said = if sql.trim_start().starts_with('\\') {
            Err("it is no statement of SQL".to_owned())
        } else {
            let said = statement_within(session, clients, kind, sql, ASSERTION_WITHIN, stop).await;
            answer(kind, said)?
        };
        if let Err(why) = said.and_then(|said| compare::is_true(&said)) {
            findings.push(format!("{name:?} is not so: {why}"));
        }
    }
    Ok(findings)
}

/// What a server answered, or why that refutes; the error is for what says nothing.
fn answer(
    kind: Kind,
    said: Result<String, ChildError>,
) -> Result<Result<String, String>, ChildError> {
    match said {
        Ok(said) => Ok(Ok(said)),
        Err(error @ ChildError::TooMuch { .. }) => Ok(Err(error.to_string())),
        Err(ChildError::Failed { program, said, code }) if is_verdict(kind, code, &said) => {
            Ok(Err(ChildError::Failed { program, said, code }.to_string()))
        }
        Err(error) => Err(error),
    }
}

/// Whether what a client said is the server's word about the statement.
fn is_verdict(kind: Kind, code: Option<i32>, said: &str) -> bool {
    match kind {
        Kind::PgDump | Kind::RdsSnapshot => {
            // psql ends with 2 when there is no connection, or none any more.
            let ended = matches!(code, Some(1 | 3));
            let state = said.split_once("ERROR:").map(|(_, rest)| rest.trim_start());
            let state = state.and_then(|rest| rest.split_once(':')).map(|(state, _)| state);
            let passes = |state: &str| {
                state == LOCK_NOT_AVAILABLE
                    || PASSING_CLASSES.iter().any(|class| state.starts_with(class))
            };
            ended && state.is_some_and(|state| state.len() == 5 && !passes(state))
        }
        Kind::MysqlDump => {
            // `ERROR 1146 (42S02) at line 1: ...`; without a line it is about the connection.
            let number = said.strip_prefix("ERROR ").and_then(|rest| rest.split_once(' '));
            let number = number.and_then(|(number, _)| number.parse::<u32>().ok());
            let passes =
                |number: u32| PASSING_NUMBERS.contains(&number) || OF_CLIENTS.contains(&number);
            code == Some(1)
                && said.contains(") at line ")
                && number.is_some_and(|number| !passes(number))
        }
    }
}

/// L3: asks the assertions of `settings` at an instance that was restored for it. `kind` is which
/// protocol its engine speaks. What is wrong, as clauses.
pub async fn assert_at(
    settings: &BackupSettings,
    kind: Kind,
    host: &str,
    port: u16,
    database: &str,
    stop: &CancellationToken,
) -> Result<Vec<String>, CallError> {
    let work = async {
        let given = settings.proof.restore.as_ref().and_then(|restore| restore.connection.as_ref());
        let none = || DumpError::NoConnection { job: settings.job.name.to_string() };
        let connection =
            Connection { host: host.to_owned(), port, ..given.ok_or_else(none)?.clone() };
        let login = secrets::login(&connection).await?;
        let session = Session::open(kind, &connection, database, login)?;
        let found = clients::find(kind, stop).await;
        let clients = clients::choose(&found, "psql or mysql", 0)?;
        // Nobody to talk to says nothing about the backup.
        statement(&session, &clients, kind, "select 1", stop).await?;
        assertions(&settings.proof.assertions, &session, &clients, kind, stop).await
    };
    let done = tokio::select! {
        done = work => done,
        () = stop.cancelled() => Err(DumpError::Stopped),
    };
    done.map_err(|error: DumpError| error.call_error())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_servers_word_about_the_statement_refutes() {
        let check = |kind, code, said: &str, expected| {
            assert_eq!(is_verdict(kind, code, said), expected, "{code:?} {said}");
        };
        let (pg, mysql) = (Kind::PgDump, Kind::MysqlDump);
        check(pg, Some(1), "ERROR:  42P01: relation \"x\" does not exist", true);
        check(pg, Some(1), "ERROR:  22012: division by zero", true);
        check(pg, Some(1), "ERROR:  XX001: invalid page in block 0", true);
        check(pg, Some(1), "ERROR:  57014: canceling statement due to user request", false);
        check(pg, Some(1), "ERROR:  53100: could not extend file: No space left", false);
        check(pg, Some(1), "ERROR:  55P03: canceling statement due to lock timeout", false);
        check(pg, Some(1), "ERROR:  40P01: deadlock detected", false);
        check(pg, Some(2), "ERROR:  42P01: relation \"x\" does not exist", false);
        let refused = "psql: error: connection to server at \"x\" failed: Connection refused";
        check(pg, Some(2), refused, false);
        check(pg, Some(1), "psql: error: out of memory", false);
        check(pg, None, "signal: 9 (SIGKILL)", false);
        check(mysql, Some(1), "ERROR 1146 (42S02) at line 1: Table 'a.b' doesn't exist", true);
        check(mysql, Some(1), "ERROR 3141 (22032) at line 1: Invalid JSON text", true);
        check(mysql, Some(1), "ERROR 2013 (HY000) at line 1: Lost connection", false);
        check(mysql, Some(1), "ERROR 1205 (HY000) at line 1: Lock wait timeout", false);
        check(mysql, Some(1), "ERROR 1045 (28000): Access denied for user", false);
        check(mysql, None, "signal: 9 (SIGKILL)", false);
    }

    #[test]
    fn what_was_not_answered_is_no_answer() {
        let program = || "/usr/bin/psql".into();
        let within = Duration::from_mins(1);
        let source = std::io::Error::other("no memory");
        for error in [
            ChildError::Slow { program: program(), within },
            ChildError::Run { program: program(), source },
            ChildError::Stopped { program: program() },
        ] {
            assert!(answer(Kind::PgDump, Err(error)).is_err());
        }
        let many = answer(Kind::PgDump, Err(ChildError::TooMuch { program: program() }));
        assert!(many.unwrap().is_err());
        assert_eq!(answer(Kind::PgDump, Ok("t\n".into())).unwrap(), Ok("t\n".to_owned()));
    }
}
