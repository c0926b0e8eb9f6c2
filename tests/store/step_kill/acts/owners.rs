//! Owners of values: given, kept, ended; what was ended never comes back.

use holdfast::{Stored, Ttl, Write, fault};
use holdfast_tests::{content, process};

use super::{Act, USUAL};
use crate::scene::{KEY, LONG, Scene, done, lock, see, set};

/// The key has a value of a new owner of this name, and both end some day.
fn annas(scene: &Scene) {
    scene.store().end_owner(b"anna").expect("end");
    let (owner, ttl) = (Some(&b"anna"[..]), Ttl::Millis(500_000_000));
    done(scene.store().write(KEY, &content(1, 300), &Write { owner, ttl, ..Write::default() }));
}

pub fn acts() -> Vec<Act> {
    vec![
        Act {
            name: "write with a new owner",
            before: |scene| {
                scene.old();
                assert!(scene.store().end_owner(b"anna").is_ok());
            },
            act: |store, _| {
                let owner = format!("owner {}", store.now_ms().expect("now"));
                let how = Write { owner: Some(owner.as_bytes()), ..Write::default() };
                let stored = store.write(KEY, &content(2, 200), &how).expect("write");
                assert!(matches!(stored, Stored::Done(_)));
            },
            ..USUAL
        },
        Act {
            name: "write that keeps its owner, which lives longer then",
            before: |scene| {
                let (owner, ttl) = (Some(&b"anna"[..]), Ttl::Millis(500_000_000));
                let how = Write { owner, ttl, ..Write::default() };
                assert!(scene.store().write(KEY, &content(1, 300), &how).is_ok());
            },
            act: |store, _| set(store, KEY, &content(2, 200), Ttl::Never),
            ..USUAL
        },
        Act {
            name: "end of an owner",
            is_settled_by_a_change: true,
            before: |scene| {
                let how = Write { owner: Some(b"anna"), ..Write::default() };
                assert!(scene.store().write(KEY, &content(1, 300), &how).is_ok());
            },
            act: |store, _| assert!(store.end_owner(b"anna").is_ok()),
            ..USUAL
        },
        Act {
            name: "write after an end whose process died in the middle of it",
            // Each of those who die in it before may leave a segment begun.
            options: |options| options.max_bytes = Some(2 << 20),
            before: |scene| {
                let how = Write { owner: Some(b"anna"), ..Write::default() };
                assert!(scene.store().write(KEY, &content(1, 300), &how).is_ok());
                let store = scene.store();
                for n in 1.. {
                    let child = process::fork(|| {
                        store.exists(b"attached").expect("exists");
                        fault::arm(n);
                        store.end_owner(b"anna").expect("end");
                        fault::arm(u64::MAX);
                    });
                    child.wait(LONG);
                    if see(store).is_none() {
                        break;
                    }
                }
            },
            child: |scene| Some(lock(scene.store(), 1)),
            act: |store, held| {
                let held = held.expect("locked");
                let owner = Some(&b"anna"[..]);
                let how = Write { owner, held: Some(&held), ttl: Ttl::Never, ..Write::default() };
                // Whoever finds half an end finishes it, and is too late itself then.
                let first = store.write(KEY, &content(2, 200), &how).expect("write");
                assert!(store.unlock(KEY, &held).expect("unlock"));
                if first == Stored::Lost {
                    let held = lock(store, 1);
                    let how = Write { held: Some(&held), ..how };
                    let second = store.write(KEY, &content(2, 200), &how).expect("write");
                    assert!(matches!(second, Stored::Done(_)), "{second:?}");
                }
            },
            ..USUAL
        },
        Act {
            name: "owner given to a value that has none",
            act: |store, _| done(store.set_owner(KEY, b"berta", None)),
            ..USUAL
        },
        Act {
            name: "touch that makes an owner live longer",
            before: annas,
            act: |store, _| done(store.touch(KEY, Ttl::Never, None)),
            ..USUAL
        },
        Act {
            name: "touch to a shorter life of a value with an owner",
            before: annas,
            act: |store, _| done(store.touch(KEY, Ttl::Millis(90_000_000), None)),
            ..USUAL
        },
    ]
}
