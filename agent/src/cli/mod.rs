//! The command line: parses it, runs one command, turns the outcome into an exit code. stdout is
//! data, stderr is messages. Commands that ask the agent go through [`crate::control::client`] and
//! decide nothing.

mod agent;
pub mod args;
mod backups;
mod check;
mod demo;
mod doctor;
mod drain;
mod drill;
mod fetch;
mod logs;
mod metrics;
mod notify;
mod promote;
mod publish;
mod releases;
mod reload;
pub mod render;
mod restart;
mod rollback;
mod since;
mod status;
mod terminal;
mod top;

use std::future::Future;
use std::io::{self, Write};
use std::process::ExitCode;

use clap::Parser;

use crate::control::client::{ClientError, ControlClient};
pub use args::{Cli, Command};
use terminal::Output;

/// All right.
pub const EXIT_OK: u8 = 0;
/// Degraded, rolled back, or the command failed.
pub const EXIT_FAILING: u8 = 1;
/// The agent is not running.
pub const EXIT_NOT_RUNNING: u8 = 3;
/// The command line was wrong (`EX_USAGE`, sysexits.h).
pub const EXIT_USAGE: u8 = 64;

/// Runs the command line this process was started with.
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Help and --version are asked for: stdout and success. Nobody is left to hear of a
            // failure.
            drop(error.print());
            return ExitCode::from(if error.use_stderr() { EXIT_USAGE } else { EXIT_OK });
        }
    };
    let code = run(cli).unwrap_or_else(|error| {
        if is_closed_pipe(&error) {
            return EXIT_OK;
        }
        let client = error.downcast_ref::<ClientError>();
        let hint = client.and_then(ClientError::hint);
        let hint = hint.map_or(String::new(), |hint| format!("; {hint}"));
        let text = crate::errors::chain(error.as_ref());
        // When stderr is closed too, the exit code still says it.
        drop(writeln!(io::stderr(), "groundcrew: {text}{hint}"));
        match client {
            Some(error) if error.is_not_running() => EXIT_NOT_RUNNING,
            _ => EXIT_FAILING,
        }
    });
    ExitCode::from(code)
}

fn run(cli: Cli) -> anyhow::Result<u8> {
    let client = ControlClient::new(cli.socket);
    let mut out = Output::stdout();
    match cli.command {
        Command::Check(args) => block_on(check::run(&args, &client, &mut out)),
        Command::Doctor(args) => block_on(doctor::run(&args, &client, &mut out)),
        Command::Top => block_on(top::run(&client, &mut out)),
        Command::Status(args) => block_on(status::run(&args, &client, &mut out)),
        Command::Releases(args) => block_on(releases::run(&args, &client, &mut out)),
        Command::Logs(args) => block_on(logs::run(&args, &client, &mut out)),
        Command::Metrics(args) => metrics::run(&args, &mut out),
        Command::Notify(command) => block_on(notify::run(&command, &client, &mut out)),
        Command::Backups(args) => block_on(Box::pin(backups::run(&args, &client, &mut out))),
        Command::Restart(args) => block_on(restart::run(&args, &client, &mut out)),
        Command::Drain(args) => block_on(drain::drain(&args, &client, &mut out)),
        Command::Drill(args) => block_on(drill::run(&args, &client, &mut out)),
        Command::Undrain => block_on(drain::undrain(&client, &mut out)),
        Command::Standby => block_on(drain::standby(&client, &mut out)),
        Command::Reload => block_on(reload::run(&client, &mut out)),
        Command::Publish(args) => block_on(publish::run(args)),
        Command::Promote(args) => block_on(promote::run(args)),
        Command::Rollback(args) => block_on(rollback::run(args)),
        Command::Fetch(args) => block_on(fetch::run(args)),
        Command::Agent(args) => agent::run(&args),
        Command::Hold => {
            crate::supervisor::hold::hold()?;
            Ok(EXIT_OK)
        }
        Command::Demo => demo::run(),
    }
}

/// One thread is enough for a command that asks and prints.
fn block_on<T>(command: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(command)
}

/// `groundcrew logs | head`: the reader has had enough, which is no failure.
fn is_closed_pipe(error: &anyhow::Error) -> bool {
    let cause = error.downcast_ref::<io::Error>();
    cause.is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}

#[cfg(test)]
mod tests;
