//! A client that asks a store anything, at random, and notes what it asked and was told.
//!
//! Called by the tests of histories from threads of processes that are killed. What a client asks
//! follows its seed; which answer is right follows from the history, and is `linear`'s to say. Only
//! errors that no history excuses end the test from here.

use std::time::Duration;

use holdfast::{
    Acquired, BatchItem, Counted, Error, Expect, Held, Item, Store, Stored, Ttl, Wait, Write,
};

use crate::Rng;
use crate::history::{Answer, Asked, Content, Page, Verb, piece};

/// What may be asked for, beside what always may.
#[derive(Debug, Clone, Copy, Default)]
pub struct Habits {
    /// Values up to this long.
    pub longest: usize,
    /// Everything is flushed now and then.
    pub flushes: bool,
    /// Keys that nobody else knows are made by the dozen, so that the index grows.
    pub crowds: bool,
    /// It only looks: what dead writers left is not tidied up by its own changes.
    pub only_reads: bool,
}

/// How long a lock that can be broken is safe.
const LEASE: Duration = Duration::from_millis(1);

pub struct Client<'a> {
    store: &'a Store,
    page: &'a Page,
    keys: &'a [Vec<u8>],
    rng: Rng,
    habits: Habits,
    /// Of all clients of a history: what its values are told apart by, and its cookie.
    number: u64,
    values: u64,
    /// The version of each key that it saw last.
    versions: Vec<u64>,
    /// The session lock that it has.
    held: Option<(usize, Held)>,
    bytes: Vec<u8>,
}

/// The rare error that says that nothing happened is an answer; no other is.
fn told<T>(done: holdfast::Result<T>, answer: impl FnOnce(T) -> Answer) -> Answer {
    match done {
        Ok(done) => answer(done),
        Err(Error::Full(_) | Error::NoSpace(_)) => Answer::Refused,
        Err(e) => panic!("{e}"),
    }
}

fn stored(stored: Stored) -> Answer {
    match stored {
        Stored::Done(version) => Answer::Done(version),
        Stored::Exists(version) => Answer::Exists(version),
        Stored::Missing => Answer::Missing,
        Stored::Lost => Answer::Lost,
    }
}

fn value(found: Option<(&Item, &[u8])>) -> Answer {
    let Some((item, bytes)) = found else { return Answer::Missing };
    match Content::of(bytes, item.flags) {
        Ok(content) => Answer::Value(item.version, content),
        Err(wrong) => panic!("version {}: {wrong}", item.version),
    }
}

/// A new value: its content, and its bytes.
pub fn new_value(rng: &mut Rng, token: u64, longest: usize) -> (Content, Vec<u8>) {
    let flags = token as u32;
    if rng.one_in(6) {
        let number = rng.below(1_000);
        return (Content::number(number, flags), number.to_string().into_bytes());
    }
    let len = some_length(rng, longest);
    (Content::piece(token, len, flags), piece(token, len))
}

/// Nothing, little, or, the longer the rarer, up to `longest`.
fn some_length(rng: &mut Rng, longest: usize) -> usize {
    match rng.below(40) {
        0..4 => 0,
        4..30 => 13 + rng.below(200) as usize,
        30..37 => 13 + rng.below(3_000) as usize,
        37 => 13 + rng.below(20_000.min(longest as u64)) as usize,
        _ => 13 + rng.below(longest as u64) as usize,
    }
    .min(longest)
}

/// Anything that one key can be asked, with the bytes that go with it. `version` is one that the key
/// had, 0 = none is known.
pub fn some_verb(rng: &mut Rng, token: u64, version: u64, longest: usize) -> (Verb, Vec<u8>) {
    let version = version.max(1);
    let (content, bytes) = new_value(rng, token, longest);
    let verb = match rng.below(40) {
        0..12 => Verb::Get,
        12..14 => Verb::Exists,
        14..20 => Verb::Set(content),
        20..22 => Verb::Add(content),
        22..24 => Verb::Replace(content),
        24..27 => Verb::Cas(content, version),
        27..29 => Verb::Delete,
        29 => Verb::DeleteVersion(version),
        30..32 => Verb::Touch,
        32..36 => {
            let initial = Some(rng.below(100)).filter(|n| n % 2 == 0);
            Verb::Increment { by: 1 + rng.below(9), initial, flags: token as u32 }
        }
        _ => {
            let len = some_length(rng, longest / 4);
            return (Verb::Append(token, len), piece(token, len));
        }
    };
    (verb, bytes)
}

impl<'a> Client<'a> {
    pub fn new(
        store: &'a Store,
        page: &'a Page,
        keys: &'a [Vec<u8>],
        habits: Habits,
        (number, seed): (usize, u64),
    ) -> Client<'a> {
        Client {
            store,
            page,
            keys,
            rng: Rng::new(seed ^ (number as u64) << 32),
            habits,
            number: number as u64 + 1,
            values: 0,
            versions: vec![0; keys.len()],
            held: None,
            bytes: Vec::new(),
        }
    }

    /// Asks once; of several keys now and then.
    pub fn act(&mut self) {
        let key = self.rng.below(self.keys.len() as u64) as usize;
        match self.rng.below(64) {
            0..4 => self.get_many(),
            _ if self.habits.only_reads => {
                let verb = *self.rng.pick(&[Verb::Get, Verb::Get, Verb::Get, Verb::Exists]);
                self.ask(key, (verb, Vec::new()));
            }
            4..7 => self.set_many(),
            7..12 => self.lock_or_unlock(key),
            12 if self.habits.flushes => self.flush(),
            13 if self.habits.crowds => self.crowd(),
            _ => {
                let verb = self.some_verb(key);
                self.ask(key, verb);
            }
        }
    }

    fn token(&mut self) -> u64 {
        self.values += 1;
        self.number << 32 | self.values
    }

    fn new_value(&mut self) -> (Content, Vec<u8>) {
        let token = self.token();
        new_value(&mut self.rng, token, self.habits.longest)
    }

    fn some_verb(&mut self, key: usize) -> (Verb, Vec<u8>) {
        let token = self.token();
        some_verb(&mut self.rng, token, self.versions[key], self.habits.longest)
    }

    fn ask(&mut self, key: usize, (verb, bytes): (Verb, Vec<u8>)) {
        let reads = matches!(verb, Verb::Get | Verb::Exists);
        let held = self.held.filter(|held| held.0 == key && !reads).map(|held| held.1);
        let fence = held.map_or(0, |held| held.fence);
        let line = self.page.ask(Asked { key, verb, fence });
        let answer = self.answer(key, verb, &bytes, held.as_ref());
        self.page.answer(line, answer);
        match answer {
            Answer::Done(version) | Answer::Exists(version) | Answer::Value(version, _) => {
                self.versions[key] = version;
            }
            _ => {}
        }
    }

    fn answer(&mut self, key: usize, verb: Verb, bytes: &[u8], held: Option<&Held>) -> Answer {
        let (store, key) = (self.store, &self.keys[key][..]);
        let put = |content: Content, expect: Expect| {
            let how =
                Write { flags: content.flags, ttl: Ttl::Never, expect, held, ..Write::default() };
            told(store.write(key, bytes, &how), stored)
        };
        match verb {
            Verb::Get => {
                let found = store.get(key, &mut self.bytes);
                told(found, |item| value(item.as_ref().map(|item| (item, &self.bytes[..]))))
            }
            Verb::Exists => told(store.exists(key), |item| match item {
                None => Answer::Missing,
                Some(Item { version, flags, value_len, .. }) => {
                    Answer::There { version, flags, len: value_len }
                }
            }),
            Verb::Set(content) => put(content, Expect::Any),
            Verb::Add(content) => put(content, Expect::Absent),
            Verb::Replace(content) => put(content, Expect::Present),
            Verb::Cas(content, version) => put(content, Expect::Version(version)),
            Verb::Delete => told(store.delete(key, None, held), stored),
            Verb::DeleteVersion(version) => told(store.delete(key, Some(version), held), stored),
            Verb::Touch => {
                // An hour after never is shorter, and written anew.
                let ttl = *self.rng.pick(&[Ttl::Never, Ttl::Millis(3_600_000)]);
                told(store.touch(key, ttl, held), stored)
            }
            Verb::Increment { by, initial, flags } => {
                let how = Write { flags, ttl: Ttl::Never, held, ..Write::default() };
                told(store.increment(key, by, initial, &how), |counted| match counted {
                    Counted::Done { value, version } => Answer::Counted { value, version },
                    Counted::NotANumber(version) => Answer::NotANumber(version),
                    Counted::Exists(version) => Answer::Exists(version),
                    Counted::Missing => Answer::Missing,
                    Counted::Lost => Answer::Lost,
                })
            }
            Verb::Append(..) => told(store.append(key, bytes, held, false), stored),
            Verb::Flush | Verb::Lock { .. } | Verb::Unlock | Verb::Release => unreachable!(),
        }
    }

    fn get_many(&mut self) {
        let note = |key| self.page.ask(Asked { key, verb: Verb::Get, fence: 0 });
        let lines: Vec<usize> = (0..self.keys.len()).map(note).collect();
        let keys: Vec<&[u8]> = self.keys.iter().map(Vec::as_slice).collect();
        let mut answers = vec![Answer::Missing; keys.len()];
        let done = self.store.get_many(&keys, &mut |key, found| {
            answers[key] = told(found, value);
        });
        done.unwrap_or_else(|e| panic!("{e}"));
        lines.into_iter().zip(answers).for_each(|(line, answer)| self.page.answer(line, answer));
    }

    fn set_many(&mut self) {
        let from = self.rng.below(self.keys.len() as u64) as usize;
        let values: Vec<_> = (from..self.keys.len()).map(|key| (key, self.new_value())).collect();
        let how = Write { ttl: Ttl::Never, ..Write::default() };
        let items: Vec<BatchItem> = values
            .iter()
            .map(|(key, (content, value))| {
                let how = Write { flags: content.flags, ..how };
                BatchItem { key: &self.keys[*key], value, how }
            })
            .collect();
        let note = |&(key, (content, _)): &(usize, (Content, Vec<u8>))| {
            self.page.ask(Asked { key, verb: Verb::Set(content), fence: 0 })
        };
        let lines: Vec<usize> = values.iter().map(note).collect();
        let done = self.store.set_many(&items).unwrap_or_else(|e| panic!("{e}"));
        for (line, done) in lines.into_iter().zip(done) {
            self.page.answer(line, told(done, stored));
        }
    }

    fn lock_or_unlock(&mut self, key: usize) {
        if let Some((key, held)) = self.held.take() {
            let line = self.page.ask(Asked { key, verb: Verb::Unlock, fence: held.fence });
            let freed = self.store.unlock(&self.keys[key], &held);
            self.page.answer(line, told(freed, Answer::Unlocked));
            return;
        }
        let leased = self.rng.one_in(3);
        let line = self.page.ask(Asked { key, verb: Verb::Lock { leased }, fence: 0 });
        let wait = Wait {
            timeout: Some(Duration::from_millis(self.rng.below(3))),
            lease: leased.then_some(LEASE),
            ..Wait::default()
        };
        let answer = told(self.store.lock(&self.keys[key], self.number, &wait), |got| match got {
            Acquired::Held(held) => {
                self.held = Some((key, held));
                Answer::Held(held.fence)
            }
            _ => Answer::TimedOut,
        });
        self.page.answer(line, answer);
        // Whoever outstays its lease, while others wait, is the one who writes without its lock.
        if leased && answer != Answer::TimedOut && self.rng.one_in(2) {
            std::thread::sleep(2 * LEASE);
            let verb = self.some_verb(key);
            self.ask(key, verb);
        }
    }

    fn flush(&mut self) {
        let note = |key| self.page.ask(Asked { key, verb: Verb::Flush, fence: 0 });
        let lines: Vec<usize> = (0..self.keys.len()).map(note).collect();
        let answer = told(self.store.flush(None), |()| Answer::Done(0));
        lines.into_iter().for_each(|line| self.page.answer(line, answer));
    }

    fn crowd(&mut self) {
        for _ in 0..24 {
            let key = format!("crowd {} {}", self.number, self.rng.next());
            // One that finds no room has made the trouble that it is here for.
            told(self.store.set(key.as_bytes(), b"", 0, Ttl::Millis(3_600_000)), stored);
        }
    }
}
