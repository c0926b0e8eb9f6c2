//! One operation in a loop, for a profiler: `store-hot get|set|touch|lock|session COUNT`.
use holdfast::{Acquired, Options, Ttl, Wait};
use holdfast_tests::{dir, open};

fn main() {
    let what = std::env::args().nth(1).unwrap_or_default();
    let count: u64 = std::env::args().nth(2).and_then(|n| n.parse().ok()).unwrap_or(1_000_000);
    let dir = dir();
    let store = open(dir.path(), &Options { create: true, ..Options::default() });
    let key = b"memc.sess.key.0123456789abcdef0123456789";
    let value = vec![7u8; 1024];
    store.set(key, &value, 0, Ttl::Millis(3_600_000)).expect("set");
    let mut out = Vec::new();
    let begun = std::time::Instant::now();
    for _ in 0..count {
        match what.as_str() {
            "get" => assert!(store.get(key, &mut out).expect("get").is_some()),
            "touch" => drop(store.touch(key, Ttl::Millis(3_600_000), None).expect("touch")),
            "lock" => {
                let Acquired::Held(held) = store.lock(key, 1, &Wait::default()).expect("lock")
                else {
                    panic!("not held")
                };
                store.unlock(key, &held).expect("unlock");
            }
            "set" => drop(store.set(key, &value, 0, Ttl::Millis(3_600_000)).expect("set")),
            _ => {
                let Acquired::Held(held) = store.lock(key, 1, &Wait::default()).expect("lock")
                else {
                    panic!("not held")
                };
                assert!(store.get(key, &mut out).expect("get").is_some());
                store.touch(key, Ttl::Millis(3_600_000), Some(&held)).expect("touch");
                store.unlock(key, &held).expect("unlock");
            }
        }
    }
    println!("{what}: {:.1} ns", begun.elapsed().as_nanos() as f64 / count as f64);
}
