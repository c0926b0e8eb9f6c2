//! What the system grants this process: descriptors, core files, locked memory.

use rustix::mm::{MlockAllFlags, mlockall};
use rustix::process::{
    DumpableBehavior, Resource, Rlimit, getrlimit, set_dumpable_behavior, setrlimit,
};

use super::ServiceError;

/// Descriptors beside those of connections: the store's files, listeners, loops, log, admin port.
const OTHER_FILES: u64 = 64;
/// Descriptors of each loop.
const LOOP_FILES: u64 = 4;

/// Makes sure that there are descriptors for so many connections on so many loops.
pub fn descriptors(connections: usize, loops: usize) -> Result<(), ServiceError> {
    let many = |count: usize| u64::try_from(count).unwrap_or(u64::MAX);
    let needed = many(connections)
        .saturating_add(many(loops).saturating_mul(LOOP_FILES))
        .saturating_add(OTHER_FILES);
    let have = getrlimit(Resource::Nofile);
    // No limit is none.
    let (soft, hard) = (have.current.unwrap_or(u64::MAX), have.maximum.unwrap_or(u64::MAX));
    if soft >= needed {
        return Ok(());
    }
    let hard = hard.max(needed);
    let raised = Rlimit { current: Some(needed), maximum: Some(hard) };
    // Above the hard limit only root may go.
    setrlimit(Resource::Nofile, raised).map_err(|_| ServiceError::Descriptors {
        connections,
        needed,
        have: have.maximum.unwrap_or(u64::MAX),
    })
}

/// Core files hold what is in memory, keys and values among it: none, unless they are wanted. Call it
/// after the user has changed, which takes the permission away.
pub fn core_files(wanted: bool) {
    let have = getrlimit(Resource::Core);
    let limit = match wanted {
        true => Rlimit { current: have.maximum, maximum: have.maximum },
        false => Rlimit { current: Some(0), maximum: Some(0) },
    };
    // A unit that has set it already may forbid the call.
    if (have.current, have.maximum) != (limit.current, limit.maximum)
        && let Err(error) = setrlimit(Resource::Core, limit)
    {
        tracing::warn!(%error, "the limit of core files could not be changed");
    }
    let dumpable = match wanted {
        true => DumpableBehavior::Dumpable,
        // Debuggers of the same user are kept out as well.
        false => DumpableBehavior::NotDumpable,
    };
    if let Err(error) = set_dumpable_behavior(dumpable) {
        tracing::warn!(%error, "it could not be said whether core files are wanted");
    }
}

/// Keeps all memory, also what is mapped later, from being paged out. Call it before root is given up.
pub fn lock_memory() -> Result<(), ServiceError> {
    // What is mapped later counts as well, when root is gone. Others than root have what they have.
    let _ = setrlimit(Resource::Memlock, Rlimit { current: None, maximum: None });
    mlockall(MlockAllFlags::CURRENT | MlockAllFlags::FUTURE)
        .map_err(|error| ServiceError::Memory(error.into()))
}

/// Nothing that this process starts ever has more rights than it has.
pub fn no_new_privileges() {
    if let Err(error) = rustix::thread::set_no_new_privs(true) {
        tracing::debug!(%error, "no_new_privs could not be set");
    }
}
