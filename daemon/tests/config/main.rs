//! The configuration from outside: who wins over whom, every flag, the example file; the mistakes are in
//! `mistakes`. No process is started; all sources are given.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod mistakes;
mod world;

use std::path::Path;
use std::time::Duration;

use holdfastd::config::option::OPTIONS;
use holdfastd::config::show::example;
use holdfastd::config::{Asked, Config, Format, Protocol, Verify};
use world::{World, places, run, warnings};

#[test]
fn plain_holdfastd_serves_this_machine_only() {
    let config = run("");
    assert_eq!(places(&config), ["127.0.0.1:11211"]);
    assert_eq!(config.store.dir, Path::new("/var/lib/holdfast/www-data"));
    assert_eq!(config.store.max_bytes, None, "never memcached's 64 MiB");
    assert_eq!(config.store.evict, None);
    assert_eq!(config.serving.threads, 3);
    assert_eq!(config.serving.idle_timeout, None);
    let http = config.http.clone().unwrap();
    assert_eq!((http.address.to_string().as_str(), http.asked), ("127.0.0.1:9150", false));
    assert!(config.access.flush && config.access.dump);
    assert!(!config.access.shutdown && config.tls.is_none() && config.sessions.locks);
    assert_eq!(warnings(&config), [""; 0]);
    assert_eq!((config.log.level, config.log.format), ("info", Format::Auto));
}

#[test]
fn flags_win_over_environment_over_memcached_conf_over_file_over_defaults() {
    // Which of the four sources say something: all sixteen cases.
    for set in 0..16_u32 {
        let has = |bit: u32| set & (1 << bit) != 0;
        let mut world = World::args("--memcached-conf /m.conf")
            .with_file("/etc/x.toml", if has(0) { "conn_limit = 10" } else { "" })
            .with_file("/m.conf", if has(1) { "-c 11" } else { "" })
            .with_env("HOLDFAST_CONFIG", "/etc/x.toml")
            .with_env("HOLDFAST_CONN_LIMIT", if has(2) { "12" } else { "" });
        if has(3) {
            world.args.extend(["-c".into(), "13".into()]);
        }
        let expected = match set.checked_ilog2() {
            None => (1024, "default"),
            Some(0) => (10, "/etc/x.toml:1"),
            Some(1) => (11, "/m.conf:1"),
            Some(2) => (12, "HOLDFAST_CONN_LIMIT"),
            Some(_) => (13, "-c/--conn-limit"),
        };
        let config = world.config();
        let given = config.values.iter().find(|given| given.option.name == "conn-limit").unwrap();
        assert_eq!((config.serving.connections, given.origin.to_string().as_str()), expected);
    }
}

#[test]
fn the_last_mention_wins_and_lists_grow() {
    assert_eq!(run("-c 5 --conn-limit 6").serving.connections, 6);
    assert_eq!(run("--conn-limit 6 -c 5").serving.connections, 5);
    assert_eq!(run("-m 64 --max-bytes 1GiB").store.max_bytes, Some(1 << 30));
    assert_eq!(run("--max-bytes 1GiB -m 64").store.max_bytes, Some(64 << 20));
    assert_eq!(run("--evict -M").store.evict, Some(false));
    assert_eq!(run("-M --evict").store.evict, Some(true));
    assert_eq!(places(&run("-l 127.0.0.1 -l ::1")), ["127.0.0.1:11211", "[::1]:11211"]);
    let world = World::file("listen = ['127.0.0.1:1', '127.0.0.1:2']\nport = 5");
    assert_eq!(places(&world.config()), ["127.0.0.1:1", "127.0.0.1:2"]);
    let replaced = World { args: vec!["-l".into(), "[::1]".into()], ..World::default() }
        .with_env("HOLDFAST_LISTEN", "127.0.0.1");
    assert_eq!(places(&replaced.config()), ["[::1]:11211"], "sources replace each other");
}

#[test]
fn every_letter_of_memcached_is_understood() {
    assert_eq!(places(&run("-p11212")), ["127.0.0.1:11212"]);
    assert_eq!(places(&run("-p -1")), ["127.0.0.1:0"]);
    assert_eq!(places(&run("-p 0 -l 127.0.0.1:7,127.0.0.2")), ["127.0.0.1:7"]);
    assert_eq!(places(&run("-s m.sock -a 0777")), ["/here/m.sock:777"]);
    assert_eq!(places(&run("-s /m.sock")), ["/m.sock:600"]);
    assert_eq!(run("-c 99").serving.connections, 99);
    assert_eq!(run("-t 4").serving.threads, 4);
    assert_eq!(run("-R 20").serving.requests_per_turn, 20);
    assert_eq!(run("-b 77").serving.backlog, 77);
    assert_eq!(run("-m 100").store.max_bytes, Some(100 << 20));
    assert_eq!(run("-M").store.evict, Some(false));
    assert_eq!(run("-I 2m").store.max_value_bytes, Some(2 << 20));
    assert_eq!(run("-I 1024").store.max_value_bytes, Some(1024));
    assert_eq!(run("-e data").store.dir, Path::new("/here/data"));
    assert_eq!(run("-u nobody").process.user.as_deref(), Some("nobody"));
    assert_eq!(run("-P /run/x.pid").process.pidfile.as_deref(), Some(Path::new("/run/x.pid")));
    assert_eq!(run("-B binary").endpoints[0].protocol, Protocol::Binary);
    assert_eq!(run("-B ascii").endpoints[0].protocol, Protocol::Ascii);
    assert_eq!(run("-Y users").access.auth_file.as_deref(), Some(Path::new("/here/users")));
    let detail = run("-D /").detail;
    assert_eq!((detail.delimiter, detail.on, run("").detail.on), (b'/', true, false));
    assert!(run("-d -d -kk -M -M").process.daemon, "twice is once");
    let bundled = run("-dkrAFXWC");
    assert!(bundled.process.daemon && bundled.process.lock_memory && bundled.process.core_files);
    let access = bundled.access;
    assert!(access.shutdown && !access.flush && !access.dump);
    for (flags, level) in
        [("", "info"), ("-v", "debug"), ("-vv", "trace"), ("-vvv", "trace"), ("-v -v", "trace")]
    {
        assert_eq!(run(flags).log.level, level, "{flags}");
    }
    assert_eq!(run("--log-level warn").log.level, "warn");
    assert_eq!(run("-v --log-level warn").log.level, "debug", "-v among equals");
    assert_eq!(
        World::file("verbose = 2").with_env("HOLDFAST_LOG_LEVEL", "error").config().log.level,
        "error"
    );
    assert_eq!(warnings(&run("-U 0")), [""; 0]);
    assert_eq!(warnings(&run("-U 11211")), ["-U/--udp-port 11211: there is no UDP"]);
    for ignored in
        ["-f 1.5", "-n 48", "-L", "-N 4", "-W", "-C", "-o slab_reassign,no_modern,ext_path=/x:1G"]
    {
        let config = run(ignored);
        assert!(warnings(&config).is_empty(), "{ignored}");
        assert!(config.notes.iter().all(|note| note.text.contains("passed over")));
        assert!(!config.notes.is_empty(), "{ignored} is told in the debug log");
    }
}

#[test]
fn extended_options_are_understood_or_refused() {
    assert_eq!(run("-o idle_timeout=30").serving.idle_timeout, Some(Duration::from_secs(30)));
    assert_eq!(run("-o idle_timeout=0").serving.idle_timeout, None);
    assert!(run("-o maxconns_fast").serving.maxconns_fast);
    assert!(!run("-o no_maxconns_fast,drop_privileges").serving.maxconns_fast);
    let tls = run(
        "-Z -o ssl_chain_cert=c.pem,ssl_key=/k.pem,ssl_ca_cert=/ca,ssl_verify_mode=2,ssl_min_version=3",
    );
    let tls = tls.tls.unwrap();
    assert_eq!(
        (tls.cert.as_path(), tls.key.as_path()),
        (Path::new("/here/c.pem"), Path::new("/k.pem"))
    );
    assert_eq!((tls.verify, tls.tls12, tls.ca), (Verify::Require, false, Some("/ca".into())));
    let alone = run("-Z --tls-cert /c.pem").tls.unwrap();
    assert_eq!(
        (alone.key.as_path(), alone.verify, alone.tls12),
        (Path::new("/c.pem"), Verify::None, true)
    );
    let refused = |line: &str| World::args(line).refused();
    assert_eq!(refused("-o what=1"), "-o what: memcached has no option \"what\" after -o");
    assert_eq!(refused("-o ssl_key"), "-o ssl_key: -o ssl_key needs a value: -o ssl_key=...");
    assert_eq!(
        refused("-o ssl_verify_mode=9"),
        "-o ssl_verify_mode: ssl_verify_mode is \"9\"; it must be 0 to 3"
    );
    assert!(refused("-o ssl_ciphers=A").contains("cipher suites cannot be chosen"));
    assert!(refused("-o idle_timeout=x").contains("not a number of seconds"));
    assert!(refused("-o proxy_config=x").contains("memcached has no option"));
}

#[test]
fn the_admin_port_is_elsewhere_or_nowhere() {
    assert_eq!(run("--http-listen off").http, None);
    let asked = run("--http-listen localhost:0").http.unwrap();
    assert_eq!((asked.address.to_string().as_str(), asked.asked), ("127.0.0.1:0", true));
    let hosts = World::file("http_host = ['A.example', 'b']").config().http.unwrap().hosts;
    assert_eq!(hosts, ["a.example", "b"]);
    assert_eq!(warnings(&run("--http-listen 0.0.0.0:9150")).len(), 1);
    assert!(
        World::args("--http-listen 0.0.0.0:9150 --profiling").refused().contains("--allow-public")
    );
    assert!(run("--profiling").http.unwrap().profiling);
    assert!(World::args("--http-listen 9150").refused().contains("an address with its port"));
}

#[test]
fn the_service_managers_sockets_replace_ours() {
    let given = World::args("").with_env("LISTEN_PID", "77").with_env("LISTEN_FDS", "2");
    let config = given.config();
    assert!(config.inherits && config.endpoints.is_empty() && warnings(&config).is_empty());
    let both = World { args: vec!["-p5".into()], ..given };
    assert_eq!(warnings(&both.config()).len(), 1);
    let another = World::args("").with_env("LISTEN_PID", "78").with_env("LISTEN_FDS", "2");
    assert!(!another.config().inherits, "meant for another process");
    assert!(World::args("-p 0").refused().contains("nothing to listen on"));
    let off = World::args("-p 0 --http-listen off");
    assert!(off.refused().contains("nothing to listen on"));
    let numbers = World::args("-p 0 --http-listen 127.0.0.1:9151").config();
    assert!(numbers.endpoints.is_empty() && numbers.http.is_some_and(|http| http.asked));
}

#[test]
fn debians_memcached_conf_is_read() {
    let conf = "# memcached default config file\n-d\nlogfile /var/log/memcached.log\n\n# -vv\n-m 64\n\
                -p 11213 # the port\n-u memcache\n-l 127.0.0.1 -c 500\n-P /run/m.pid\n-o idle_timeout=9\n";
    let world =
        World::args("--memcached-conf /etc/memcached.conf").with_file("/etc/memcached.conf", conf);
    let config = world.config();
    assert_eq!(places(&config), ["127.0.0.1:11213"]);
    assert_eq!(config.store.max_bytes, Some(64 << 20));
    assert_eq!(config.serving.connections, 500);
    assert_eq!(config.serving.idle_timeout, Some(Duration::from_secs(9)));
    assert_eq!(config.process.user.as_deref(), Some("memcache"));
    assert!(!config.process.daemon, "-d there is the start script's");
    let bad = |line: &str| {
        World::args("--memcached-conf /m").with_file("/m", &format!("\n{line}")).refused()
    };
    assert_eq!(bad("-c x"), "/m:2: conn_limit is \"x\"; it must be a number from 1 to 1000000");
    assert!(bad("-z").starts_with("/m:2: unexpected argument '-z'"), "{}", bad("-z"));
    for line in ["--check-config", "--config /x", "--memcached-conf /m"] {
        assert_eq!(bad(line), "/m:2: is nothing for this file");
    }
    assert_eq!(bad("-o nope"), "/m:2: memcached has no option \"nope\" after -o");
}

#[test]
fn what_is_checked_is_printed_with_its_sources_and_is_a_configuration_itself() {
    let world = World::args("--config /etc/x.toml -p 5 --check-config")
        .with_file("/etc/x.toml", "\nmax_bytes = \"64MiB\"")
        .with_env("HOLDFAST_EVICT", "yes");
    let text = world.printed();
    let line = |begins: &str| text.lines().find(|line| line.starts_with(begins)).unwrap();
    let squeezed = |begins: &str| line(begins).split_whitespace().collect::<Vec<_>>().join(" ");
    assert_eq!(squeezed("port"), "port = 5 # -p/--port");
    assert_eq!(squeezed("max_bytes"), "max_bytes = \"64MiB\" # /etc/x.toml:2");
    assert_eq!(squeezed("evict"), "evict = true # HOLDFAST_EVICT");
    assert_eq!(squeezed("# sync:"), "# sync: the store's own holds # default");
    let again = World::file(&text).config();
    assert_eq!(places(&again), ["127.0.0.1:5"]);
    assert_eq!((again.store.max_bytes, again.store.evict), (Some(64 << 20), Some(true)));
    let public = World::args("-l 0.0.0.0 --allow-public --check-config").printed();
    assert!(public.contains("# warning: what goes through 0.0.0.0:11211"));
    assert!(World::args("-p x --check-config").refused().starts_with("-p/--port: port is"));
}

#[test]
fn a_reload_sees_what_is_new() {
    let old = run("-c 5 -m 64");
    assert_eq!(old.differing(&run("-m 64 --conn-limit 5")), [""; 0]);
    assert_eq!(old.differing(&run("-c 6 -v")), ["conn-limit", "max-bytes", "verbose"]);
}

#[test]
fn help_version_and_licence_answer_before_anything_is_checked() {
    let help = World::args("-h -p x").printed();
    for option in OPTIONS {
        assert_eq!(help.contains(&format!("--{}", option.name)), !option.hidden, "{}", option.name);
        if let Some(letter) = option.short {
            assert!(help.contains(&format!("-{letter}")), "{letter}");
        }
    }
    for flag in ["-m, --memory-limit", "--memcached-conf", "--config", "--check-config", "-V"] {
        assert!(help.contains(flag), "{flag}");
    }
    assert!(World::args("-V").printed().starts_with("holdfastd 0."));
    assert!(World::args("-i").printed().contains("MIT License"));
}

#[test]
fn the_example_file_is_complete_and_changes_nothing() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../packaging/holdfast.toml");
    if std::env::var_os("HOLDFAST_WRITE_EXAMPLE").is_some() {
        std::fs::write(&path, example()).unwrap();
    }
    let text = std::fs::read_to_string(&path).unwrap();
    assert!(text == example(), "run this test with HOLDFAST_WRITE_EXAMPLE=1 and look at the diff");
    let from_file = World::file(&text).config();
    let without = run("");
    let facts = |config: &Config| {
        let mut plain = config.clone();
        plain.values.clear();
        plain.notes.clear();
        format!("{plain:?}")
    };
    assert_eq!(facts(&from_file), facts(&without));
    // What is commented out is right as well, line by line.
    for option in OPTIONS.iter().filter(|option| !option.hidden) {
        let key = option.key();
        let line = text
            .lines()
            .find(|line| line.trim_start_matches('#').split(" = ").next() == Some(&key))
            .unwrap_or_else(|| panic!("{key} is missing"));
        let world = World::file(line.trim_start_matches('#'));
        assert!(matches!(world.asked(), Ok(Asked::Serve(_))), "{line}: {:?}", world.asked());
        assert!(line.starts_with('#') == option.default.is_empty(), "{line}");
    }
    assert!(text.lines().all(|line| line.len() <= 100));
}

#[test]
fn every_option_can_be_said_in_all_three_ways() {
    for option in OPTIONS {
        let text = if option.default.is_empty() { option.example } else { option.default };
        assert!(option.kind.allows(text), "{} = {text}", option.name);
        assert!(option.default.is_empty() != option.unset.is_empty(), "{}", option.name);
        let by_env = World::args("").with_env(&option.variable(), text);
        let mut by_flag = World::default();
        by_flag.args.push(match option.name {
            "verbose" => "--log-level=info".into(),
            name => format!("--{name}={text}"),
        });
        for world in [by_env, by_flag] {
            assert!(
                matches!(world.asked(), Ok(Asked::Serve(_))),
                "{}: {:?}",
                option.name,
                world.asked()
            );
        }
    }
}
