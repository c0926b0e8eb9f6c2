//! Larger scenes, by chance: at each access to shared memory, and at each pause in a wait, somebody
//! else may go on.
//!
//! Half of the schedules are drawn evenly; the others give each thread a rank and change ranks a few
//! times only, which finds what takes one thread to be stopped for long. HOLDFAST_SEED plays the same
//! ones again.
//!
//! What it cannot show: weak memory, for everybody sees each store at once; what the schedules that
//! were drawn do not contain; deaths.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use holdfast::Store;
use holdfast::words::{self, Access, Observer};
use shuttle::scheduler::{PctScheduler, RandomScheduler, Scheduler};
use shuttle::sync::atomic::AtomicU64;
use shuttle::{Config, FailurePersistence, Runner};

use crate::crowds::CROWDS;
use crate::random::{seed, size};
use crate::scenes::{Part, SCENES, Scene};
use crate::stage::{Memory, Stage};

/// How often the ranks change in a schedule by rank.
const CHANGES: usize = 4;

#[derive(Default)]
struct Chance {
    memory: Memory,
    /// Whoever loads it gives others their chance.
    door: RefCell<Rc<AtomicU64>>,
}

thread_local! {
    static CHANCE: &'static Chance = Box::leak(Box::default());
}

impl Observer for Chance {
    fn access(&self, access: Access) -> Option<Result<u64, u64>> {
        let door = self.door.borrow().clone();
        door.load(Ordering::SeqCst);
        Some(self.memory.apply(access))
    }

    /// Everybody sees everything.
    fn fence(&self, _: Ordering) {}

    fn pause(&self) {
        shuttle::thread::yield_now();
    }

    /// All of its time, and nothing else takes any.
    fn sleep(&self, limit: Duration) -> Duration {
        self.pause();
        limit
    }
}

fn play(scene: &'static Scene, store: &Store) {
    let chance = CHANCE.with(|chance| *chance);
    words::observe(Some(chance));
    chance.memory.undo();
    *chance.door.borrow_mut() = Rc::new(AtomicU64::new(0));
    let begin = |part: &Part| {
        let (part, store) = (*part, store.clone());
        shuttle::thread::spawn(move || part(&store))
    };
    let parts: Vec<_> = scene.parts.iter().map(begin).collect();
    let said: Vec<_> = parts.into_iter().map(|part| part.join().expect("it ends")).collect();
    (scene.judge)(store, &said);
}

fn run(scene: &'static Scene, store: &Store, scheduler: impl Scheduler + 'static) {
    let mut config = Config::new();
    config.silence_warnings = true;
    config.stack_size = 512 << 10;
    config.failure_persistence = FailurePersistence::None;
    let store = store.clone();
    Runner::new(scheduler, config).run(move || play(scene, &store));
}

fn by_chance(scenes: &'static [Scene]) {
    let seed = seed("schedules");
    let each = size("HOLDFAST_ORDERS_SCHEDULES", 350) as usize;
    for scene in scenes {
        let stage = Stage::new(&(scene.options)());
        (scene.prepare)(&stage.store);
        let begun = Instant::now();
        run(scene, &stage.store, RandomScheduler::new_from_seed(seed, each));
        println!("{}: {each} schedules drawn evenly, {:.1?}", scene.name, begun.elapsed());
        run(scene, &stage.store, PctScheduler::new_from_seed(seed, CHANGES, each));
        println!("{}: {each} schedules by rank, {:.1?}", scene.name, begun.elapsed());
        words::observe(None);
        CHANCE.with(|chance| chance.memory.undo());
    }
}

#[test]
fn small_scenes() {
    by_chance(SCENES);
}

#[test]
fn crowds() {
    by_chance(CROWDS);
}
