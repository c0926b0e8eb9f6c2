//! One operation in a loop, for a profiler: `store-hot get|set|touch|lock|session COUNT`, on one key,
//! and `store-hot random|random-set|random-session|miss|churned-miss|new COUNT KEYS`, in a store of so many keys of 1 KB.
use holdfast::{Acquired, Expect, Options, Store, Stored, Ttl, Wait};
use holdfast_tests::{Rng, dir, open};

const HOUR: Ttl = Ttl::Millis(3_600_000);

fn key(i: u64) -> Vec<u8> {
    format!("memc.sess.key.{:016x}{i:010}", i.wrapping_mul(0x9e37_79b9_7f4a_7c15)).into_bytes()
}

fn fill(store: &Store, keys: std::ops::Range<u64>, value: &[u8]) {
    for i in keys {
        store.set(&key(i), value, 0, HOUR).expect("set");
    }
}

/// All keys are replaced by others, one by one, several times.
fn churn(store: &Store, keys: u64) {
    for i in keys..keys * 8 {
        store.set(&key(i), b"", 0, HOUR).expect("set");
        store.delete(&key(i - keys), None, None).expect("delete");
    }
}

fn main() {
    let arg = |i: usize| std::env::args().nth(i);
    let what = arg(1).unwrap_or_default();
    let number = |i, default| arg(i).and_then(|n| n.parse().ok()).unwrap_or(default);
    let (count, keys): (u64, u64) = (number(2, 1_000_000), number(3, 1_000_000));
    let dir = dir();
    let max_bytes = Some((keys * 2_000).max(1 << 30));
    let store = open(dir.path(), &Options { create: true, max_bytes, ..Options::default() });
    let hot = b"memc.sess.key.0123456789abcdef0123456789";
    let value = vec![7u8; 1024];
    store.set(hot, &value, 0, HOUR).expect("set");
    match what.as_str() {
        "random" | "miss" => fill(&store, 0..keys, &value),
        // Twice, so that all of the store's memory was written to before.
        "random-set" | "random-session" => (0..2).for_each(|_| fill(&store, 0..keys, &value)),
        "churned-miss" => {
            fill(&store, 0..keys, b"");
            churn(&store, keys);
        }
        _ => {}
    }
    let mut out = Vec::new();
    let mut rng = Rng::new(1);
    let lock = |key: &[u8]| match store.lock(key, 1, &Wait::default()).expect("lock") {
        Acquired::Held(held) => held,
        other => panic!("{other:?}"),
    };
    let begun = std::time::Instant::now();
    for i in 0..count {
        match what.as_str() {
            "get" => assert!(store.get(hot, &mut out).expect("get").is_some()),
            "random" => {
                assert!(store.get(&key(rng.below(keys)), &mut out).expect("get").is_some())
            }
            "random-set" => {
                assert!(store.set(&key(rng.below(keys)), &value, 0, HOUR).is_ok())
            }
            "random-session" => {
                let key = key(rng.below(keys));
                let held = lock(&key);
                assert!(store.get(&key, &mut out).expect("get").is_some());
                let done = store.put(&key, &value, 0, HOUR, Expect::Any, Some(&held));
                assert!(matches!(done, Ok(Stored::Done(_))));
                store.unlock(&key, &held).expect("unlock");
            }
            "miss" | "churned-miss" => {
                assert!(store.get(&key(1 << 40 | i), &mut out).expect("get").is_none())
            }
            "new" => assert!(store.set(&key(i), b"", 0, HOUR).is_ok()),
            "touch" => assert!(store.touch(hot, HOUR, None).is_ok()),
            "lock" => assert!(store.unlock(hot, &lock(hot)).is_ok()),
            "set" => assert!(store.set(hot, &value, 0, HOUR).is_ok()),
            _ => {
                let held = lock(hot);
                assert!(store.get(hot, &mut out).expect("get").is_some());
                store.touch(hot, HOUR, Some(&held)).expect("touch");
                store.unlock(hot, &held).expect("unlock");
            }
        }
    }
    println!("{what}: {:.1} ns", begun.elapsed().as_nanos() as f64 / count as f64);
}
