//! The text verbs for people who run a memcached: statistics, listings, and the knobs. What only
//! tunes memory that there is none of here is checked as memcached checks it and answered with OK;
//! what cannot be had is answered with the line that memcached has for it. Called by `verbs`.

use super::verbs::Request;
use super::{Dump, Form};
use crate::command::{Command, Listing};
use crate::protocol::lines::{self, BAD_FORMAT, UNKNOWN};
use crate::protocol::{Limits, Parsed, number};

const BAD_CLASS: &[u8] = b"BADCLASS invalid class id\r\n";
/// Size classes have numbers below this.
const CLASSES: u32 = 64;

/// The verb's request or refusal; `None` if it is nobody's.
pub fn parse<'a>(request: &Request<'a>, limits: &Limits) -> Option<Parsed<'a>> {
    Some(match request.word(0) {
        b"stats" => stats(request),
        b"verbosity" => verbosity(request),
        b"lru_crawler" => lru_crawler(request),
        b"slabs" => slabs(request),
        b"lru" => lru(request),
        b"cache_memlimit" => cache_memlimit(request),
        b"watch" => request.refused(b"CLIENT_ERROR watch commands not allowed\r\n"),
        b"refresh_certs" => request.asks(Command::Reload),
        b"shutdown" => shutdown(request),
        b"debugtime" if limits.test_commands => match number::signed(request.word(1)) {
            Some(seconds) => request.asks(Command::MoveClock(seconds)),
            None => request.refused(UNKNOWN),
        },
        _ => return None,
    })
}

fn stats<'a>(request: &Request<'a>) -> Parsed<'a> {
    const USAGE: &[u8] = b"CLIENT_ERROR usage: stats detail on|off|dump\r\n";
    match (request.word(1), request.word(2)) {
        (b"reset", _) => request.asks_as(Command::ResetStats, Form::Reset),
        (b"detail", b"on") => request.asks(Command::Stats(b"detail on")),
        (b"detail", b"off") => request.asks(Command::Stats(b"detail off")),
        (b"detail", b"dump") => request.asks_as(Command::Stats(b"detail dump"), Form::Prefixes),
        (b"detail", _) => lines::refused(request.used, USAGE),
        (b"cachedump", _) => cachedump(request),
        (group, _) => request.asks_as(Command::Stats(group), Form::Stats),
    }
}

/// `stats cachedump <class> <limit>`; a limit of 0 is none.
fn cachedump<'a>(request: &Request<'a>) -> Parsed<'a> {
    if request.count < 4 {
        return lines::refused(request.used, b"CLIENT_ERROR bad command line\r\n");
    }
    let (Some(class), Some(limit)) =
        (number::unsigned32(request.word(2)), number::unsigned32(request.word(3)))
    else {
        return lines::refused(request.used, BAD_FORMAT);
    };
    match u8::try_from(class) {
        Ok(number) if class < CLASSES => {
            let left = (limit > 0).then_some(u64::from(limit));
            let listing = Listing { cursor: 0, left, class: Some(number) };
            request.asks_as(Command::List(listing), Form::Dump(Dump::Items))
        }
        _ => lines::refused(request.used, b"CLIENT_ERROR Illegal slab id\r\n"),
    }
}

/// `verbosity <level> [noreply]`.
fn verbosity<'a>(request: &Request<'a>) -> Parsed<'a> {
    if request.count < 2 || request.count > 3 {
        return request.refused(UNKNOWN);
    }
    match number::unsigned32(request.word(1)) {
        Some(level) => request.asks(Command::Verbosity(level)),
        None => request.refused(BAD_FORMAT),
    }
}

fn lru_crawler<'a>(request: &Request<'a>) -> Parsed<'a> {
    let argument = request.word(2);
    match (request.word(1), request.count) {
        (b"enable" | b"disable", 2) => request.asks(Command::Tune),
        (b"crawl", 3) => match classes(argument) {
            Some(_) => request.asks(Command::Tune),
            None => request.refused(BAD_CLASS),
        },
        (b"metadump", 3) => dump(request, |classes| Dump::Facts { classes }),
        (b"mgdump", 3) => dump(request, |classes| Dump::Requests { classes }),
        (b"tocrawl", 3) => tuned(request, number::unsigned32(argument).is_some()),
        (b"sleep", 3) => match number::unsigned32(argument) {
            Some(0..=1_000_000) => request.asks(Command::Tune),
            Some(_) => request.refused(b"CLIENT_ERROR sleep must be one second or less\r\n"),
            None => request.refused(BAD_FORMAT),
        },
        _ => request.refused(UNKNOWN),
    }
}

fn dump<'a>(request: &Request<'a>, how: impl Fn(Option<u64>) -> Dump) -> Parsed<'a> {
    match classes(request.word(2)) {
        Some(classes) => {
            let command = Command::List(Listing::default());
            request.asks_as(command, Form::Dump(how(classes)))
        }
        None => request.refused(BAD_CLASS),
    }
}

/// `all`, `hash` (all, in no order of age) or numbers with commas between them.
fn classes(word: &[u8]) -> Option<Option<u64>> {
    if word == b"all" || word == b"hash" {
        return Some(None);
    }
    let mut classes = 0_u64;
    for class in word.split(|byte| *byte == b',') {
        let class = number::unsigned32(class).filter(|class| (1..CLASSES).contains(class))?;
        classes |= 1 << class;
    }
    Some(Some(classes))
}

fn slabs<'a>(request: &Request<'a>) -> Parsed<'a> {
    let (third, fourth) = (request.word(2), request.word(3));
    match (request.word(1), request.count) {
        (b"reassign", 4) => {
            let numbers = [third, fourth].map(number::signed);
            tuned(request, numbers.iter().all(Option::is_some))
        }
        (b"automove", 3) => match number::unsigned32(third) {
            Some(0..=2) => request.asks(Command::Tune),
            Some(_) => request.refused(UNKNOWN),
            None => request.refused(BAD_FORMAT),
        },
        (b"automove", 4) if third == b"window" => {
            tuned(request, number::unsigned32(fourth).is_some())
        }
        (b"automove", 4) if third == b"ratio" || third == b"freeratio" => {
            tuned_or(request, decimal(fourth).is_some(), UNKNOWN)
        }
        _ => request.refused(UNKNOWN),
    }
}

fn lru<'a>(request: &Request<'a>) -> Parsed<'a> {
    let argument = request.word(2);
    let good = match (request.word(1), request.count) {
        (b"mode", 3..) => argument == b"flat" || argument == b"segmented",
        (b"temp_ttl", 3..) => number::signed(argument).is_some(),
        (b"tune", 6..) => {
            let shares = [argument, request.word(3)].map(number::unsigned32);
            let factors = [request.word(4), request.word(5)].map(decimal);
            match (shares, factors) {
                ([Some(hot), Some(warm)], [Some(hotter), Some(warmer)]) => {
                    hot.saturating_add(warm) <= 80 && hotter > 0.0 && warmer > 0.0
                }
                _ => false,
            }
        }
        _ => false,
    };
    tuned_or(request, good, UNKNOWN)
}

/// The store's size is the store's own matter; a limit of a cache is not taken for it.
fn cache_memlimit<'a>(request: &Request<'a>) -> Parsed<'a> {
    request.refused(match number::unsigned32(request.word(1)) {
        None => UNKNOWN,
        Some(0..8) => b"MEMLIMIT_TOO_SMALL cannot set maxbytes to less than 8m\r\n",
        Some(_) => b"MEMLIMIT_ADJUST_FAILED out of bounds or unable to adjust\r\n",
    })
}

fn shutdown<'a>(request: &Request<'a>) -> Parsed<'a> {
    let gracefully = match (request.count, request.word(1)) {
        (1, _) => false,
        (2, b"graceful") => true,
        _ => {
            return lines::refused(request.used, b"CLIENT_ERROR invalid shutdown mode\r\n");
        }
    };
    request.asks_as(Command::Shutdown { gracefully }, Form::Shutdown)
}

fn tuned<'a>(request: &Request<'a>, good: bool) -> Parsed<'a> {
    tuned_or(request, good, BAD_FORMAT)
}

fn tuned_or<'a>(request: &Request<'a>, good: bool, otherwise: &'static [u8]) -> Parsed<'a> {
    if good { request.asks(Command::Tune) } else { request.refused(otherwise) }
}

fn decimal(word: &[u8]) -> Option<f64> {
    let number: f64 = std::str::from_utf8(word).ok()?.parse().ok()?;
    number.is_finite().then_some(number)
}
