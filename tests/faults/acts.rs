//! What is under way when a call fails: everything that a process can do with a store.

use std::path::Path;
use std::time::Duration;

use holdfast::{
    Acquired, ConfigChange, Expect, Options, RepairOptions, Result, SCAN_DONE, Scan, Store, Sync,
    Ttl, Wait, Write,
};
use holdfast_tests::process::{self, Ended};

use crate::memory::content;
use crate::stage::{After, From, KEY, LONG, must_be_clear, options, value};

pub struct Act {
    pub name: &'static str,
    pub from: From,
    pub sync: Sync,
    /// Another process has the store open all the while.
    pub beside: bool,
    pub open: fn(&Path) -> Option<Store>,
    pub act: fn(&mut Option<Store>, &Path) -> Result<()>,
    pub after: fn() -> After,
}

fn closed(_: &Path) -> Option<Store> {
    None
}

fn opened(path: &Path) -> Option<Store> {
    Some(Store::open(path, &options()).expect("opened before"))
}

fn with_thread(path: &Path) -> Option<Store> {
    let options = Options { thread: true, ..options() };
    Some(Store::open(path, &options).expect("opened before"))
}

/// A lane's segment is full up to the last few KB.
fn nearly_full(path: &Path) -> Option<Store> {
    let store = opened(path)?;
    let free = || store.stats().expect("stats").segments_free;
    let begin = free();
    while free() == begin {
        store.set(b"filler", &content(3, 15_360), 0, Ttl::Millis(1)).expect("filled");
    }
    (0..3).for_each(|_| drop(store.set(b"filler", &content(3, 15_360), 0, Ttl::Millis(1))));
    Some(store)
}

/// Much of the log is dead.
fn worn(path: &Path) -> Option<Store> {
    let store = opened(path)?;
    for i in 0..30u32 {
        store.set(b"filler", &content(3, 12_000), 0, Ttl::Millis(1)).expect("filled");
        store.set(&(i | 1 << 20).to_le_bytes(), &content(4, 300), 0, Ttl::Millis(1)).expect("set");
    }
    std::thread::sleep(Duration::from_millis(3));
    Some(store)
}

/// One copy of `super` is damaged, and a byte of the log that belongs to nothing.
fn broken(path: &Path) -> Option<Store> {
    use std::os::unix::fs::FileExt;
    let file = std::fs::File::options().write(true).open(path.join("super")).expect("super");
    file.write_all_at(&[0x55; 8], 0x40).expect("damaged");
    None
}

fn store(given: &Option<Store>) -> &Store {
    given.as_ref().expect("it was opened before")
}

fn set(given: &Option<Store>, len: usize) -> Result<()> {
    store(given).set(KEY, &content(2, len), 0, Ttl::Never).map(drop)
}

fn same() -> After {
    After::Same
}

fn written<const LEN: usize>() -> After {
    After::Written(content(2, LEN))
}

pub const PLAIN: Act = Act {
    name: "",
    from: From::Closed,
    sync: Sync::None,
    beside: true,
    open: opened,
    act: |_, _| Ok(()),
    after: same,
};

fn open(given: &mut Option<Store>, path: &Path) -> Result<()> {
    *given = Some(Store::open(path, &options())?);
    Ok(())
}

pub fn all() -> Vec<Act> {
    let mut acts = opens();
    acts.extend(changes());
    acts.extend(cares());
    acts
}

fn opens() -> Vec<Act> {
    let alone = Act { beside: false, open: closed, act: open, ..PLAIN };
    vec![
        Act { name: "create", from: From::Nothing, after: || After::Empty, ..alone },
        Act { name: "open, closed before", ..alone },
        Act { name: "open, others have it open", beside: true, ..alone },
        Act { name: "open after deaths", from: From::Deaths, ..alone },
        Act { name: "open after a power loss", from: From::PowerLoss, ..alone },
        Act {
            name: "open with limits that grow",
            open: |path| {
                let store = opened(path).expect("opened before");
                let change = ConfigChange { max_bytes: Some(2 << 20), ..ConfigChange::default() };
                store.set_config(&change).expect("asked");
                None
            },
            ..alone
        },
        Act {
            name: "close",
            open: opened,
            act: |given, _| {
                set(given, 200)?;
                *given = None;
                Ok(())
            },
            after: written::<200>,
            ..alone
        },
        Act {
            name: "attach in the child of a fork",
            open: opened,
            act: |given, path| {
                let child = process::fork(|| match set(given, 200) {
                    Ok(()) => {}
                    Err(e) => must_be_clear(&e, path),
                });
                assert_eq!(child.wait(LONG), Ended::Exit(0), "the child");
                Err(holdfast::Error::Busy(format!("{}: perhaps", path.display())))
            },
            after: written::<200>,
            ..PLAIN
        },
    ]
}

fn changes() -> Vec<Act> {
    vec![
        Act { name: "get", act: |s, _| store(s).get(KEY, &mut Vec::new()).map(drop), ..PLAIN },
        Act { name: "set", act: |s, _| set(s, 200), after: written::<200>, ..PLAIN },
        Act {
            name: "set, a large value",
            act: |s, _| set(s, 80_000),
            after: written::<80_000>,
            ..PLAIN
        },
        Act {
            name: "set that begins a segment",
            open: nearly_full,
            act: |s, _| set(s, 4_000),
            after: written::<4_000>,
            ..PLAIN
        },
        Act {
            name: "sets that make the file grow",
            act: |s, _| {
                for i in 0..20u32 {
                    let key = (i | 1 << 21).to_le_bytes();
                    store(s).set(&key, &content(5, 15_000), 0, Ttl::Never)?;
                }
                Ok(())
            },
            ..PLAIN
        },
        Act {
            name: "sets that make the index grow",
            act: |s, _| {
                for i in 0..2_500u32 {
                    store(s).set(&(i | 1 << 22).to_le_bytes(), b"x", 0, Ttl::Never)?;
                }
                Ok(())
            },
            ..PLAIN
        },
        Act {
            name: "delete",
            act: |s, _| store(s).delete(KEY, None, None).map(drop),
            after: || After::Deleted,
            ..PLAIN
        },
        Act {
            name: "touch",
            act: |s, _| store(s).touch(KEY, Ttl::Millis(50_000_000), None).map(drop),
            ..PLAIN
        },
        Act {
            name: "lock, write with it, unlock",
            act: |s, _| {
                let Acquired::Held(held) = store(s).lock(KEY, 1, &Wait::default())? else {
                    panic!("not held")
                };
                let new = content(2, 200);
                let put = store(s).put(KEY, &new, 0, Ttl::Never, Expect::Any, Some(&held));
                let freed = store(s).unlock(KEY, &held)?;
                assert!(freed);
                put.map(drop)
            },
            after: written::<200>,
            ..PLAIN
        },
        Act {
            name: "set with a new owner, and the owner's end",
            act: |s, _| {
                let how = Write { owner: Some(b"anna"), ttl: Ttl::Never, ..Write::default() };
                store(s).write(b"owned", b"v", &how)?;
                store(s).end_owner(b"anna").map(drop)
            },
            ..PLAIN
        },
        Act {
            name: "set, always synced",
            sync: Sync::Always,
            act: |s, _| set(s, 200),
            after: written::<200>,
            ..PLAIN
        },
        Act {
            name: "set with a sync that is due",
            sync: Sync::Periodic,
            open: |path| {
                let store = opened(path)?;
                let soon = Some(20);
                let change = ConfigChange { sync_interval_ms: soon, ..ConfigChange::default() };
                store.set_config(&change).expect("changed");
                std::thread::sleep(Duration::from_millis(30));
                Some(store)
            },
            act: |s, _| set(s, 200),
            after: written::<200>,
            ..PLAIN
        },
        Act {
            name: "set that starts the thread",
            sync: Sync::Periodic,
            open: with_thread,
            act: |s, _| set(s, 200),
            after: written::<200>,
            ..PLAIN
        },
        Act { name: "sync", act: |s, _| store(s).sync(), ..PLAIN },
        Act { name: "expire", open: worn, act: |s, _| store(s).expire(0).map(drop), ..PLAIN },
        Act { name: "compact", open: worn, act: |s, _| store(s).compact().map(drop), ..PLAIN },
    ]
}

fn cares() -> Vec<Act> {
    vec![
        Act {
            name: "change of the options",
            act: |s, _| {
                let change = ConfigChange { compress: Some(true), ..ConfigChange::default() };
                store(s).set_config(&change).map(drop)
            },
            ..PLAIN
        },
        Act { name: "flush", act: |s, _| store(s).flush(None), after: || After::Flushed, ..PLAIN },
        Act { name: "verify", act: |s, _| store(s).verify(&mut |_, _| true).map(drop), ..PLAIN },
        Act {
            name: "scan, stats, memory",
            act: |s, _| {
                let mut cursor = 0;
                let page = Scan { limit: 10, values: true, ..Scan::default() };
                let mut right = |entry: &holdfast::Entry| {
                    let i = entry.key.try_into().map_or(KEY.len() as u32, u32::from_le_bytes);
                    assert!(entry.key == KEY || entry.value == Some(&value(i)), "{:?}", entry.key);
                    std::ops::ControlFlow::Continue(())
                };
                while cursor != SCAN_DONE {
                    store(s).scan(&mut cursor, &page, &mut right)?;
                }
                store(s).stats()?;
                store(s).reclaimable(true)?;
                store(s).trim_memory().map(drop)
            },
            ..PLAIN
        },
        Act {
            name: "backup",
            act: |s, path| {
                let to = path.with_file_name("copy");
                store(s).backup(&to, true, &mut |_, _| true).map(drop)
            },
            ..PLAIN
        },
        Act {
            name: "restore",
            beside: false,
            open: |path| {
                let store = opened(path).expect("opened before");
                store.backup(path.with_file_name("copy"), false, &mut |_, _| true).expect("made");
                None
            },
            act: |_, path| {
                let (from, to) = (path.with_file_name("copy"), path.with_file_name("new"));
                Store::restore(&from, &to, &mut |_, _| true).map(drop)
            },
            ..PLAIN
        },
        Act {
            name: "repair",
            beside: false,
            open: broken,
            act: |_, path| {
                Store::repair(path, &RepairOptions::default(), &mut |_, _| true).map(drop)
            },
            ..PLAIN
        },
    ]
}
