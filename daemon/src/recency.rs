//! When values were read last, whether at all, and who was told to bring a new one.
//!
//! The store does not write when it is read, so the daemon keeps this beside it, for the values that
//! pass through it, in a table of fixed size:
//!
//! ```text
//!  a set: 4 words, half a line of memory; 2^15 sets
//!  a word: key 12 | version 20 | token sent 1 | read 1 | seconds 30      0 = free
//! ```
//!
//! The set is chosen by the hash of a key alone, so that its memory can be asked for before the store
//! has said which version the value has. In it a word is found by hashes of the key and of the
//! version of its value, so a new value begins with a clean one; it takes the place of the value
//! before it, unless somebody was told to renew that. When a set is full the word that was used
//! longest ago goes: then a value counts as not read yet, and a second reader may be told to bring a
//! new one. Both are harmless. Nothing is locked; each change of a word is one atomic step. It never
//! touches the store. Called by the executor.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::limits::{RECENCY_SETS, RECENCY_WAYS};

const SECONDS: u64 = (1 << 30) - 1;
const READ: u64 = 1 << 30;
const TOKEN: u64 = 1 << 31;
const HASH_SHIFT: u32 = 32;
/// What a word says of its key stands above this.
const KEY_SHIFT: u32 = 52;
/// How often a word is looked for anew when others change its set.
const TRIES: u32 = 8;

#[repr(align(32))]
struct Set([AtomicU64; RECENCY_WAYS]);

/// What is known of a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Seen {
    /// It was read since it was stored.
    pub read: bool,
    /// Seconds since it was read or stored; 0 when that is not known.
    pub idle_s: u64,
    /// Somebody was told to bring a new value.
    pub token_sent: bool,
}

/// The table.
pub struct Recency {
    sets: Box<[Set]>,
    /// Unix seconds from which the words count; they count from 1.
    epoch_s: u64,
}

/// Where the word of a value is, and by what it is known there.
#[derive(Clone, Copy)]
struct Name {
    set: usize,
    hash: u64,
}

/// The finalizer of splitmix64: versions differ in their low bits only, and of a key's hash it is
/// not known which bits are good.
fn mix(mut value: u64) -> u64 {
    value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

fn set_of(mixed_key: u64) -> usize {
    usize::try_from(mixed_key & (RECENCY_SETS as u64 - 1)).unwrap_or(0)
}

impl Name {
    /// Is this the word of another value of the same key, of which nothing has to be remembered?
    fn replaces(&self, word: u64) -> bool {
        word >> KEY_SHIFT == self.hash >> (KEY_SHIFT - HASH_SHIFT) && word & TOKEN == 0
    }
}

fn name(key_hash: u64, version: u64) -> Name {
    let (key, version) = (mix(key_hash), mix(version.wrapping_add(0x9e37_79b9_7f4a_7c15)));
    let low = KEY_SHIFT - HASH_SHIFT;
    let hash = (key >> KEY_SHIFT) << low | version >> (u64::BITS - low);
    Name { set: set_of(key), hash: hash.max(1) }
}

impl Recency {
    /// An empty table; `now_s` in unix seconds.
    pub fn new(now_s: u64) -> Recency {
        let set = || Set(std::array::from_fn(|_| AtomicU64::new(0)));
        Recency {
            sets: std::iter::repeat_with(set).take(RECENCY_SETS).collect(),
            epoch_s: now_s.saturating_sub(1),
        }
    }

    fn seconds(&self, now_s: u64) -> u64 {
        now_s.saturating_sub(self.epoch_s).clamp(1, SECONDS)
    }

    fn seen(&self, word: u64, now_s: u64) -> Seen {
        Seen {
            read: word & READ != 0,
            idle_s: self.seconds(now_s).saturating_sub(word & SECONDS),
            token_sent: word & TOKEN != 0,
        }
    }

    /// Asks for the memory of what is known of a key's value, which is wanted soon: nothing waits for
    /// it here.
    #[inline]
    pub fn expect(&self, key_hash: u64) {
        if let Some(Set([first, ..])) = self.sets.get(set_of(mix(key_hash))) {
            first.load(Ordering::Relaxed);
        }
    }

    /// What is known of a value.
    pub fn look(&self, key_hash: u64, version: u64, now_s: u64) -> Seen {
        let name = name(key_hash, version);
        let Some(Set(words)) = self.sets.get(name.set) else { return Seen::default() };
        words
            .iter()
            .map(|word| word.load(Ordering::Relaxed))
            .find(|word| word >> HASH_SHIFT == name.hash)
            .map_or(Seen::default(), |word| self.seen(word, now_s))
    }

    /// It was stored. What is known of a version that was never given before is of readers who were
    /// faster than this call, and stays; a writer's own choice may have been there before.
    pub fn stored(&self, key_hash: u64, version: u64, is_chosen: bool, now_s: u64) {
        let kept = if is_chosen { 0 } else { READ | TOKEN };
        self.change(key_hash, version, now_s, |old| old & kept);
    }

    /// It was read; gives what was known before.
    #[inline]
    pub fn read(&self, key_hash: u64, version: u64, now_s: u64) -> Seen {
        self.change(key_hash, version, now_s, |old| old & TOKEN | READ)
    }

    /// Tells its reader to bring a new value: true for one of all who ask.
    pub fn take_token(&self, key_hash: u64, version: u64, now_s: u64) -> bool {
        !self.change(key_hash, version, now_s, |old| old & READ | TOKEN).token_sent
    }

    /// The same value has another version now: what is known of it goes along.
    pub fn carry(&self, key_hash: u64, from: u64, to: u64, now_s: u64) {
        let seen = self.look(key_hash, from, now_s);
        let bits = if seen.read { READ } else { 0 } | if seen.token_sent { TOKEN } else { 0 };
        self.change(key_hash, to, now_s, |old| old & (READ | TOKEN) | bits);
    }

    /// Makes the bits of a word anew, with the time; gives what was known before.
    #[inline]
    fn change(&self, key_hash: u64, version: u64, now_s: u64, bits: impl Fn(u64) -> u64) -> Seen {
        let name = name(key_hash, version);
        let Some(Set(words)) = self.sets.get(name.set) else { return Seen::default() };
        let now = self.seconds(now_s);
        for _ in 0..TRIES {
            // The word itself, or else the one that was used longest ago; free ones are oldest, and
            // so is the value that the key had before. Whoever looks at the same set at the same
            // time chooses the same.
            let (mut place, mut present, mut oldest) = (&words[0], 0, u64::MAX);
            for word in words {
                let value = word.load(Ordering::Relaxed);
                let is_it = value >> HASH_SHIFT == name.hash;
                let age = if name.replaces(value) { 0 } else { value & SECONDS };
                if is_it || age < oldest {
                    (place, present, oldest) = (word, value, age);
                }
                if is_it {
                    break;
                }
            }
            let known = if present >> HASH_SHIFT == name.hash { present } else { 0 };
            let new = name.hash << HASH_SHIFT | bits(known) | now;
            let done = new == present
                || place
                    .compare_exchange(present, new, Ordering::Relaxed, Ordering::Relaxed)
                    .is_ok();
            if done {
                return if known == 0 { Seen::default() } else { self.seen(known, now_s) };
            }
        }
        Seen::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_known_from_its_first_time_on() {
        let table = Recency::new(1000);
        assert_eq!(table.look(7, 1, 1000), Seen::default());
        table.stored(7, 1, false, 1000);
        assert_eq!(table.read(7, 1, 1030), Seen { idle_s: 30, ..Seen::default() });
        assert_eq!(table.read(7, 1, 1035), Seen { read: true, idle_s: 5, token_sent: false });
        assert_eq!(table.look(7, 2, 1035), Seen::default(), "another version");
        assert_eq!(table.look(8, 1, 1035), Seen::default(), "another key");
        // The clock went back.
        assert_eq!(table.look(7, 1, 900).idle_s, 0);
        table.carry(7, 1, 9, 1040);
        assert!(table.look(7, 9, 1040).read);
    }

    #[test]
    fn one_of_all_who_ask_gets_the_token() {
        let table = Recency::new(0);
        let winners: usize = std::thread::scope(|scope| {
            let asks = |n: u64| table.take_token(n, 5, 1) as usize;
            let threads: Vec<_> =
                (0..4).map(|_| scope.spawn(move || (0..2000).map(asks).sum::<usize>())).collect();
            threads.into_iter().map(|thread| thread.join().unwrap_or(0)).sum()
        });
        assert_eq!(winners, 2000);
        assert!(table.read(3, 5, 2).token_sent, "reading leaves it");
        table.stored(3, 5, false, 3);
        assert!(table.look(3, 5, 3).token_sent, "its reader was faster");
        table.stored(3, 5, true, 3);
        assert!(!table.look(3, 5, 3).token_sent, "the version was used again");
    }

    #[test]
    fn a_value_takes_the_place_of_the_one_before_it() {
        let table = Recency::new(0);
        for n in 0..1000 {
            table.read(n, 1, 1);
        }
        let there = |version| (0..1000).filter(|n| table.is_there(*n, version)).count();
        assert!(there(1) > 990);
        for version in 2..100 {
            table.stored(7, version, false, 2);
        }
        assert!(there(1) > 985, "one key alone forgets the others");
        table.take_token(8, 1, 1);
        for version in 2..4 {
            table.stored(8, version, false, 2);
        }
        assert!(table.look(8, 1, 2).token_sent, "it was told to somebody");
    }

    #[test]
    fn a_full_table_forgets_the_oldest() {
        let table = Recency::new(0);
        let many = (RECENCY_SETS * RECENCY_WAYS * 2) as u64;
        for n in 0..many {
            table.stored(n, 1, false, 1 + n / 64);
        }
        let known = |range: std::ops::Range<u64>| {
            range.filter(|n| table.sets.iter().len() > 0 && table.is_there(*n, 1)).count()
        };
        assert!(known(0..1000) < 100);
        assert_eq!(known(many - 1000..many), 1000);
    }

    impl Recency {
        fn is_there(&self, key_hash: u64, version: u64) -> bool {
            let name = name(key_hash, version);
            self.sets[name.set].0.iter().any(|w| w.load(Ordering::Relaxed) >> 32 == name.hash)
        }
    }
}
