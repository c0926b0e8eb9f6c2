//! A process for the tests to kill, stop and separate. `holdfast-worker ROLE DIR ...`
//!
//! It reports on its standard output, unbuffered; any disagreement ends it with 1 and a sentence
//! on its standard error.

use std::collections::HashMap;
use std::time::Duration;

use holdfast::{Acquired, Counted, Error, Expect, Held, Options, Store, Stored, Ttl, Wait, Write};
use holdfast_tests::killing::{
    Act, Event, KEYS, Phase, SHARED, WRITERS, counter_of, fleeting_key, now_ns, number_key,
    own_key, shared_key, value,
};
use holdfast_tests::{Rng, process};

fn main() {
    let args: Vec<String> = std::env::args().collect();
    let number = |i: usize| args[i].parse::<u64>().expect("a number");
    let store = match Store::open(&args[2], &Options::default()) {
        Ok(store) => store,
        Err(e) => fail(&format!("open: {e}")),
    };
    match args[1].as_str() {
        "writer" => Writer::new(store, number(3), number(4)).run(),
        "reader" => read_for_ever(&store, number(3), true),
        // What was evicted begins anew.
        "cache-reader" => read_for_ever(&store, number(3), false),
        "hold" => hold(&store, args[3].as_bytes(), number(4)),
        "wait" => {
            let key = args[3].as_bytes();
            let held = lock(&store, key, &LONG);
            println!("held {}", now_ns());
            unlock(&store, key, &held);
        }
        "increment" => increment(&store, args[3].as_bytes(), number(4)),
        other => fail(&format!("no role {other}")),
    }
}

/// Takes a lock (with a lease, unless 0 ms), says so, and then writes with it or gives it back as
/// each line of the standard input says.
fn hold(store: &Store, key: &[u8], lease_ms: u64) {
    let lease = (lease_ms > 0).then(|| Duration::from_millis(lease_ms));
    let held = lock(store, key, &Wait { lease, ..LONG });
    println!("held {}", now_ns());
    for line in std::io::stdin().lines().map_while(Result::ok) {
        match line.as_str() {
            "put" => {
                let stored = store.put(key, b"held", 0, Ttl::Never, Expect::Any, Some(&held));
                println!("{:?}", stored.unwrap_or_else(|e| fail(&e.to_string())));
            }
            _ => println!("{}", store.unlock(key, &held).unwrap_or_else(|e| fail(&e.to_string()))),
        }
    }
}

/// Adds one to a number, so many times, under the lock of its key.
fn increment(store: &Store, key: &[u8], times: u64) {
    let mut value = Vec::new();
    for _ in 0..times {
        let held = lock(store, key, &LONG);
        let done = store.get(key, &mut value).and_then(|item| {
            let old =
                item.map_or(0, |_| u64::from_le_bytes(value[..].try_into().expect("8 bytes")));
            let new = (old + 1).to_le_bytes();
            store.put(key, &new, 0, Ttl::Never, Expect::Any, Some(&held))
        });
        if !matches!(done, Ok(Stored::Done(_))) {
            fail(&format!("{done:?}"));
        }
        unlock(store, key, &held);
    }
}

fn lock(store: &Store, key: &[u8], wait: &Wait) -> Held {
    match store.lock(key, 1, wait) {
        Ok(Acquired::Held(held)) => held,
        other => fail(&format!("{}: {other:?}", String::from_utf8_lossy(key))),
    }
}

fn unlock(store: &Store, key: &[u8], held: &Held) {
    match store.unlock(key, held) {
        Ok(true) => {}
        other => fail(&format!("{}: unlock: {other:?}", String::from_utf8_lossy(key))),
    }
}

fn fail(why: &str) -> ! {
    eprintln!("{why}");
    std::process::exit(1)
}

fn say(phase: Phase, act: Act, key: u64, counter: u64) {
    let event = Event { phase, act, key, counter, at_ns: now_ns() };
    if !process::write_raw(1, &event.encode()) {
        // Nobody listens any more.
        std::process::exit(0);
    }
}

struct Writer {
    store: Store,
    me: u64,
    rng: Rng,
    counter: u64,
}

const LONG: Wait<'_> = Wait {
    timeout: Some(Duration::from_secs(60)),
    lease: None,
    max_waiters: 0,
    stop: None,
    polls: false,
};

impl Writer {
    /// `life` grows from one incarnation of a writer to the next, and its counters with it.
    fn new(store: Store, me: u64, life: u64) -> Writer {
        let rng = Rng::new(me << 48 ^ life << 16 ^ now_ns());
        Writer { store, me, rng, counter: life << 32 }
    }

    fn say(&self, phase: Phase, act: Act, key: u64) {
        say(phase, act, key, self.counter);
    }

    fn run(mut self) {
        loop {
            let act = match self.rng.below(22) {
                0..9 => Act::Put,
                9..11 => Act::Delete,
                11..13 => Act::Touch,
                13..16 => Act::LockedPut,
                16..18 => Act::Count,
                18..20 => Act::Increment,
                _ => Act::Fleeting,
            };
            let shared = matches!(act, Act::Count | Act::Increment);
            let key = self.rng.below(if shared { SHARED } else { KEYS });
            self.counter += 1;
            self.say(Phase::Intent, act, key);
            match self.act(act, key) {
                Ok(()) => self.say(Phase::Done, act, key),
                Err(Error::Full(_)) => self.say(Phase::Refused, act, key),
                Err(e) => fail(&format!("writer {}: {act:?} of key {key}: {e}", self.me)),
            }
        }
    }

    fn act(&mut self, act: Act, which: u64) -> holdfast::Result<()> {
        let key = own_key(self.me, which);
        let ttl = *self.rng.pick(&[Ttl::Never, Ttl::Millis(3_600_000)]);
        match act {
            Act::Put => {
                let stored = self.store.set(&key, &value(&key, self.counter), 7, ttl)?;
                assert!(matches!(stored, Stored::Done(_)), "{stored:?}");
            }
            Act::Delete => drop(self.store.delete(&key, None, None)?),
            Act::Touch => drop(self.store.touch(&key, Ttl::Never, None)?),
            Act::LockedPut => {
                let held = lock(&self.store, &key, &LONG);
                let value = value(&key, self.counter);
                let stored = self.store.put(&key, &value, 7, ttl, Expect::Any, Some(&held));
                unlock(&self.store, &key, &held);
                let stored = stored?;
                assert!(matches!(stored, Stored::Done(_)), "{stored:?} under the lock");
            }
            Act::Count => self.count(&shared_key(which))?,
            Act::Increment => {
                let how = Write { ttl: Ttl::Never, ..Write::default() };
                let counted = self.store.increment(&number_key(which), 1, Some(1), &how)?;
                assert!(matches!(counted, Counted::Done { .. }), "{counted:?}");
            }
            Act::Fleeting => {
                let (key, ttl) = (fleeting_key(which), Ttl::Millis(20 + self.rng.below(300)));
                self.store.set(&key, &value(&key, self.counter), 7, ttl)?;
            }
        }
        Ok(())
    }

    fn count(&self, key: &[u8]) -> holdfast::Result<()> {
        let held = lock(&self.store, key, &LONG);
        let mut old = Vec::new();
        let count = match self.store.get(key, &mut old)? {
            None => 0,
            Some(_) => counter_of(key, &old).unwrap_or_else(|e| fail(&e)),
        };
        let new = value(key, count + 1);
        let stored = self.store.put(key, &new, 7, Ttl::Never, Expect::Any, Some(&held));
        unlock(&self.store, key, &held);
        let stored = stored?;
        assert!(matches!(stored, Stored::Done(_)), "{stored:?} under the lock");
        Ok(())
    }
}

/// Every value read is whole and its key's, and none is older than one seen before.
fn read_for_ever(store: &Store, seed: u64, counters_grow: bool) {
    let mut rng = Rng::new(seed ^ now_ns());
    let mut newest: HashMap<Vec<u8>, u64> = HashMap::new();
    let mut bytes = Vec::new();
    for read in 1u64.. {
        if read.is_multiple_of(64) {
            // Not stuck: that is all that a reader has to say.
            say(Phase::Done, Act::Touch, 0, 64);
        }
        let which = rng.below(KEYS);
        let key = match rng.below(8) {
            0 => shared_key(which % SHARED),
            1 => fleeting_key(which),
            _ => own_key(rng.below(WRITERS), which),
        };
        match store.get(&key, &mut bytes) {
            Ok(None) => {}
            Ok(Some(_)) => {
                let counter = counter_of(&key, &bytes).unwrap_or_else(|e| fail(&e));
                // The fleeting ones have several writers: their counters do not grow.
                if counters_grow && !key.starts_with(b"fleeting") {
                    let last = newest.entry(key.clone()).or_default();
                    if counter < *last {
                        let shown = String::from_utf8_lossy(&key);
                        fail(&format!("{shown}: {counter:#x} after {last:#x}"));
                    }
                    *last = counter;
                }
            }
            Err(e) => fail(&format!("reader: {}: {e}", String::from_utf8_lossy(&key))),
        }
    }
}
