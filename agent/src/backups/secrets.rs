//! Passwords of databases: fetched each time anew, because they are rotated, held in memory alone,
//! and shown to nobody but the server they are for.

use std::fmt;

use groundcrew_core::backups::settings::{Connection, Password};
use serde::Deserialize;
use zeroize::Zeroizing;

use crate::aws::db_token::{DbTokenError, db_token};
use crate::aws::secrets_manager::{SecretsManager, SecretsManagerError};
use crate::credential::{self, CredentialError};

/// A value that is not shown, and wiped when it is dropped.
#[derive(Clone)]
pub struct Secret(Zeroizing<String>);

/// Who connects, and how that is proved.
#[derive(Debug, Clone)]
pub struct Login {
    /// The user.
    pub user: String,
    /// The password, if one is needed.
    pub password: Option<Secret>,
    /// It is a token of IAM, which goes to the server as it is: none but a connection with TLS may
    /// carry it.
    pub is_token: bool,
}

/// Why there is no login.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// The file.
    #[error(transparent)]
    Credential(#[from] CredentialError),
    /// Secrets Manager.
    #[error(transparent)]
    SecretsManager(#[from] SecretsManagerError),
    /// IAM.
    #[error(transparent)]
    Token(#[from] DbTokenError),
    /// The secret's text.
    #[error("the secret {name} {why}")]
    Shape {
        /// Its name.
        name: String,
        /// What is wrong with it, as a clause.
        why: &'static str,
    },
}

impl Secret {
    /// Takes the text over.
    #[must_use]
    pub fn new(text: String) -> Self {
        Self(Zeroizing::new(text))
    }

    /// The text: for the server alone.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// What RDS keeps in Secrets Manager. It names the server, too, which the host's file knows better:
/// a replica has the secret of its primary.
#[derive(Deserialize)]
struct Kept {
    username: Option<String>,
    password: String,
}

/// Fetches what `connection` is entered with.
pub async fn login(connection: &Connection) -> Result<Login, SecretError> {
    let user = connection.user.clone();
    let is_token = connection.password == Password::Iam;
    let password = match &connection.password {
        Password::None => None,
        Password::File(name) => Some(credential::read(name)?),
        Password::Secret(name) => {
            return kept(name, &SecretsManager::read(name).await?, user);
        }
        Password::Iam => Some(db_token(&connection.host, connection.port, &user).await?),
    };
    Ok(Login { user, password: password.map(Secret::new), is_token })
}

fn kept(name: &str, text: &str, user: String) -> Result<Login, SecretError> {
    let shape = |why| SecretError::Shape { name: name.to_owned(), why };
    let text = text.trim();
    if !text.starts_with('{') {
        let password = Some(Secret::new(text.to_owned()));
        return if user.is_empty() {
            Err(shape("is a plain password, and the host's file names no user"))
        } else {
            Ok(Login { user, password, is_token: false })
        };
    }
    // What serde would say may quote the secret.
    let kept: Kept = serde_json::from_str(text)
        .map_err(|_| shape("is JSON without the texts `username` and `password`"))?;
    let user = if user.is_empty() { kept.username.unwrap_or_default() } else { user };
    if user.is_empty() {
        return Err(shape("names no user, and neither does the host's file"));
    }
    Ok(Login { user, password: Some(Secret::new(kept.password)), is_token: false })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_plain_or_as_rds_keeps_them() {
        let check = |text: &str, user: &str, expected: Option<(&str, &str)>| {
            let login = kept("s", text, user.to_owned());
            let seen = login.as_ref().ok().map(|login| {
                (login.user.as_str(), login.password.as_ref().map_or("", Secret::reveal))
            });
            assert_eq!(seen, expected, "{text}");
        };
        check("hunter2\n", "app", Some(("app", "hunter2")));
        check("hunter2", "", None);
        let rds = r#"{"username":"admin","password":"hunter2","host":"h","port":5432}"#;
        check(rds, "", Some(("admin", "hunter2")));
        check(rds, "app", Some(("app", "hunter2")));
        check(r#"{"password":"hunter2"}"#, "", None);
        check(r#"{"password":7}"#, "app", None);
    }

    #[test]
    fn what_is_secret_is_not_shown() {
        let login = kept("s", "hunter2", "app".into()).unwrap();
        let shown = r#"Login { user: "app", password: Some(Secret(..)), is_token: false }"#;
        assert_eq!(format!("{login:?}"), shown);
        let error = kept("s", r#"{"pass":"hunter2"}"#, "app".into()).unwrap_err();
        assert!(!crate::errors::chain(&error).contains("hunter2"), "{error}");
    }

    #[tokio::test]
    async fn a_password_in_a_file_is_read_each_time() {
        let (_keep, directory) = crate::fsx::scratch();
        let path = directory.join("password");
        let connection = Connection {
            host: "h".into(),
            port: 5432,
            user: "app".into(),
            password: Password::File(path.to_string()),
            tls: groundcrew_core::backups::settings::Tls::Off,
            tls_ca_file: None,
        };
        assert!(matches!(login(&connection).await, Err(SecretError::Credential(_))));
        for text in ["one", "two"] {
            crate::fsx::write_atomic(&path, text.as_bytes(), 0o600).unwrap();
            let login = login(&connection).await.unwrap();
            assert_eq!(login.password.unwrap().reveal(), text);
        }
    }
}
