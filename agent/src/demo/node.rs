//! Finds the Node that runs the demo's app.

use std::io;

use camino::Utf8PathBuf;

use super::DemoError;

/// The oldest Node that the handoff supports.
pub const MAJOR_MIN: u32 = 18;

/// A Node that is new enough.
#[derive(Debug, Clone)]
pub struct Node {
    /// Absolute: the agent's processes have a `PATH` of their own, and a version manager's Node is
    /// not in it.
    pub path: Utf8PathBuf,
    /// As it says itself, such as `v22.11.0`.
    pub version: String,
}

/// The first `node` in `PATH`.
pub fn find() -> Result<Node, DemoError> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut candidates = std::env::split_paths(&path).map(|directory| directory.join("node"));
    let found = candidates.find_map(|path| super::utf8(&path).filter(|path| path.is_file()));
    let Some(path) = found else {
        return Err(DemoError::Node { found: "there is none in PATH".to_owned() });
    };
    let version = ask(&path)
        .map_err(|error| DemoError::Node { found: format!("{path} cannot be run ({error})") })?;
    match major(&version) {
        Some(major) if major >= MAJOR_MIN => Ok(Node { path, version }),
        _ => Err(DemoError::Node { found: format!("{path} is {version}") }),
    }
}

fn ask(path: &Utf8PathBuf) -> io::Result<String> {
    #[expect(clippy::disallowed_methods, reason = "the demo plays the person who asks")]
    let output = std::process::Command::new(path).arg("--version").output()?;
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

fn major(version: &str) -> Option<u32> {
    version.strip_prefix('v')?.split('.').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_major_version_is_read() {
        assert_eq!(major("v22.11.0"), Some(22));
        assert_eq!(major("v18"), Some(18));
        assert_eq!(major("not node"), None);
        assert_eq!(major(""), None);
    }
}
