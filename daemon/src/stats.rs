//! Statistics as clients see them: memcached's groups and names (protocol.txt, "Statistics"), each with
//! what it means here, and the store's own numbers behind them with the prefix `store_`.
//!
//! What costs system calls or a look at many keys is kept for a hundred times as long as it took to
//! find out, so that asking without end costs a hundredth of one core at most. Called by the
//! executor; it never sees a socket, and no key is shown but the prefixes that `stats detail` was
//! told to count.

mod general;
mod shown;
mod sizes;

use std::collections::HashMap;
use std::time::{Duration, Instant};

use holdfast::Stats;
use holdfast::backend::Backend;
use parking_lot::Mutex;

use crate::counters::Counters;
use crate::limits::PREFIXES_MAX;
use crate::settings::Settings;
use sizes::Sample;

/// Names and values, in their order.
pub(crate) type Lines = Vec<(String, String)>;

/// Bytes of a record in the store beside key and value.
const RECORD_HEAD: u64 = 64;
/// What was found out is kept so many times as long as that took, and no longer than this.
const KEPT_TIMES: u32 = 100;
const KEPT_MAX: Duration = Duration::from_secs(10);

/// Bytes that a value takes in the store.
pub(crate) fn record_bytes(key: &[u8], value_len: u64) -> u64 {
    let names = (key.len() as u64).next_multiple_of(8);
    RECORD_HEAD.saturating_add(names).saturating_add(value_len).next_multiple_of(RECORD_HEAD)
}

/// What passes through the sockets; the server's loops know it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[allow(missing_docs, reason = "the names are those of memcached's statistics")]
pub struct Traffic {
    pub curr_connections: u64,
    pub total_connections: u64,
    pub rejected_connections: u64,
    pub connection_structures: u64,
    pub accepting_conns: bool,
    pub listen_disabled_num: u64,
    pub time_in_listen_disabled_us: u64,
    pub bytes_read: u64,
    pub bytes_written: u64,
    pub conn_yields: u64,
    pub idle_kicks: u64,
    pub buffers: u64,
    pub buffer_bytes: u64,
}

/// What the groups are made of.
pub(crate) struct Facts<'a> {
    pub(crate) store: &'a dyn Backend,
    pub(crate) settings: &'a Settings,
    pub(crate) counters: &'a Counters,
    pub(crate) traffic: &'a dyn Fn() -> Traffic,
    pub(crate) connections: &'a dyn Fn() -> Lines,
    /// Seconds since a value was read or stored, by the hash of its key and its version.
    pub(crate) idle_s: &'a dyn Fn(u64, u64) -> u64,
}

/// What is counted for a prefix of keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Prefixed {
    Hit,
    Miss,
    Set,
    Delete,
}

#[derive(Debug, Clone, Copy, Default)]
struct OfPrefix {
    gets: u64,
    hits: u64,
    sets: u64,
    deletes: u64,
}

/// Something that was found out, and until when it is good enough.
struct Kept<T>(Mutex<Option<(T, Instant)>>);

impl<T: Clone> Kept<T> {
    fn new() -> Kept<T> {
        Kept(Mutex::new(None))
    }

    /// What is kept, or else found out now; who comes meanwhile waits for it.
    fn get<E>(&self, find: impl FnOnce() -> Result<T, E>) -> Result<T, E> {
        let mut kept = self.0.lock();
        let begun = Instant::now();
        if let Some((found, until)) = &*kept
            && begun < *until
        {
            return Ok(found.clone());
        }
        let found = find()?;
        let now = Instant::now();
        let good_for = ((now - begun) * KEPT_TIMES).min(KEPT_MAX);
        *kept = Some((found.clone(), now + good_for));
        Ok(found)
    }
}

/// The statistics of a server.
pub(crate) struct Panel {
    started: Instant,
    store: Kept<Stats>,
    sample: Kept<Sample>,
    prefixes: Mutex<HashMap<Box<[u8]>, OfPrefix>>,
}

fn line(lines: &mut Lines, name: impl Into<String>, value: impl ToString) {
    lines.push((name.into(), value.to_string()));
}

/// As one word of a line, whatever names of files and bytes of keys are in it: monitors cut lines at
/// spaces, and some take a server for dead whose line has more words than they know of.
fn word(text: &str) -> String {
    text.chars().map(|c| if c.is_control() || c.is_whitespace() { '?' } else { c }).collect()
}

fn yes_no(yes: bool) -> &'static str {
    if yes { "yes" } else { "no" }
}

impl Panel {
    pub(crate) fn new() -> Panel {
        Panel {
            started: Instant::now(),
            store: Kept::new(),
            sample: Kept::new(),
            prefixes: Mutex::new(HashMap::new()),
        }
    }

    /// Makes the lines of a group; false: there is no such group.
    pub(crate) fn show(
        &self,
        group: &[u8],
        facts: &Facts,
        lines: &mut Lines,
    ) -> holdfast::Result<bool> {
        match group {
            b"" => general::show(self, facts, lines)?,
            b"settings" => {
                shown::show(self, facts, lines)?;
                lines.iter_mut().for_each(|(_, value)| *value = word(value));
            }
            b"items" => sizes::items(self, facts, lines)?,
            b"slabs" => sizes::slabs(self, facts, lines)?,
            b"sizes" => sizes::sizes(self, facts, lines)?,
            b"conns" => lines.extend((facts.connections)()),
            b"detail dump" => self.show_prefixes(lines),
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn store(&self, facts: &Facts) -> holdfast::Result<Stats> {
        self.store.get(|| facts.store.stats())
    }

    /// Counts a command on a key for the prefix before its first delimiter, if it has one.
    #[cold]
    pub(crate) fn count_prefix(&self, key: &[u8], delimiter: u8, what: Prefixed) {
        let Some(end) = memchr::memchr(delimiter, key) else { return };
        let prefix = &key[..end];
        let mut prefixes = self.prefixes.lock();
        if !prefixes.contains_key(prefix) {
            if prefixes.len() >= PREFIXES_MAX {
                return;
            }
            prefixes.insert(prefix.into(), OfPrefix::default());
        }
        let Some(of) = prefixes.get_mut(prefix) else { return };
        match what {
            Prefixed::Hit => (of.gets, of.hits) = (of.gets + 1, of.hits + 1),
            Prefixed::Miss => of.gets += 1,
            Prefixed::Set => of.sets += 1,
            Prefixed::Delete => of.deletes += 1,
        }
    }

    fn show_prefixes(&self, lines: &mut Lines) {
        for (prefix, of) in self.prefixes.lock().iter() {
            let name = word(&String::from_utf8_lossy(prefix));
            let OfPrefix { gets, hits, sets, deletes } = of;
            line(lines, name, format!("get {gets} hit {hits} set {sets} del {deletes}"));
        }
        lines.sort();
    }

    /// The prefixes begin anew; the other counters are not kept here.
    pub(crate) fn reset(&self) {
        self.prefixes.lock().clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_takes_whole_lines() {
        assert_eq!(record_bytes(b"", 0), 64);
        assert_eq!(record_bytes(b"k", 56), 128);
        assert_eq!(record_bytes(b"k", 57), 192);
        assert!(record_bytes(b"k", u64::MAX - 4096) >= u64::MAX - 4096);
    }

    #[test]
    fn prefixes_are_counted_up_to_a_bound() {
        let panel = Panel::new();
        panel.count_prefix(b"a:1", b':', Prefixed::Hit);
        panel.count_prefix(b"a:2:3", b':', Prefixed::Miss);
        panel.count_prefix(b"none", b':', Prefixed::Set);
        let mut lines = Vec::new();
        panel.show_prefixes(&mut lines);
        assert_eq!(lines, [("a".into(), "get 2 hit 1 set 0 del 0".into())]);
        panel.count_prefix(b"b\r\nSTAT x:y", b':', Prefixed::Set);
        panel.show_prefixes(&mut lines);
        assert!(lines.iter().any(|(name, _)| name == "b??STAT?x"), "{lines:?}");
        for n in 0..2 * PREFIXES_MAX {
            panel.count_prefix(format!("{n}:x").as_bytes(), b':', Prefixed::Set);
        }
        assert_eq!(panel.prefixes.lock().len(), PREFIXES_MAX);
        panel.reset();
        assert!(panel.prefixes.lock().is_empty());
    }

    #[test]
    fn what_was_dear_is_kept() {
        let kept = Kept::new();
        let slow = |value: u32| {
            kept.get(|| {
                std::thread::sleep(Duration::from_millis(20));
                Ok::<u32, ()>(value)
            })
        };
        assert_eq!((slow(1), slow(2)), (Ok(1), Ok(1)));
        assert_eq!(Kept::new().get(|| Err::<u32, u32>(7)), Err(7));
    }
}
