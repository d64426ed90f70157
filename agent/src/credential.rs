//! Secrets in files, as systemd hands them over: read anew each time, so that whoever changes the
//! file need not restart anything. What was read is never shown.

use camino::Utf8PathBuf;

/// Bytes of a secret's file.
const BYTES_MAX: usize = 4096;

/// Why a secret cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum CredentialError {
    /// The file.
    #[error("the secret in {path} cannot be read")]
    Read {
        /// The file.
        path: Utf8PathBuf,
        /// What the system answered.
        #[source]
        source: std::io::Error,
    },
    /// A credential without the directory that systemd makes for them.
    #[error("the credential {name} is not there: CREDENTIALS_DIRECTORY is not set")]
    NoDirectory {
        /// Its name.
        name: String,
    },
}

/// The text of a secret, without space around it: in the file `name`, or, where that begins with no
/// slash, in the systemd credential of that name.
pub fn read(name: &str) -> Result<String, CredentialError> {
    let path = if name.starts_with('/') {
        Utf8PathBuf::from(name)
    } else {
        let directory = std::env::var("CREDENTIALS_DIRECTORY")
            .map_err(|_| CredentialError::NoDirectory { name: name.to_owned() })?;
        Utf8PathBuf::from(directory).join(name)
    };
    let failed = |source| CredentialError::Read { path: path.clone(), source };
    let text = std::fs::read_to_string(&path).map_err(failed)?;
    match text.trim() {
        "" => Err(failed(std::io::Error::other("it is empty"))),
        text if text.len() > BYTES_MAX => Err(failed(std::io::Error::other("it is too long"))),
        text => Ok(text.to_owned()),
    }
}
