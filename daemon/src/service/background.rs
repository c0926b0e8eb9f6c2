//! Running in the background (`-d`) without forking: the program starts itself again, detached, and
//! ends when that one says that it serves. So whoever starts it knows from the exit code whether there
//! is a server, and sees its error if there is none; and no thread is ever forked away from.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, PipeReader, Read};
use std::os::fd::AsFd;
use std::process::Command;
use std::thread;
use std::time::Duration;

use crossbeam_channel::bounded;

use super::ServiceError;

/// Marks the process that a server in the background started itself as.
pub const CHILD: &str = "HOLDFAST_DAEMON_CHILD";

/// The word over the pipe.
const SERVING: u8 = b'1';
/// A start takes no longer: opening a store waits for 30 seconds at most.
const START_MAX: Duration = Duration::from_secs(120);

/// What this process is.
pub enum Role {
    /// It serves, and announces it.
    Server(Announcer),
    /// It only started the server, and ends with this code.
    Starter(u8),
}

/// Tells the starter that the server serves.
pub struct Announcer {
    detached: bool,
}

/// Goes into the background if that is wanted. Call it before anything is opened and before any thread
/// runs; everything that was checked so far is checked again by the process that serves.
pub fn enter(daemon: bool) -> Result<Role, ServiceError> {
    let failed = ServiceError::Background;
    if !daemon {
        return Ok(Role::Server(Announcer { detached: false }));
    }
    if std::env::var_os(CHILD).as_deref() == Some(OsStr::new("1")) {
        // Out of the terminal's session: its end does not end us.
        rustix::process::setsid().map_err(|error| failed(error.into()))?;
        return Ok(Role::Server(Announcer { detached: true }));
    }
    let (reader, writer) = io::pipe().map_err(failed)?;
    let mut command = Command::new(std::env::current_exe().map_err(failed)?);
    // The pipe takes the place of standard input, which a server has no use for.
    command.args(std::env::args_os().skip(1)).env(CHILD, "1").stdin(writer);
    let mut child = command.spawn().map_err(failed)?;
    // With the last other end of the pipe.
    drop(command);
    if wait(reader) {
        return Ok(Role::Starter(0));
    }
    // It has ended, and said why; or it hangs, and then it shall not serve later behind our back.
    let _ = child.kill();
    let _ = child.wait();
    Ok(Role::Starter(1))
}

/// Waits for the word; false if the other end closes or is silent for too long.
fn wait(mut reader: PipeReader) -> bool {
    let (sender, receiver) = bounded(1);
    thread::spawn(move || {
        let mut word = [0];
        let _ =
            sender.send(reader.read(&mut word).is_ok_and(|count| count == 1 && word == [SERVING]));
    });
    receiver.recv_timeout(START_MAX).unwrap_or(false)
}

impl Announcer {
    /// The server serves: lets the starter go, and with it the terminal. `quiet` closes standard output
    /// and error as well. The directory stays: relative names are looked up again at a reload.
    pub fn serving(self, quiet: bool) -> Result<(), ServiceError> {
        if !self.detached {
            return Ok(());
        }
        let failed = |error: io::Error| ServiceError::Background(error);
        let null = File::options().read(true).write(true).open("/dev/null").map_err(failed)?;
        let told = rustix::io::write(io::stdin().as_fd(), &[SERVING]);
        told.map_err(|error| failed(error.into()))?;
        rustix::stdio::dup2_stdin(&null).map_err(|error| failed(error.into()))?;
        if quiet {
            rustix::stdio::dup2_stdout(&null).map_err(|error| failed(error.into()))?;
            rustix::stdio::dup2_stderr(&null).map_err(|error| failed(error.into()))?;
        }
        Ok(())
    }
}
