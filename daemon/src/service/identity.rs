//! Whom the server runs as. Root gives up being root before anything from a socket is read: for the
//! user of `-u`, else for the owner of the store's directory, whose files they are anyway.

use std::ffi::CString;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use nix::unistd::{Gid, Uid, User, geteuid, initgroups, setgid, setgroups, setuid};

use super::ServiceError;

/// Whom to become.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// For messages.
    pub name: String,
    uid: Uid,
    gid: Gid,
    /// It has groups beside the one.
    known: bool,
}

/// Decides whom to become; `None` = to stay as it is. Changes nothing.
pub fn choose(asked: Option<&str>, store: &Path) -> Result<Option<Identity>, ServiceError> {
    if !geteuid().is_root() {
        // As memcached: only root can become somebody else.
        return Ok(None);
    }
    if let Some(name) = asked {
        let user = User::from_name(name).ok().flatten();
        let user = user.or_else(|| {
            let uid = Uid::from_raw(name.parse().ok()?);
            User::from_uid(uid).ok().flatten()
        });
        let user = user.ok_or_else(|| ServiceError::NoUser(name.into()))?;
        return Ok((!user.uid.is_root()).then(|| of_user(user)));
    }
    let refused = |problem| ServiceError::Root { store: store.into(), problem };
    let directory = fs::metadata(store).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => refused("is not there, so it has no owner"),
        _ => refused("cannot be looked at"),
    })?;
    let uid = Uid::from_raw(directory.uid());
    if uid.is_root() {
        return Err(refused("belongs to root"));
    }
    let user = User::from_uid(uid).ok().flatten();
    let gid = Gid::from_raw(directory.gid());
    let stranger = Identity { name: format!("user {uid}"), uid, gid, known: false };
    Ok(Some(user.map_or(stranger, of_user)))
}

fn of_user(user: User) -> Identity {
    Identity { name: user.name, uid: user.uid, gid: user.gid, known: true }
}

impl Identity {
    /// Makes it the owner of what root has just made.
    pub fn take_over(&self, path: &Path) -> io::Result<()> {
        std::os::unix::fs::chown(path, Some(self.uid.as_raw()), Some(self.gid.as_raw()))
    }

    /// Becomes it, for good. Call it while there is one thread.
    pub fn assume(&self) -> Result<(), ServiceError> {
        let failed = |error: io::Error| ServiceError::Become { user: self.name.clone(), error };
        match CString::new(self.name.as_str()) {
            Ok(name) if self.known => initgroups(&name, self.gid),
            _ => setgroups(&[self.gid]),
        }
        .and_then(|()| setgid(self.gid))
        .and_then(|()| setuid(self.uid))
        .map_err(|error| failed(error.into()))?;
        match setuid(Uid::from_raw(0)) {
            Err(_) => Ok(()),
            Ok(()) => Err(failed(io::Error::other("root came back"))),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn root_becomes_the_user_or_the_owner_and_says_what_is_missing() {
        let dir = tempfile::tempdir().unwrap();
        if !geteuid().is_root() {
            assert_eq!(choose(None, dir.path()).unwrap(), None);
            eprintln!("SKIPPED: only root can become somebody else");
            return;
        }
        assert_eq!(choose(Some("root"), dir.path()).unwrap(), None);
        let nobody = choose(Some("nobody"), dir.path()).unwrap().unwrap();
        assert!(nobody.known && !nobody.uid.is_root());
        assert_eq!(
            choose(Some(&nobody.uid.to_string()), dir.path()).unwrap(),
            Some(nobody.clone())
        );
        let error = |asked, path: &Path| choose(asked, path).unwrap_err().to_string();
        assert_eq!(
            error(Some("no-such-user"), dir.path()),
            "there is no user \"no-such-user\" (-u)"
        );
        assert!(error(None, dir.path()).contains("belongs to root: say with -u USER"));
        assert!(error(None, &dir.path().join("no")).contains("is not there"));
        std::os::unix::fs::chown(dir.path(), Some(nobody.uid.as_raw()), None).unwrap();
        assert_eq!(choose(None, dir.path()).unwrap(), Some(nobody));
        std::os::unix::fs::chown(dir.path(), Some(54_321), Some(54_322)).unwrap();
        let stranger = choose(None, dir.path()).unwrap().unwrap();
        assert_eq!(
            (stranger.name.as_str(), stranger.gid.as_raw(), stranger.known),
            ("user 54321", 54_322, false)
        );
    }
}
