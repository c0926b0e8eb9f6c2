//! Store benchmark: interleaved rounds, medians, every answer checked.
//!
//! Prints nanoseconds per operation. Arguments: rounds (default 9), operations per round.

use std::hint::black_box;
use std::time::Instant;

use holdfast::{Acquired, Counted, Options, Store, Stored, Sync, Ttl, Wait, Write};
use holdfast_tests::measure::median;
use holdfast_tests::{dir, open};

type Case<'a> = (&'static str, Box<dyn FnMut(u64) + 'a>);

fn key(i: u64) -> [u8; 40] {
    let mut key = *b"memc.sess.key.00000000000000000000000000";
    for (n, byte) in key[14..].iter_mut().enumerate() {
        *byte =
            b"0123456789abcdef"[(i.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> (n * 2) & 15) as usize];
    }
    key[32..].copy_from_slice(&format!("{i:08}").as_bytes()[..8]);
    key
}

/// Each case begins with nothing left to be written back, so that none pays for another's writes.
fn run(store: &Store, cases: &mut [Case], rounds: usize, ops: u64) {
    let mut times = vec![Vec::new(); cases.len()];
    for round in 0..rounds {
        for (n, (_, case)) in cases.iter_mut().enumerate() {
            store.sync().expect("sync");
            let begun = Instant::now();
            case(ops);
            if round > 0 || rounds == 1 {
                times[n].push(begun.elapsed().as_nanos() as f64 / ops as f64);
            }
        }
    }
    for ((name, _), times) in cases.iter().zip(times) {
        println!("{name:<44} {:>8.1} ns", median(times));
    }
}

fn check_get(store: &Store, key: &[u8], out: &mut Vec<u8>, first: u8) {
    let item = store.get(key, out).expect("get").expect("present");
    assert!(item.value_len == 1024 && out.len() == 1024 && out[0] == first, "wrong answer");
}

const MANY: u64 = 1_000_000;
/// Threads that write at the same time.
const WRITERS: u64 = 8;

fn main() {
    let mut args = std::env::args().skip(1);
    if std::env::args().nth(1).as_deref() == Some("durable") {
        return durable(9);
    }
    if std::env::args().nth(1).as_deref() == Some("--fill-and-die") {
        fill_and_die(&std::env::args().nth(2).expect("directory"));
    }
    let rounds = args.next().map_or(9, |a| a.parse().expect("rounds"));
    let ops = args.next().map_or(200_000, |a| a.parse().expect("operations"));
    let dir = dir();
    let options = Options {
        create: true,
        max_bytes: Some(4 << 30),
        sync: Some(Sync::Periodic),
        ..Options::default()
    };
    let store = open(dir.path(), &options);
    let value = vec![7u8; 1024];
    let many = MANY;
    let begun = Instant::now();
    for i in 0..many {
        store.set(&key(i), &value, 0, Ttl::Millis(3_600_000)).expect("set");
    }
    println!("fill: 1M keys of 1 KB in {:.2} s", begun.elapsed().as_secs_f64());
    let hot = key(5);
    let (mut out, mut out2, mut out3) = (Vec::new(), Vec::new(), Vec::new());
    let (mut x, mut y) = (1u64, 2u64);
    let wait = Wait::default();
    let mut cases: Vec<Case> = vec![
        (
            "get 1 KB, hot",
            Box::new(|n| (0..n).for_each(|_| check_get(&store, black_box(&hot), &mut out, 7))),
        ),
        (
            "get 1 KB, random over 1M keys",
            Box::new(|n| {
                for _ in 0..n {
                    x = x.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
                    check_get(&store, &key((x >> 33) % many), &mut out2, 7);
                }
            }),
        ),
        (
            "get_many 64 of 1 KB, random over 1M keys",
            Box::new(|n| {
                for _ in 0..n / 64 {
                    let keys: [[u8; 40]; 64] = std::array::from_fn(|_| {
                        y = y.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
                        key((y >> 33) % many)
                    });
                    let keys: [&[u8]; 64] = std::array::from_fn(|i| &keys[i][..]);
                    let mut found = 0;
                    store
                        .get_many(&keys, &mut |_, value| {
                            let (_, bytes) = value.expect("get").expect("present");
                            assert!(bytes.len() == 1024 && bytes[0] == 7, "wrong answer");
                            found += 1;
                        })
                        .expect("get_many");
                    assert_eq!(found, 64);
                }
            }),
        ),
        (
            "lock + get + touch + unlock, hot",
            Box::new(|n| {
                for _ in 0..n {
                    let Acquired::Held(held) = store.lock(&hot, 1, &wait).expect("lock") else {
                        panic!("not held")
                    };
                    check_get(&store, &hot, &mut out3, 7);
                    let touched = store.touch(&hot, Ttl::Millis(3_600_000), Some(&held));
                    assert!(matches!(touched, Ok(Stored::Done(_))));
                    assert!(store.unlock(&hot, &held).expect("unlock"));
                }
            }),
        ),
        (
            "lock + unlock, hot",
            Box::new(|n| {
                for _ in 0..n {
                    let Acquired::Held(held) = store.lock(&hot, 1, &wait).expect("lock") else {
                        panic!("not held")
                    };
                    assert!(store.unlock(&hot, &held).expect("unlock"));
                }
            }),
        ),
        (
            "touch, hot",
            Box::new(|n| {
                for _ in 0..n {
                    let touched = store.touch(&hot, Ttl::Millis(3_600_000), None);
                    assert!(matches!(touched, Ok(Stored::Done(_))));
                }
            }),
        ),
        (
            "increment, one key",
            Box::new(|n| {
                for _ in 0..n {
                    let counted = store.increment(b"counter", 1, Some(0), &Write::default());
                    assert!(matches!(counted, Ok(Counted::Done { .. })));
                }
            }),
        ),
        (
            "set 1 KB, one key",
            Box::new(|n| {
                for _ in 0..n {
                    store.set(&hot, &value, 0, Ttl::Millis(3_600_000)).expect("set");
                }
            }),
        ),
    ];
    run(&store, &mut cases, rounds, ops);
    drop(cases);
    drop(store);
    durable(rounds);
    restart(rounds);
}

/// Writes that are on the disk when they return: one writer, and several at once, in turn.
fn durable(rounds: usize) {
    const EACH: u64 = 200;
    let dir = dir();
    let options = Options {
        create: true,
        max_bytes: Some(256 << 20),
        sync: Some(Sync::Always),
        ..Options::default()
    };
    let store = open(dir.path(), &options);
    let value = vec![7u8; 1024];
    let write = |writer: u64| {
        for i in 0..EACH {
            let stored = store.set(&key(writer << 16 | i), &value, 0, Ttl::Millis(60_000));
            assert!(matches!(stored, Ok(Stored::Done(_))));
        }
    };
    let mut rates = [const { Vec::new() }; 3];
    let writers = [1, WRITERS, 4 * WRITERS];
    for _ in 0..rounds {
        for (rates, writers) in rates.iter_mut().zip(writers) {
            let (begun, before) = (Instant::now(), store.stats().expect("stats").sync_rounds);
            std::thread::scope(|scope| {
                (0..writers).for_each(|writer| drop(scope.spawn(move || write(writer))));
            });
            let rounds = store.stats().expect("stats").sync_rounds - before;
            let written = (writers * EACH) as f64;
            rates.push((written / begun.elapsed().as_secs_f64(), written / rounds as f64));
        }
    }
    for (rates, writers) in rates.into_iter().zip(writers) {
        let (rate, shared): (Vec<f64>, Vec<f64>) = rates.into_iter().unzip();
        let name = format!("durable set 1 KB, {writers} writers");
        let (rate, shared) = (median(rate), median(shared));
        println!("{name:<44} {rate:>8.0} /s, {shared:.1} for each sync");
    }
}

/// A child fills a store with a million keys and is killed; how long until the first answer?
fn restart(rounds: usize) {
    let dir = dir();
    let mut times = Vec::new();
    for _ in 0..rounds.min(5) {
        let child = std::process::Command::new(std::env::current_exe().expect("own path"))
            .args(["--fill-and-die", dir.path().to_str().expect("utf-8")])
            .status()
            .expect("child");
        assert_eq!(std::os::unix::process::ExitStatusExt::signal(&child), Some(9));
        let begun = Instant::now();
        let store = open(dir.path(), &restart_options());
        let mut out = Vec::new();
        check_get(&store, &key(MANY / 2), &mut out, 7);
        times.push(begun.elapsed().as_secs_f64() * 1e3);
        assert_eq!(store.stats().expect("stats").keys, MANY);
    }
    println!("{:<44} {:>8.1} ms", "first answer after SIGKILL, 1M keys", median(times));
    std::fs::remove_file(dir.path().join("meta")).expect("remove meta");
    let begun = Instant::now();
    let store = open(dir.path(), &restart_options());
    let took = begun.elapsed().as_secs_f64();
    let bytes = store.stats().expect("stats").data_bytes;
    let rate = bytes as f64 / took / 1e9;
    println!("{:<44} {:>8.1} ms ({rate:.2} GB/s)", "rebuild as after a power loss", took * 1e3);
}

fn restart_options() -> Options {
    Options { create: true, max_bytes: Some(2 << 30), ..Options::default() }
}

fn fill_and_die(path: &str) -> ! {
    let store = open(path.as_ref(), &restart_options());
    let value = vec![7u8; 1024];
    let mut out = Vec::new();
    for i in 0..MANY {
        if store.get(&key(i), &mut out).expect("get").is_none() {
            store.set(&key(i), &value, 0, Ttl::Never).expect("set");
        }
    }
    let _ =
        std::process::Command::new("kill").args(["-9", &std::process::id().to_string()]).status();
    std::process::exit(1)
}
