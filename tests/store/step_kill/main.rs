//! Death at every point of every operation, one after the other, and at every point of the healing.
//!
//! Each part of the test begins with what it catches: `step.rs` a death before every single store
//! to shared memory, `instructions.rs` after every single instruction, `twice.rs` a second death in
//! the healing, `opening.rs` deaths while a store is made, opened, closed or restored, `versions.rs`
//! deaths between two formats. What no part can show: orders that weak memory allows, and deaths
//! between two system calls that change neither memory nor the directory.

mod acts;
mod image;
mod instructions;
mod opening;
mod scene;
mod step;
mod twice;
mod versions;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use acts::Act;
use holdfast_tests::{Rng, seed};
use scene::Scene;
use step::{Play, Times, step};

/// How many steps of an operation are taken: those of `HOLDFAST_STEPS`; `all` = each one.
fn most() -> u64 {
    match std::env::var("HOLDFAST_STEPS").as_deref() {
        Ok("all") => u64::MAX,
        _ => holdfast_tests::size("HOLDFAST_STEPS", 150),
    }
}

/// Those that `HOLDFAST_ACT` names, or all.
fn chosen(acts: Vec<Act>) -> Vec<Act> {
    let only = std::env::var("HOLDFAST_ACT").unwrap_or_default();
    acts.into_iter().filter(|act| act.name.contains(&only)).collect()
}

/// So many of an operation's steps in vain, and it is at its end: a later turn may have more to do.
const IN_VAIN: u64 = 6;

/// Every step if they are few, else the first, the last and some between.
fn places(total: u64, most: u64, rng: &mut Rng) -> Vec<u64> {
    if total <= most {
        return (1..=total * 2).collect();
    }
    let (edge, between) = (most / 3, most / 3);
    let mut places: Vec<u64> = (1..=edge).chain(total - edge..=total + edge / 2).collect();
    places.extend((0..between).map(|_| edge + rng.below(total - 2 * edge)));
    places
}

fn play(act: &Act, most: u64, times: &mut Times) {
    let mut rng = Rng::new(seed(act.name));
    let (_dir, scene) = Scene::with(act.options);
    let (play, total) = Play::begin(&scene, act, most == u64::MAX);
    let (mut deaths, mut in_vain) = (0, 0);
    for n in places(total, most, &mut rng) {
        let died = step(&scene, &play, n, &mut rng, times);
        (deaths, in_vain) = if died { (deaths + 1, 0) } else { (deaths, in_vain + 1) };
        if in_vain == IN_VAIN && total <= most {
            break;
        }
    }
    let growing = scene.growing.get();
    println!("{}: {total} stores, {deaths} deaths, {growing} while a table grew", act.name);
    assert!(growing > 0 || !act.name.contains("growth"), "nobody died in a growth");
}

/// What others waited: the longest on a quiet machine; on any other, where a waiter is not run for
/// longer than that, what half of them did.
fn judge(what: &str, times: &mut [Duration], bound: Duration) {
    times.sort();
    let part = |permille: usize| times[(times.len() * permille / 1000).min(times.len() - 1)];
    let (half, most, longest) = (part(500), part(990), times[times.len() - 1]);
    println!("{what}: half within {half:?}, 99 % within {most:?}, all within {longest:?}");
    let quiet = std::env::var("HOLDFAST_QUIET").is_ok();
    let judged = if quiet { longest } else { half };
    assert!(judged < bound, "{what}: {judged:?} is not below {bound:?}");
}

#[test]
fn an_operation_can_die_before_each_of_its_stores() {
    let (most, acts, next) = (most(), chosen(acts::all()), AtomicUsize::new(0));
    // Two at a time: each of them waits for its children mostly.
    let all_times = std::thread::scope(|scope| {
        let work = || {
            let mut times = Times::default();
            while let Some(act) = acts.get(next.fetch_add(1, Ordering::Relaxed)) {
                play(act, most, &mut times);
            }
            times
        };
        [scope.spawn(work), scope.spawn(work)].map(|thread| thread.join())
    });
    let mut all = Times::default();
    for times in all_times {
        let times = times.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        all.other_key.extend(times.other_key);
        all.same_key.extend(times.same_key);
        all.lock.extend(times.lock);
    }
    judge("other key", &mut all.other_key, Duration::from_millis(1));
    judge("same key", &mut all.same_key, Duration::from_millis(50));
    judge("lock", &mut all.lock, Duration::from_millis(50));
}
