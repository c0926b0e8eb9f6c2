//! Why a run ends before its time. One enum, one sentence each; each names the request.

use super::limits::SHOWN_BYTES;
use std::io;
use std::time::Duration;

/// What ends a run.
#[derive(Debug, thiserror::Error)]
pub(super) enum Fault {
    #[error("wrong answer to {request}: expected {expected}; came {came}")]
    Wrong { request: String, expected: String, came: String },
    #[error(
        "missing: {request} found no value of key {key}; the server has evicted or lost it, or it \
         was never set (--allow-misses counts that instead)"
    )]
    Missed { request: String, key: String },
    #[error("refused: the server answered {request} with \"{text}\"{hint}")]
    Refused { request: String, text: String, hint: &'static str },
    #[error(
        "disconnected: the server closed connection {connection} after {answered} answers, with \
         {waiting} requests unanswered"
    )]
    Closed { connection: usize, answered: u64, waiting: usize },
    #[error("no answer: connection {connection} has waited {waited:?} for {request}")]
    Overdue { connection: usize, waited: Duration, request: String },
    #[error("connection {connection}: {error}")]
    Io { connection: usize, error: io::Error },
    #[error("the generator's own event loop: {0}")]
    Loop(#[from] io::Error),
}

/// Bytes as they can be shown: a few, escaped.
pub(super) fn shown(bytes: &[u8]) -> String {
    match bytes.get(..SHOWN_BYTES) {
        Some(first) if bytes.len() > SHOWN_BYTES => {
            format!("\"{}\".. ({} bytes)", first.escape_ascii(), bytes.len())
        }
        _ => format!("\"{}\"", bytes.escape_ascii()),
    }
}

/// What helps with a refusal that is known.
pub(super) fn hint(text: &[u8]) -> &'static str {
    let says = |part: &[u8]| memchr::memmem::find(text, part).is_some();
    if says(b"NOAUTH") || says(b"unauthenticated") || says(b"Auth failure") {
        ": it wants --user and --password"
    } else if says(b"WRONGPASS") || says(b"authentication failure") {
        ": --user or --password is wrong"
    } else if text == b"ERROR" || says(b"Unknown command") {
        ": it does not know this command; is --protocol right?"
    } else if says(b"object too large") || says(b"Too large") {
        ": --value-size is more than it takes"
    } else {
        ""
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_and_binary_answers_are_shown_short_and_readable() {
        assert_eq!(shown(b"a\r\n\x81"), "\"a\\r\\n\\x81\"");
        let long = shown(&[b'x'; 500]);
        assert!(long.ends_with("\".. (500 bytes)") && long.len() < 130, "{long}");
        assert_eq!(shown(&[b'x'; SHOWN_BYTES]).len(), SHOWN_BYTES + 2);
    }

    #[test]
    fn known_refusals_have_a_hint() {
        assert!(hint(b"-NOAUTH Authentication required.").contains("--password"));
        assert!(hint(b"ERROR").contains("--protocol"));
        assert_eq!(hint(b"SERVER_ERROR out of memory"), "");
    }
}
