//! Writers and readers under SIGKILL, at random instants; the oracle is outside the store.
//!
//! Each writer says what it is about to do before it calls the store, and that it is done after.
//! What was done must be there; what was under way is old or new, and whole. Nobody gets stuck.

use std::io::Read;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use holdfast::{Acquired, Options, Store, Ttl, Wait};
use holdfast_tests::killing::{
    Act, Event, KEYS, Phase, READERS, SHARED, WRITERS, counter_of, now_ns, number_key, own_key,
    shared_key,
};
use holdfast_tests::{Rng, dir, open, seed, size, small};

/// No operation of anybody may take longer, however busy the machine.
const STUCK: Duration = Duration::from_secs(20);

/// What is known of a writer's key.
#[derive(Debug, Clone, Copy, Default)]
struct Known {
    /// The counter of its value; `None` = no value.
    sure: Option<u64>,
    /// What an operation under way would make of it.
    maybe: Option<Option<u64>>,
}

struct Worker {
    child: Child,
    number: u64,
    /// What it said.
    events: Receiver<Event>,
}

struct Test<'a> {
    path: &'a Path,
    lives: u64,
    known: Vec<Vec<Known>>,
    /// Per shared counter, those under a lock first: additions acknowledged, and those that nobody knows of.
    counted: Vec<(u64, u64)>,
    acts: u64,
    reads: u64,
    refused: u64,
    other_key: Vec<u64>,
    /// The same without a kill: what the machine itself takes.
    calm: Vec<u64>,
    same_key: Vec<u64>,
    readers: Vec<u64>,
    healing: Vec<u64>,
}

fn read(store: &Store, key: &[u8]) -> Option<u64> {
    let mut bytes = Vec::new();
    let item = store.get(key, &mut bytes).unwrap_or_else(|e| panic!("{e}"));
    item.map(|_| counter_of(key, &bytes).unwrap_or_else(|e| panic!("{e}")))
}

fn read_number(store: &Store, key: &[u8]) -> u64 {
    let mut text = Vec::new();
    store.get(key, &mut text).unwrap_or_else(|e| panic!("{e}"));
    let text = String::from_utf8(text).expect("digits");
    text.parse().unwrap_or_else(|_| if text.is_empty() { 0 } else { panic!("{text}") })
}

impl Test<'_> {
    fn spawn(&mut self, place: u64) -> Worker {
        self.lives += 1;
        let (role, number) = if place < WRITERS { ("writer", place) } else { ("reader", place) };
        let mut child = Command::new(env!("CARGO_BIN_EXE_holdfast-worker"))
            .arg(role)
            .arg(self.path)
            .args([number.to_string(), self.lives.to_string()])
            .stdout(Stdio::piped())
            .spawn()
            .expect("a worker");
        let mut said = child.stdout.take().expect("piped");
        let (send, events) = channel();
        std::thread::spawn(move || {
            let mut bytes = [0; Event::BYTES];
            while said.read_exact(&mut bytes).is_ok() {
                if send.send(Event::decode(&bytes)).is_err() {
                    return;
                }
            }
        });
        Worker { child, number, events }
    }

    /// Takes in one event.
    fn hear(&mut self, writer: u64, event: Event) {
        let after = match event.act {
            Act::Put | Act::LockedPut => Some(Some(event.counter)),
            Act::Delete => Some(None),
            Act::Touch | Act::Count | Act::Increment | Act::Fleeting => None,
        };
        match (event.act, event.phase) {
            (Act::Touch, Phase::Done) if writer >= WRITERS => {
                self.reads += event.counter;
                return;
            }
            (Act::Count | Act::Increment, phase) => {
                let which = event.key + SHARED * (event.act == Act::Increment) as u64;
                let (sure, maybe) = &mut self.counted[which as usize];
                match phase {
                    Phase::Intent => *maybe += 1,
                    Phase::Done => (*sure, *maybe) = (*sure + 1, *maybe - 1),
                    Phase::Refused => *maybe -= 1,
                }
            }
            _ => {
                let known = &mut self.known[writer as usize][event.key as usize];
                match (event.phase, after) {
                    (Phase::Intent, after) => known.maybe = after,
                    (Phase::Done, Some(after)) => *known = Known { sure: after, maybe: None },
                    (Phase::Done | Phase::Refused, _) => known.maybe = None,
                }
            }
        }
        self.acts += (event.phase == Phase::Done) as u64;
        self.refused += (event.phase == Phase::Refused) as u64;
    }

    /// Everything that a writer has said by now; the time to its first success after a kill goes
    /// to the figures of those that wait for the same key or of those that do not.
    fn listen(&mut self, worker: &Worker, killed_ns: Option<u64>) {
        let (writer, events) = (worker.number, &worker.events);
        let mut killed_ns = killed_ns;
        let start = Instant::now();
        loop {
            let event = match killed_ns {
                Some(_) => match events.recv_timeout(STUCK.saturating_sub(start.elapsed())) {
                    Ok(event) => event,
                    Err(e) => panic!("writer {writer}: {e}: nothing done for {STUCK:?}"),
                },
                None => match events.try_recv() {
                    Ok(event) => event,
                    Err(_) => return,
                },
            };
            self.hear(writer, event);
            if let Some(killed) = killed_ns
                && event.phase != Phase::Intent
                && event.at_ns > killed
            {
                let figures = match event.act {
                    _ if writer >= WRITERS => &mut self.readers,
                    Act::Count => &mut self.same_key,
                    _ => &mut self.other_key,
                };
                figures.push(event.at_ns - killed);
                killed_ns = None;
            }
        }
    }

    /// Kills a worker, hears what it said last, and looks at what it left.
    fn kill(&mut self, worker: &mut Worker) {
        let ended = worker.child.try_wait().expect("its state");
        assert!(ended.is_none(), "a worker ended by itself: {ended:?}");
        worker.child.kill().expect("SIGKILL");
        worker.child.wait().expect("its end");
        while let Ok(event) = worker.events.recv() {
            self.hear(worker.number, event);
        }
    }

    /// The dead writer's keys: each as acknowledged, or as the operation under way would have it.
    fn verify(&mut self, store: &Store, writer: u64) {
        for key in 0..KEYS {
            let name = own_key(writer, key);
            let known = &mut self.known[writer as usize][key as usize];
            if known.maybe.is_some() {
                // A change on the key settles what the dead one left; it must not take long.
                let begun = Instant::now();
                store.touch(&name, Ttl::Never, None).unwrap_or_else(|e| panic!("{e}"));
                self.healing.push(begun.elapsed().as_nanos() as u64);
            }
            let found = read(store, &name);
            assert!(
                found == known.sure || Some(found) == known.maybe,
                "writer {writer} key {key}: {found:x?} found, {known:x?}"
            );
            *known = Known { sure: found, maybe: None };
        }
    }

    fn verify_all(&mut self, store: &Store) {
        (0..WRITERS).for_each(|writer| self.verify(store, writer));
        for (which, (sure, maybe)) in self.counted.iter().enumerate() {
            let (which, most) = (which as u64, sure + maybe);
            let found = match which.checked_sub(SHARED) {
                None => read(store, &shared_key(which)).unwrap_or(0),
                Some(key) => read_number(store, &number_key(key)),
            };
            assert!(
                (*sure..=most).contains(&found),
                "counter {which}: {found} found, {sure} to {most} counted"
            );
        }
    }
}

fn print(what: &str, mut ns: Vec<u64>) {
    ns.sort_unstable();
    let at = |p: usize| ns.get((ns.len() * p / 100).min(ns.len() - 1)).map_or(0, |ns| ns / 1000);
    if !ns.is_empty() {
        println!("{what}: n {} p50 {} us, p99 {} us, max {} us", ns.len(), at(50), at(99), at(100));
    }
}

#[test]
fn nothing_acknowledged_is_lost_to_sigkill() {
    let mut rng = Rng::new(seed("kill"));
    let kills = size("HOLDFAST_KILLS", 500);
    let dir = dir();
    let mut store = open(dir.path(), &small());
    let mut test = Test {
        path: dir.path(),
        lives: 0,
        known: vec![vec![Known::default(); KEYS as usize]; WRITERS as usize],
        counted: vec![(0, 0); 2 * SHARED as usize],
        acts: 0,
        reads: 0,
        refused: 0,
        other_key: Vec::new(),
        calm: Vec::new(),
        same_key: Vec::new(),
        readers: Vec::new(),
        healing: Vec::new(),
    };
    let mut workers: Vec<Worker> = (0..WRITERS + READERS).map(|n| test.spawn(n)).collect();
    let mut done = 0;
    let mut restarts = Vec::new();
    while done < kills {
        std::thread::sleep(Duration::from_micros(2_000 + rng.below(15_000)));
        if rng.one_in(25) {
            for worker in &mut workers {
                test.kill(worker);
                done += 1;
            }
            drop(store);
            let begun = Instant::now();
            store = open(dir.path(), &Options::default());
            store.exists(b"anything").unwrap();
            restarts.push(begun.elapsed().as_nanos() as u64);
            test.verify_all(&store);
            workers = (0..WRITERS + READERS).map(|n| test.spawn(n)).collect();
            continue;
        }
        if rng.one_in(12) {
            let (waited, now) = (test.same_key.len(), now_ns());
            let before = std::mem::take(&mut test.other_key);
            workers.iter().for_each(|worker| test.listen(worker, Some(now)));
            test.same_key.truncate(waited);
            let calm = std::mem::replace(&mut test.other_key, before);
            test.calm.extend(calm);
            continue;
        }
        let victim = rng.below(workers.len() as u64);
        let (killed_ns, measured) = (now_ns(), rng.one_in(4));
        test.kill(&mut workers[victim as usize]);
        done += 1;
        if victim < WRITERS {
            test.verify(&store, victim);
        }
        for (i, worker) in workers.iter().enumerate() {
            if i as u64 != victim {
                test.listen(worker, Some(killed_ns).filter(|_| measured));
            }
        }
        workers[victim as usize] = test.spawn(victim);
    }
    workers.iter_mut().for_each(|worker| test.kill(worker));
    done += workers.len() as u64;
    test.verify_all(&store);
    let wait = Wait { timeout: Some(Duration::from_secs(1)), ..Wait::default() };
    let keys = (0..WRITERS).flat_map(|w| (0..KEYS).map(move |k| own_key(w, k)));
    for key in keys.chain((0..SHARED).map(shared_key)) {
        let Acquired::Held(held) = store.lock(&key, 9, &wait).unwrap() else {
            panic!("the lock of {} is stuck", String::from_utf8_lossy(&key))
        };
        assert!(store.unlock(&key, &held).unwrap());
    }
    let stats = store.stats().unwrap();
    println!(
        "{done} kills, {} changes and {} reads done, {} refused (full), {} latches stolen, {} healed",
        test.acts, test.reads, test.refused, stats.latch_stolen, stats.healed
    );
    print("after a kill, next success on other keys", std::mem::take(&mut test.other_key));
    print("after a kill, next 64 reads", std::mem::take(&mut test.readers));
    print("without a kill, the same", std::mem::take(&mut test.calm));
    print("after a kill, next success under a shared lock", std::mem::take(&mut test.same_key));
    print("first change on the key under way", std::mem::take(&mut test.healing));
    print("open and first operation after SIGKILL of everybody", restarts);
    drop(store);
    std::fs::remove_file(dir.path().join("meta")).unwrap();
    let begun = Instant::now();
    let store = open(dir.path(), &Options::default());
    println!("rebuild and open: {:?}", begun.elapsed());
    test.verify_all(&store);
}
