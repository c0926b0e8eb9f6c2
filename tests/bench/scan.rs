//! Scan benchmark: entries per second with and without values, in pages of several sizes, pages of
//! a range, and what a key costs in memory. Every answer is checked.
//!
//! Arguments: keys (default 1,000,000), bytes of a value (default 1024), rounds (default 5).

use std::ops::ControlFlow;
use std::time::Instant;

use holdfast::{Options, Page, Range, SCAN_DONE, Scan, Store, Sync, Ttl};
use holdfast_tests::measure::median;
use holdfast_tests::{dir, open};

/// What this thread has worked, ns: on a machine that does other things too it says more than time.
fn worked() -> f64 {
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: writes one timespec that is ours.
    unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &mut now) };
    now.tv_sec as f64 * 1e9 + now.tv_nsec as f64
}

/// Scans up to `most` entries in pages; gives how many came, and looks into each.
fn scan(store: &Store, page: &Scan, most: u64) -> u64 {
    let (mut cursor, mut seen, mut bytes) = (0, 0, 0);
    while cursor != SCAN_DONE && seen < most {
        let Page { given, damaged, .. } = store
            .scan(&mut cursor, page, &mut |entry| {
                assert!(entry.key.starts_with(b"memc.sess.key."));
                bytes += entry.value.map_or(entry.item.value_len, |v| v.len() as u64);
                ControlFlow::Continue(())
            })
            .expect("scan");
        assert_eq!(damaged, 0);
        seen += given;
    }
    assert!(bytes >= seen, "values of at least a byte");
    seen
}

fn main() {
    let mut args = std::env::args().skip(1).map(|a| a.parse::<u64>().expect("a number"));
    let keys = args.next().unwrap_or(1_000_000);
    let len = args.next().unwrap_or(1024);
    let rounds = args.next().unwrap_or(5);
    let dir = dir();
    let max_bytes = (keys * (len + 192) * 2).max(64 << 20);
    let options = Options {
        create: true,
        max_bytes: Some(max_bytes),
        sync: Some(Sync::None),
        ..Options::default()
    };
    let store = open(dir.path(), &options);
    let value = vec![7u8; len as usize];
    let begun = Instant::now();
    for i in 0..keys {
        let key = format!("memc.sess.key.{:026}", i.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        store.set(key.as_bytes(), &value, 0, Ttl::Millis(3_600_000)).expect("set");
    }
    let filled = begun.elapsed().as_secs_f64();
    let stats = store.stats().expect("stats");
    assert_eq!(stats.keys, keys);
    println!("{keys} keys of {len} bytes, written in {filled:.2} s");
    println!("{:<44} {:>8.1}", "bytes of index a key", stats.index_bytes as f64 / keys as f64);
    println!("{:<44} {:>8.1}", "bytes of data a key", stats.data_bytes as f64 / keys as f64);
    let begun = Instant::now();
    (0..rounds).for_each(|_| assert_eq!(store.stats().expect("stats").keys, keys));
    let took = begun.elapsed().as_secs_f64() * 1e3 / rounds as f64;
    println!("{:<44} {took:>8.1} ms", "statistics");

    let timed = |name: &str, run: &dyn Fn() -> u64| {
        let (mut each, mut work) = (Vec::new(), Vec::new());
        for _ in 0..rounds {
            let (begun, before) = (Instant::now(), worked());
            let entries = run() as f64;
            each.push(begun.elapsed().as_nanos() as f64 / entries);
            work.push((worked() - before) / entries);
        }
        let (ns, work) = (median(each), median(work));
        let rate = 1e3 / ns;
        println!("{name:<44} {ns:>8.1} ns an entry, {rate:>6.2} M/s; {work:>8.1} ns of processor");
    };
    let all = |limit, values| Scan { limit, values, ..Scan::default() };
    let whole = |page: &Scan| {
        let seen = scan(&store, page, u64::MAX);
        assert_eq!(seen, keys);
        seen
    };
    timed("scan, one page", &|| whole(&all(u64::MAX, false)));
    timed("scan in a process that has nothing mapped", &|| {
        store.trim_memory().expect("trim");
        whole(&all(1000, false))
    });
    timed("scan, pages of 1000", &|| whole(&all(1000, false)));
    timed("scan, pages of 100", &|| scan(&store, &all(100, false), 100_000));
    timed("scan, pages of 10", &|| scan(&store, &all(10, false), 10_000));
    timed("scan with values, pages of 1000", &|| whole(&all(1000, true)));
    timed("count of a prefix, a key looked at", &|| {
        let found = store.count_keys(b"memc.sess.key.0000000").expect("count");
        assert!(found < keys);
        keys
    });
    let mut each = Vec::new();
    for _ in 0..rounds {
        let begun = Instant::now();
        let mut last = Vec::new();
        let range = Range { limit: 1000, ..Range::default() };
        let page = store.range(&range, &mut |entry| {
            assert!(last.as_slice() < entry.key);
            last = entry.key.to_vec();
            ControlFlow::Continue(())
        });
        assert_eq!(page.expect("range").given, keys.min(1000));
        each.push(begun.elapsed().as_secs_f64() * 1e3);
    }
    println!("{:<44} {:>8.1} ms", "range page of 1000", median(each));
}
