//! How a dump, or the proof of a snapshot, reaches its server: `[backup.connection]` and
//! `[backup.verify.restore.connection]`. Passwords are named and never read here.

use groundcrew_core::backups::Kind;
use groundcrew_core::backups::settings::{Connection, Password, Tls};

use crate::config::fields;
use crate::config::problem::shown;
use crate::config::reader::{Node, Read, Section};

/// The keys of `[backup.connection]`.
pub(super) const CONNECTION: &[&str] =
    &["host", "port", "user", "password_file", "secret", "iam", "tls", "tls_ca_file"];
/// The same without what a restored instance has of its own.
pub(super) const RESTORED: &[&str] =
    &["user", "password_file", "secret", "iam", "tls", "tls_ca_file"];

const USER_BYTES_MAX: usize = 128;
const HOST_BYTES_MAX: usize = 255;
/// Bytes of a secret's name or ARN (API_GetSecretValue).
const SECRET_BYTES_MAX: usize = 2048;

/// Each of `keys`, with its path below `table`.
pub(super) fn keys(
    table: &'static str,
    keys: &'static [&'static str],
) -> impl Iterator<Item = String> {
    fields::below(table, keys)
}

/// `[backup.connection]`.
pub(super) fn connection(node: &Node<'_, '_>, kind: Kind) -> Read<Connection> {
    let section = node.section(CONNECTION)?;
    let host = section
        .required("host", "name the server, such as \"shop.abc.eu-west-1.rds.amazonaws.com\"")
        .and_then(|node| host(&node));
    let port = section.or("port", port_of(kind), fields::port);
    let local = host.as_ref().is_ok_and(|host| host.starts_with('/'));
    let rest = rest(&section, if local { Tls::Off } else { Tls::VerifyFull });
    Ok(Connection { host: host?, port: port?, ..rest? })
}

/// `[backup.verify.restore.connection]`: host and port are those of what is restored.
pub(super) fn restored(node: &Node<'_, '_>) -> Read<Connection> {
    rest(&node.section(RESTORED)?, Tls::VerifyFull)
}

fn port_of(kind: Kind) -> u16 {
    match kind {
        Kind::PgDump | Kind::RdsSnapshot => 5432,
        Kind::MysqlDump => 3306,
    }
}

/// All but host and port.
fn rest(section: &Section<'_, '_>, tls: Tls) -> Read<Connection> {
    let password = password(section);
    let user = section.optional("user", user);
    let words = [("verify-full", Tls::VerifyFull), ("require", Tls::Require), ("off", Tls::Off)];
    let tls = section.or("tls", tls, |node| fields::one_of(node, &words));
    let tls_ca_file = section.optional("tls_ca_file", super::path);
    let (tls, password, user) = (tls?, password?, user?);
    let user = match (&password, user) {
        (Password::Secret(_), user) => user.unwrap_or_default(),
        (Password::None | Password::File(_) | Password::Iam, Some(user)) => user,
        (Password::None | Password::File(_) | Password::Iam, None) => {
            return Err(section
                .required("user", "say who connects")
                .err()
                .unwrap_or_else(|| section.node().refuse("has no user", "say who connects")));
        }
    };
    let (host, port) = (String::new(), 0);
    Ok(Connection { host, port, user, password, tls, tls_ca_file: tls_ca_file? })
}

fn password(section: &Section<'_, '_>) -> Read<Password> {
    let file = section.optional("password_file", super::secret_file);
    let secret = section.optional("secret", secret);
    let iam = section.or("iam", false, Node::boolean);
    let (file, secret, iam) = (file?, secret?, iam?);
    let said = usize::from(file.is_some()) + usize::from(secret.is_some()) + usize::from(iam);
    if said > 1 {
        let hint = "keep one of password_file, secret and iam";
        return Err(section.node().refuse("has more than one way to a password", hint));
    }
    Ok(match (file, secret) {
        (Some(file), _) => Password::File(file),
        (None, Some(secret)) => Password::Secret(secret),
        (None, None) if iam => Password::Iam,
        (None, None) => Password::None,
    })
}

/// A name, an address, or the directory of a unix socket; nothing that a client takes for more.
fn host(node: &Node<'_, '_>) -> Read<String> {
    let text = node.as_text().ok_or_else(|| node.wanted("the name of a server"))?;
    let usual = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | ':');
    let path = text.starts_with('/') && !text.contains(['\0', '\n', ',']);
    let name = !text.starts_with('-') && !text.is_empty() && text.chars().all(usual);
    if (path || name) && text.len() <= HOST_BYTES_MAX {
        return Ok(text.to_owned());
    }
    // Whoever put a URL here may have put the password into it.
    let message = "is not a server's name, address or directory";
    Err(node.refuse(message, "user, port and database have keys of their own"))
}

fn user(node: &Node<'_, '_>) -> Read<String> {
    let text = node.as_text().ok_or_else(|| node.wanted("the name of a user"))?;
    let bad = |c: char| c.is_control() || matches!(c, ':' | '/' | '@' | '=' | '\'' | '"');
    if text.is_empty() || text.len() > USER_BYTES_MAX || text.contains(bad) || text.starts_with('-')
    {
        return Err(node.refuse(format!("{} is not the name of a user", shown(text)), ""));
    }
    Ok(text.to_owned())
}

/// The name or ARN of a secret; whoever put the secret itself here must not find it in a log.
fn secret(node: &Node<'_, '_>) -> Read<String> {
    let wanted = "the name or ARN of a secret in Secrets Manager";
    let text = node.as_text().ok_or_else(|| node.wanted_unseen(wanted))?;
    let usual = |c: char| c.is_ascii_alphanumeric() || "/_+=.@-:!".contains(c);
    if text.is_empty() || text.len() > SECRET_BYTES_MAX || !text.chars().all(usual) {
        return Err(node.refuse(format!("is not {wanted}"), "never put the password itself here"));
    }
    Ok(text.to_owned())
}
