//! Is the record that the index names for a key its value? The one place that says so: for the
//! verbs, for the sweep and for a rebuild.

use super::owner::{self, Standing};
use crate::arena::{Arena, word};
use crate::error::Result;
use crate::log::record::{Header, TOMBSTONE};

/// What a record is to those who look for its key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Life {
    /// A value.
    Alive,
    /// No value any more. It may still shadow older records of its key.
    Over,
    /// A flush is due that takes it along, but has no number yet: a miss, and not to be dropped.
    Due,
    /// Gone with everything that is older: nothing of it or before it can come back.
    Flushed,
    /// Its owner's record is damaged, or changed too fast: neither a value nor none.
    Unknown { damaged: bool },
}

impl Life {
    /// Is there a value? An error if nobody can say.
    #[inline(always)]
    pub(super) fn is_value(self, arena: &Arena) -> Result<bool> {
        match self {
            Life::Alive => Ok(true),
            Life::Over | Life::Due | Life::Flushed => Ok(false),
            Life::Unknown { damaged: true } => Err(owner::damaged(arena)),
            Life::Unknown { damaged: false } => Err(owner::busy()),
        }
    }
}

/// Clock and owner are only looked at when they matter.
#[inline(always)]
pub(super) fn of(
    arena: &Arena,
    header: &Header,
    expires_ms: u64,
    standing: impl FnOnce() -> Standing,
    now_ms: impl Fn() -> u64,
) -> Life {
    if is_flushed(arena, header.seq) {
        return Life::Flushed;
    }
    let flush_at = arena.meta.load(word::FLUSH_AT);
    if flush_at != 0 && super::flush::is_over(flush_at, &now_ms) {
        return Life::Due;
    }
    if header.is(TOMBSTONE) || (expires_ms != 0 && expires_ms <= now_ms()) {
        return Life::Over;
    }
    if header.owner_len == 0 { Life::Alive } else { by(standing()) }
}

#[cold]
fn by(standing: Standing) -> Life {
    match standing {
        Standing::Unowned | Standing::Owned { valid: true, .. } => Life::Alive,
        Standing::Owned { valid: false, .. } => Life::Over,
        Standing::Unknown { damaged } => Life::Unknown { damaged },
    }
}

/// Is the record with this number, and all that are older, gone?
#[inline(always)]
pub(super) fn is_flushed(arena: &Arena, seq: u64) -> bool {
    seq <= arena.meta.load(word::FLUSH_SEQ)
}
