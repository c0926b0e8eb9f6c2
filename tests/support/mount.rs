//! Filesystems that are full or read-only when a test wants them to be.

use std::fs::File;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use crate::dir;

/// A small filesystem; gone with the value.
pub struct Mount(tempfile::TempDir);

impl Mount {
    /// Where it is.
    pub fn path(&self) -> &Path {
        self.0.path()
    }

    /// `None` without the right to mount; then the test says that it is skipped.
    pub fn new(kib: u32) -> Option<Mount> {
        let dir = dir();
        let done = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={kib}k,mode=0700"), "tmpfs"])
            .arg(dir.path())
            .status();
        if done.is_ok_and(|status| status.success()) {
            return Some(Mount(dir));
        }
        println!("SKIPPED: cannot mount a tmpfs here (this needs root)");
        None
    }

    /// An ext4 on a loop device. `None` without the right to mount it or the tools to make it.
    pub fn ext4(mib: u64) -> Option<Mount> {
        let (dir, image) = (dir(), dir());
        let file = image.path().join("image");
        File::create(&file).and_then(|it| it.set_len(mib << 20)).expect("an image");
        let run = |program: &str, arguments: &[&str], last: &Path| {
            let done = Command::new(program).args(arguments).arg(&file).arg(last).output();
            done.is_ok_and(|done| done.status.success())
        };
        let made = Command::new("mkfs.ext4").args(["-qF", "-m", "0"]).arg(&file).output();
        let made = made.is_ok_and(|done| done.status.success());
        if !made || !run("mount", &["-o", "loop"], dir.path()) {
            println!(
                "SKIPPED: cannot make and mount an ext4 here (root, mkfs.ext4, a loop device)"
            );
            return None;
        }
        // The image lives on, nameless, as long as it is mounted.
        let private = std::os::unix::fs::PermissionsExt::from_mode(0o700);
        std::fs::set_permissions(dir.path(), private).expect("chmod");
        Some(Mount(dir))
    }

    /// Changes its size or makes it read-only.
    pub fn remount(&self, option: &str) {
        let mut mount = Command::new("mount");
        mount.args(["-o", &format!("remount,{option}")]).arg(self.0.path());
        // Children that other tests forked meanwhile have this store's files open, but not for long.
        let begun = std::time::Instant::now();
        while !mount.status().expect("mount").success() {
            assert!(begun.elapsed() < Duration::from_secs(20), "remount,{option}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.0.path()).status();
    }
}
