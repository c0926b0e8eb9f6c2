//! What is refused, in which words, and what is only warned of; and that nothing panics.

use std::path::Path;

use holdfastd::config::option::OPTIONS;

use super::world::{World, run, warnings};

#[test]
fn public_addresses_need_passwords_or_a_word() {
    for line in ["-l 0.0.0.0", "-l ::", "-l *", "-l 192.0.2.1:5", "-l cache.example.org"] {
        let refused = World::args(line).refused();
        assert!(refused.contains("-Y FILE") && refused.contains("--allow-public"), "{refused}");
    }
    assert_eq!(
        World::args("-l 0.0.0.0").refused(),
        "-l/--listen: other machines can reach 0.0.0.0:11211, and nobody is asked for a password: name a \
         password file with -Y FILE, or say --allow-public"
    );
    let open = run("-l 0.0.0.0 --allow-public");
    assert_eq!(warnings(&open).len(), 1, "no TLS: {:?}", warnings(&open));
    assert!(warnings(&open)[0].contains("can be read on its way"));
    assert!(warnings(&run("-l 0.0.0.0 -Y /u -Z --tls-cert /c")).is_empty());
    assert_eq!(warnings(&run("-l notls:0.0.0.0 -Y /u -Z --tls-cert /c")).len(), 1);
    for line in
        ["-l 127.0.0.1", "-l localhost", "-l ::1", "-l 127.9.9.9", "-s /x", "-l ::ffff:127.0.0.1"]
    {
        assert!(warnings(&run(line)).is_empty(), "{line}");
    }
    let config = run("");
    assert!(config.may_listen_on("127.0.0.1:1".parse().unwrap()));
    assert!(!config.may_listen_on("10.0.0.1:1".parse().unwrap()));
    assert!(run("--allow-public").may_listen_on("10.0.0.1:1".parse().unwrap()));
}

#[test]
fn sasl_needs_passwords_and_its_protocol() {
    assert!(World::args("-S").refused().starts_with("-S: where are the passwords?"));
    assert!(World::args("-S -Y /u -B ascii").refused().contains("binary protocol"));
    let world = World::args("-S").with_env("MEMCACHED_SASL_PWDB", "/pw");
    assert_eq!(world.config().access.auth_file.as_deref(), Some(Path::new("/pw")));
    let unused = World::args("").with_env("MEMCACHED_SASL_PWDB", "/pw");
    assert_eq!(unused.config().access.auth_file, None);
}

#[test]
fn tls_is_checked_as_a_whole() {
    assert!(World::args("-Z").refused().contains("--tls-cert FILE"));
    assert!(
        World::args("-Z --tls-cert /c --tls-verify require").refused().contains("--tls-ca FILE")
    );
    assert_eq!(warnings(&run("--tls-cert /c")), ["--tls-cert: without -Z there is no TLS"]);
    assert_eq!(warnings(&run("-Z --tls-cert /c -o ssl_min_version=0")).len(), 1);
}

#[test]
fn mistakes_in_the_file_are_told_with_their_lines_and_what_is_allowed() {
    let refused = |text: &str| World::file(text).refused();
    assert_eq!(refused("\n\nprot = 1"), "/etc/x.toml:3: there is no option \"prot\"; port is near");
    assert_eq!(
        refused("store_all_the_things = 1"),
        "/etc/x.toml:1: there is no option \"store_all_the_things\"; holdfastd --help lists them"
    );
    assert_eq!(
        refused("# x\nsync = 'sometimes'"),
        "/etc/x.toml:2: sync is \"sometimes\"; it must be one of none, periodic, always"
    );
    assert_eq!(
        refused("max_bytes = '1GB'"),
        "/etc/x.toml:1: max_bytes is \"1GB\"; it must be a size such as 64MiB, from 1MiB to 1TiB"
    );
    assert_eq!(
        refused("max_ttl = 30"),
        "/etc/x.toml:1: max_ttl is \"30\"; it must be a time span such as 30s or 1h30m, from 0 to \
         100years"
    );
    assert_eq!(
        refused("enable_shutdown = 1"),
        "/etc/x.toml:1: enable_shutdown is of type integer; it must be true or false"
    );
    assert_eq!(
        refused("port = 70000\nthreads = 0"),
        "/etc/x.toml:1: port is \"70000\"; it must be a port from 0 (no TCP) to 65535, or -1 (any \
         free one)\n/etc/x.toml:2: threads is \"0\"; it must be a number from 1 to 256, or auto"
            .lines()
            .collect::<Vec<_>>()
            .join("\n")
    );
    assert!(refused("port = 1\nport = 2").starts_with("/etc/x.toml:2: duplicate key"));
    assert!(refused("[server]\nport = 1").contains("there is no option \"server\""));
    assert!(refused("= 1").starts_with("/etc/x.toml:1: "));
    assert_eq!(
        World::args("--config /nowhere").refused(),
        "/nowhere: cannot be read: entity not found"
    );
}

#[test]
fn mistakes_in_flags_and_variables_are_told_with_their_names() {
    let refused = |line: &str| World::args(line).refused();
    assert_eq!(
        refused("-c none"),
        "-c/--conn-limit: conn_limit is \"none\"; it must be a number from 1 to 1000000"
    );
    assert_eq!(refused("-m many"), "-m/--memory-limit: \"many\" is not a number of MiB");
    assert!(
        refused("--prot 1").contains("unexpected argument '--prot' found"),
        "{}",
        refused("--prot 1")
    );
    assert!(refused("extra").contains("unexpected argument 'extra' found"));
    assert!(refused("-p").contains("a value is required"));
    assert_eq!(
        refused("-l a:b:c"),
        "-l/--listen: \"a:b:c\" is no address; 127.0.0.1, host:11211, [::1]:11211, * or unix:/path are"
    );
    assert_eq!(
        refused("-l nowhere.invalid"),
        "-l/--listen: the host name \"nowhere.invalid\" has no address"
    );
    let wrong = World::args("").with_env("HOLDFAST_EVICT", "perhaps");
    assert_eq!(wrong.refused(), "HOLDFAST_EVICT: evict is \"perhaps\"; it must be true or false");
    let unknown = World::args("").with_env("HOLDFAST_EVCIT", "true");
    assert_eq!(warnings(&unknown.config()), ["HOLDFAST_EVCIT is no variable of this server"]);
}

/// A small generator, so that a failure can be seen again by its number.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap() % sides
    }
}

#[test]
fn nothing_that_is_written_anywhere_panics() {
    let pieces = [
        "port",
        "=",
        "\"",
        "'",
        "[",
        "]",
        "{",
        "}",
        "\n",
        "#",
        ",",
        "-",
        "--",
        "-o",
        "-l",
        "unix:",
        "[::",
        "notls:",
        "proto[",
        "tag[",
        "é",
        "\u{0}",
        "99999999999999999999",
        "-1",
        "0x1F",
        "0o660",
        "1e9",
        "nan",
        "1979-05-27",
        "true",
        "max_bytes",
        "64MiB",
        "evict",
        " ",
        "listen",
        "ssl_key=",
        "=,=",
        "\\u0000",
        "😀",
        "http_listen",
        ":",
        "off",
        "verbose",
        "\"\"\"",
        "sync_interval",
        "0s",
        "18446744073709551616years",
    ];
    for deep in ["[", "{a=", "a.", "[["] {
        assert!(World::file(&format!("a = {}", deep.repeat(100_000))).asked().is_err());
        assert!(World::file(&deep.repeat(100_000)).asked().is_err());
    }
    let mut dice = Dice(20_251_120);
    for _ in 0..1200 {
        let text = |dice: &mut Dice| {
            (0..dice.roll(12)).map(|_| pieces[dice.roll(pieces.len())]).collect::<String>()
        };
        let file = text(&mut dice);
        let conf = format!("-{}", text(&mut dice));
        let arg = text(&mut dice);
        let option = &OPTIONS[dice.roll(OPTIONS.len())];
        let value = text(&mut dice);
        let _ = World::file(&file).asked();
        let _ = World::file(&format!("{} = {value}", option.key())).asked();
        let _ = World::args("--memcached-conf /m").with_file("/m", &conf).asked();
        let _ = World::args("").with_env(&option.variable(), &value).asked();
        let _ = World { args: vec![format!("--{}={value}", option.name), arg], ..World::default() }
            .asked();
    }
}
