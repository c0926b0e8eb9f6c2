//! The flags of a meta request: one letter each, some with a token behind it. Reads and checks all of
//! them in one pass and keeps what requests need; called by the dialect's parser. Every verb takes
//! every flag, as in memcached: those that mean nothing to it are checked and then passed over.

use crate::command::Expiry;
use crate::limits::OPAQUE_MAX;
use crate::protocol::lines::{self, Words};
use crate::protocol::number;

/// A token that is longer than an opaque may be.
pub const OPAQUE_TOO_LONG: &[u8] = b"CLIENT_ERROR opaque token too long\r\n";
const DUPLICATE: &[u8] = b"CLIENT_ERROR duplicate flag\r\n";
const INVALID: &[u8] = b"CLIENT_ERROR invalid flag\r\n";
const BAD_TOKEN: &[u8] = b"CLIENT_ERROR bad token in command line format\r\n";
const BAD_INITIAL: &[u8] = b"CLIENT_ERROR invalid numeric initial value\r\n";
const BAD_DELTA: &[u8] = b"CLIENT_ERROR invalid numeric delta value\r\n";

/// All flags of a request.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Flags {
    /// A bit for each letter.
    seen: u128,
    /// `T`
    pub expiry: Option<Expiry>,
    /// `N`
    pub vivify: Option<Expiry>,
    /// `R`
    pub recache_below_s: Option<u64>,
    /// `C`
    pub compare: Option<u64>,
    /// `E`
    pub version: Option<u64>,
    /// `F`
    pub client: Option<u32>,
    /// `J`
    pub initial: Option<u64>,
    /// `D`
    pub delta: Option<u64>,
    /// `M`; 0 when it has no token.
    pub mode: Option<u8>,
}

impl Flags {
    /// Is this letter among them?
    pub fn has(&self, letter: u8) -> bool {
        self.seen & bit(letter) != 0
    }

    /// Reads the part of a line that holds them, or says how the line is refused.
    pub fn read(line: &[u8]) -> Result<Flags, &'static [u8]> {
        let mut flags = Flags::default();
        for word in Words(line) {
            let Some((letter, token)) = word.split_first() else { continue };
            // Letters above 126 count as seen already.
            if *letter > 126 || flags.has(*letter) {
                return Err(DUPLICATE);
            }
            flags.seen |= bit(*letter);
            flags.take(*letter, token)?;
        }
        Ok(flags)
    }

    fn take(&mut self, letter: u8, token: &[u8]) -> Result<(), &'static [u8]> {
        match letter {
            b'b' | b'c' | b'f' | b'h' | b'k' | b'l' | b'q' | b's' | b't' | b'u' | b'v' | b'x'
            | b'I' => {}
            // Hints for a proxy on the way here.
            b'L' | b'P' => {}
            b'O' if token.len() > OPAQUE_MAX => return Err(OPAQUE_TOO_LONG),
            b'O' => {}
            b'T' => self.expiry = Some(expiry(token)?),
            b'N' => self.vivify = Some(expiry(token)?),
            b'R' => {
                let seconds = number::signed(token).ok_or(BAD_TOKEN)?;
                // Nothing has less than no time to live.
                self.recache_below_s = Some(u64::try_from(seconds).unwrap_or(0));
            }
            b'C' => self.compare = Some(number::unsigned(token).ok_or(BAD_TOKEN)?),
            b'E' => self.version = Some(number::unsigned(token).ok_or(BAD_TOKEN)?),
            b'F' => self.client = Some(number::unsigned32(token).ok_or(lines::BAD_FORMAT)?),
            b'J' => self.initial = Some(number::unsigned(token).ok_or(BAD_INITIAL)?),
            b'D' => self.delta = Some(number::unsigned(token).ok_or(BAD_DELTA)?),
            b'M' => self.mode = Some(token.first().copied().unwrap_or(0)),
            _ => return Err(INVALID),
        }
        Ok(())
    }
}

fn expiry(token: &[u8]) -> Result<Expiry, &'static [u8]> {
    number::signed(token).map(Expiry::of_seconds).ok_or(BAD_TOKEN)
}

/// No letter above 127 has a bit.
fn bit(letter: u8) -> u128 {
    1_u128.checked_shl(u32::from(letter)).unwrap_or(0)
}
