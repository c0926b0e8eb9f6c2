//! A filesystem of its own on a loop device, whose power can be cut.

use std::ffi::OsStr;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// FS_IOC_GOINGDOWN of xfs, which ext4 has too; its argument 2: nothing more is written, not even
/// the journal.
const GOING_DOWN: libc::c_ulong = 0x8004_587d;
const WITHOUT_THE_JOURNAL: u32 = 2;

/// Mounted; unmounted and gone with the value.
pub struct Device {
    image: tempfile::NamedTempFile,
    node: String,
    at: tempfile::TempDir,
    is_mounted: bool,
}

fn run<S: AsRef<OsStr>>(program: &str, arguments: &[S]) -> Option<String> {
    let mut command = Command::new(program);
    // Where Debian keeps mkfs, which is not on the path of an ordinary user.
    let path = std::env::var("PATH").unwrap_or_default() + ":/usr/sbin:/sbin";
    command.env("PATH", path).args(arguments).stderr(Stdio::null()).stdin(Stdio::null());
    let done = command.output().ok()?;
    done.status.success().then(|| String::from_utf8_lossy(&done.stdout).trim().to_string())
}

impl Device {
    /// An empty filesystem of a kind, `ext4` or `xfs`; `None` (and a line that says so) where that
    /// is not allowed or its tools are missing.
    pub fn new(kind: &str) -> Option<Device> {
        let made = Device::make(kind);
        if made.is_none() {
            println!(
                "SKIPPED: no {kind} on a loop device here (this needs root, loop devices and mkfs.{kind})"
            );
        }
        made
    }

    fn make(kind: &str) -> Option<Device> {
        // In memory, so that the speed of a disk is no part of it; only what is written takes room.
        let place = Path::new("/dev/shm");
        let place = if place.is_dir() { place.into() } else { std::env::temp_dir() };
        let image = tempfile::NamedTempFile::new_in(place).ok()?;
        image.as_file().set_len(320 << 20).ok()?;
        let path = image.path();
        let quietly = if kind == "xfs" { "-qf" } else { "-qF" };
        run(&format!("mkfs.{kind}"), &[quietly.as_ref(), path.as_os_str()])?;
        let node = run("losetup", &["-f".as_ref(), "--show".as_ref(), path.as_os_str()])?;
        let mut device = Device { image, node, at: crate::dir(), is_mounted: false };
        device.mount().then_some(device)
    }

    fn mount(&mut self) -> bool {
        self.is_mounted = run("mount", &[self.node.as_ref(), self.at.path().as_os_str()]).is_some();
        self.is_mounted
    }

    /// Where it is mounted.
    pub fn path(&self) -> &Path {
        self.at.path()
    }

    /// The power is cut: from now on nothing reaches the disk.
    pub fn cut(&self) {
        let root = std::fs::File::open(self.path()).expect("the mount point");
        // SAFETY: the call reads one integer of ours.
        let done = unsafe { libc::ioctl(root.as_raw_fd(), GOING_DOWN, &WITHOUT_THE_JOURNAL) };
        assert_eq!(done, 0, "{}", std::io::Error::last_os_error());
    }

    /// The machine starts again. Nobody has anything open in it any more.
    pub fn restart(&mut self) {
        let path = self.path().to_path_buf();
        let begun = std::time::Instant::now();
        // What a process had open is let go of a moment after it was waited for.
        while run("umount", &[path.as_os_str()]).is_none() {
            assert!(begun.elapsed() < std::time::Duration::from_secs(20), "umount");
            std::thread::sleep(std::time::Duration::from_millis(2));
        }
        self.is_mounted = false;
        assert!(self.mount(), "mounting {} after a cut", self.node);
    }

    /// A private directory in it.
    pub fn directory(&self, name: &str) -> PathBuf {
        use std::os::unix::fs::PermissionsExt;
        let path = self.path().join(name);
        std::fs::create_dir(&path).expect("a directory");
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o700)).expect("chmod");
        path
    }
}

impl Drop for Device {
    fn drop(&mut self) {
        if self.is_mounted {
            run("umount", &["-l".as_ref(), self.at.path().as_os_str()]);
        }
        run("losetup", &["-d", &self.node]);
        let _ = self.image.as_file().set_len(0);
    }
}
