//! A panic at the n-th step inside each exported function: a code for C, and nothing is left held.
//!
//! A step is a store to shared memory or a change of the directory, so what an assertion that does not
//! hold would interrupt. It would catch a panic that reaches C, a latch or a place in a queue that a
//! panic leaves behind, a half change that somebody comes to see, and a function whose next call fails.
//! It cannot show a panic in a second thread of the library's, nor one in the middle of a panic.
//!
//! A thinned list for every change, every step with `HOLDFAST_FAULTS=all`.

#[allow(dead_code, reason = "the other fault tests use the rest")]
mod abi;
#[allow(dead_code, reason = "the other fault tests use the rest")]
mod stage;

/// Here it does not fail.
mod memory {
    pub use holdfast_tests::content;
}

use std::panic::{AssertUnwindSafe, catch_unwind};

use holdfast::{Store, Sync, fault};
use holdfast_tests::process::{self, Ended};

use abi::{C, Function, functions};
use stage::{After, From, LONG, Stage, check_alone, look, options, works};

const PANIC: i32 = -12;

/// In a child: gives whether there was such a step.
fn panic_at(function: &Function, stage: &Stage, n: u64) -> bool {
    let met = &process::shared_words(1)[0];
    let child = process::fork(|| {
        let complain = std::panic::take_hook();
        let mut c = C::new(&stage.store(), 200);
        if !function.closed {
            assert_eq!(c.open(), 0);
        }
        std::panic::set_hook(Box::new(|_| {}));
        fault::arm_panic(n);
        let result = catch_unwind(AssertUnwindSafe(|| (function.call)(&mut c)));
        let fired = fault::left() == u64::MAX;
        fault::arm(u64::MAX);
        std::panic::set_hook(complain);
        let result = result.unwrap_or_else(|_| panic!("the panic reached C"));
        // Those without a result swallow it; so does work that is nobody's business.
        assert!(result >= 0 || (fired && result == PANIC), "{result}");
        let done = !fired && function.name != "backup";
        if c.store.is_null() && function.name != "open" {
            assert_eq!(c.open(), 0, "open afterwards");
        }
        let again = match function.name {
            "close" | "open" | "repair" | "restore" | "backup" => 0,
            _ => (function.call)(&mut c),
        };
        assert!(again >= 0, "the next call gives {again}");
        c.unlock();
        let store = Store::open(stage.store(), &options()).expect("opened beside");
        look(&store, &function.after, done || !matches!(function.name, "backup"));
        works(&store, 60, false);
        met.store(fired as u64, std::sync::atomic::Ordering::SeqCst);
        drop(store);
        c.close();
    });
    let ended = child.wait(LONG);
    assert_eq!(ended, Ended::Exit(0), "{}, panic at step {n}", function.name);
    let seen = check_alone(&stage.store(), &function.after, true);
    assert_eq!(seen, Ended::Exit(0), "{}, after a panic at step {n}", function.name);
    met.load(std::sync::atomic::Ordering::SeqCst) == 1
}

#[test]
fn a_panic_at_any_step_of_any_function_is_a_code_and_leaves_nothing_held() {
    let all_of_them = std::env::var("HOLDFAST_FAULTS").is_ok_and(|it| it == "all");
    let only = std::env::var("HOLDFAST_FAULTS_ACT").unwrap_or_default();
    let template = Stage::made(From::Closed, Sync::None);
    let with_copy = template.copy();
    let made = process::fork(|| {
        let store = Store::open(with_copy.store(), &options()).expect("opened");
        store.backup(with_copy.beside("copy"), false, &mut |_, _| true).expect("made");
    });
    assert_eq!(made.wait(LONG), Ended::Exit(0));
    let mut panics = 0;
    for function in functions().into_iter().filter(|function| function.name.contains(&only)) {
        let (mut n, mut step, mut met) = (1, 1, 0);
        loop {
            let from = if function.name == "restore" { &with_copy } else { &template };
            if !panic_at(&function, &from.copy(), n) {
                break;
            }
            met += 1;
            // All of the short ones; of the long ones ever fewer.
            step = match all_of_them {
                true => 1.max(n / 100),
                false => step + n / 2,
            };
            n += step;
        }
        println!("{:16} {met:4} panics, the last steps at about {n}", function.name);
        panics += met;
    }
    println!("{panics} panics");
    assert!(!matches!(functions().last().expect("some").after, After::Empty));
}
