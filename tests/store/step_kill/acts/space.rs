//! Where space comes from and goes: segments, runs, the sweep, eviction, the growth of the index.

use std::time::Duration;

use holdfast::Ttl;
use holdfast_tests::content;

use super::{Act, USUAL};
use crate::scene::{KEY, one_of_many, set, slots, sweep};

pub fn acts() -> Vec<Act> {
    vec![
        Act {
            name: "roll to a new segment",
            child: |scene| {
                let store = scene.store();
                // Fill a segment up to the last few KB.
                let free = || store.stats().expect("stats").segments_free;
                let begin = free();
                while free() == begin {
                    set(store, b"filler", &content(3, 15_360), Ttl::Millis(1));
                }
                (0..3).for_each(|_| set(store, b"filler", &content(3, 15_360), Ttl::Millis(1)));
                None
            },
            act: |store, _| set(store, KEY, &content(2, 4_000), Ttl::Never),
            ..USUAL
        },
        Act {
            name: "value that fills segments",
            fillers: 60,
            act: |store, _| set(store, KEY, &content(2, 70_000), Ttl::Never),
            ..USUAL
        },
        Act {
            name: "overwrite of a value that fills segments, and their return",
            fillers: 60,
            before: |scene| {
                // The new value of the last turn may fill the lanes; only the run matters.
                set(scene.store(), KEY, &content(1, 70_000), Ttl::Millis(500_000_000));
            },
            act: |store, _| {
                set(store, KEY, &content(2, 100), Ttl::Millis(600_000_000));
                sweep(store);
            },
            ..USUAL
        },
        Act {
            name: "sweep that frees segments",
            fillers: 60,
            before: |scene| {
                set(scene.store(), KEY, &content(1, 300), Ttl::Never);
                for i in 0..40u32 {
                    set(scene.store(), &i.to_le_bytes(), &content(4, 4_000), Ttl::Millis(1_000));
                }
                scene.clock.pass(2_000);
            },
            act: |store, _| {
                sweep(store);
            },
            ..USUAL
        },
        Act {
            name: "compaction, which moves what is alive",
            before: |scene| {
                // In each segment some that live among many that do not.
                for _ in 0..16 {
                    let i = scene.crowd.get();
                    set(scene.store(), &one_of_many(i), b"", Ttl::Never);
                    scene.crowd.set(i + 1);
                    scene.old();
                    set(scene.store(), b"filler", &content(i, 9_000), Ttl::Never);
                }
            },
            act: |store, _| assert!(store.compact().expect("compact") > 0),
            ..USUAL
        },
        Act {
            name: "growth of the index",
            options: |options| options.max_bytes = Some(8 << 20),
            before: |scene| {
                set(scene.store(), KEY, &content(1, 300), Ttl::Never);
                // As many as make one table grow: others are then about to.
                let before = slots(scene.store());
                while scene.crowd.get() < 1_500 || slots(scene.store()) == before {
                    let i = scene.crowd.get();
                    set(scene.store(), &one_of_many(i), b"", Ttl::Never);
                    scene.crowd.set(i + 1);
                }
            },
            act: |store, _| {
                // Other keys each time, so that they meet other tables.
                let name = store.exists(KEY).expect("exists").expect("there").version;
                let (before, mut i) = (slots(store), 0);
                while slots(store) == before {
                    let key = [name.to_le_bytes(), (i as u64).to_le_bytes()].concat();
                    set(store, &key, b"", Ttl::Millis(10_000));
                    i += 1;
                }
                set(store, KEY, &content(2, 200), Ttl::Never);
            },
            ..USUAL
        },
        Act {
            name: "write into a full store, which makes room",
            before: |scene| {
                set(scene.store(), KEY, &content(1, 300), Ttl::Never);
                let mut i = 0u32;
                while scene
                    .store()
                    .set(&i.to_le_bytes(), &content(4, 9_000), 0, Ttl::Millis(100))
                    .is_ok()
                {
                    i += 1;
                }
                scene.clock.pass(2_000);
                std::thread::sleep(Duration::from_millis(110));
            },
            act: |store, _| {
                for i in 0..8u32 {
                    set(store, &(i | 1 << 30).to_le_bytes(), &content(4, 9_000), Ttl::Millis(100));
                }
            },
            ..USUAL
        },
        Act {
            name: "write into a full cache, which evicts",
            options: |options| options.evict = Some(true),
            before: |scene| {
                let evicted = || scene.store().stats().expect("stats").evicted;
                let begin = evicted();
                for i in 0..2_000u32 {
                    // Small ones and such that fill segments; some are read, and moved therefore.
                    let (key, len) = (i.to_le_bytes(), if i % 4 == 0 { 9_000 } else { 1_500 });
                    set(scene.store(), &key, &content(i.into(), len), Ttl::Never);
                    if i % 3 == 0 {
                        scene.store().get(&key, &mut Vec::new()).expect("get");
                    }
                    if i > 20 && evicted() > begin + 5 {
                        break;
                    }
                }
                assert!(evicted() > begin + 5, "nothing was evicted");
                scene.old();
            },
            act: |store, _| {
                for i in 0..24u32 {
                    let len = if i % 4 == 0 { 9_000 } else { 1_500 };
                    set(store, &(i | 1 << 30).to_le_bytes(), &content(i.into(), len), Ttl::Never);
                }
                set(store, KEY, &content(2, 200), Ttl::Never);
            },
            ..USUAL
        },
        Act {
            name: "expiry, a few records at a time",
            before: |scene| {
                scene.old();
                for i in 0..12u32 {
                    set(scene.store(), &i.to_le_bytes(), &content(4, 100), Ttl::Millis(1_000));
                }
                scene.clock.pass(2_000);
            },
            act: |store, _| {
                for _ in 0..8 {
                    store.expire(20).expect("expire");
                }
            },
            ..USUAL
        },
        Act {
            name: "expiry of one record",
            before: |scene| {
                scene.old();
                set(scene.store(), b"fleeting", b"", Ttl::Millis(1));
                scene.clock.pass(2_000);
            },
            act: |store, _| assert!(store.expire(1).is_ok()),
            ..USUAL
        },
    ]
}
