//! The file of a unix socket: how it gets into its place, and how it leaves it. Called by `listen`.
//!
//! The socket is bound inside a directory that nobody else can enter, gets its mode and listens
//! there, and is moved into its place then: whoever sees it sees it finished. What was in the place
//! is looked at first; a socket without a listener is moved away, and looked at once more where
//! nobody can exchange it. Servers that start at once take turns, by a lock on the directory: else
//! one could move away what another has just put there.

use std::fs::{self, DirBuilder, File, Metadata, Permissions};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::time::Duration;

use rustix::fs::{CWD, FlockOperation, RenameFlags, flock, renameat_with};
use rustix::io::Errno;
use socket2::{Domain, SockAddr, Socket, Type};

use super::listen::{ListenError, refused};
use crate::limits::{PRIVATE_NAMES_TRIED, TURN_TRIES};

/// Between two tries for the turn.
const TURN_PAUSE: Duration = Duration::from_millis(10);

/// A socket file in its place.
#[derive(Debug)]
pub(super) struct Place {
    path: PathBuf,
    /// Device and inode: somebody else's file may be in the place one day.
    identity: (u64, u64),
}

impl Drop for Place {
    /// Removes the file, if it is still the one that was put there.
    fn drop(&mut self) {
        let now = fs::symlink_metadata(&self.path);
        if now.is_ok_and(|now| identity(&now) == self.identity) {
            // If it cannot be removed, the next one finds a socket on which nobody listens.
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Listens on `path`.
pub(super) fn listen(
    path: &Path,
    mode: u32,
    backlog: i32,
) -> Result<(OwnedFd, Place), ListenError> {
    let failed = |what| move |error: io::Error| refused(path.display().to_string(), what, error);
    let _turn = take_turn(parent_of(path)).map_err(failed("lock its directory"))?;
    let found = look(path)?;
    let private = Private::beside(path).map_err(failed("a directory beside it"))?;
    let inside = private.0.join("s");
    let address = SockAddr::unix(&inside).map_err(|_| ListenError::TooLong(path.to_path_buf()))?;
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None).map_err(failed("socket"))?;
    socket.bind(&address).map_err(failed("bind"))?;
    fs::set_permissions(&inside, Permissions::from_mode(mode & 0o777)).map_err(failed("mode"))?;
    socket.listen(backlog).map_err(failed("listen"))?;
    let made = fs::symlink_metadata(&inside).map_err(failed("look at it"))?;
    if let Some(dead) = found {
        move_away(path, dead, &private)?;
    }
    move_in(&inside, path).map_err(failed("move it into place"))?;
    Ok((socket.into(), Place { path: path.to_path_buf(), identity: identity(&made) }))
}

fn parent_of(path: &Path) -> &Path {
    path.parent().filter(|parent| *parent != Path::new("")).unwrap_or(Path::new("."))
}

/// Nobody else is between looking and moving, until the file is dropped (or this process ends).
fn take_turn(directory: &Path) -> io::Result<File> {
    let directory = File::open(directory)?;
    for _ in 0..TURN_TRIES {
        match flock(&directory, FlockOperation::NonBlockingLockExclusive) {
            Err(Errno::WOULDBLOCK) => std::thread::sleep(TURN_PAUSE),
            locked => return locked.map(|()| directory).map_err(Into::into),
        }
    }
    Err(io::ErrorKind::TimedOut.into())
}

/// What is in the place: nothing, or a socket on which nobody listens.
fn look(path: &Path) -> Result<Option<(u64, u64)>, ListenError> {
    let shown = || path.display().to_string();
    let found = match fs::symlink_metadata(path) {
        Ok(found) => found,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(refused(shown(), "look at it", error)),
    };
    if !found.file_type().is_socket() {
        return Err(ListenError::NotASocket(path.to_path_buf()));
    }
    match answers(path) {
        Ok(()) => Err(ListenError::Taken(shown())),
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            Ok(Some(identity(&found)))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        // Its queue is full: somebody listens, slowly.
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Err(ListenError::Taken(shown())),
        Err(error) => Err(refused(shown(), "connect to the one that is there", error)),
    }
}

/// Is somebody there? Does not wait: a listener that hangs with a full queue would hang us.
fn answers(path: &Path) -> io::Result<()> {
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    socket.connect(&SockAddr::unix(path)?)?;
    drop(UnixStream::from(OwnedFd::from(socket)));
    Ok(())
}

/// Moves the dead socket into the private directory, where it goes with it. If what is moved is
/// something else, somebody was faster: it goes back.
fn move_away(path: &Path, dead: (u64, u64), private: &Private) -> Result<(), ListenError> {
    let shown = || path.display().to_string();
    let away = private.0.join("dead");
    match fs::rename(path, &away) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(refused(shown(), "move the dead socket away", error)),
    }
    let moved = fs::symlink_metadata(&away);
    if moved.is_ok_and(|moved| identity(&moved) == dead && moved.file_type().is_socket()) {
        return Ok(());
    }
    move_in(&away, path).map_err(|error| refused(shown(), "move it back", error))?;
    Err(ListenError::Taken(shown()))
}

/// Moves to a name that nobody has.
fn move_in(from: &Path, to: &Path) -> io::Result<()> {
    match renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
        Err(Errno::EXIST) => Err(io::ErrorKind::AddrInUse.into()),
        // A filesystem that does not know how: a second name fails just so if there is one.
        Err(Errno::INVAL | Errno::NOSYS) => match fs::hard_link(from, to) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                Err(io::ErrorKind::AddrInUse.into())
            }
            linked => linked.and_then(|()| fs::remove_file(from)),
        },
        moved => Ok(moved?),
    }
}

fn identity(metadata: &Metadata) -> (u64, u64) {
    (metadata.dev(), metadata.ino())
}

/// A directory that only this user can enter; goes with everything that is in it.
struct Private(PathBuf);

impl Private {
    fn beside(path: &Path) -> io::Result<Private> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let parent = parent_of(path);
        for _ in 0..PRIVATE_NAMES_TRIED {
            let number = NUMBER.fetch_add(1, Relaxed);
            let name = format!(".{:x}.{number:x}", std::process::id());
            let directory = parent.join(name);
            match DirBuilder::new().mode(0o700).create(&directory) {
                Ok(()) => return Ok(Private(directory)),
                // Left by one of our number who was killed here.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error),
            }
        }
        Err(io::ErrorKind::AlreadyExists.into())
    }
}

impl Drop for Private {
    fn drop(&mut self) {
        // Two names are ever in it; what cannot be removed is an empty directory with a dot.
        for name in ["s", "dead"] {
            let _ = fs::remove_file(self.0.join(name));
        }
        let _ = fs::remove_dir(&self.0);
    }
}
