//! Operations on one value: what is stored afterwards is the old value or the new one.

use holdfast::{BatchItem, Counted, Mark, Ttl, Update, Write};
use holdfast_tests::content;

use super::{Act, USUAL};
use crate::scene::{KEY, done, set};

fn ever() -> Write<'static> {
    Write { flags: 1, ttl: Ttl::Never, ..Write::default() }
}

pub fn acts() -> Vec<Act> {
    vec![
        Act {
            name: "put of a new key",
            before: |scene| assert!(scene.store().delete(KEY, None, None).is_ok()),
            act: |store, _| set(store, KEY, &content(2, 200), Ttl::Never),
            ..USUAL
        },
        Act {
            name: "overwrite",
            act: |store, _| set(store, KEY, &content(2, 200), Ttl::Never),
            ..USUAL
        },
        Act { name: "delete", act: |store, _| done(store.delete(KEY, None, None)), ..USUAL },
        Act {
            name: "touch to a longer life",
            act: |store, _| done(store.touch(KEY, Ttl::Never, None)),
            ..USUAL
        },
        Act {
            name: "touch to a shorter life",
            act: |store, _| done(store.touch(KEY, Ttl::Millis(90_000_000), None)),
            ..USUAL
        },
        Act {
            name: "increment",
            before: |scene| set(scene.store(), KEY, b"41", Ttl::Millis(500_000_000)),
            act: |store, _| {
                let counted = store.increment(KEY, 1, None, &Write::default()).expect("increment");
                assert!(matches!(counted, Counted::Done { value: 42, .. }), "{counted:?}");
            },
            ..USUAL
        },
        Act {
            name: "append",
            act: |store, _| {
                done(store.append(KEY, &content(2, 200), None, false));
            },
            ..USUAL
        },
        Act {
            name: "append that makes a value fill segments",
            fillers: 60,
            act: |store, _| {
                done(store.append(KEY, &content(2, 70_000), None, false));
            },
            ..USUAL
        },
        Act {
            name: "update that deletes",
            act: |store, _| {
                done(store.update(KEY, None, false, &mut |_| Update::Delete));
            },
            ..USUAL
        },
        Act {
            name: "batch",
            act: |store, _| {
                let (value, how) = (content(2, 200), Write { ttl: Ttl::Never, ..Write::default() });
                let items = [&b"beside"[..], KEY, b"behind"].map(|key| {
                    let ttl = if key == KEY { Ttl::Never } else { Ttl::Millis(1_000) };
                    BatchItem { key, value: &value, how: Write { ttl, ..how } }
                });
                store.set_many(&items).expect("set_many").into_iter().for_each(done);
            },
            ..USUAL
        },
        Act {
            name: "put of a value with a mark and a version of its own",
            act: |store, _| {
                let (mark, version) = (Mark::Stale, Some(4711));
                done(store.write(KEY, &content(2, 200), &Write { mark, version, ..ever() }));
            },
            ..USUAL
        },
        Act {
            name: "add",
            before: |scene| assert!(scene.store().delete(KEY, None, None).is_ok()),
            act: |store, _| done(store.add(KEY, &content(2, 200), 1, Ttl::Never)),
            ..USUAL
        },
        Act {
            name: "replace by version",
            act: |store, _| {
                let version = store.exists(KEY).expect("exists").expect("there").version;
                done(store.cas(KEY, &content(2, 200), 1, Ttl::Never, version));
            },
            ..USUAL
        },
        Act {
            name: "delete by version",
            act: |store, _| {
                let version = store.exists(KEY).expect("exists").expect("there").version;
                done(store.delete(KEY, Some(version), None));
            },
            ..USUAL
        },
        Act {
            name: "read that gives a longer life",
            act: |store, _| {
                let read = store.get_touch(KEY, Ttl::Never, &mut Vec::new()).expect("read");
                assert!(read.is_some_and(|item| item.expires_ms == 0));
            },
            ..USUAL
        },
        Act {
            name: "touch to a shorter life of a value that fills segments",
            before: |scene| {
                set(scene.store(), KEY, &content(1, 70_000), Ttl::Millis(500_000_000));
            },
            act: |store, _| done(store.touch(KEY, Ttl::Millis(90_000_000), None)),
            fillers: 60,
            ..USUAL
        },
        Act {
            name: "prepend",
            act: |store, _| done(store.prepend(KEY, &content(2, 200), None, false)),
            ..USUAL
        },
        Act {
            name: "decrement of a number that is made",
            before: |scene| assert!(scene.store().delete(KEY, None, None).is_ok()),
            act: |store, _| {
                let counted = store.decrement(KEY, 1, Some(10), &ever()).expect("decrement");
                assert!(matches!(counted, Counted::Done { value: 10, .. }), "{counted:?}");
            },
            ..USUAL
        },
        Act {
            name: "append to a compressed value",
            options: |options| options.compress = Some(true),
            before: |scene| set(scene.store(), KEY, &[7; 3_000], Ttl::Millis(500_000_000)),
            act: |store, _| done(store.append(KEY, &[8; 3_000], None, false)),
            ..USUAL
        },
    ]
}
