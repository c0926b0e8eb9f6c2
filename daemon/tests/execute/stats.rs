//! Statistics: the names of a real memcached, and what is counted.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::process::{Child, Command as Process, Stdio};
use std::time::{Duration, Instant};

use holdfast::{Acquired, Ttl, Wait};
use holdfastd::command::{Command, Count, Delete, Dialect, Expiry, Get, Mode, Set};
use holdfastd::counters::Op;
use holdfastd::execute::Room;
use holdfastd::settings::Settings;

use crate::world::{World, options};

type Lines = Vec<(String, String)>;

fn stats(world: &World, group: &str) -> Lines {
    world.executor.stats(group).unwrap_or_else(|| panic!("no group {group:?}"))
}

fn value(lines: &Lines, name: &str) -> u64 {
    let line = lines.iter().find(|(has, _)| has == name);
    line.and_then(|(_, value)| value.parse().ok()).unwrap_or_else(|| panic!("no {name}"))
}

/// Ends it with the test.
struct Memcached(Child);

impl Drop for Memcached {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The names that a memcached gives in each of these groups, class numbers taken out; `None` when
/// there is no memcached on this machine.
fn names_of_memcached(groups: &[&str]) -> Option<Vec<BTreeSet<String>>> {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("m");
    std::fs::set_permissions(dir.path(), std::os::unix::fs::PermissionsExt::from_mode(0o777))
        .unwrap();
    let child = Process::new("memcached")
        .args(["-u", "nobody", "-a", "0777", "-s"])
        .arg(&socket)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .ok()?;
    let _memcached = Memcached(child);
    let begun = Instant::now();
    let mut stream = loop {
        match UnixStream::connect(&socket) {
            Ok(stream) => break stream,
            Err(error) if begun.elapsed() > Duration::from_secs(20) => panic!("{error}"),
            Err(_) => std::thread::sleep(Duration::from_millis(10)),
        }
    };
    stream.write_all(b"set k 0 0 1\r\nv\r\n").unwrap();
    let answers = groups.iter().map(|group| {
        // Its other threads take a moment to see the item.
        std::thread::sleep(Duration::from_millis(50));
        stream.write_all(format!("stats {group}\r\n").replace(" \r", "\r").as_bytes()).unwrap();
        let mut text = Vec::new();
        let mut chunk = [0; 4096];
        while !text.ends_with(b"END\r\n") {
            let some = stream.read(&mut chunk).unwrap();
            assert!(some > 0 && text.len() < 1 << 20);
            text.extend_from_slice(&chunk[..some]);
        }
        let text = String::from_utf8(text).unwrap();
        let names = text.lines().filter_map(|line| line.strip_prefix("STAT "));
        names.filter_map(|line| line.split(' ').next()).map(without_class).collect()
    });
    Some(answers.collect())
}

fn without_class(name: &str) -> String {
    let part = |part: &str| if part.parse::<u32>().is_ok() { "N".into() } else { part.to_string() };
    name.split(':').map(part).collect::<Vec<_>>().join(":")
}

#[test]
fn every_name_that_memcached_has_is_there() {
    let groups = ["", "settings", "items", "slabs"];
    let Some(theirs) = names_of_memcached(&groups) else {
        eprintln!("SKIPPED: there is no memcached on this machine to compare names with");
        return;
    };
    let world = World::new();
    world.store.set(b"k", b"v", 0, Ttl::Never).unwrap();
    for (group, theirs) in groups.iter().zip(theirs) {
        assert!(theirs.len() > 10, "{group:?}: {theirs:?}");
        let ours: BTreeSet<_> =
            stats(&world, group).iter().map(|(name, _)| without_class(name)).collect();
        let missing: Vec<_> = theirs.difference(&ours).collect();
        assert!(missing.is_empty(), "{group:?} lacks {missing:?}");
        // More only where it is said to be ours, or came with a later memcached.
        let more: Vec<_> = ours
            .difference(&theirs)
            .filter(|name| !name.starts_with("store_") && !name.starts_with("session_locks_"))
            .filter(|name| !["idle_kicks", "bad_requests", "failures"].contains(&name.as_str()))
            .collect();
        assert!(more.is_empty(), "{group:?} has {more:?}");
    }
}

#[test]
fn names_are_given_once_and_values_are_words() {
    let world = World::new();
    world.store.set(b"k", b"v", 0, Ttl::Never).unwrap();
    for group in ["", "settings", "items", "slabs", "sizes", "conns"] {
        let lines = stats(&world, group);
        let names: BTreeSet<_> = lines.iter().map(|(name, _)| name).collect();
        assert_eq!(names.len(), lines.len(), "{group:?}");
        for (name, value) in &lines {
            assert!(!name.contains(char::is_whitespace) && !name.is_empty(), "{name:?}");
            assert!(!value.contains(['\r', '\n']) && !value.is_empty(), "{name} is {value:?}");
        }
    }
    assert_eq!(world.executor.stats("nonsense"), None);
    assert_eq!(world.says(&mut world.client(), Command::Stats(b"nonsense")), "missing");
    assert!(world.says(&mut world.client(), Command::Stats(b"")).starts_with("stats"));
}

/// Prometheus's exporter takes a server for dead if a setting is more than two words, and any client
/// would be out of step behind a path with an end of line in it.
#[test]
fn a_setting_is_one_word_whatever_the_path_is() {
    let mut settings = Settings::default();
    settings.shown.store = "/srv/my own store\r\nEND".into();
    settings.shown.tls_chain = "/etc/my certs/a\tb.pem".into();
    settings.prefix_delimiter = b' ';
    let world = World::with(settings, options());
    let lines = stats(&world, "settings");
    assert!(lines.iter().all(|(_, value)| !value.contains(char::is_whitespace)), "{lines:?}");
    assert!(lines.contains(&("memory_file".into(), "/srv/my?own?store??END".into())), "{lines:?}");
}

#[test]
fn what_is_done_is_counted_as_memcached_counts_it() {
    let world = World::new();
    let mut client = world.client();
    let mut room = Room::default();
    let mut done = |command: Command| {
        world.executor.run(&mut client, &command, Dialect::Meta, &mut room);
    };
    let set = Set::new(b"k", b"1", 0, Expiry::Default, Mode::Set);
    done(Command::Set(set));
    let version = world.version(b"k");
    done(Command::Get(Get::new(b"k")));
    done(Command::Get(Get::new(b"x")));
    done(Command::Get(Get { touch: Some(Expiry::In(60_000)), ..Get::new(b"k") }));
    done(Command::Touch { key: b"x", expiry: Expiry::In(60_000) });
    done(Command::Set(Set { compare: Some(version + 100), ..set }));
    done(Command::Set(Set { compare: Some(1), key: b"x", ..set }));
    let now = world.version(b"k");
    done(Command::Set(Set { compare: Some(now), ..set }));
    done(Command::Count(Count::new(b"k", 1, false)));
    done(Command::Count(Count::new(b"x", 1, false)));
    done(Command::Count(Count::new(b"k", 1, true)));
    done(Command::Count(Count::new(b"x", 1, true)));
    done(Command::Delete(Delete::new(b"k")));
    done(Command::Delete(Delete::new(b"k")));
    done(Command::Flush { at: None });
    let lines = stats(&world, "");
    for (name, times) in [
        ("cmd_get", 2),
        ("cmd_set", 4),
        ("cmd_touch", 2),
        ("cmd_meta", 14),
        ("cmd_flush", 1),
        ("get_hits", 1),
        ("get_misses", 1),
        ("touch_hits", 1),
        ("touch_misses", 1),
        ("cas_badval", 1),
        ("cas_misses", 1),
        ("cas_hits", 1),
        ("incr_hits", 1),
        ("incr_misses", 1),
        ("decr_hits", 1),
        ("decr_misses", 1),
        ("delete_hits", 1),
        ("delete_misses", 1),
        ("total_items", 2),
        ("curr_connections", 3),
    ] {
        assert_eq!(value(&lines, name), times, "{name}");
    }
    let counted = world.executor.counted();
    assert_eq!(counted.latency(Dialect::Meta, Op::Get).count(), 3);
    assert_eq!(counted.latency(Dialect::Meta, Op::Set).count(), 4);
    assert!(counted.latency(Dialect::Meta, Op::Set).sum_nanos > 0);
    assert_eq!(counted.latency(Dialect::Text, Op::Get).count(), 0);
    done(Command::ResetStats);
    let lines = stats(&world, "");
    assert_eq!((value(&lines, "cmd_get"), value(&lines, "delete_hits")), (0, 0));
}

#[test]
fn locks_and_failures_are_counted() {
    let world = World::new();
    let (mut first, mut second) = (world.client(), world.client());
    let lock = "memc.sess.key.lock.s";
    for client in [&mut first, &mut second] {
        world.store_as(client, lock, "1", Expiry::In(60_000), Mode::Add);
    }
    world.set(&mut first, "k", &"x".repeat(2 << 20), Expiry::Default);
    let mut stranger = world.stranger();
    world.says(&mut stranger, Command::Authenticate { user: b"anna", password: b"" });
    stranger.refused();
    let lines = stats(&world, "");
    for name in [
        "session_locks_taken",
        "session_locks_denied",
        "store_too_large",
        "auth_cmds",
        "auth_errors",
        "bad_requests",
        "store_locks_held",
    ] {
        assert_eq!(value(&lines, name), 1, "{name}");
    }
}

#[test]
fn waits_for_locks_and_syncs_are_timed() {
    let world = World::new();
    let lock = |cookie, timeout| {
        let wait = Wait { timeout: Some(timeout), ..Wait::default() };
        matches!(world.store.lock(b"s", cookie, &wait).unwrap(), Acquired::Held(_))
    };
    assert!(lock(1, Duration::ZERO) && !lock(2, Duration::from_millis(20)));
    world.store.set(b"k", b"v", 0, Ttl::Never).unwrap();
    world.store.sync().unwrap();
    let (lines, known) = (stats(&world, ""), world.store.stats().unwrap());
    assert_eq!(value(&lines, "store_lock_waited"), 1);
    assert!(value(&lines, "store_lock_waited_us") >= 20_000);
    assert_eq!(u128::from(value(&lines, "store_lock_waited_us")), known.lock_waits.sum.as_micros());
    assert!(value(&lines, "store_sync_rounds") > 0 && value(&lines, "store_sync_us") > 0);
}

#[test]
fn sizes_are_known_exactly_of_a_small_store_and_about_of_a_large_one() {
    let world = World::new();
    for n in 0..3000u32 {
        let value = vec![b'x'; if n % 3 == 0 { 1000 } else { 10 }];
        world.store.set(format!("k{n}").as_bytes(), &value, 0, Ttl::Never).unwrap();
    }
    let items = stats(&world, "items");
    assert_eq!((value(&items, "items:2:number"), value(&items, "items:6:number")), (2000, 1000));
    let slabs = stats(&world, "slabs");
    assert_eq!((value(&slabs, "2:used_chunks"), value(&slabs, "6:chunk_size")), (2000, 2048));
    assert_eq!(value(&slabs, "active_slabs"), 2);
    assert_eq!(value(&stats(&world, "sizes"), "128"), 2000);
    for n in 3000..30_000u32 {
        let value = vec![b'x'; if n % 3 == 0 { 1000 } else { 10 }];
        world.store.set(format!("k{n}").as_bytes(), &value, 0, Ttl::Never).unwrap();
    }
    // What was found out before is kept for some time.
    let begun = Instant::now();
    let items = loop {
        let items = stats(&world, "items");
        if value(&items, "items:2:number") != 2000 {
            break items;
        }
        assert!(begun.elapsed() < Duration::from_secs(30));
        std::thread::sleep(Duration::from_millis(20));
    };
    let (small, large) = (value(&items, "items:2:number"), value(&items, "items:6:number"));
    assert!((18_000..22_000).contains(&small) && (8000..12_000).contains(&large), "{items:?}");
    assert!((29_990..=30_000).contains(&(small + large)));
}

#[test]
fn commands_are_counted_for_each_prefix_while_it_is_wanted() {
    let world = World::new();
    let mut client = world.client();
    let mut say = |text: &'static str| world.says(&mut client, Command::Stats(text.as_bytes()));
    assert_eq!(say("detail on"), "ok");
    let mut other = world.client();
    world.set(&mut other, "a:1", "v", Expiry::Default);
    world.get(&mut other, "a:1");
    world.get(&mut other, "a:2");
    world.says(&mut other, Command::Delete(Delete::new(b"b:1")));
    world.get(&mut other, "none");
    assert_eq!(say("detail off"), "ok");
    world.get(&mut other, "a:1");
    let line = |name: &str, value: &str| (name.to_string(), value.to_string());
    assert_eq!(
        stats(&world, "detail dump"),
        [line("a", "get 2 hit 1 set 1 del 0"), line("b", "get 0 hit 0 set 0 del 1")]
    );
    world.settings.set_may_dump(false);
    assert_eq!(say("detail dump"), "Forbidden(\"metadump not allowed\")");
}
