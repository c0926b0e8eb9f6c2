//! Options and addresses as a caller gives them: each is refused in a sentence, or makes a store that takes a value
//! and gives it back.
#![no_main]

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::sync::LazyLock;
use std::time::Duration;

use holdfast::{ConfigChange, HashKind, Options, Sync, Ttl, backend};
use holdfast_fuzz::room::*;

static ROOM: LazyLock<Room> = LazyLock::new(|| Room::new("options"));

fn maybe<T>(input: &mut Input, some: impl Fn(u64) -> T) -> Option<T> {
    match input.byte() % 3 {
        0 => None,
        1 => Some(some(1 << (input.byte() % 40))),
        _ => Some(some(input.number())),
    }
}

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let mut input = Input(bytes);
    let millis = Duration::from_millis;
    let asked = Options {
        sync: maybe(&mut input, |n| [Sync::None, Sync::Periodic, Sync::Always][n as usize % 3]),
        sync_interval: maybe(&mut input, millis),
        max_bytes: maybe(&mut input, |n| n),
        max_value_bytes: maybe(&mut input, |n| n),
        default_ttl: maybe(&mut input, millis),
        max_ttl: maybe(&mut input, millis),
        max_processes: maybe(&mut input, |n| n as u32),
        hash: maybe(&mut input, |n| [HashKind::Rapid, HashKind::Sip13][n as usize % 2]),
        evict: maybe(&mut input, |n| n % 2 == 0),
        ..options()
    };
    let change = ConfigChange {
        sync_interval_ms: maybe(&mut input, |n| n),
        default_ttl_ms: maybe(&mut input, |n| n),
        max_ttl_ms: maybe(&mut input, |n| n),
        max_value_bytes: maybe(&mut input, |n| n),
        max_bytes: maybe(&mut input, |n| n),
        max_processes: maybe(&mut input, |n| n as u32),
        ..ConfigChange::default()
    };
    // Address space is what a larger store takes first, and there is not that much under the sanitizer.
    let most = asked.max_bytes.max(change.max_bytes);
    if most.is_some_and(|bytes| bytes > 1 << 33) {
        return;
    }
    // An address that is no directory of ours is refused, whatever it is.
    let address = [b"/dev/null/".to_vec(), input.0.to_vec()].concat();
    assert!(backend::open(OsString::from_vec(address), &asked).is_err());
    let scheme = [input.0.to_vec(), b"://host".to_vec()].concat();
    if !scheme.contains(&0) {
        assert!(
            backend::open(OsString::from_vec(scheme), &Options { create: false, ..asked.clone() })
                .is_err()
        );
    }
    ROOM.clear();
    let Ok(store) = backend::open(ROOM.path(), &asked) else { return };
    let set = |store: &dyn backend::Backend| {
        store.write(b"k", b"v", &holdfast::Write { ttl: Ttl::Never, ..Default::default() }).is_ok()
    };
    let mut value = Vec::new();
    let short = asked.max_ttl.is_some_and(|ttl| ttl.as_millis() < 1000);
    if set(&*store) && !short {
        assert!(store.get(b"k", &mut value).expect("read").is_some() && value == b"v");
    }
    let _ = store.set_config(&change);
    drop(store);
    let store = backend::open(ROOM.path(), &asked).expect("what could be set can be opened");
    set(&*store);
    let _ = store.stats();
});
