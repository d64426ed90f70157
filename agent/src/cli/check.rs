//! `groundcrew check`: everything that is wrong with a configuration file, at once.

use super::args::ConfigArgs;
use super::terminal::Output;
use super::{EXIT_FAILING, EXIT_OK};
use crate::config::host_check::{LoadError, Loaded, load};
use crate::runtime;

pub(super) fn run(args: &ConfigArgs, out: &mut Output) -> anyhow::Result<u8> {
    let Loaded { config, warnings } = match load(&args.config) {
        Ok(loaded) => loaded,
        // The problems are what was asked for: data, not messages.
        Err(LoadError::Invalid(problems)) => {
            out.print(&format!("{problems}\n"))?;
            return Ok(EXIT_FAILING);
        }
        Err(error @ LoadError::File(_)) => return Err(error.into()),
    };
    runtime::check_ledger(&config.state_dir)?;
    for warning in &warnings {
        out.print(&format!("{warning}\n"))?;
    }
    let tiers = match &config.tiers {
        None => "all tiers".to_owned(),
        Some(tiers) => {
            let names: Vec<_> = tiers.iter().map(ToString::to_string).collect();
            format!("tiers {}", names.join(", "))
        }
    };
    let (environment, source) = (&config.environment, &config.source);
    out.print(&format!("ok: {environment} from {source}, {tiers}, in {}\n", config.state_dir))?;
    Ok(EXIT_OK)
}
