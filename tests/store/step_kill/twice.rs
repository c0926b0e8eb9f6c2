//! A second death, in the healing of the first, before each of its stores; then a third goes on.
//!
//! Each first death leaves an image, which is put back for each second one. Who heals is a reader
//! and writer that meets what the dead one had latched, the process that gets its slot, or an opener
//! who finds nobody else there. What it cannot show: a third death, and a second one between two
//! instructions that are no store.

use holdfast::{Ttl, fault};
use holdfast_tests::process::{self, Ended};
use holdfast_tests::{Rng, open, seed, size};

use crate::acts::{self, Act};
use crate::chosen;
use crate::image::{Files, Image, META};
use crate::scene::*;
use crate::step::{Outcome, Play, Times, run};

#[derive(Debug, Clone, Copy, PartialEq)]
enum Healer {
    /// Attached elsewhere, it takes the latches that the dead one had.
    Taker,
    /// It gets the dead one's process slot.
    Claimant,
    /// It opens the store, which nobody else has open.
    Opener,
}

/// Words of `meta`, see arena.rs.
const SLOT_HINT: usize = 0x448;
const PID_OF_FIRST_SLOT: usize = 0x1008;

/// The slot that the next process gets, when the parent has the first one.
fn next_slot(image: &Image) -> u64 {
    assert_eq!(image.word(META, PID_OF_FIRST_SLOT), std::process::id() as u64);
    let hint = image.word(META, SLOT_HINT);
    (hint..).map(|slot| slot % 4).find(|slot| *slot != 0).expect("one of four")
}

/// What the healer does, armed for its m-th store; true: it died.
fn heal(scene: &Scene, healer: Healer, m: u64) -> bool {
    let child = process::fork(|| {
        match healer {
            Healer::Taker => {
                let store = scene.store();
                store.exists(b"attached").expect("exists");
                fault::arm(m);
                see(store);
                set(store, b"another key", b"value", Ttl::Millis(1_000));
                store.delete(KEY, Some(1), None).expect("delete");
                let held = lock(store, 5);
                assert!(store.unlock(KEY, &held).expect("unlock"));
            }
            Healer::Claimant => {
                fault::arm(m);
                scene.store().exists(KEY).expect("exists");
            }
            Healer::Opener => {
                fault::arm(m);
                std::mem::forget(open(&scene.path, &scene.options));
            }
        }
        fault::arm(u64::MAX);
    });
    match child.wait(LONG) {
        Ended::Signal(libc::SIGKILL) => true,
        Ended::Exit(0) => false,
        other => panic!("{healer:?}: m = {m}: {other:?}"),
    }
}

/// Within so many stores of who heals.
const HEALED: u64 = 24;
/// So many first deaths of an operation are followed by second ones, at the size of every change.
const FIRSTS: u64 = 4;

/// How many there were.
#[derive(Default)]
struct Count {
    first: u64,
    second: u64,
}

struct Twice<'a> {
    scene: Scene,
    act: &'a Act,
    files: Files,
    old: Seen,
    new: Seen,
    /// One of so many second deaths is looked at.
    share: u64,
    rng: Rng,
    count: Count,
}

impl Twice<'_> {
    /// All second deaths of one healer after a first one.
    fn play(&mut self, n: u64, first: &Image, dead: u64, healer: Healer) {
        let mut image = first.clone();
        let hint = match healer {
            Healer::Taker => dead % 3 + 1,
            _ => dead,
        };
        image.change(META, SLOT_HINT, &hint.to_le_bytes());
        if healer == Healer::Opener {
            self.scene.store = None;
        }
        let mut m = 0;
        loop {
            // What is healed is healed first.
            let stride = if m < HEALED { self.share.min(3) } else { 2 * self.share - 1 };
            m += 1 + self.rng.below(stride);
            if healer == Healer::Opener {
                // It forgets all session locks, word by word.
                m += self.rng.below(1 + m / 2);
            }
            self.files.put_back(&image);
            let died = heal(&self.scene, healer, m);
            if healer == Healer::Opener {
                self.scene.store = Some(open(&self.scene.path, &self.scene.options));
            }
            self.look(n, healer, m);
            if healer == Healer::Opener {
                self.scene.store = None;
            }
            if !died {
                break;
            }
            self.count.second += 1;
        }
        if healer == Healer::Opener {
            // In the slot that it has in all the images.
            image.change(META, SLOT_HINT, &0u64.to_le_bytes());
            self.files.put_back(&image);
            self.scene.store = Some(open(&self.scene.path, &self.scene.options));
        }
    }

    /// The third one goes on.
    fn look(&self, n: u64, healer: Healer, m: u64) {
        let (scene, act) = (&self.scene, self.act);
        let at = || format!("{}: death before store {n}, {healer:?} before store {m}", act.name);
        let (old, new) = (self.old.clone(), self.new.clone());
        let outcome = Outcome { scene, act, old, new, at: &at };
        let settled = outcome.go_on(&mut Times::default());
        if (n + m).is_multiple_of(3) {
            outcome.fill(false);
            healthy(scene.store(), &at);
        }
        if m < HEALED || (n + m).is_multiple_of(4) {
            outcome.log_agrees(&settled);
        }
        outcome.stays(&see(scene.store()), &settled);
    }
}

fn play(act: &Act, share: u64) -> Count {
    let (_dir, scene) = Scene::with(act.options);
    let (first, total) = Play::begin(&scene, act, false);
    if !first.alone {
        return Count::default();
    }
    (act.before)(&scene);
    let (files, old, rng) = (Files::of(&scene), see(scene.store()), Rng::new(seed(act.name)));
    let base = files.image();
    let dead = next_slot(&base);
    run(&scene, act, u64::MAX - 1).expect("completes");
    let new = see(scene.store());
    let mut twice = Twice { scene, act, files, old, new, share, rng, count: Count::default() };
    // Each first death of a short operation, or one of each few.
    let firsts = if share == 1 && total <= 250 { total } else { FIRSTS.min(total) };
    for i in 0..firsts {
        let n = 1 + i * total / firsts + twice.rng.below(total / firsts);
        twice.files.put_back(&base);
        if run(&twice.scene, act, n).is_some() {
            continue;
        }
        twice.count.first += 1;
        let first = twice.files.image();
        twice.play(n, &first, dead, Healer::Taker);
        twice.play(n, &first, dead, Healer::Claimant);
        // What is made anew is not in the image that would be put back.
        if !act.is_rebuilt && twice.rng.one_in(4) {
            twice.play(n, &first, dead, Healer::Opener);
        }
    }
    println!(
        "{}: {total} stores, {} first deaths, {} second deaths",
        act.name, twice.count.first, twice.count.second
    );
    twice.count
}

#[test]
fn whoever_heals_can_die_before_each_store_of_that() {
    let share = match std::env::var("HOLDFAST_STEPS").as_deref() {
        Ok("all") => 1,
        _ => size("HOLDFAST_SECOND_SHARE", 24),
    };
    let mut all = Count::default();
    for act in chosen(acts::short()) {
        let count = play(&act, share);
        (all.first, all.second) = (all.first + count.first, all.second + count.second);
    }
    println!("{} first deaths, {} second deaths", all.first, all.second);
}
