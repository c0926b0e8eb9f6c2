//! One step: a child dies before its n-th store, and those that live on look at what it left.
//!
//! The parent, attached all the while, goes on at once: on another key, on the same key, with the
//! key's lock. What it finds is old or new, what was read once stays, and the log alone (a copy
//! without index and meta) says the same as the index. Then other children take over the dead one's
//! process slot and heal what it left, dying in it themselves, and what is given back is used again.
//! Most steps make the dear checks only now and then; with `HOLDFAST_STEPS=all` each makes all.

use std::os::unix::fs::FileExt;
use std::time::{Duration, Instant};

use holdfast::{Store, Ttl, fault};
use holdfast_tests::process::{self, Ended};
use holdfast_tests::{Rng, content, memory_dir, open};

use crate::acts::Act;
use crate::scene::*;

/// How long others had to wait after a death, each time.
#[derive(Default)]
pub struct Times {
    pub other_key: Vec<Duration>,
    pub same_key: Vec<Duration>,
    pub lock: Vec<Duration>,
}

fn timed<T>(times: &mut Vec<Duration>, work: impl FnOnce() -> T) -> T {
    let begun = Instant::now();
    let done = work();
    times.push(begun.elapsed());
    done
}

/// A store made of the log alone.
pub fn open_log(scene: &Scene) -> (tempfile::TempDir, Store) {
    let copy = memory_dir();
    for name in ["super", "data"] {
        std::fs::copy(scene.path.join(name), copy.path().join(name)).expect("a copy");
    }
    let store = open(copy.path(), &scene.options);
    (copy, store)
}

/// Did somebody die while a table grew? (See arena.rs.)
fn is_growth_latched(scene: &Scene) -> bool {
    let meta = std::fs::File::open(scene.path.join("meta")).expect("meta");
    let mut latch = [0; 4];
    meta.read_exact_at(&mut latch, 0x588).expect("the latch");
    latch != [0; 4]
}

/// Runs the operation in a child that dies before its n-th store. `None`: it died; else how many
/// stores there were.
pub fn run(scene: &Scene, act: &Act, n: u64) -> Option<u64> {
    use std::io::{Read, Write};
    let (mut from, to) = process::pipe();
    let child = process::fork(|| {
        let held = (act.child)(scene);
        if !act.attaches {
            scene.store().exists(b"attached").expect("exists");
        }
        fault::arm(n);
        (act.act)(scene.store(), held);
        let left = fault::left();
        fault::arm(u64::MAX);
        (&to).write_all(&(n - left).to_le_bytes()).expect("the pipe");
    });
    drop(to);
    let ended = child.wait(LONG);
    scene.reach(GONE);
    match ended {
        Ended::Signal(libc::SIGKILL) => None,
        Ended::Exit(0) => {
            let mut stores = [0; 8];
            from.read_exact(&mut stores).expect("the number of stores");
            Some(u64::from_le_bytes(stores))
        }
        other => panic!("{}: n = {n}: {other:?}", act.name),
    }
}

/// Others attach, take the dead one's slot and heal; all but the last may die in that.
fn attach_others(scene: &Scene, rng: &mut Rng, count: u64) {
    for turn in 1..=count {
        let n = if turn < count { 1 + rng.below(100) } else { u64::MAX };
        let child = process::fork(|| {
            fault::arm(n);
            set(scene.store(), b"somebody else's", b"value", Ttl::Millis(1_000));
        });
        let ended = child.wait(LONG);
        assert!(matches!(ended, Ended::Exit(0) | Ended::Signal(libc::SIGKILL)), "{ended:?}");
    }
}

/// The same at another time: a life of so many milliseconds from then on.
fn later(seen: Seen, now_ms: u64) -> Seen {
    seen.map(|(value, life)| (value, if life == 0 { 0 } else { now_ms + life }))
}

/// What the key came to after a death: the old value or the new one, and then always that.
pub struct Outcome<'a> {
    pub scene: &'a Scene,
    pub act: &'a Act,
    pub old: Seen,
    pub new: Seen,
    pub at: &'a dyn Fn() -> String,
}

impl Outcome<'_> {
    pub fn is_one(&self, seen: &Seen, what: &str) {
        assert!(
            self.scene.is(seen, &self.old) || *seen == self.new,
            "{}: {what}: {:?}; old {:?}, new {:?}",
            (self.at)(),
            short(seen),
            short(&self.old),
            short(&self.new)
        );
    }

    pub fn stays(&self, seen: &Seen, before: &Seen) {
        let stays = self.scene.is(seen, before);
        assert!(stays, "{}: {:?} was read as {:?}", (self.at)(), short(seen), short(before));
    }

    /// A rebuild would not bring back another value than the one that others see.
    pub fn log_agrees(&self, settled: &Seen) {
        let (scene, at) = (self.scene, self.at);
        let (log, index) = (see(&open_log(scene).1), see(scene.store()));
        // What was evicted may still be in the log; what is alive is there as it is.
        let same = log == index || (index.is_none() && scene.is(&log, settled));
        assert!(same, "{}: log {:?}, index {:?}", at(), short(&log), short(settled));
    }

    /// Goes on at once as who was attached all the while; gives what it has come to.
    pub fn go_on(&self, times: &mut Times) -> Seen {
        let (scene, store) = (self.scene, self.scene.store());
        timed(&mut times.other_key, || set(store, b"other key", b"value", Ttl::Millis(1_000)));
        let at_once = see(store);
        self.is_one(&at_once, "read at once");
        for i in 0..scene.crowd.get() {
            let there = store.exists(&one_of_many(i)).expect("exists");
            assert!(there.is_some(), "{}: key {i} of many is missing", (self.at)());
        }
        timed(&mut times.same_key, || store.delete(KEY, Some(1), None).expect("delete"));
        if self.act.is_settled_by_a_change {
            // A change of the value, to which it changes nothing, settles what became of its owner.
            store.touch(KEY, Ttl::Never, None).expect("touch");
        }
        let settled = see(store);
        self.is_one(&settled, "after the next change");
        // What somebody has read since the death is what it came to: it does not change by itself.
        self.stays(&settled, &at_once);
        timed(&mut times.lock, || lock_and_unlock(scene));
        scene.end_beside(self.at);
        settled
    }

    /// What is given back is used again, and whoever uses it keeps it.
    pub fn fill(&self, from_the_log_too: bool) {
        let (scene, store) = (self.scene, self.scene.store());
        let key = |i: u32| (i | 1 << 20).to_le_bytes();
        let stored = |i: &u32| {
            store.set(&key(*i), &content(*i as u64, 15_000), 0, Ttl::Millis(50_000)).is_ok()
        };
        let fillers: Vec<u32> = (0..self.act.fillers).take_while(stored).collect();
        sweep(store);
        let copied = from_the_log_too.then(|| open_log(scene));
        let log = copied.as_ref().map(|(_dir, log)| log);
        for (i, from) in fillers.iter().flat_map(|i| [(*i, Some(store)), (*i, log)]) {
            let Some(from) = from else { continue };
            let mut value = Vec::new();
            let there = from.get(&key(i), &mut value);
            let there = there.unwrap_or_else(|e| panic!("{}: {e}", (self.at)()));
            let is_whole = there.is_some() && value == content(i as u64, 15_000);
            let evicted = there.is_none() && scene.is_cache();
            assert!(is_whole || evicted, "{}: {there:?}", (self.at)());
        }
    }
}

/// One death and what follows; false: the operation came to its end.
pub fn step(scene: &Scene, play: &Play, n: u64, rng: &mut Rng, times: &mut Times) -> bool {
    let act = play.act;
    (act.before)(scene);
    let store = scene.store();
    let old = see(store);
    let new = later(play.new.clone(), store.now_ms().expect("now"));
    let died = run(scene, act, n).is_none();
    scene.growing.set(scene.growing.get() + is_growth_latched(scene) as u64);
    let at = || format!("{}: death before store {n}", act.name);
    let outcome = Outcome { scene, act, old, new, at: &at };
    let every = |part: u64| play.all || n.is_multiple_of(part);
    if every(3) {
        outcome.is_one(&see(&open_log(scene).1), "the log says");
    }
    let settled = outcome.go_on(times);
    attach_others(scene, rng, if every(5) { 6 } else { 2 });
    outcome.stays(&see(store), &settled);
    let deep = every(4) || act.fillers > 8;
    if deep {
        outcome.fill(deep);
    }
    scene.clock.pass(100_000);
    sweep(store);
    let still = see(store);
    outcome.stays(&still, &settled);
    if every(7) {
        outcome.log_agrees(&settled);
        healthy(store, &at);
    }
    died
}

/// How an operation is played.
pub struct Play<'a> {
    pub act: &'a Act,
    /// What it makes of the key, the end of its life counted from now.
    pub new: Seen,
    /// Each step makes every check.
    pub all: bool,
    /// Nobody beside it has a part in it, so its images can be put back.
    pub alone: bool,
}

impl Play<'_> {
    /// Plays the operation once to its end; gives how many stores there were.
    pub fn begin<'a>(scene: &Scene, act: &'a Act, all: bool) -> (Play<'a>, u64) {
        (act.before)(scene);
        let begun_ms = scene.store().now_ms().expect("now");
        let total = run(scene, act, u64::MAX - 1).expect("completes");
        let new = see(scene.store());
        let new = new.map(|(value, expires)| (value, expires.saturating_sub(begun_ms)));
        let alone = scene.is_alone();
        lock_and_unlock(scene);
        scene.end_beside(&|| act.name.into());
        (Play { act, new, all, alone }, total)
    }
}
