//! The store's directory: who may use it, on what filesystem, and its files.
//!
//! Two shapes are accepted: *private* (owner is this user or root, mode 0700, files 0600) and
//! *group* (setgid 2770 with a group that this process is in, files 0660). All else is refused
//! with the command that mends it. Modes are set with fchmod, so no umask matters.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{self, AtFlags, Mode, OFlags, Stat};

use crate::error::{Error, Result};
use crate::limits::OPEN_TRIES;

/// An open, checked directory.
pub(crate) struct Dir {
    path: PathBuf,
    fd: OwnedFd,
    group: bool,
    owner: (u32, u32),
    not_persistent: bool,
}

const TMPFS: i64 = 0x0102_1994;
/// Filesystems whose shared mappings are coherent between all processes of one kernel.
const KNOWN: [i64; 6] = [
    0xEF53,      // ext2 to ext4
    0x5846_5342, // xfs
    BTRFS,
    TMPFS,
    0xF2F5_2010, // f2fs
    0x794C_7630, // overlayfs
];
const BTRFS: i64 = 0x9123_683E;
/// For messages only.
const REFUSED: [(i64, &str); 7] = [
    (0x2FC1_2FC1, "ZFS"),
    (0x6969, "NFS"),
    (0xFF53_4D42, "SMB/CIFS"),
    (0xFE53_4D42, "SMB2"),
    (0x6573_5546, "FUSE"),
    (0x0102_1997, "9p"),
    (0x6A65_6572, "virtiofs"),
];

impl Dir {
    /// Opens and checks the directory; it is never made here.
    pub(crate) fn open(path: &Path, force_filesystem: bool) -> Result<Dir> {
        let refused = |why: String| Error::Refused { path: path.into(), why };
        let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::RDONLY;
        let fd = fs::open(path, flags, Mode::empty()).map_err(|e| match e {
            rustix::io::Errno::NOENT => Error::NoStore {
                path: path.into(),
                why: format!(
                    "the directory does not exist; make it with: install -d -m 0700 {}",
                    path.display()
                ),
            },
            rustix::io::Errno::NOTDIR | rustix::io::Errno::LOOP => {
                if path.is_symlink() {
                    refused("is a symbolic link; name the directory itself".into())
                } else {
                    refused("is not a directory".into())
                }
            }
            rustix::io::Errno::ACCESS => refused(format!(
                "permission denied for user {} (uid {}); a store belongs to the user that runs its \
                 processes",
                user_name(euid()),
                euid()
            )),
            e => Error::io(format!("opening {}", path.display()), io::Error::from(e)),
        })?;
        let stat = fs::fstat(&fd)
            .map_err(|e| Error::io(format!("looking at {}", path.display()), io::Error::from(e)))?;
        let group = check_owner_and_mode(path, &stat)?;
        let kind = fs::fstatfs(&fd)
            .map_err(|e| Error::io(format!("statfs of {}", path.display()), io::Error::from(e)))?
            .f_type as i64;
        check_filesystem(path, kind, force_filesystem)?;
        Ok(Dir {
            path: path.into(),
            fd,
            group,
            owner: (stat.st_uid, stat.st_gid),
            not_persistent: kind == TMPFS,
        })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The path of a file in it, for messages.
    pub(crate) fn join(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Is it in memory only (tmpfs)?
    pub(crate) fn not_persistent(&self) -> bool {
        self.not_persistent
    }

    /// What tells this directory from any other on this kernel.
    pub(crate) fn identity(&self) -> Result<(u64, u64)> {
        let stat = fs::fstat(&self.fd).map_err(|e| self.failed("looking at", "", e))?;
        Ok((stat.st_dev, stat.st_ino))
    }

    /// Is this directory the one at a path, or one above it? What does not exist yet lies where the
    /// first of its parents that exists is.
    pub(crate) fn is_above(&self, path: &Path) -> Result<bool> {
        let own = self.identity()?;
        let there = path.ancestors().find_map(|part| part.canonicalize().ok());
        Ok(there.is_some_and(|there| {
            there
                .ancestors()
                .any(|part| fs::stat(part).is_ok_and(|stat| (stat.st_dev, stat.st_ino) == own))
        }))
    }

    /// Makes a directory with the owner and mode of this one; false if it is there already.
    pub(crate) fn make_alike(&self, path: &Path) -> Result<bool> {
        super::fault::step();
        let failed = |what: &str, e: io::Error| Error::io(format!("{what} {}", path.display()), e);
        match fs::mkdir(path, Mode::from_raw_mode(0o700)) {
            Ok(()) => {}
            Err(rustix::io::Errno::EXIST) => return Ok(false),
            Err(e) => return Err(failed("making the directory", e.into())),
        }
        let owner = (euid() == 0 && self.owner.0 != 0).then_some(self.owner.0);
        let group = (owner.is_some() || self.group).then_some(self.owner.1);
        let mode = if self.group { 0o2770 } else { 0o700 };
        let done = std::os::unix::fs::chown(path, owner, group).and_then(|()| {
            std::fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(mode))
        });
        if let Err(e) = done {
            let _ = std::fs::remove_dir(path);
            return Err(failed("setting the owner and mode of", e));
        }
        Ok(true)
    }

    /// Is nothing in it?
    pub(crate) fn is_empty(&self) -> Result<bool> {
        let mut entries = std::fs::read_dir(&self.path)
            .map_err(|e| Error::io(format!("listing {}", self.path.display()), e))?;
        Ok(entries.next().is_none())
    }

    /// Is what lies at the path still this directory, with this file in it?
    pub(crate) fn still_holds(&self, name: &str, file: &File) -> Result<bool> {
        use rustix::io::Errno;
        let failed = |e| self.failed("looking at", name, e);
        let here = fs::fstat(file).map_err(failed)?;
        match fs::stat(self.path.join(name).as_path()) {
            Ok(there) => Ok((here.st_dev, here.st_ino) == (there.st_dev, there.st_ino)),
            Err(Errno::NOENT | Errno::NOTDIR) => Ok(false),
            Err(e) => Err(failed(e)),
        }
    }

    /// Does nothing, or another file, lie at the path of a file of ours? What cannot be looked at is
    /// not known to be gone.
    pub(crate) fn has_lost(&self, name: &str, ours: (u64, u64)) -> bool {
        use rustix::io::Errno;
        match fs::stat(self.path.join(name).as_path()) {
            Ok(there) => (there.st_dev, there.st_ino) != ours,
            Err(Errno::NOENT | Errno::NOTDIR) => true,
            Err(_) => false,
        }
    }

    fn failed(&self, what: &str, name: &str, e: rustix::io::Errno) -> Error {
        Error::io(format!("{what} {}", self.join(name).display()), io::Error::from(e))
    }

    /// Opens a file for reading and writing; `None` if there is none.
    pub(crate) fn open_file(&self, name: &str) -> Result<Option<File>> {
        self.open_for(name, OFlags::RDWR)
    }

    /// Opens a file for reading only, also on a filesystem that allows no more.
    pub(crate) fn open_to_read(&self, name: &str) -> Result<Option<File>> {
        self.open_for(name, OFlags::RDONLY)
    }

    /// Once more when another file took the name between its opening and the look at it, as that
    /// of `super` is taken whenever an option changes or all is flushed.
    fn open_for(&self, name: &str, access: OFlags) -> Result<Option<File>> {
        for _ in 0..OPEN_TRIES {
            let Some(file) = self.open_unchecked(name, access)? else { return Ok(None) };
            if let Some(file) = self.checked(name, file)? {
                return Ok(Some(file));
            }
        }
        Err(Error::Refused { path: self.join(name), why: "is replaced again and again".into() })
    }

    fn open_unchecked(&self, name: &str, access: OFlags) -> Result<Option<File>> {
        let flags = access | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK;
        match fs::openat(&self.fd, name, flags, Mode::empty()) {
            Ok(fd) => Ok(Some(File::from(fd))),
            Err(rustix::io::Errno::NOENT) => Ok(None),
            Err(rustix::io::Errno::LOOP) => Err(Error::Refused {
                path: self.join(name),
                why: "is a symbolic link; a store's files are plain files".into(),
            }),
            Err(rustix::io::Errno::ACCESS) => Err(Error::Refused {
                path: self.join(name),
                why: format!(
                    "permission denied for user {} (uid {}); a store belongs to the user that runs \
                     its processes: chown -R {} {}",
                    user_name(euid()),
                    euid(),
                    user_name(euid()),
                    self.path.display()
                ),
            }),
            Err(e) => Err(self.failed("opening", name, e)),
        }
    }

    /// Opens a file, or makes an empty one with the store's owner and mode.
    pub(crate) fn open_or_create(&self, name: &str) -> Result<File> {
        for _ in 0..8 {
            if let Some(file) = self.open_file(name)? {
                return Ok(file);
            }
            match self.create(name) {
                Ok(file) => return Ok(file),
                Err(Error::Io { source, .. }) if source.raw_os_error() == Some(libc::EEXIST) => {}
                Err(e) => return Err(e),
            }
        }
        Err(Error::Refused { path: self.join(name), why: "appears and vanishes again".into() })
    }

    /// Makes a file that must not exist yet.
    pub(crate) fn create(&self, name: &str) -> Result<File> {
        super::fault::step();
        let flags =
            OFlags::RDWR | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::CREATE | OFlags::EXCL;
        let fd = fs::openat(&self.fd, name, flags, Mode::from_raw_mode(0o600))
            .map_err(|e| self.failed("creating", name, e))?;
        if euid() == 0 && self.owner.0 != 0 {
            fs::fchown(
                &fd,
                Some(rustix::process::Uid::from_raw(self.owner.0)),
                Some(rustix::process::Gid::from_raw(self.owner.1)),
            )
            .map_err(|e| self.failed("setting the owner of", name, e))?;
        }
        let mode = if self.group { 0o660 } else { 0o600 };
        fs::fchmod(&fd, Mode::from_raw_mode(mode))
            .map_err(|e| self.failed("setting the mode of", name, e))?;
        no_copy_on_write(&fd);
        Ok(File::from(fd))
    }

    /// Puts a new file in place of an old one, atomically.
    pub(crate) fn rename(&self, from: &str, to: &str) -> Result<()> {
        super::fault::step();
        fs::renameat(&self.fd, from, &self.fd, to).map_err(|e| self.failed("renaming", from, e))
    }

    pub(crate) fn remove(&self, name: &str) -> Result<()> {
        super::fault::step();
        match fs::unlinkat(&self.fd, name, AtFlags::empty()) {
            Ok(()) | Err(rustix::io::Errno::NOENT) => Ok(()),
            Err(e) => Err(self.failed("removing", name, e)),
        }
    }

    /// Makes creations and renames in the directory survive a power loss.
    pub(crate) fn sync(&self) -> Result<()> {
        super::fault::step();
        fs::fsync(&self.fd).map_err(|e| self.failed("syncing", "", e))?;
        super::fault::directory_synced();
        Ok(())
    }

    /// `None`: the file has no name any more.
    fn checked(&self, name: &str, file: File) -> Result<Option<File>> {
        let stat = fs::fstat(&file).map_err(|e| self.failed("looking at", name, e))?;
        let refused = |why: String| Err(Error::Refused { path: self.join(name), why });
        if fs::FileType::from_raw_mode(stat.st_mode) != fs::FileType::RegularFile {
            return refused("is not a plain file".into());
        }
        if stat.st_nlink == 0 {
            return Ok(None);
        }
        if stat.st_nlink != 1 {
            return refused(format!(
                "has {} names (hard links); a store's files have one",
                stat.st_nlink
            ));
        }
        if stat.st_uid != self.owner.0 && stat.st_uid != 0 && !self.group {
            return refused(format!(
                "belongs to {}, the directory to {}: chown {} {}",
                user_name(stat.st_uid),
                user_name(self.owner.0),
                user_name(self.owner.0),
                self.join(name).display()
            ));
        }
        let allowed = if self.group { 0o660 } else { 0o600 };
        if stat.st_mode & 0o777 & !allowed != 0 {
            return refused(format!(
                "has mode {:04o}, which lets others in: chmod {allowed:04o} {}",
                stat.st_mode & 0o7777,
                self.join(name).display()
            ));
        }
        Ok(Some(file))
    }
}

/// Is this the group shape? Anything but the two shapes is refused.
fn check_owner_and_mode(path: &Path, stat: &Stat) -> Result<bool> {
    let mode = stat.st_mode & 0o7777;
    let refused = |why: String| Err(Error::Refused { path: path.into(), why });
    let shown = path.display();
    if mode & 0o007 != 0 {
        return refused(format!(
            "has mode {mode:04o}: others could read or forge sessions there. Use a directory of \
             your own: install -d -m 0700 -o {} DIR, or: chmod 0700 {shown}",
            user_name(euid())
        ));
    }
    if mode & 0o070 != 0 {
        if mode & 0o2070 != 0o2070 {
            return refused(format!(
                "has mode {mode:04o}; a store is private (0700) or for a group (2770): \
                 chmod 0700 {shown}, or: chmod 2770 {shown}"
            ));
        }
        if euid() != 0 && stat.st_uid != euid() && !in_group(stat.st_gid) {
            return refused(format!(
                "belongs to group {}, which user {} is not in",
                stat.st_gid,
                user_name(euid())
            ));
        }
        return Ok(true);
    }
    if stat.st_uid != euid() && euid() != 0 {
        return refused(format!(
            "belongs to {}, this process runs as {}: chown {} {shown}",
            user_name(stat.st_uid),
            user_name(euid()),
            user_name(euid())
        ));
    }
    Ok(false)
}

fn check_filesystem(path: &Path, kind: i64, force: bool) -> Result<()> {
    if force || KNOWN.contains(&kind) {
        return Ok(());
    }
    let name = REFUSED
        .iter()
        .find(|(magic, _)| *magic == kind)
        .map_or_else(|| format!("an unknown filesystem (type {kind:#x})"), |(_, n)| (*n).into());
    Err(Error::Refused {
        path: path.into(),
        why: format!(
            "is on {name}; a store needs a local filesystem whose shared mappings all processes \
             see alike (ext4, xfs, btrfs, f2fs, tmpfs, overlayfs). If you are sure, force it"
        ),
    })
}

/// On btrfs a store to a mapped page may need a new block; without copy-on-write it never does.
fn no_copy_on_write(fd: &OwnedFd) {
    if fs::fstatfs(fd).is_ok_and(|s| s.f_type == BTRFS)
        && let Ok(flags) = fs::ioctl_getflags(fd.as_fd())
    {
        let _ = fs::ioctl_setflags(fd.as_fd(), flags | fs::IFlags::NOCOW);
    }
}

fn euid() -> u32 {
    rustix::process::geteuid().as_raw()
}

fn in_group(group: u32) -> bool {
    rustix::process::getegid().as_raw() == group
        || rustix::process::getgroups()
            .is_ok_and(|groups| groups.iter().any(|g| g.as_raw() == group))
}

/// A user's name for messages, or the number.
fn user_name(uid: u32) -> String {
    let mut buffer = [0u8; 4096];
    // SAFETY: all-zero is a valid passwd (null pointers), overwritten below.
    let mut entry: libc::passwd = unsafe { std::mem::zeroed() };
    let mut found = std::ptr::null_mut();
    // SAFETY: the buffer and entry outlive the use of the name, which is copied out.
    unsafe {
        let done =
            libc::getpwuid_r(uid, &mut entry, buffer.as_mut_ptr().cast(), buffer.len(), &mut found);
        if done == 0 && !found.is_null() {
            return std::ffi::CStr::from_ptr(entry.pw_name).to_string_lossy().into_owned();
        }
    }
    format!("uid {uid}")
}

/// The number of the running kernel's boot: mappings are shared only within one.
pub(crate) fn boot_id() -> Result<[u64; 2]> {
    let path = Path::new("/proc/sys/kernel/random/boot_id");
    let unreadable = |why: String| Error::Refused { path: path.into(), why };
    let text = std::fs::read_to_string(path)
        .map_err(|e| unreadable(format!("cannot tell which kernel this is: {e}")))?;
    let digits: String = text.chars().filter(char::is_ascii_hexdigit).collect();
    let value = u128::from_str_radix(&digits, 16)
        .map_err(|_| unreadable("does not hold a boot id".into()))?;
    Ok([(value >> 64) as u64, value as u64])
}

/// The number of this process's time namespace; 0 where there are none. Not known is not none: the
/// store's would no longer match anybody's.
pub(crate) fn time_namespace() -> Result<u64> {
    use std::os::unix::fs::MetadataExt;
    let path = "/proc/self/ns/time";
    match std::fs::metadata(path) {
        Ok(it) => Ok(it.ino()),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(0),
        Err(e) => Err(Error::io(format!("looking at {path}"), e)),
    }
}

/// The number of this process's PID namespace, for messages only.
pub(crate) fn pid_namespace() -> u64 {
    use std::os::unix::fs::MetadataExt;
    std::fs::metadata("/proc/self/ns/pid").map_or(0, |m| m.ino())
}

/// Device and inode of an open file, called `name`.
pub(crate) fn identity(file: &File, name: &Path) -> Result<(u64, u64)> {
    let failed = |e: rustix::io::Errno| Error::io(format!("looking at {}", name.display()), e);
    fs::fstat(file.as_fd()).map(|s| (s.st_dev, s.st_ino)).map_err(failed)
}

// A filesystem that shuts down (a disk that went away, xfs after an error) and is mounted again on
// the same boot has what its disk had, and not what its page cache had. The kernel tells neither of
// the two mounts from the other, but it keeps a hint for the lifetime of a file's data with the inode,
// in memory alone: a file whose hint is gone has been out of memory since. (fcntl(2), F_SET_RW_HINT.)
const GET_HINT: libc::c_int = 1024 + 11;
const SET_HINT: libc::c_int = 1024 + 12;
const SHORT_LIVED: u64 = 2;

/// Asks the kernel to remember this file for as long as it has it in memory; false where it does
/// not do that.
pub(crate) fn remember(file: &File) -> bool {
    let hint = SHORT_LIVED;
    // SAFETY: passes one number that lives through the call.
    let set = unsafe { libc::fcntl(file.as_raw_fd(), SET_HINT, &hint) } == 0;
    set && is_remembered(file)
}

/// Is it still the one that was remembered?
pub(crate) fn is_remembered(file: &File) -> bool {
    let mut hint = 0_u64;
    // SAFETY: as above; the kernel writes the answer into it.
    (unsafe { libc::fcntl(file.as_raw_fd(), GET_HINT, &mut hint) }) == 0 && hint == SHORT_LIVED
}

impl AsRawFd for Dir {
    fn as_raw_fd(&self) -> std::os::fd::RawFd {
        self.fd.as_raw_fd()
    }
}
