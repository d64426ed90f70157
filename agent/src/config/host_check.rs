//! Loads the host's file and holds it against the host: users, directories, rights. Only looks;
//! nothing is created or changed.

use std::fs::File;
use std::io::{self, Read as _};
use std::os::unix::fs::PermissionsExt;

use camino::Utf8Path;
use groundcrew_core::backups::JobSettings;
use groundcrew_core::logs::Destination;
use nix::unistd::{AccessFlags, User, access};

use super::problem::{Position, Problem, Problems, Severity, shown};
use super::{CONFIG_BYTES_MAX, HostConfig, host, reader};
use crate::fsx::{About, FileError};

/// Bits of the capability mask in `/proc/self/status` (capabilities(7)).
const CAP_SETUID: u32 = 7;
const CAP_NET_BIND_SERVICE: u32 = 10;

/// A file that could be used, and what a person should look at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Loaded {
    /// What the file says.
    pub config: HostConfig,
    /// What will perhaps not work as meant.
    pub warnings: Vec<Problem>,
}

/// Why a file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// It could not be read at all.
    #[error(transparent)]
    File(#[from] FileError),
    /// It was read, and is wrong.
    #[error("{0}")]
    Invalid(Problems),
}

/// Reads a host's file and checks it by itself, then against this host.
pub fn load(path: &Utf8Path) -> Result<Loaded, LoadError> {
    let (text, world_readable) = read(path)?;
    let parsed = host::parse_with_warnings(path.as_str(), &text);
    let (config, warnings) = parsed.map_err(LoadError::Invalid)?;
    let mut problems = check_host(path.as_str(), &config);
    if world_readable && config.overrides.values().any(|over| !over.env.is_empty()) {
        problems.push(Problem {
            message: "every user of this host can read this file, and env may hold secrets".into(),
            hint: Some(format!("chmod 600 {path}")),
            ..warning(path.as_str(), "")
        });
    }
    for problem in &mut problems {
        problem.position = reader::locate(&text, &problem.key);
    }
    problems.extend(warnings);
    if problems.iter().any(|problem| problem.severity == Severity::Error) {
        return Err(LoadError::Invalid(Problems::new(problems)));
    }
    Ok(Loaded { config, warnings: Problems::new(problems).into_vec() })
}

/// What only the host can tell, without positions. Errors are what no rights can mend; what may be
/// due to the rights of whoever is asking (a person running `check`) is a warning.
#[must_use]
pub fn check_host(file: &str, config: &HostConfig) -> Vec<Problem> {
    let mut problems = Vec::new();
    for (key, path) in [("state_dir", &config.state_dir), ("run_dir", &config.run_dir)] {
        problems.extend(check_directory(file, key, path));
    }
    if let Destination::File(path) = &config.logs.to
        && let Some(directory) = Utf8Path::new(path).parent()
    {
        problems.extend(check_directory(file, "logs.to.path", directory));
    }
    problems.extend(check_regions(file, config, std::env::var("AWS_REGION").ok().as_deref()));
    let rights = Rights::own();
    for (tier, over) in &config.overrides {
        if let Some(user) = &over.host.user {
            problems.extend(check_user(file, &format!("tier.{tier}.user"), user, &rights));
        }
        if let Some(port) = over.port {
            problems.extend(check_port(file, &format!("tier.{tier}.port"), port, &rights));
        }
    }
    problems
}

fn read(path: &Utf8Path) -> Result<(String, bool), LoadError> {
    let mut file = File::open(path).about("open", path)?;
    let metadata = file.metadata().about("read", path)?;
    let mut bytes = Vec::new();
    let limit = CONFIG_BYTES_MAX as u64 + 1;
    file.by_ref().take(limit).read_to_end(&mut bytes).about("read", path)?;
    let world_readable = metadata.permissions().mode() & 0o004 != 0;
    let text = String::from_utf8(bytes).map_err(|error| {
        let valid_len = error.utf8_error().valid_up_to();
        let text = String::from_utf8_lossy(error.as_bytes());
        LoadError::Invalid(Problems::new(vec![Problem {
            position: Some(Position::of(&text, valid_len)),
            message: "is not UTF-8 text".to_owned(),
            severity: Severity::Error,
            ..warning(path.as_str(), "")
        }]))
    })?;
    Ok((text, world_readable))
}

fn warning(file: &str, key: &str) -> Problem {
    Problem {
        file: file.to_owned(),
        position: None,
        key: key.to_owned(),
        message: String::new(),
        hint: None,
        severity: Severity::Warning,
    }
}

/// A copy to where the databases are is none; `home` is what the agent calls by.
fn check_regions(file: &str, config: &HostConfig, home: Option<&str>) -> Vec<Problem> {
    let Some(home) = home else { return Vec::new() };
    let same = config
        .backups
        .iter()
        .map(|backup| &backup.job)
        .filter(|job| job.copies.iter().any(|copy| copy.region == home));
    let problem = |job: &JobSettings| Problem {
        message: format!("{} copies to {home}, where this host is", job.name),
        hint: Some("a copy is for the day on which this region is not there".to_owned()),
        severity: Severity::Error,
        ..warning(file, "backup")
    };
    same.map(problem).collect()
}

/// The directory is there, or could be made: its nearest existing parent is a directory.
fn check_directory(file: &str, key: &str, path: &Utf8Path) -> Option<Problem> {
    let nearest = path.ancestors().find(|path| path.symlink_metadata().is_ok())?;
    let problem = |severity, message| Problem { message, severity, ..warning(file, key) };
    if !nearest.is_dir() {
        return Some(problem(Severity::Error, format!("{nearest} is not a directory")));
    }
    let writable = access(nearest.as_std_path(), AccessFlags::W_OK | AccessFlags::X_OK);
    let error = writable.err()?;
    let message = format!("{path} cannot be written here by this user: {}", error.desc());
    Some(problem(Severity::Warning, message))
}

fn check_user(file: &str, key: &str, user: &str, rights: &Rights) -> Option<Problem> {
    let problem = |severity, message: String, hint: &str| Problem {
        severity,
        message,
        hint: Some(hint.to_owned()),
        ..warning(file, key)
    };
    match User::from_name(user) {
        Ok(None) => {
            let message = format!("there is no user {} on this host", shown(user));
            let hint = format!("add it: useradd --system {user}");
            Some(problem(Severity::Error, message, &hint))
        }
        Ok(Some(found)) if !rights.may(CAP_SETUID) && found.uid != nix::unistd::geteuid() => {
            let message = format!("only root can start processes as {user}");
            Some(problem(Severity::Warning, message, "the agent has to run as root"))
        }
        Ok(Some(_)) => None,
        Err(error) => {
            let message = format!("could not look user {user} up: {}", error.desc());
            Some(problem(Severity::Warning, message, "the user database did not answer"))
        }
    }
}

fn check_port(file: &str, key: &str, port: u16, rights: &Rights) -> Option<Problem> {
    if port >= rights.port_unprivileged_min || rights.may(CAP_NET_BIND_SERVICE) {
        return None;
    }
    let min = rights.port_unprivileged_min;
    Some(Problem {
        message: format!("only root can listen on a port below {min}"),
        hint: Some("the agent has to run as root, or have CAP_NET_BIND_SERVICE".to_owned()),
        ..warning(file, key)
    })
}

/// What this process may do.
struct Rights {
    capabilities: u64,
    port_unprivileged_min: u16,
}

impl Rights {
    fn own() -> Self {
        // Where procfs is not mounted, the kernel's defaults for a plain user are assumed: the
        // result is a warning at worst.
        let status = proc_text("self/status").unwrap_or_default();
        let capabilities = (status.lines())
            .find_map(|line| u64::from_str_radix(line.strip_prefix("CapEff:")?.trim(), 16).ok());
        let port = proc_text("sys/net/ipv4/ip_unprivileged_port_start");
        Self {
            capabilities: capabilities.unwrap_or(0),
            port_unprivileged_min: port.ok().and_then(|t| t.trim().parse().ok()).unwrap_or(1024),
        }
    }

    fn may(&self, capability: u32) -> bool {
        self.capabilities & (1 << capability) != 0
    }
}

fn proc_text(name: &str) -> io::Result<String> {
    std::fs::read_to_string(Utf8Path::new("/proc").join(name))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fsx::{scratch, write_atomic};

    fn check(lines: &str, mode: u32) -> Result<String, String> {
        let (_keep, scratch) = scratch();
        let file = scratch.join("groundcrew.toml");
        let text = format!(
            "environment = \"test\"\nsource = \"file:///srv/x\"\ntiers = [\"web\"]\n\
             state_dir = \"{scratch}/state\"\n{}",
            lines.replace("SCRATCH", scratch.as_str()),
        );
        write_atomic(&file, text.as_bytes(), mode).unwrap();
        let said = |text: String| text.replace(scratch.as_str(), "SCRATCH");
        match load(&file) {
            Ok(loaded) => {
                let lines: Vec<_> = loaded.warnings.iter().map(ToString::to_string).collect();
                Ok(said(lines.join("\n")))
            }
            Err(error) => Err(said(error.to_string())),
        }
    }

    #[test]
    fn a_file_that_fits_the_host_has_no_warnings() {
        assert_eq!(check("run_dir = \"SCRATCH/run\"", 0o600), Ok(String::new()));
    }

    #[test]
    fn a_file_in_the_way_and_a_missing_user_are_errors_with_their_lines() {
        let lines = "run_dir = \"SCRATCH/groundcrew.toml/run\"\n\
                     [tier.web]\nuser = \"nobody-of-that-name\"\n\
                     [logs.to]\nkind = \"file\"\npath = \"SCRATCH/groundcrew.toml/all\"\n";
        insta::assert_snapshot!(check(lines, 0o600).unwrap_err(), @r#"
        SCRATCH/groundcrew.toml:5: run_dir: SCRATCH/groundcrew.toml is not a directory
        SCRATCH/groundcrew.toml:7: tier.web.user: there is no user "nobody-of-that-name" on this host; add it: useradd --system nobody-of-that-name
        SCRATCH/groundcrew.toml:10: logs.to.path: SCRATCH/groundcrew.toml is not a directory
        "#);
    }

    #[test]
    fn secrets_in_a_file_that_everybody_reads_are_a_warning() {
        let lines = "run_dir = \"SCRATCH/run\"\n[tier.web]\nenv = { TOKEN = \"hunter2\" }\n";
        assert_eq!(check(lines, 0o600), Ok(String::new()));
        insta::assert_snapshot!(check(lines, 0o644).unwrap(), @"SCRATCH/groundcrew.toml: warning: every user of this host can read this file, and env may hold secrets; chmod 600 SCRATCH/groundcrew.toml");
    }

    #[test]
    fn a_file_that_is_missing_or_not_text_says_so() {
        let (_keep, scratch) = scratch();
        let missing = load(&scratch.join("none.toml")).unwrap_err();
        assert!(crate::errors::chain(&missing).contains("No such file"), "{missing}");
        let file = scratch.join("binary.toml");
        write_atomic(&file, b"a = 1\nb = \"\xff\"\n", 0o600).unwrap();
        let error = load(&file).unwrap_err().to_string();
        assert!(error.ends_with("binary.toml:2: is not UTF-8 text"), "{error}");
    }
}
