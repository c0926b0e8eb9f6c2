//! Filesystems that are full or read-only when a test wants them to be.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use crate::dir;

/// A small filesystem in memory; gone with the value.
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
