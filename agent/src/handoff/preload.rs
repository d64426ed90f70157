//! The preload: the JavaScript that Node loads before the app, so that the app hands over its
//! connections without knowing it. Embedded here, written to the run directory under the name of
//! its content: agents of two versions never overwrite each other's, and a process that restarts
//! under the new agent gets the new one.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;

use camino::{Utf8Path, Utf8PathBuf};
use groundcrew_core::spec::{CrashMode, Handoff};

use crate::fsx::{self, About, FileError};

const SOURCE: &str = include_str!("node.cjs");
/// The variable Node reads its options from.
const NODE_OPTIONS: &str = "NODE_OPTIONS";

/// Writes the preload to `run_dir` and returns its path. Everybody may read it: it is loaded as the
/// app's user.
pub fn write(run_dir: &Utf8Path) -> Result<Utf8PathBuf, FileError> {
    let hash = ring::digest::digest(&ring::digest::SHA256, SOURCE.as_bytes());
    let first = hash.as_ref()[..4].iter().fold(0, |number, &byte| number << 8 | u32::from(byte));
    let path = run_dir.join(format!("preload-{first:08x}.cjs"));
    // The same name with other content would be somebody's repair or somebody's attack.
    if fsx::read_if_exists(&path)?.as_deref() != Some(SOURCE.as_bytes()) {
        fsx::write_atomic(&path, SOURCE.as_bytes(), 0o644)?;
    }
    // Whatever the umask took away.
    fs::set_permissions(&path, Permissions::from_mode(0o644)).about("open up", &path)?;
    Ok(path)
}

/// Which requests the preload notes for X-Ray.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tracing {
    /// Of those that nobody has decided about, so many in a million.
    pub sample_ppm: u32,
    /// Whether the flag of `X-Amzn-Trace-Id` decides, where there is one.
    pub follow: bool,
}

/// The variables of the handoff: those that are the same for each process of a tier.
/// `node_options` is what the release or the host set; the preload goes behind it, so that an app's
/// own preloads (tracing) come first.
#[must_use]
pub fn environment(
    channel: &Utf8Path,
    preload: &Utf8Path,
    handoff: Handoff,
    crash: CrashMode,
    node_options: Option<&str>,
    tracing: Option<Tracing>,
) -> Vec<(String, String)> {
    let mut variables = Vec::new();
    let mut set = |name: &str, value: String| variables.push((name.to_owned(), value));
    if handoff == Handoff::ListenFds {
        return variables;
    }
    set("GROUNDCREW_CHANNEL", channel.to_string());
    let crash = match crash {
        CrashMode::Exit => "exit",
        CrashMode::Bleed => "bleed",
    };
    set("GROUNDCREW_CRASH", crash.to_owned());
    if let Some(Tracing { sample_ppm, follow }) = tracing {
        let follow = if follow { " follow" } else { "" };
        set("GROUNDCREW_TRACES", format!("{sample_ppm}{follow}"));
    }
    let require = format!("--require {}", quote(preload.as_str()));
    let before = node_options.map(str::trim).filter(|options| !options.is_empty());
    let options = before.map_or_else(|| require.clone(), |before| format!("{before} {require}"));
    set(NODE_OPTIONS, options);
    variables
}

/// As Node splits its options: blanks end one, except between double quotes, where a backslash
/// takes the next character as it is.
fn quote(path: &str) -> String {
    if !path.contains([' ', '"', '\\']) {
        return path.to_owned();
    }
    format!("\"{}\"", path.replace('\\', "\\\\").replace('"', "\\\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_core_knows_how_long_idle_connections_are_kept() {
        let ms = groundcrew_core::limits::PRELOAD_KEEP_ALIVE.as_millis();
        assert!(SOURCE.contains(&format!("const KEEP_ALIVE_MS = {ms};")));
    }

    #[test]
    fn traces_are_asked_for_where_they_are_wanted() {
        let set = |tracing| {
            let (channel, preload) = ("/c".into(), "/p".into());
            environment(channel, preload, Handoff::Node, CrashMode::Exit, None, tracing)
        };
        let traces = |tracing| {
            let found = set(tracing).into_iter().find(|(name, _)| name == "GROUNDCREW_TRACES");
            found.map(|(_, value)| value)
        };
        assert_eq!(traces(None), None);
        let tracing = Tracing { sample_ppm: 50_000, follow: false };
        assert_eq!(traces(Some(tracing)).as_deref(), Some("50000"));
        let tracing = Tracing { sample_ppm: 0, follow: true };
        assert_eq!(traces(Some(tracing)).as_deref(), Some("0 follow"));
    }

    fn options(preload: &str, before: Option<&str>) -> String {
        let set = environment(
            "/run/channel.sock".into(),
            preload.into(),
            Handoff::Node,
            CrashMode::Bleed,
            before,
            None,
        );
        assert_eq!(set[0], ("GROUNDCREW_CHANNEL".to_owned(), "/run/channel.sock".to_owned()));
        assert_eq!(set[1], ("GROUNDCREW_CRASH".to_owned(), "bleed".to_owned()));
        set[2].1.clone()
    }

    #[test]
    fn the_preload_goes_behind_what_was_there() {
        assert_eq!(options("/p.cjs", None), "--require /p.cjs");
        assert_eq!(options("/p.cjs", Some(" ")), "--require /p.cjs");
        assert_eq!(options("/p.cjs", Some("-r a ")), "-r a --require /p.cjs");
        assert_eq!(options("/a b/\"p\".cjs", None), r#"--require "/a b/\"p\".cjs""#);
    }

    #[test]
    fn a_runtime_that_takes_the_socket_itself_gets_nothing_of_node() {
        let set = environment(
            "/c".into(),
            "/p".into(),
            Handoff::ListenFds,
            CrashMode::Exit,
            Some("-r a"),
            None,
        );
        assert!(set.is_empty());
    }

    #[test]
    fn the_file_is_written_once_and_repaired() {
        let keep = tempfile::tempdir().unwrap();
        let run_dir = Utf8Path::from_path(keep.path()).unwrap();
        let path = write(run_dir).unwrap();
        assert_eq!(write(run_dir).unwrap(), path);
        fsx::write_atomic(&path, b"hacked", 0o600).unwrap();
        write(run_dir).unwrap();
        assert_eq!(fsx::read_if_exists(&path).unwrap().unwrap(), SOURCE.as_bytes());
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o644);
    }
}
