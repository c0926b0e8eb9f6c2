//! What care costs: check, backup (with and without reading back), restore, repair and the exact
//! count of what could be given back, in MB/s of the log; and what writers lose meanwhile.
//!
//! Arguments: keys (default 800,000), bytes of a value (default 1024), turns (default 3).

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use holdfast::{Options, RepairOptions, Store, Sync, Ttl};
use holdfast_tests::process::{self, Pid};
use holdfast_tests::{dir, open};

fn key(i: u64) -> Vec<u8> {
    format!("memc.sess.key.{:026}", i.wrapping_mul(0x9e37_79b9_7f4a_7c15)).into_bytes()
}

/// One that overwrites keys at random, in a process of its own, and counts.
struct Writer {
    count: &'static AtomicU64,
    child: Pid,
}

impl Writer {
    fn start(path: &std::path::Path, keys: u64, len: u64) -> Writer {
        let count = &process::shared(1)[0];
        let child = process::fork(|| {
            let store = open(path, &Options::default());
            let value = vec![9u8; len as usize];
            let mut rng = holdfast_tests::Rng::new(7);
            loop {
                store.set(&key(rng.below(keys)), &value, 0, Ttl::Never).expect("set");
                count.fetch_add(1, Ordering::Relaxed);
            }
        });
        Writer { count, child }
    }

    /// Writes a second while something goes on.
    fn rate<T>(&self, work: impl FnOnce() -> T) -> (f64, T) {
        let (begun, from) = (Instant::now(), self.count.load(Ordering::Relaxed));
        let done = work();
        let writes = self.count.load(Ordering::Relaxed) - from;
        (writes as f64 / begun.elapsed().as_secs_f64(), done)
    }

    fn stop(self) {
        self.child.signal(libc::SIGKILL);
        self.child.wait(std::time::Duration::from_secs(10));
    }
}

/// Seconds of processor time that this process has used.
fn processor() -> f64 {
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: writes one timespec of ours.
    unsafe { libc::clock_gettime(libc::CLOCK_PROCESS_CPUTIME_ID, &mut now) };
    now.tv_sec as f64 + now.tv_nsec as f64 / 1e9
}

/// Wall and processor time since the beginning.
struct Begun(Instant, f64);

impl Begun {
    fn now() -> Begun {
        Begun(Instant::now(), processor())
    }
}

fn report(what: &str, bytes: u64, begun: Begun) {
    let (wall, own) = (begun.0.elapsed().as_secs_f64(), processor() - begun.1);
    let rate = |seconds| bytes as f64 / 1e6 / seconds;
    println!(
        "{what:<28} {:>6.0} MB/s, {:>6.0} for each second of processor time",
        rate(wall),
        rate(own)
    );
}

fn main() {
    let mut args = std::env::args().skip(1).map(|a| a.parse::<u64>().expect("a number"));
    let keys = args.next().unwrap_or(800_000);
    let len = args.next().unwrap_or(1024);
    let turns = args.next().unwrap_or(3);
    let dir = dir();
    let path = dir.path().join("store");
    std::fs::create_dir(&path).expect("mkdir");
    std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o700))
        .expect("chmod");
    let options = Options {
        create: true,
        max_bytes: Some((keys * (len + 192) * 2).max(64 << 20)),
        sync: Some(Sync::None),
        ..Options::default()
    };
    let store = open(&path, &options);
    let value = vec![7u8; len as usize];
    for i in 0..keys {
        store.set(&key(i), &value, 0, Ttl::Never).expect("set");
    }
    let bytes = store.stats().expect("stats").data_bytes;
    println!("{keys} keys of {len} bytes, {} MB of log", bytes / 1_000_000);
    let go = &mut |_, _| true;
    for turn in 0..turns {
        let begun = Begun::now();
        let checked = store.verify(go).expect("verify");
        report("check", bytes, begun);
        assert!(checked.findings.is_empty() && checked.live.count == keys, "{checked:?}");
        let begun = Begun::now();
        assert_eq!(store.reclaimable(true).expect("walk").live.count, keys);
        report("reclaimable, exact", bytes, begun);
        let begun = Instant::now();
        let loops = 1000;
        for _ in 0..loops {
            assert!(store.reclaimable(false).expect("counters").live.bytes > 0);
        }
        let us = begun.elapsed().as_secs_f64() * 1e6 / loops as f64;
        println!("{:<28} {us:>6.1} us", "reclaimable, quick");
        for read_back in [false, true] {
            let copy = dir.path().join(format!("copy{turn}{read_back}"));
            let begun = Begun::now();
            let made = store.backup(&copy, read_back, go).expect("backup");
            report(if read_back { "backup, read back" } else { "backup" }, made.bytes, begun);
            let restored = copy.with_extension("restored");
            let begun = Begun::now();
            let done = Store::restore(&copy, &restored, go).expect("restore");
            report("restore", done.bytes, begun);
            let begun = Begun::now();
            let opened = open(&restored, &Options::default());
            report("first open of it (rebuild)", done.bytes, begun);
            assert_eq!(opened.stats().expect("stats").keys, keys);
            drop(opened);
            let begun = Begun::now();
            let mended = Store::repair(&restored, &RepairOptions::default(), go).expect("repair");
            report("repair of a whole store", done.bytes, begun);
            assert!(mended.findings.is_empty());
            for done in [copy, restored] {
                std::fs::remove_dir_all(done).expect("removed");
            }
        }
    }
    let writer = Writer::start(&path, keys, len);
    let pause = || std::thread::sleep(std::time::Duration::from_secs(2));
    writer.rate(pause);
    for turn in 0..turns {
        let (alone, ()) = writer.rate(pause);
        let (checked, report) = writer.rate(|| store.verify(go).expect("verify"));
        assert!(report.findings.is_empty(), "{:?}", report.findings);
        let copy = dir.path().join(format!("beside{turn}"));
        let (copied, made) = writer.rate(|| store.backup(&copy, false, go));
        let made =
            made.map_or_else(|e| e.to_string(), |made| format!("{} begun anew", made.restarts));
        println!(
            "a writer: {alone:.0}/s alone, {checked:.0}/s beside a check, {copied:.0}/s beside a \
             backup ({made})"
        );
        let _ = std::fs::remove_dir_all(copy);
    }
    writer.stop();
}
