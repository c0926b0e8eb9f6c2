//! Small files that tell others about this process: the pid file (`-P`) and the ports that were bound.
//! Written under another name and renamed, so that nobody reads half of one.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rustix::process::{Pid, test_kill_process};

use super::ServiceError;

/// A pid file, removed when this is dropped, if it is still ours.
#[derive(Debug)]
pub struct PidFile {
    path: PathBuf,
    pid: u32,
}

impl PidFile {
    /// Writes this process's id. A file that names another process that lives is an error; one that is
    /// left over is replaced.
    pub fn write(path: &Path) -> Result<PidFile, ServiceError> {
        let pid = std::process::id();
        let other = read(path).filter(|other| u32::try_from(*other) != Ok(pid));
        if let Some(other) = other.filter(|other| lives(*other)) {
            return Err(ServiceError::Running(path.into(), other));
        }
        replace(path, &format!("{pid}\n"))?;
        Ok(PidFile { path: path.into(), pid })
    }
}

impl Drop for PidFile {
    fn drop(&mut self) {
        let ours = read(&self.path).and_then(|pid| u32::try_from(pid).ok()) == Some(self.pid);
        if ours {
            // Whoever gave up root may not be allowed to; the next start finds a dead process in it.
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// The process that a pid file names.
fn read(path: &Path) -> Option<i32> {
    let mut text = String::new();
    File::open(path).ok()?.take(32).read_to_string(&mut text).ok()?;
    text.trim().parse().ok().filter(|pid| *pid > 0)
}

fn lives(pid: i32) -> bool {
    let known = Pid::from_raw(pid).map(test_kill_process);
    // Not allowed to signal it: it is somebody's.
    matches!(known, Some(Ok(()) | Err(rustix::io::Errno::PERM)))
}

/// Writes the ports that were bound, in memcached's form (its $MEMCACHED_PORT_FILENAME): one line each.
pub fn write_ports(path: &Path, addresses: &[SocketAddr]) -> Result<(), ServiceError> {
    let line = |address: &SocketAddr| match address {
        SocketAddr::V4(address) => format!("TCP INET: {}\n", address.port()),
        SocketAddr::V6(address) => format!("TCP INET6: {}\n", address.port()),
    };
    replace(path, &addresses.iter().map(line).collect::<String>())
}

fn replace(path: &Path, text: &str) -> Result<(), ServiceError> {
    let failed = |error: io::Error| ServiceError::File(path.into(), error);
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{}.new", std::process::id()));
    let temporary = PathBuf::from(name);
    // Left over from a process of the same number.
    let _ = fs::remove_file(&temporary);
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o644)
        .open(&temporary)
        .map_err(failed)?;
    let written = file.write_all(text.as_bytes()).and_then(|()| fs::rename(&temporary, path));
    written.map_err(|error| {
        let _ = fs::remove_file(&temporary);
        failed(error)
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_pid_file_is_taken_over_from_the_dead_only_and_goes_with_us() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.pid");
        let file = PidFile::write(&path).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), format!("{}\n", std::process::id()));
        drop(file);
        assert!(!path.exists());
        // Process 1 lives always, and is not ours.
        fs::write(&path, "1\n").unwrap();
        let error = PidFile::write(&path).unwrap_err().to_string();
        assert!(error.ends_with("names process 1, which lives: is a server running already?"));
        let mut dead = std::process::Command::new("true").spawn().unwrap();
        dead.wait().unwrap();
        for left_over in [format!("{}", dead.id()), "-1".into(), "x".repeat(99), String::new()] {
            fs::write(&path, left_over).unwrap();
            let file = PidFile::write(&path).unwrap();
            fs::write(&path, "1").unwrap();
            drop(file);
            assert!(path.exists(), "it was somebody else's by then");
        }
        let nowhere = dir.path().join("no/x.pid");
        assert!(PidFile::write(&nowhere).unwrap_err().to_string().contains("cannot be written"));
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "nothing is left behind");
    }

    #[test]
    fn ports_are_told_as_memcached_tells_them() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("ports");
        write_ports(&path, &["127.0.0.1:5".parse().unwrap(), "[::1]:6".parse().unwrap()]).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "TCP INET: 5\nTCP INET6: 6\n");
    }
}
