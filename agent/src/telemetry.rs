//! Where the agent's own log goes: to the journal with its fields where stderr is the journal, else
//! to stderr as lines for people. It must never be a reason for the agent not to run.

use std::ffi::OsStr;
use std::fmt;
use std::io;
use std::os::fd::AsFd;

use tracing::field::Field;
use tracing_journald::{Priority, PriorityMappings};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format::{Writer, debug_fn};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

/// What the journal calls the agent, whatever its binary is called.
const IDENTIFIER: &str = "groundcrew";

/// Begins to log. `GROUNDCREW_LOG` filters, such as `GROUNDCREW_LOG=debug`.
pub fn start() {
    let filter =
        EnvFilter::try_from_env("GROUNDCREW_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    let log = tracing_subscriber::registry().with(filter);
    // A second subscriber in one process is a test's.
    drop(match journal() {
        Some(journal) => log.with(journal).try_init(),
        None => log.with(stderr()).try_init(),
    });
}

/// `None`: stderr goes elsewhere, or the journal does not listen.
fn journal() -> Option<tracing_journald::Layer> {
    let stream = std::env::var_os("JOURNAL_STREAM")?;
    if !is_stream(&stream, io::stderr()) {
        return None;
    }
    let priorities = PriorityMappings {
        info: Priority::Informational,
        debug: Priority::Debug,
        ..PriorityMappings::new()
    };
    let journal = tracing_journald::layer().ok()?;
    let journal = journal.with_field_prefix(None).with_priority_mappings(priorities);
    Some(journal.with_syslog_identifier(IDENTIFIER.to_owned()))
}

/// Whether `file` is what `JOURNAL_STREAM` names by device and inode (systemd.exec(5)): a program
/// that was started by a service may have its stderr elsewhere.
fn is_stream(stream: &OsStr, file: impl AsFd) -> bool {
    rustix::fs::fstat(file)
        .is_ok_and(|stat| stream == OsStr::new(&format!("{}:{}", stat.st_dev, stat.st_ino)))
}

/// Lines with the message alone: it says what the fields say.
fn stderr<S>() -> impl tracing_subscriber::Layer<S>
where
    S: tracing::Subscriber + for<'a> tracing_subscriber::registry::LookupSpan<'a>,
{
    let message = |writer: &mut Writer<'_>, field: &Field, value: &dyn fmt::Debug| {
        if field.name() == "message" { write!(writer, "{value:?}") } else { Ok(()) }
    };
    let lines = tracing_subscriber::fmt::layer().fmt_fields(debug_fn(message));
    lines.with_writer(io::stderr).with_target(false).with_ansi(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_is_known_by_device_and_inode() {
        let file = tempfile::tempfile().unwrap();
        let stat = rustix::fs::fstat(&file).unwrap();
        let named = format!("{}:{}", stat.st_dev, stat.st_ino);
        assert!(is_stream(OsStr::new(&named), &file));
        for other in ["", "8:1", &format!("{named}1")] {
            assert!(!is_stream(OsStr::new(other), &file), "{other:?}");
        }
    }
}
