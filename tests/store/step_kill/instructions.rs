//! Death between any two instructions of the operations that make most of the work.
//!
//! The operation runs under a trace, one instruction at a time, and each state of the mappings that
//! it passes through is kept. Then each of them is put back, as a death there would have left it,
//! and others go on: the invariants are those of `step.rs`. So bytes that are copied in, counters
//! and whatever else is not counted as a store is cut too. What it shows is this build: another
//! compiler orders stores that have no order among themselves differently.

use std::collections::HashSet;

use holdfast_tests::single_step::{Changed, mapping_of, trace};
use holdfast_tests::{Rng, seed, size};

use crate::acts::{self, Act};
use crate::chosen;
use crate::image::{Files, Image, META, NAMES};
use crate::scene::*;
use crate::step::{Outcome, Play, Times, open_log};

const TRACED: [&str; 10] = [
    "put of a new key",
    "overwrite",
    "delete",
    "touch to a longer life",
    "touch to a shorter life",
    "lock",
    "unlock",
    "fenced write and unlock",
    "expiry of one record",
    "write with a new owner",
];

/// What one instruction changed.
struct Step {
    map: usize,
    offset: usize,
    bytes: Vec<u8>,
}

/// Statistics of the process slots: nobody decides by them.
fn is_a_count(step: &Step) -> bool {
    const SLOTS: std::ops::Range<usize> = 0x1000..0x1000 + 4 * 256;
    step.map == META && SLOTS.contains(&step.offset) && step.offset % 256 >= 64
}

/// A sum over all bytes that shows whether an image was there before.
fn mixed(map: usize, offset: usize, byte: u8) -> u64 {
    Rng::new((map as u64) << 60 ^ (offset as u64) << 8 ^ byte as u64).next()
}

/// Which of the steps lead to an image that was not there before.
fn distinct(begun: &Image, steps: &[Step]) -> Vec<usize> {
    let (mut image, mut sum, mut seen) = (begun.clone(), 0, HashSet::from([0]));
    let mut distinct = Vec::new();
    for (i, step) in steps.iter().enumerate() {
        for (j, new) in step.bytes.iter().enumerate() {
            let at = step.offset + j;
            sum ^= mixed(step.map, at, image.0[step.map][at]) ^ mixed(step.map, at, *new);
        }
        image.change(step.map, step.offset, &step.bytes);
        if !is_a_count(step) && seen.insert(sum) {
            distinct.push(i);
        }
    }
    distinct
}

/// Traces an operation and looks at `most` of the images it leaves; says why if it cannot.
fn play(act: &Act, most: usize) -> Result<(), String> {
    let mut rng = Rng::new(seed(act.name));
    let (_dir, scene) = Scene::with(act.options);
    Play::begin(&scene, act, false);
    (act.before)(&scene);
    let (files, old, mut steps) = (Files::of(&scene), see(scene.store()), Vec::new());
    let maps = NAMES.map(|name| mapping_of(&scene.path.join(name)).expect("it is mapped"));
    let mut held = None;
    let held = &mut held as *mut _;
    let traced = trace(
        &maps,
        || {
            // SAFETY: both closures run in the child, one after the other.
            unsafe { *held = (act.child)(&scene) };
            scene.store().exists(b"attached").expect("exists");
        },
        // SAFETY: as above.
        || (act.act)(scene.store(), unsafe { (*held).take() }),
        &mut |Changed { map, offset, bytes }| {
            steps.push(Step { map, offset, bytes: bytes.to_vec() });
        },
    )?;
    let new = see(scene.store());
    let begun = Image(traced.begun);
    let lengths = |image: &Image| image.0.iter().map(Vec::len).collect::<Vec<_>>();
    assert_eq!(lengths(&begun), lengths(&files.image()), "{}: a file grew", act.name);
    let all = distinct(&begun, &steps);
    let share = (all.len() / most.max(1)).max(1);
    // Of each few one by chance, so that each part of the operation has its turn.
    let few: Vec<usize> =
        all.chunks(share).map(|few| few[rng.below(few.len() as u64) as usize]).collect();
    let (mut image, mut next, mut times) = (begun, 0, Times::default());
    for (turn, last) in few.iter().enumerate() {
        for step in &steps[next..=*last] {
            image.change(step.map, step.offset, &step.bytes);
        }
        next = last + 1;
        files.put_back(&image);
        let at = || format!("{}: image {last} of {}", act.name, steps.len());
        let (old, new) = (old.clone(), new.clone());
        let outcome = Outcome { scene: &scene, act, old, new, at: &at };
        if turn % 4 == 0 {
            outcome.is_one(&see(&open_log(&scene).1), "the log says");
        }
        let settled = outcome.go_on(&mut times);
        if turn % 4 == 1 {
            outcome.fill(true);
        }
        outcome.log_agrees(&settled);
        outcome.stays(&see(scene.store()), &settled);
        healthy(scene.store(), &at);
    }
    println!(
        "{}: {} instructions, {} changes, {} distinct images, {} looked at",
        act.name,
        traced.instructions,
        steps.len(),
        all.len(),
        few.len()
    );
    Ok(())
}

#[test]
fn an_operation_can_die_after_each_of_its_instructions() {
    let most = match std::env::var("HOLDFAST_IMAGES_EACH").as_deref() {
        Ok("all") => usize::MAX,
        _ => size("HOLDFAST_IMAGES_EACH", 150) as usize,
    };
    let acts = acts::all();
    for act in chosen(acts).iter().filter(|act| TRACED.contains(&act.name)) {
        if let Err(why) = play(act, most) {
            println!("SKIPPED: {why}");
            return;
        }
    }
}
