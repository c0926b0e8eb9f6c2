//! What concerns the whole store: options, flushes, reads, a check, a child that attaches.

use std::ops::ControlFlow;

use holdfast::{ConfigChange, Entry, Range, Scan, Store, Sync, Ttl};
use holdfast_tests::content;

use super::{Act, USUAL};
use crate::scene::{KEY, set};

/// Every verb that changes no value. In a cache a read leaves its trace in the slot.
fn read_everything(store: &Store) {
    let mut value = Vec::new();
    let found = store.get(KEY, &mut value).expect("get").expect("there");
    store.exists(KEY).expect("exists").expect("there");
    store.get_many(&[KEY, b"nothing"], &mut |_, found| assert!(found.is_ok())).expect("many");
    let (mut cursor, mut seen) = (0, 0);
    let mut count = |_: &Entry| {
        seen += 1;
        ControlFlow::Continue(())
    };
    let scan = Scan { values: true, ..Scan::default() };
    store.scan(&mut cursor, &scan, &mut count).expect("scan");
    store.range(&Range::default(), &mut count).expect("range");
    assert!(seen >= 2, "{found:?}");
    store.count_keys(b"the").expect("count");
    store.owner_of(KEY).expect("owner");
    store.owner_keys(b"nobody", &mut |_| true).expect("keys");
    store.locks(10).expect("locks");
    store.condition().expect("condition");
    store.reclaimable(true).expect("reclaimable");
    store.trim_memory().expect("trim");
}

/// Those of few stores.
pub fn short() -> Vec<Act> {
    vec![
        Act {
            name: "change of the options",
            act: |store, _| {
                let other = match store.config().expect("config").sync {
                    Sync::None => Sync::Periodic,
                    _ => Sync::None,
                };
                let change = ConfigChange { sync: Some(other), ..ConfigChange::default() };
                assert_eq!(store.set_config(&change).expect("changed").sync, other);
            },
            ..USUAL
        },
        Act {
            name: "options that wait for an opener who is alone",
            is_rebuilt: true,
            act: |store, _| {
                let more = store.config().expect("config").pending_max_processes.max(4) + 1;
                let change = ConfigChange { max_processes: Some(more), ..ConfigChange::default() };
                let config = store.set_config(&change).expect("changed");
                assert_eq!(config.pending_max_processes, more);
            },
            ..USUAL
        },
        Act {
            name: "reads of a cache, scans with values among them",
            options: |options| options.evict = Some(true),
            act: |store, _| read_everything(store),
            ..USUAL
        },
        Act {
            name: "check",
            act: |store, _| {
                let report = store.verify(&mut |_, _| true).expect("verify");
                assert!(report.findings.is_empty(), "{:?}", report.findings);
            },
            ..USUAL
        },
        Act {
            name: "child that attaches",
            attaches: true,
            act: |store, _| assert!(store.exists(KEY).expect("exists").is_some()),
            ..USUAL
        },
        Act {
            name: "write that waits for the disk",
            options: |options| options.sync = Some(Sync::Always),
            act: |store, _| set(store, KEY, &content(2, 200), Ttl::Never),
            ..USUAL
        },
        Act {
            name: "write whose sync is put off, and the sync",
            options: |options| (options.sync, options.defer_sync) = (Some(Sync::Always), true),
            act: |store, _| {
                set(store, KEY, &content(2, 200), Ttl::Never);
                store.sync().expect("sync");
            },
            ..USUAL
        },
    ]
}

pub fn acts() -> Vec<Act> {
    let mut acts = short();
    acts.extend([
        Act { name: "flush", act: |store, _| store.flush(None).expect("flush"), ..USUAL },
        Act {
            name: "planned flush that is due",
            before: |scene| {
                set(scene.store(), KEY, &content(1, 300), Ttl::Never);
                let at = scene.store().now_ms().expect("now") + 1;
                scene.store().flush(Some(at)).expect("planned");
                scene.clock.pass(2);
            },
            act: |store, _| set(store, KEY, &content(2, 200), Ttl::Never),
            ..USUAL
        },
    ]);
    acts
}
