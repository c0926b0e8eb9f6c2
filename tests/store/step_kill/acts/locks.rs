//! Session locks: the value stays what it is, and whoever waits gets the lock, death or not.
//!
//! Processes beside the one that dies hold the lock or wait for it; each has to end well.

use std::time::Duration;

use holdfast::{Acquired, Expect, Store, Stored, Ttl, Wait};
use holdfast_tests::content;

use super::{Act, USUAL};
use crate::scene::{GONE, KEY, LOCKED_SINCE, Scene, done, eventually, lock, lock_with};

/// Waits for the lock as soon as somebody has it, and gives it back.
fn queue_beside(scene: &Scene) {
    scene.beside(|| {
        eventually("the holder", || scene.lock_info().is_some());
        let held = lock(scene.store(), 3);
        assert!(scene.store().unlock(KEY, &held).expect("unlock"));
    });
}

/// Has the lock, and gives it back when the one that is to die is gone.
fn hold_beside(scene: &Scene) {
    scene.old();
    scene.beside(|| {
        let held = lock(scene.store(), 2);
        scene.reach(1);
        scene.wait_for(GONE);
        assert!(scene.store().unlock(KEY, &held).expect("unlock"));
    });
    scene.wait_for(1);
}

/// Has the lock with a lease that is over at once; whoever takes it then fences this one off.
fn lease_beside(scene: &Scene) {
    scene.old();
    scene.beside(|| {
        let lease = Some(Duration::from_millis(1));
        let held = lock_with(scene.store(), 2, Wait { lease, ..Wait::default() });
        scene.reach(1);
        scene.wait_for(LOCKED_SINCE);
        let late = scene.store().put(KEY, b"late", 0, Ttl::Never, Expect::Any, Some(&held));
        assert_eq!(late.expect("put"), Stored::Lost, "a write with a lock that was broken");
    });
    scene.wait_for(1);
    std::thread::sleep(Duration::from_millis(2));
}

fn try_in_vain(store: &Store, wait: Wait) {
    let outcome = store.lock(KEY, 1, &wait).expect("lock");
    assert!(!matches!(outcome, Acquired::Held(_)), "two holders");
}

pub fn acts() -> Vec<Act> {
    vec![
        Act { name: "lock", act: |store, _| assert!(lock(store, 1).fence > 0), ..USUAL },
        Act {
            name: "fenced write and unlock",
            child: |scene| Some(lock(scene.store(), 1)),
            act: |store, held| {
                let (value, held) = (content(2, 100), held.expect("locked"));
                let any = Expect::Any;
                let stored = store.put(KEY, &value, 0, Ttl::Never, any, Some(&held)).expect("put");
                assert!(matches!(stored, Stored::Done(_)));
                assert!(store.unlock(KEY, &held).expect("unlock"));
            },
            ..USUAL
        },
        Act {
            name: "unlock",
            child: |scene| Some(lock(scene.store(), 1)),
            act: |store, held| assert!(store.unlock(KEY, &held.expect("locked")).expect("unlock")),
            ..USUAL
        },
        Act {
            name: "unlock while another waits",
            before: |scene| {
                scene.old();
                queue_beside(scene);
            },
            child: |scene| {
                let held = lock(scene.store(), 1);
                let waits = || scene.lock_info().is_some_and(|info| info.holder.waiters > 0);
                eventually("the one that waits", waits);
                Some(held)
            },
            act: |store, held| assert!(store.unlock(KEY, &held.expect("locked")).expect("unlock")),
            ..USUAL
        },
        Act {
            name: "wait for a lock, and its end without it",
            before: hold_beside,
            act: |store, _| {
                try_in_vain(
                    store,
                    Wait { timeout: Some(Duration::from_millis(3)), ..Wait::default() },
                );
            },
            ..USUAL
        },
        Act {
            name: "wait that is called off",
            before: hold_beside,
            act: |store, _| try_in_vain(store, Wait { stop: Some(&|| true), ..Wait::default() }),
            ..USUAL
        },
        Act {
            name: "try for a lock that another has, to come again",
            before: hold_beside,
            act: |store, _| {
                let timeout = Some(Duration::ZERO);
                try_in_vain(store, Wait { timeout, polls: true, ..Wait::default() });
            },
            ..USUAL
        },
        Act {
            name: "lock whose lease is over",
            before: lease_beside,
            act: |store, _| assert!(lock(store, 1).fence > 0),
            ..USUAL
        },
        Act {
            name: "renewal of a lease",
            child: |scene| {
                let lease = Some(Duration::from_secs(60));
                Some(lock_with(scene.store(), 1, Wait { lease, ..Wait::default() }))
            },
            act: |store, held| {
                let lease = Some(Duration::from_secs(90));
                assert!(store.renew(KEY, &held.expect("locked"), lease).expect("renew"));
            },
            ..USUAL
        },
        Act {
            name: "second lock by the same owner, and delete under it",
            child: |scene| Some(lock(scene.store(), 1)),
            act: |store, held| {
                let again = lock(store, 1);
                assert_eq!(Some(again), held);
                done(store.delete(KEY, None, Some(&again)));
                assert!(store.unlock(KEY, &again).expect("unlock"));
            },
            ..USUAL
        },
    ]
}
