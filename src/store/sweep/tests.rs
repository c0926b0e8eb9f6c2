//! What a power cut may bring back while the sweep is at work: stores whose segments are swept one by
//! one, and images of them, opened somewhere else.
//!
//! An image is what the files hold at that moment: a disk may have all of it. What a sync would have
//! had to cover first is synced by the tests.

use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tempfile::TempDir;

use super::visit::{self, Budget, Outcome, Task};
use super::{Age, choose, free_drained};
use crate::arena::word;
use crate::log::segment::{self, FREE};
use crate::options::{Options, Sync, Ttl};
use crate::store::commit;
use crate::store::stripe::{Found, Stripe};
use crate::store::{Store, Stored};
use crate::sys::clock::Clock;

/// The first record that is met, and no more.
const ONE: Budget = Budget { lines: 1 };

/// A clock that the test moves.
#[derive(Default)]
struct Hand(AtomicU64);

impl Clock for Hand {
    fn boot_ms(&self) -> u64 {
        1_000_000 + self.0.load(Ordering::SeqCst)
    }

    fn wall_ms(&self) -> u64 {
        1_700_000_000_000 + self.boot_ms()
    }
}

struct World {
    dir: TempDir,
    store: Store,
    options: Options,
    clock: Arc<Hand>,
}

/// In memory, if that is a place for files: no test here needs a disk.
fn directory() -> TempDir {
    let private = PermissionsExt::from_mode(0o700);
    let mut builder = tempfile::Builder::new();
    builder.permissions(private);
    builder.tempdir_in("/dev/shm").or_else(|_| builder.tempdir()).expect("a directory")
}

impl World {
    fn new(evict: bool) -> World {
        let (dir, clock) = (directory(), Arc::new(Hand::default()));
        let options = Options {
            create: true,
            thread: false,
            sync: Some(Sync::None),
            max_bytes: Some(1 << 20),
            max_value_bytes: Some(1 << 17),
            evict: Some(evict),
            clock: Some(clock.clone()),
            ..Options::default()
        };
        let store = Store::open(dir.path(), &options).expect("a new store");
        World { dir, store, options, clock }
    }

    /// The store after a power cut that kept all.
    fn cut(&self) -> World {
        let dir = directory();
        for name in ["super", "data"] {
            let to = dir.path().join(name);
            std::fs::copy(self.dir.path().join(name), &to).expect("a copy");
            std::fs::set_permissions(&to, PermissionsExt::from_mode(0o600)).expect("its mode");
        }
        let (options, clock) = (self.options.clone(), self.clock.clone());
        let store = Store::open(dir.path(), &options).expect("an image");
        World { dir, store, options, clock }
    }

    fn set(&self, key: &str, value: &str) {
        self.set_for(key, value, Ttl::Never);
    }

    fn set_for(&self, key: &str, value: &str, ttl: Ttl) {
        let stored = self.store.set(key.as_bytes(), value.as_bytes(), 0, ttl);
        assert!(matches!(stored, Ok(Stored::Done(_))), "{stored:?}");
    }

    fn get(&self, key: &str) -> Option<String> {
        let mut value = Vec::new();
        let found = self.store.get(key.as_bytes(), &mut value).expect("whole");
        found.map(|_| String::from_utf8(value).expect("as it was written"))
    }

    /// Deletes as when there is no room for a tombstone.
    fn end_in_place(&self, key: &str) {
        let arena = self.store.arena().expect("open");
        let key = self.store.key(arena, key.as_bytes()).expect("a key");
        let stripe = Stripe::latch(arena, key.hash).expect("free");
        let Found::Present(current) = stripe.find(&key) else { panic!("not there") };
        commit::end_in_place(arena, &current);
    }

    /// The segment that a key's value is in.
    fn segment_of(&self, key: &str) -> u64 {
        let arena = self.store.arena().expect("open");
        let key = self.store.key(arena, key.as_bytes()).expect("a key");
        match Stripe::latch(arena, key.hash).expect("free").find(&key) {
            Found::Present(current) => segment::of(arena, current.slot.offset()),
            _ => panic!("not there"),
        }
    }

    /// Ends the segments that are written to, so that the next record begins another one.
    fn seal(&self) {
        let arena = self.store.arena().expect("open");
        for number in 0..arena.geometry.segments {
            choose::retire(arena, number).expect("free");
        }
    }

    fn visit(&self, number: u64, task: Task, budget: Budget) -> Outcome {
        let arena = self.store.arena().expect("open");
        let done = visit::visit(arena, number, task, &Age::later(), budget).expect("room");
        done.expect("a sealed segment")
    }

    /// Moves all that is needed out of a segment, which comes free, durably.
    fn empty(&self, number: u64) {
        assert!(self.visit(number, Task::Empty, Budget::ALL).drained);
        self.is_freed(number);
    }

    fn is_freed(&self, number: u64) {
        let arena = self.store.arena().expect("open");
        free_drained(arena).expect("two rounds");
        assert_eq!(segment::state(arena, number).kind(), FREE);
    }

    /// Moves a key's value, the first one in its segment, and gives the segment that it left.
    fn move_first(&self, key: &str) -> u64 {
        let from = self.segment_of(key);
        self.visit(from, Task::Empty, ONE);
        assert_ne!(self.segment_of(key), from);
        from
    }
}

/// A copy lies in a segment that may be younger than the record's number. What stands for it, after
/// it was evicted, is not to go before it.
#[test]
fn what_was_evicted_and_is_not_there_after_a_cut_does_not_come_back_at_the_next() {
    let world = World::new(true);
    world.set("k", "first");
    world.set("older", "");
    let older = world.segment_of("older");
    world.seal();
    world.set("k", "second");
    world.set("beside", "");
    let source = world.segment_of("k");
    world.seal();
    world.empty(source);
    let copies = world.segment_of("k");
    world.seal();
    world.visit(copies, Task::Evict, ONE);
    assert_eq!(world.get("k"), None);
    assert_eq!(world.segment_of("beside"), copies);

    let world = world.cut();
    assert_eq!(world.get("k"), None, "a tombstone stands for it");
    assert_eq!(world.segment_of("beside"), copies);
    // All that was begun before the value was written, and what stands for it.
    world.empty(older);
    let arena = world.store.arena().unwrap();
    for number in (0..arena.geometry.segments).filter(|number| *number != copies) {
        if choose::is_movable(arena, number) {
            world.empty(number);
        }
    }
    assert_eq!(world.cut().get("k"), None);
}

/// After a cut the source of a copy may be there again, and nothing notes that for an eviction.
#[test]
fn a_delete_of_what_was_evicted_after_a_cut_is_durable_although_it_lies_there_twice() {
    let world = World::new(true);
    world.set("k", "v");
    world.set("beside", "");
    world.seal();
    world.empty(world.segment_of("k"));
    world.seal();
    let source = world.move_first("k");
    world.seal();

    let world = world.cut();
    assert_eq!(world.get("k").as_deref(), Some("v"));
    let copies = world.segment_of("k");
    assert_eq!(world.segment_of("beside"), source);
    // Reading it counted; the eviction takes what nobody reads.
    let world = world.cut();
    assert!(world.visit(copies, Task::Evict, Budget::ALL).drained);
    world.is_freed(copies);
    assert_eq!(world.store.delete(b"k", None, None).unwrap(), Stored::Missing);
    assert_eq!(world.segment_of("beside"), source);
    assert_eq!(world.cut().get("k"), None);
}

/// The source of a copy may itself be a copy, in a segment that is younger than the number.
#[test]
fn what_was_deleted_in_place_hides_the_copies_that_it_was_made_from() {
    for moved_on in [false, true] {
        let world = World::new(false);
        world.set("k", "v");
        world.set("beside", "");
        world.seal();
        world.empty(world.segment_of("k"));
        world.seal();
        let source = world.move_first("k");
        let ended = world.segment_of("k");
        world.end_in_place("k");
        world.seal();
        if moved_on {
            // What stands for it is moved in its turn.
            world.empty(ended);
            world.seal();
        }
        let arena = world.store.arena().unwrap();
        for number in (0..arena.geometry.segments).filter(|number| *number != source) {
            if choose::is_movable(arena, number) {
                world.empty(number);
            }
        }
        assert_eq!(world.segment_of("beside"), source);
        assert_eq!(world.cut().get("k"), None);
    }
}

/// What replaces it has to shadow them.
#[test]
fn what_replaces_a_value_deleted_in_place_hides_its_copies_too() {
    let world = World::new(false);
    world.set("k", "v");
    world.set("beside", "");
    world.seal();
    let source = world.move_first("k");
    let ended = world.segment_of("k");
    world.end_in_place("k");
    world.set_for("k", "short", Ttl::Millis(10));
    let short = world.segment_of("k");
    world.seal();
    world.clock.0.store(60_000, Ordering::SeqCst);
    world.empty(ended);
    world.empty(short);
    assert_eq!(world.get("k"), None);
    assert_eq!(world.segment_of("beside"), source);
    assert_eq!(world.cut().get("k"), None);
}

/// Numbers that are the same in each run.
struct Dice(u64);

impl Dice {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (self.0 >> 33) % end
    }
}

/// What was last said of a key: its value, and when that ends (0 = never).
type Said = Option<(String, u64)>;

impl World {
    /// Is what a store shows for each key what was last said of it? In a cache a value may be missing;
    /// what is missing in a store that goes on is gone.
    fn judge(&self, said: &mut [Said], goes_on: bool, what: &str) {
        let now = self.store.now_ms().expect("now");
        for (key, said) in said.iter_mut().enumerate() {
            let alive = said.as_ref().filter(|(_, end)| *end == 0 || *end > now);
            match (self.get(&key.to_string()), alive) {
                (Some(found), Some((value, _))) => assert_eq!(found, *value, "{what}: key {key}"),
                (Some(found), None) => panic!("{what}: key {key} is gone, and was {found:?}"),
                (None, Some(_)) => {
                    assert_eq!(self.options.evict, Some(true), "{what}: key {key} is lost");
                    *said = if goes_on { None } else { said.take() };
                }
                (None, None) => {}
            }
        }
    }

    /// A sealed segment, or part of it, swept.
    fn sweep_any(&self, dice: &mut Dice) {
        let arena = self.store.arena().expect("open");
        let count = arena.geometry.segments;
        let first = dice.below(count);
        let Some(number) = (first..first + count)
            .map(|number| number % count)
            .find(|number| choose::is_movable(arena, *number))
        else {
            return;
        };
        let task = match dice.below(4) {
            0 => Task::Reap,
            1 | 2 if self.options.evict == Some(true) => Task::Evict,
            _ => Task::Empty,
        };
        let budget = if dice.below(2) == 0 { ONE } else { Budget::ALL };
        visit::visit(arena, number, task, &Age::later(), budget).expect("room, or less done");
    }

    fn change_any(&self, dice: &mut Dice, said: &mut [Said], step: u64) {
        let key = dice.below(said.len() as u64);
        let name = key.to_string();
        let is_there = self.store.exists(name.as_bytes()).expect("whole").is_some();
        match dice.below(8) {
            0 if is_there => self.end_in_place(&name),
            0 | 1 => {
                self.store.delete(name.as_bytes(), None, None).expect("room");
            }
            _ => {
                let (ttl, end) = match dice.below(3) {
                    0 => (Ttl::Millis(3_000), self.store.now_ms().expect("now") + 3_000),
                    _ => (Ttl::Never, 0),
                };
                self.set_for(&name, &step.to_string(), ttl);
                said[key as usize] = Some((step.to_string(), end));
                return;
            }
        }
        said[key as usize] = None;
    }
}

/// Few keys, segments with a few records each, swept in any order and to any place, and cuts that
/// follow cuts.
#[test]
fn whatever_is_swept_when_no_cut_brings_back_what_is_gone() {
    for seed in 0..60 {
        let (mut world, mut dice) = (World::new(seed % 2 == 0), Dice(seed));
        let mut said: Vec<Said> = vec![None; 4];
        for step in 0..200 {
            let what = format!("seed {seed} step {step}");
            match dice.below(20) {
                0..3 => world.change_any(&mut dice, &mut said, step),
                3..10 => world.sweep_any(&mut dice),
                10..14 => world.seal(),
                14 => {
                    world.get(&dice.below(4).to_string());
                }
                15..17 => {
                    free_drained(world.store.arena().unwrap()).unwrap();
                }
                17 => {
                    world.clock.0.fetch_add(500, Ordering::SeqCst);
                }
                _ => {
                    let goes_on = dice.below(3) == 0;
                    world.cut().judge(&mut said, goes_on, &what);
                    if goes_on {
                        // Another one: what was read is not evicted.
                        world = world.cut();
                    }
                }
            }
        }
    }
}

/// Words of `meta` say until when it is no use to look for room: one that says for ever is damage.
#[test]
fn a_search_for_room_is_put_off_for_a_moment_and_no_longer() {
    let world = World::new(false);
    let arena = world.store.arena().expect("open");
    let big = "x".repeat(100_000);
    let mut stored = 0;
    while world.store.set(format!("{stored}").as_bytes(), big.as_bytes(), 0, Ttl::Never).is_ok() {
        stored += 1;
    }
    for at in [word::NO_ROOM_UNTIL_MS, word::NO_LIFE_UNTIL_MS, word::NO_VICTIM_UNTIL_MS] {
        arena.meta.store(at, u64::MAX);
    }
    // It looks as if nothing had come free since.
    arena.meta.store(word::NO_ROOM_LIVE, 0);
    world.end_in_place("0");
    world.end_in_place("1");
    world.set("2", &big);
    assert!(stored > 4, "{stored}");
}

/// A value with one segment for itself has room behind it that nothing can be won from: whoever tried
/// to empty it again and again never came to what is dead elsewhere.
#[test]
fn a_segment_that_one_value_has_for_itself_is_not_emptied() {
    let world = World::new(false);
    let arena = world.store.arena().expect("open");
    world.set("small", "value");
    world.set("large", &"x".repeat(28_000));
    let number = world.segment_of("large");
    assert!(segment::is_run(arena, number) && number != world.segment_of("small"));
    assert!(!choose::is_movable(arena, number));
    assert_eq!(choose::victim(arena, 1), None);
}
