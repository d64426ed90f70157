//! The agent's own binary as it is on disk now: tried out, and become in place. The process stays
//! the same one, with its number, its children and its standing with systemd; everything in it is
//! the new binary's. It must never be become without having been tried out.

use std::convert::Infallible;
use std::ffi::{CString, OsString};
use std::io;
use std::os::unix::ffi::OsStringExt;
use std::process::Stdio;
use std::time::Duration;

use camino::Utf8PathBuf;

/// How long a binary may take to say that it can use the configuration.
const TRIAL_WITHIN: Duration = Duration::from_secs(10);
/// Characters of what it says otherwise.
const WORDS_MAX: usize = 1000;

/// Where the agent's binary and its configuration are.
#[derive(Debug, Clone)]
pub struct Image {
    /// As it was called, not as it was resolved: an upgrade may move a link.
    program: OsString,
    arguments: Vec<OsString>,
    config: Utf8PathBuf,
}

impl Image {
    /// This process's own, which runs with the configuration in `config`.
    pub fn own(config: Utf8PathBuf) -> io::Result<Self> {
        let arguments: Vec<OsString> = std::env::args_os().collect();
        let called = arguments.first().filter(|name| name.as_encoded_bytes().starts_with(b"/"));
        let program = match called {
            Some(program) => program.clone(),
            // Asked for now: once another one is there, the kernel calls this one deleted.
            None => std::env::current_exe()?.into_os_string(),
        };
        Ok(Self { program, arguments, config })
    }

    /// Its path, for people.
    #[must_use]
    pub fn path(&self) -> String {
        self.program.to_string_lossy().into_owned()
    }

    /// Lets it check the configuration: shows that it runs on this host at all, and understands
    /// what it will find. The error says what is wrong.
    pub async fn try_out(&self) -> Result<(), String> {
        #[expect(clippy::disallowed_methods, reason = "the supervisor is who starts processes")]
        let mut command = tokio::process::Command::new(&self.program);
        command.args(["check", "--config", self.config.as_str()]);
        command.stdin(Stdio::null()).kill_on_drop(true);
        let path = self.path();
        let output = match tokio::time::timeout(TRIAL_WITHIN, command.output()).await {
            Ok(Ok(output)) => output,
            Ok(Err(error)) => return Err(format!("{path} cannot be run: {error}")),
            Err(_) => return Err(format!("{path} did not check its configuration in time")),
        };
        if output.status.success() {
            return Ok(());
        }
        let said = [output.stdout, output.stderr].concat();
        let said = String::from_utf8_lossy(&said);
        let said: String = said.trim().replace('\n', "; ").chars().take(WORDS_MAX).collect();
        let said = if said.is_empty() { output.status.to_string() } else { said };
        Err(format!("{path} cannot use {}: {said}", self.config))
    }

    /// Becomes it, with the arguments of this process and `variable` in its environment. Returns
    /// only when that failed, and then nothing has changed: a plain `execve`, because the standard
    /// library would have reset signals by then. What is not close-on-exec stays open.
    pub fn become_it(&self, variable: (&str, &str)) -> io::Error {
        match self.try_become(variable) {
            Ok(never) => match never {},
            Err(error) => error,
        }
    }

    fn try_become(&self, (name, value): (&str, &str)) -> io::Result<Infallible> {
        // What systemd passed to this process at its start is not there any more.
        let gone = ["LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES", name];
        let kept = std::env::vars_os().filter(|(name, _)| !gone.iter().any(|gone| name == gone));
        let mut environment = Vec::new();
        for (mut variable, value) in kept {
            variable.push("=");
            variable.push(value);
            environment.push(CString::new(variable.into_vec())?);
        }
        environment.push(CString::new(format!("{name}={value}"))?);
        let program = CString::new(self.program.clone().into_vec())?;
        let arguments = self.arguments.iter().map(|one| CString::new(one.clone().into_vec()));
        let arguments = arguments.collect::<Result<Vec<_>, _>>()?;
        Ok(nix::unistd::execve(&program, &arguments, &environment)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn trial(program: &str) -> Result<(), String> {
        let image =
            Image { program: program.into(), arguments: Vec::new(), config: "/x/host.toml".into() };
        image.try_out().await
    }

    #[tokio::test]
    async fn a_binary_that_does_not_work_says_why() {
        assert_eq!(trial("/bin/true").await, Ok(()));
        let reason = trial("/bin/false").await.unwrap_err();
        assert_eq!(reason, "/bin/false cannot use /x/host.toml: exit status: 1");
        let reason = trial("/bin/ls").await.unwrap_err();
        assert!(reason.contains("option"), "{reason}");
        let reason = trial("/no/such/binary").await.unwrap_err();
        assert!(reason.starts_with("/no/such/binary cannot be run: "), "{reason}");
    }

    #[test]
    fn one_that_cannot_be_become_leaves_everything_as_it_is() {
        let image = Image {
            program: "/etc/passwd".into(),
            arguments: vec!["groundcrew".into()],
            config: "/x".into(),
        };
        let error = image.become_it(("X", "1"));
        assert_eq!(error.kind(), io::ErrorKind::PermissionDenied);
    }
}
