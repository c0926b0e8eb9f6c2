//! Everybody does everything to the same few keys and is killed at random instants; afterwards the
//! whole history is judged: is there one order of it that explains every answer?
//!
//! Processes with several threads each, all verbs, values from nothing to several segments; they
//! kill themselves while their threads are in the middle of something (with `--features faults`
//! mostly just before some store to shared memory), or all are killed at once and the store is
//! opened again, at times without its `meta`. In stores of several kinds: roomy, full and swept all
//! the while, a cache, compressed, with an index that grows.
//!
//! It would catch a value that comes back, or late; a write told as done and not there, or done
//! twice; a read of the past; a lock with two owners, and a write by one who lost it. It cannot
//! show what needs a power cut, and it sees of a rare instant only what it meets.

use std::ops::Range;
use std::path::Path;
use std::time::{Duration, Instant};

use holdfast::{Acquired, Error, Options, Store, Sync, Ttl, Wait};
use holdfast_tests::clients::{Client, Habits};
use holdfast_tests::history::{Answer, Asked, Content, Notes, Op, Verb, filling};
use holdfast_tests::killing::now_ns;
use holdfast_tests::process::{self, Ended, Pid};
use holdfast_tests::{Rng, linear, memory_dir, open, seed, size};

/// Lines of a history; some more are noted by those who are in the middle of something.
const LINES: usize = 220;
const CLIENTS: usize = 64;
/// Histories that are played in one store, one after the other.
const HISTORIES_IN_STORE: u64 = 16;
/// No history takes longer, however busy the machine.
const STUCK: Duration = Duration::from_secs(60);

/// A kind of store.
struct Kind {
    name: &'static str,
    options: Options,
    habits: Habits,
    /// What lies there beside the keys of the histories, in bytes.
    ballast: usize,
}

fn kinds() -> Vec<Kind> {
    let made = |max_bytes: u64| Options {
        create: true,
        max_bytes: Some(max_bytes),
        max_value_bytes: Some(max_bytes / 8),
        ..Options::default()
    };
    let habits = |longest| Habits { longest, ..Habits::default() };
    vec![
        Kind { name: "roomy", options: made(16 << 20), habits: habits(600_000), ballast: 0 },
        Kind { name: "full", options: made(1 << 20), habits: habits(100_000), ballast: 500_000 },
        Kind {
            name: "cache",
            options: Options { evict: Some(true), thread: false, ..made(1 << 20) },
            habits: habits(60_000),
            ballast: 1_200_000,
        },
        Kind {
            name: "compressed",
            options: Options { compress: Some(true), sync: Some(Sync::Always), ..made(4 << 20) },
            habits: habits(300_000),
            ballast: 0,
        },
        Kind {
            name: "growing",
            options: Options { thread: false, ..made(8 << 20) },
            habits: Habits { crowds: true, ..habits(20_000) },
            ballast: 0,
        },
    ]
}

/// One history as it is played.
struct Play<'a> {
    path: &'a Path,
    kind: &'a Kind,
    habits: Habits,
    keys: Vec<Vec<u8>>,
    notes: &'a Notes,
    rng: Rng,
    /// The clients of each process that there was, and when it was known to be dead.
    dead: Vec<(Range<usize>, u64)>,
    living: Vec<(Pid, Range<usize>)>,
    kills: u64,
    /// Who died is replaced when so many lines are there.
    quiet_until: Option<usize>,
}

impl Play<'_> {
    /// Plays it; gives every line that was noted.
    fn play(&mut self) -> Vec<Op> {
        let begun = Instant::now();
        let processes = 1 + self.rng.below(3) as usize;
        let massacre = self.rng.one_in(3).then(|| self.rng.below(LINES as u64) as usize);
        let mut massacre = massacre;
        loop {
            self.note_deaths(false);
            if massacre.is_some_and(|at| self.notes.count() >= at) {
                massacre = None;
                self.living.iter().for_each(|(pid, _)| pid.signal(libc::SIGKILL));
                self.note_deaths(true);
                self.lose_meta();
            }
            let goes_on = self.notes.count() < LINES;
            if !goes_on && self.living.is_empty() {
                break;
            }
            while goes_on && self.living.len() < processes && self.may_start() {
                self.start();
            }
            assert!(begun.elapsed() < STUCK, "{}: stuck", self.kind.name);
            let living: Vec<Pid> = self.living.iter().map(|it| it.0).collect();
            process::until_one_ends(&living, Duration::from_millis(1));
        }
        self.look_at_the_end();
        let ops = self.dead.iter().flat_map(|(clients, at)| {
            clients.clone().flat_map(|client| self.notes.gather(client, &[*at]))
        });
        ops.collect()
    }

    fn note_deaths(&mut self, all: bool) {
        let (dead, kills) = (&mut self.dead, &mut self.kills);
        self.living.retain(|(pid, clients)| {
            let ended = if all { Some(pid.wait(STUCK)) } else { pid.ended() };
            let at = now_ns();
            match ended {
                None => return true,
                Some(Ended::Exit(0)) => {}
                Some(Ended::Signal(libc::SIGKILL)) => *kills += 1,
                Some(other) => panic!("clients {clients:?}: {other:?}"),
            }
            dead.push((clients.clone(), at));
            false
        });
    }

    /// Nobody has the store open: it can be made to begin from its log alone. (What a cache evicted
    /// may then come back.)
    fn lose_meta(&mut self) {
        if self.rng.one_in(3) && self.kind.options.evict != Some(true) {
            let _ = std::fs::remove_file(self.path.join("meta"));
        }
    }

    /// Not at once: what a dead process left is to be met by those who are there, before somebody
    /// opens the store and tidies up.
    fn may_start(&mut self) -> bool {
        let count = self.notes.count();
        if self.living.is_empty() || self.dead.is_empty() {
            return true;
        }
        let quiet = self.quiet_until.get_or_insert_with(|| count + self.rng.below(80) as usize);
        let over = count >= *quiet;
        if over {
            self.quiet_until = None;
        }
        over
    }

    fn start(&mut self) {
        let from = self.dead.len() + self.living.len();
        let from = if from == 0 {
            0
        } else {
            let ends = self.dead.iter().map(|it| it.0.end);
            ends.chain(self.living.iter().map(|it| it.1.end)).max().expect("one")
        };
        let clients = from..from + 1 + self.rng.below(3) as usize;
        assert!(clients.end < CLIENTS, "more deaths than there are pages");
        let seed = self.rng.next();
        let pid = process::fork(|| self.live(clients.clone(), seed));
        self.living.push((pid, clients));
    }

    /// A process from its first open to its end.
    fn live(&self, clients: Range<usize>, seed: u64) {
        let mut rng = Rng::new(seed);
        let store = open(self.path, &self.kind.options);
        let noted = || clients.clone().map(|client| self.notes.page(client).count()).sum::<usize>();
        let dies_at = (!rng.one_in(4)).then(|| rng.below(80) as usize);
        std::thread::scope(|scope| {
            let run = |number| {
                let page = self.notes.page(number);
                let mut client = Client::new(&store, page, &self.keys, self.habits, (number, seed));
                while page.has_room() && self.notes.count() < LINES {
                    client.act();
                }
            };
            let threads: Vec<_> = clients.clone().map(|n| scope.spawn(move || run(n))).collect();
            while let Some(at) = dies_at
                && !threads.iter().all(|thread| thread.is_finished())
            {
                if noted() >= at {
                    die(&mut rng);
                }
                std::thread::yield_now();
            }
        });
        if rng.one_in(2) {
            std::mem::forget(store);
        }
    }

    /// Whoever comes last sees what the history says, and nobody has a lock any more.
    fn look_at_the_end(&mut self) {
        let client = CLIENTS - 1;
        let pid = process::fork(|| {
            let store = open(self.path, &self.kind.options);
            let page = self.notes.page(client);
            let mut bytes = Vec::new();
            for (key, name) in self.keys.iter().enumerate() {
                let line = page.ask(Asked { key, verb: Verb::Get, fence: 0 });
                let found = store.get(name, &mut bytes).unwrap_or_else(|e| panic!("{e}"));
                let answer = found.map_or(Answer::Missing, |item| {
                    let content = Content::of(&bytes, item.flags);
                    Answer::Value(item.version, content.unwrap_or_else(|e| panic!("{e}")))
                });
                page.answer(line, answer);
                let wait = Wait { timeout: Some(Duration::from_secs(5)), ..Wait::default() };
                let line = page.ask(Asked { key, verb: Verb::Lock { leased: false }, fence: 0 });
                match store.lock(name, 1, &wait) {
                    Ok(Acquired::Held(held)) => page.answer(line, Answer::Held(held.fence)),
                    other => panic!("a lock that nobody has: {other:?}"),
                }
            }
            // What comes after this history is to have its room.
            self.keys.iter().for_each(|key| drop(store.delete(key, None, None)));
        });
        assert_eq!(pid.wait(STUCK), Ended::Exit(0), "whoever looks at the end");
        self.dead.push((client..client + 1, now_ns()));
    }
}

/// This process ends, at an instant that nobody chose.
fn die(rng: &mut Rng) {
    #[cfg(feature = "faults")]
    if !rng.one_in(4) {
        holdfast::fault::arm(1 + rng.below(60));
        return;
    }
    for _ in 0..rng.below(3_000) {
        std::hint::spin_loop();
    }
    process::die()
}

/// Fills a new store, by somebody who is gone when the histories begin.
fn make(path: &Path, kind: &Kind) {
    let pid = process::fork(|| {
        let store = Store::open(path, &kind.options).unwrap_or_else(|e| panic!("{e}"));
        for number in 0..kind.ballast / 2_000 {
            let done =
                store.set(format!("ballast {number}").as_bytes(), &[7; 1_900], 0, Ttl::Never);
            assert!(matches!(done, Ok(_) | Err(Error::Full(_))), "{done:?}");
        }
    });
    assert_eq!(pid.wait(STUCK), Ended::Exit(0), "whoever makes the store");
}

#[test]
fn one_order_explains_every_answer() {
    let seed = seed("histories");
    let histories = size("HOLDFAST_HISTORIES", 1_000);
    let mut rng = Rng::new(seed);
    let (kinds, notes) = (kinds(), Notes::new(CLIENTS));
    filling(0, 13);
    let (mut lines, mut kills, mut judging) = (0, 0, Duration::ZERO);
    let (mut unanswered, mut lost) = (0, 0);
    let mut stores = 0;
    let mut place = None;
    for number in 0..histories {
        if number % HISTORIES_IN_STORE == 0 {
            let kind = &kinds[stores % kinds.len()];
            stores += 1;
            let dir = memory_dir();
            make(dir.path(), kind);
            place = Some((dir, kind));
        }
        let (dir, kind) = place.as_ref().expect("made above");
        let keys = (0..2 + rng.below(5))
            .map(|n| format!("history {number} key {n}").into_bytes())
            .collect();
        notes.clear();
        let mut play = Play {
            path: dir.path(),
            kind,
            habits: Habits { flushes: rng.one_in(4), ..kind.habits },
            keys,
            notes: &notes,
            rng: Rng::new(rng.next()),
            dead: Vec::new(),
            living: Vec::new(),
            kills: 0,
            quiet_until: None,
        };
        let ops = play.play();
        kills += play.kills;
        lines += ops.len();
        unanswered += ops.iter().filter(|op| op.answer.is_none()).count();
        lost += ops.iter().filter(|op| op.answer == Some(Answer::Lost)).count();
        let begun = Instant::now();
        for key in 0..play.keys.len() {
            let ops = ops.iter().filter(|op| op.asked.key == key).copied().collect();
            if let Err(why) = linear::judge(ops, kind.options.evict == Some(true)) {
                panic!("history {number} of seed {seed}, {} store, key {key}: {why}", kind.name);
            }
        }
        judging += begun.elapsed();
    }
    println!(
        "{histories} histories in {stores} stores: {lines} operations, {kills} processes killed, \
         {unanswered} operations without an answer, {lost} under a lock that was lost; \
         judged in {judging:?}"
    );
    assert!(lines as u64 >= histories * 200, "histories too short to show anything");
    assert!(kills >= histories / 2, "too few deaths to show anything");
    assert!(lost as u64 >= histories / 100, "too few lost locks to show anything");
}
