//! Who a process runs as, and the few variables that follow from it.

use camino::Utf8PathBuf;
use nix::unistd::{Gid, Uid, User};

use super::shim::RunAs;

/// Why a process cannot run as the user that the host's config names.
#[derive(Debug, thiserror::Error)]
pub enum UserError {
    /// The user database has no such user.
    #[error("there is no user {0:?} on this host")]
    Unknown(String),
    /// Only root may become somebody else.
    #[error("cannot run as {0:?}: the agent is not root")]
    NotRoot(String),
    /// The user database could not be read.
    #[error("could not look up user {user}")]
    Lookup {
        /// Name or number.
        user: String,
        /// What the C library answered.
        #[source]
        source: nix::Error,
    },
}

/// A user as its processes see themselves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    /// `USER` and `LOGNAME`.
    pub name: String,
    /// The user's number.
    pub uid: u32,
    /// Its primary group's.
    pub gid: u32,
    /// `HOME`.
    pub home: Utf8PathBuf,
    /// `SHELL`.
    pub shell: Utf8PathBuf,
    /// Whether the shim has to become it: it is not who the agent is already.
    changes: bool,
}

impl Account {
    /// Looks up `name`; the agent's own user when there is none. Reads files, may ask the network
    /// (NSS): not for the event loop.
    pub fn find(name: Option<&str>) -> Result<Self, UserError> {
        let own = Uid::effective();
        let Some(name) = name else { return Self::own(own) };
        let lookup = |source| UserError::Lookup { user: name.to_owned(), source };
        let user = User::from_name(name)
            .map_err(lookup)?
            .ok_or_else(|| UserError::Unknown(name.to_owned()))?;
        if user.uid != own && !own.is_root() {
            return Err(UserError::NotRoot(name.to_owned()));
        }
        let changes = user.uid != own;
        Ok(Self { changes, ..Self::from_user(user) })
    }

    fn own(uid: Uid) -> Result<Self, UserError> {
        let lookup = |source| UserError::Lookup { user: uid.to_string(), source };
        // A container may run as a number that no database knows.
        Ok(User::from_uid(uid).map_err(lookup)?.map_or_else(
            || Self {
                name: uid.to_string(),
                uid: uid.as_raw(),
                gid: Gid::effective().as_raw(),
                home: "/".into(),
                shell: "/bin/sh".into(),
                changes: false,
            },
            Self::from_user,
        ))
    }

    fn from_user(user: User) -> Self {
        let utf8 = |path: std::path::PathBuf, instead: &str| {
            Utf8PathBuf::from_path_buf(path).unwrap_or_else(|_| instead.into())
        };
        Self {
            name: user.name,
            uid: user.uid.as_raw(),
            gid: user.gid.as_raw(),
            home: utf8(user.dir, "/"),
            shell: utf8(user.shell, "/bin/sh"),
            changes: false,
        }
    }

    /// What the shim has to become; `None` when it is that already.
    #[must_use]
    pub fn run_as(&self) -> Option<RunAs> {
        let Self { name, uid, gid, .. } = self;
        self.changes.then(|| RunAs { name: name.clone(), uid: *uid, gid: *gid })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_is_somebody_else_and_the_agent_is_itself() {
        let own = Account::find(None).unwrap();
        assert_eq!(own.uid, Uid::effective().as_raw());
        assert_eq!(own.run_as(), None);
        match Account::find(Some("nobody")) {
            Ok(nobody) if Uid::effective().is_root() => {
                assert_eq!(nobody.run_as().unwrap().uid, nobody.uid);
            }
            Ok(nobody) => assert_eq!(nobody.uid, own.uid),
            Err(error) => assert!(matches!(error, UserError::NotRoot(_)), "{error}"),
        }
    }

    #[test]
    fn a_user_that_does_not_exist_is_named() {
        let error = Account::find(Some("no-such-user-here")).unwrap_err();
        assert_eq!(error.to_string(), "there is no user \"no-such-user-here\" on this host");
    }
}
