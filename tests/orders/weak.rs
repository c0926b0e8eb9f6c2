//! Every interleaving of two or three threads, and every value that each of them may read.
//!
//! Each word that two threads touch, one of them with a store, is loom's in here, so each load may give
//! any value that the memory model of the language allows for the orders in the code. Which words
//! those are is found by playing: a play that comes upon another one counts for nothing, and the
//! scene is explored anew with it. All other words are plain memory: whoever touches them is alone.
//!
//! What it cannot show: what takes more preemptions than a scene is allowed (HOLDFAST_ORDERS_DEEPER
//! more; pauses in a wait are for free), or an older value of a word than the last seven. Of two
//! stores that nothing orders, the one that was made later is the later one here, if anybody
//! exchanges that word. SeqCst counts in fences alone. Counters for statistics are left out, and so
//! is what a process keeps for itself. Time stands still, so nothing is late.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, HashMap};
use std::panic::{self, AssertUnwindSafe};
use std::rc::Rc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use holdfast::Store;
use holdfast::words::{self, Access, Act, Observer};
use loom::sync::atomic::AtomicU64;

use crate::random::size;
use crate::scenes::{self, Scene};
use crate::stage::{Memory, Stage, peek};

/// Plays in which words are looked for that are shared, before the exploration begins.
const PLAYS_TO_FIND: usize = 300;
/// Words in a stack of a thread; the explorer's usual ones are too small.
const STACK_WORDS: usize = 64 << 10;

/// Words that threads share: address, an access to each, and whether anybody exchanges it.
type Words = BTreeMap<usize, (Access, bool)>;

/// What the code asks for and does not get, to see whether it is noticed.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Without {
    Nothing,
    /// Release at a store.
    Stores,
    /// Acquire at a load.
    Loads,
    /// Both at an exchange, with which latches are taken.
    Exchanges,
    Fences(Ordering),
}

struct Weak {
    without: Cell<Without>,
    shared: RefCell<Words>,
    /// Of this play.
    words: RefCell<HashMap<usize, (Rc<AtomicU64>, bool)>>,
    /// Which threads touched each other word in this play, a bit each, and whether any changed it.
    touched: RefCell<HashMap<usize, (u32, bool)>>,
    memory: Memory,
    /// Shared too, which was not known when the exploration began: it must not change under way.
    found: RefCell<Words>,
    plays: Cell<usize>,
}

thread_local! {
    static WEAK: &'static Weak = Box::leak(Box::new(Weak {
        without: Cell::new(Without::Nothing),
        shared: RefCell::default(),
        words: RefCell::default(),
        touched: RefCell::default(),
        memory: Memory::default(),
        found: RefCell::default(),
        plays: Cell::new(0),
    }));
}

loom::thread_local! {
    /// The number of a part; 0 for who only begins and judges, which nobody runs beside.
    static PART: Cell<u32> = Cell::new(0);
}

impl Weak {
    fn begin(&self) {
        words::observe(Some(WEAK.with(|weak| *weak)));
        self.memory.undo();
        self.touched.borrow_mut().clear();
        let shared = self.shared.borrow();
        let word = |access| Rc::new(AtomicU64::new(peek(access)));
        let words = shared.iter().map(|(at, (access, both))| (*at, (word(*access), *both)));
        *self.words.borrow_mut() = words.collect();
        self.plays.set(self.plays.get() + 1);
    }

    /// An access to a word that nobody is known to share.
    fn alone(&self, access: Access) -> Result<u64, u64> {
        let part = PART.with(Cell::get);
        if part != 0 {
            let mut touched = self.touched.borrow_mut();
            let (who, changed) = touched.entry(access.at).or_default();
            *who |= 1 << part;
            *changed |= access.act != Act::Load;
            if *changed && who.count_ones() > 1 {
                self.found.borrow_mut().insert(access.at, (access, exchanges(access)));
            }
        }
        self.memory.apply(access)
    }
}

/// Does it read and write at once?
fn exchanges(access: Access) -> bool {
    !matches!(access.act, Act::Load | Act::Store(_))
}

impl Observer for Weak {
    fn access(&self, access: Access) -> Option<Result<u64, u64>> {
        let word = self.words.borrow().get(&access.at).cloned();
        let Some((word, exchanged)) = word else { return Some(self.alone(access)) };
        if exchanges(access) && !exchanged {
            self.found.borrow_mut().insert(access.at, (access, true));
        }
        let order = match (self.without.get(), access.act) {
            (Without::Loads, Act::Load) | (Without::Stores, Act::Store(_)) => Ordering::Relaxed,
            (Without::Exchanges, Act::Exchange(..)) => Ordering::Relaxed,
            _ => access.order,
        };
        Some(match access.act {
            Act::Load => Ok(word.load(order)),
            // Loom does not know that no store comes between the two halves of another thread's
            // exchange, unless this store is one too.
            Act::Store(value) if exchanged => Ok(word.swap(value, order)),
            Act::Store(value) => {
                word.store(value, order);
                Ok(value)
            }
            Act::Swap(value) => Ok(word.swap(value, order)),
            Act::Add(amount) => Ok(word.fetch_add(amount, order)),
            Act::Max(value) => Ok(word.fetch_max(value, order)),
            Act::Min(value) => Ok(word.fetch_min(value, order)),
            Act::Exchange(old, new, failed) => word.compare_exchange(old, new, order, failed),
        })
    }

    fn fence(&self, order: Ordering) {
        let missing = match self.without.get() {
            // What a round of sync releases could be another thread's.
            Without::Fences(Ordering::Release) => order != Ordering::Acquire,
            without => without == Without::Fences(order),
        };
        if !missing {
            loom::sync::atomic::fence(order);
        }
    }

    fn pause(&self) {
        loom::thread::yield_now();
    }

    fn sleep(&self, _: Duration) -> Duration {
        self.pause();
        Duration::ZERO
    }
}

/// Plays a scene in each way.
fn explore(scene: &'static Scene, store: &Store, preemptions: usize, plays: Option<usize>) {
    let store = store.clone();
    let mut explorer = loom::model::Builder::new();
    explorer.preemption_bound = Some(preemptions);
    explorer.max_branches = 50_000;
    explorer.max_permutations = plays;
    // So often it looks at the line above.
    explorer.checkpoint_interval = 100;
    explorer.check(move || play(scene, &store));
}

fn play(scene: &'static Scene, store: &Store) {
    let weak = WEAK.with(|weak| *weak);
    weak.begin();
    let parts = scene.parts.iter().zip(1..).map(|(part, number)| {
        let (part, store) = (*part, store.clone());
        spawn(number, move || part(&store))
    });
    let parts: Vec<_> = parts.collect();
    let said: Vec<_> = parts.into_iter().map(|part| part.join().expect("it ends")).collect();
    let (store, judge) = (store.clone(), scene.judge);
    // What was played with words that were not known to be shared says nothing.
    if weak.found.borrow().is_empty() {
        spawn(0, move || judge(&store, &said)).join().expect("it judges");
    }
    weak.words.borrow_mut().clear();
}

fn spawn<T: Send + 'static>(
    part: u32,
    work: impl FnOnce() -> T + Send + 'static,
) -> loom::thread::JoinHandle<T> {
    let named = move || {
        PART.with(|me| me.set(part));
        work()
    };
    let thread = loom::thread::Builder::new().stack_size(STACK_WORDS).spawn(named);
    thread.expect("a thread of the explorer")
}

/// Once the shared words are known, everything; gives how many plays that was.
fn explored(scene: &'static Scene, stage: Stage, about: &str) -> usize {
    let deeper = size("HOLDFAST_ORDERS_DEEPER", 0);
    let preemptions = (scene.preemptions + deeper) as usize;
    let most = (scene.plays * 10u64.pow(deeper as u32)) as usize;
    let weak = WEAK.with(|weak| *weak);
    weak.shared.borrow_mut().clear();
    let begun = Instant::now();
    let mut plays = Some(PLAYS_TO_FIND);
    loop {
        weak.plays.set(0);
        explore(scene, &stage.store, preemptions, plays.or(Some(most).filter(|most| *most > 0)));
        let mut found = weak.found.borrow_mut();
        plays = match (found.is_empty(), plays) {
            (true, None) => break,
            (true, Some(_)) => None,
            (false, _) => Some(PLAYS_TO_FIND),
        };
        weak.shared.borrow_mut().append(&mut found);
    }
    words::observe(None);
    weak.memory.undo();
    let (plays, parts) = (weak.plays.get(), scene.parts.len());
    println!(
        "{}{about}: {} {plays} plays of {parts} threads with {preemptions} preemptions, \
         {} shared words, {:.1?}",
        scene.name,
        if most > 0 && plays + 1 >= most { "NOT ALL," } else { "all" },
        weak.shared.borrow().len(),
        begun.elapsed()
    );
    plays
}

macro_rules! explored {
    ($($name:ident)*) => {
        $(
            #[test]
            fn $name() {
                let mut scenes = scenes::SCENES.iter();
                let scene = scenes.find(|scene| scene.name == stringify!($name)).expect("it");
                let stage = Stage::new(&(scene.options)());
                (scene.prepare)(&stage.store);
                assert!(explored(scene, stage, "") > 10, "too few to mean anything");
            }
        )*
    };
}

explored! {
    overwritten
    deleted
    made
    grown
    counted
    neighbours
    locked
    touched
    raced
    reused
    cached
}

/// Without any one kind of order some scene shows a wrong answer: the explorer sees what it is for.
#[test]
fn every_kind_of_order_is_needed() {
    let kinds: [(Without, &[&str]); 6] = [
        (Without::Stores, &["overwritten"]),
        (Without::Loads, &["overwritten"]),
        (Without::Exchanges, &["neighbours", "counted", "raced"]),
        (Without::Fences(Ordering::Acquire), &["reused"]),
        (Without::Fences(Ordering::Release), &["reused"]),
        (Without::Fences(Ordering::SeqCst), &["durable"]),
    ];
    for (without, names) in kinds {
        let scenes = || scenes::SCENES.iter().chain([&scenes::DURABLE]);
        let scene = |name: &str| scenes().find(|scene| scene.name == name).expect("a scene");
        let noticed = names.iter().find(|name| is_noticed(scene(name), without));
        println!("without {without:?}: noticed by {noticed:?}");
        assert!(noticed.is_some(), "nothing noticed that they were missing: {without:?}");
    }
}

fn is_noticed(scene: &'static Scene, without: Without) -> bool {
    let stage = Stage::new(&(scene.options)());
    (scene.prepare)(&stage.store);
    WEAK.with(|weak| weak.without.set(without));
    let played = panic::catch_unwind(AssertUnwindSafe(|| explored(scene, stage, "")));
    words::observe(None);
    WEAK.with(|weak| {
        println!("{}, {} plays without {without:?}", scene.name, weak.plays.get());
        weak.without.set(Without::Nothing);
        weak.found.borrow_mut().clear();
        weak.memory.undo();
    });
    played.is_err()
}

/// The rounds of sync that free a place may be another thread's, so their fences must not be needed.
#[test]
fn reused_though_others_ran_the_rounds() {
    let scene = scenes::SCENES.iter().find(|scene| scene.name == "reused").expect("it");
    let stage = Stage::new(&(scene.options)());
    (scene.prepare)(&stage.store);
    WEAK.with(|weak| weak.without.set(Without::Fences(Ordering::SeqCst)));
    explored(scene, stage, ", rounds by others");
}

#[test]
fn durable() {
    let scene = &scenes::DURABLE;
    let stage = Stage::new(&(scene.options)());
    (scene.prepare)(&stage.store);
    explored(scene, stage, "");
}

/// A process dies before each store of a write, and two others come upon what it left.
#[test]
fn left_half_done() {
    let mut left = 0;
    for store in 1.. {
        assert!(store < 200, "a write has an end");
        let scene = &scenes::LEFT;
        let stage = Stage::new(&(scene.options)());
        (scene.prepare)(&stage.store);
        if !stage.dies_before(store, scenes::write_new) {
            break;
        }
        explored(scene, stage, &format!(", death before store {store}"));
        left += 1;
    }
    assert!(left > 10, "a write has more stores than {left}");
}
