//! memcached's ways of saying things that have other names or units here: its letters, `-o`, and the
//! file /etc/memcached.conf. Turns them into values of our options; what only tunes memcached's own
//! memory is taken and passed over. Facts: the usage text of memcached 1.6 and its getopt table.

use std::path::Path;

use super::flags;
use super::option::find;
use super::origin::{Given, Note, Origin, Problem};

/// What a flag of memcached's comes to.
#[derive(Default)]
pub struct Meant {
    /// Values of options.
    pub given: Vec<Given>,
    /// What the log should say.
    pub notes: Vec<Note>,
    /// Mistakes.
    pub problems: Vec<Problem>,
}

impl Meant {
    fn give(&mut self, option: &'static str, text: impl Into<String>, origin: &Origin) {
        if let Some(option) = find(option) {
            self.given.push(Given { option, text: text.into(), origin: origin.clone() });
        }
    }

    fn pass_over(&mut self, origin: &Origin) {
        self.notes.push(Note::debug(format!(
            "{origin} is passed over: it is about memcached's own memory and logs"
        )));
    }

    fn wrong(&mut self, origin: &Origin, message: impl Into<String>) {
        self.problems.push(Problem::new(origin, message));
    }
}

/// A letter (or long name) of memcached's that needs translation.
pub struct Foreign {
    /// The letter.
    pub letter: char,
    /// memcached's long name.
    pub long: &'static str,
    /// What stands for its value in the help; empty = it takes none.
    pub value: &'static str,
    /// What the help says.
    pub help: &'static str,
}

const fn foreign(
    letter: char,
    long: &'static str,
    value: &'static str,
    help: &'static str,
) -> Foreign {
    Foreign { letter, long, value, help }
}

/// All of them.
#[rustfmt::skip]
pub const FOREIGN: &[Foreign] = &[
    foreign('m', "memory-limit", "MIB", "--max-bytes, in MiB"),
    foreign('M', "disable-evictions", "", "--evict=false"),
    foreign('I', "max-item-size", "SIZE", "--max-value, with k or m behind the number"),
    foreign('e', "memory-file", "DIR", "--store"),
    foreign('U', "udp-port", "PORT", "only 0: there is no UDP"),
    foreign('o', "extended", "LIST", "idle_timeout=SECONDS, maxconns_fast, ssl_chain_cert=, ssl_key=, ssl_ca_cert=, ssl_verify_mode=, ssl_min_version=; what tunes memcached's memory is passed over"),
    foreign('f', "slab-growth-factor", "N", "passed over"),
    foreign('n', "slab-min-size", "N", "passed over"),
    foreign('L', "enable-largepages", "", "passed over"),
    foreign('N', "napi-ids", "N", "passed over"),
    foreign('W', "disable-watch", "", "passed over: there is no watch"),
    foreign('C', "disable-cas", "", "passed over: versions cost nothing"),
];

/// What a letter and its value mean.
pub fn translate(letter: char, text: &str, origin: &Origin) -> Meant {
    let mut meant = Meant::default();
    match letter {
        'm' => match text.parse::<u64>().ok().filter(|mib| *mib > 0) {
            Some(mib) => meant.give("max-bytes", format!("{mib}MiB"), origin),
            None => meant.wrong(origin, format!("{text:?} is not a number of MiB")),
        },
        'M' => meant.give("evict", "false", origin),
        'I' => meant.give("max-value", text, origin),
        'e' => meant.give("store", text, origin),
        'U' if text == "0" => {}
        'U' => meant.notes.push(Note::warning(format!("{origin} {text}: there is no UDP"))),
        'o' => extended(text, origin, &mut meant),
        _ => meant.pass_over(origin),
    }
    meant
}

/// Names after `-o` that only tune memcached's own memory, threads and log buffers.
const PASSED_OVER: &[&str] = &[
    "chunked_items",
    "drop_privileges",
    "hash_algorithm",
    "hashexpand",
    "hashpower",
    "hot_lru_pct",
    "hot_max_factor",
    "inline_ascii_resp",
    "meta_response_old",
    "modern",
    "read_buf_mem_limit",
    "read_obj_mem_limit",
    "relaxed_privileges",
    "resp_obj_mem_limit",
    "sock_cookie_id",
    "ssl_kernel_tls",
    "ssl_session_cache",
    "ssl_wbuf_size",
    "tail_repair_time",
    "temporary_ttl",
    "track_sizes",
    "warm_lru_pct",
    "warm_max_factor",
    "watcher_logbuf_size",
    "worker_logbuf_size",
];

/// Beginnings of such names.
const FAMILIES: &[&str] = &["slab_", "lru_", "ext_"];

fn extended(list: &str, origin: &Origin, meant: &mut Meant) {
    for item in list.split(',').map(str::trim).filter(|item| !item.is_empty()) {
        let (name, value) = match item.split_once('=') {
            Some((name, value)) => (name, Some(value)),
            None => (item, None),
        };
        let origin = match origin {
            Origin::Flag(_) => &Origin::Flag(format!("-o {name}")),
            other => other,
        };
        one_extended(name, value, origin, meant);
    }
}

fn one_extended(name: &str, value: Option<&str>, origin: &Origin, meant: &mut Meant) {
    let text = match (name, value) {
        ("maxconns_fast", None) => return meant.give("maxconns-fast", "true", origin),
        ("no_maxconns_fast", None) => return meant.give("maxconns-fast", "false", origin),
        (_, Some(text)) if !text.is_empty() => text,
        _ => "",
    };
    let wanted = |meant: &mut Meant, option| match text {
        "" => meant.wrong(origin, format!("-o {name} needs a value: -o {name}=...")),
        _ => meant.give(option, text, origin),
    };
    match name {
        "idle_timeout" => match text.parse::<u32>() {
            Ok(seconds) => meant.give("idle-timeout", format!("{seconds}s"), origin),
            Err(_) => meant.wrong(origin, format!("{text:?} is not a number of seconds")),
        },
        "ssl_chain_cert" => wanted(meant, "tls-cert"),
        "ssl_key" => wanted(meant, "tls-key"),
        "ssl_ca_cert" => wanted(meant, "tls-ca"),
        "ssl_verify_mode" => match text {
            "0" => meant.give("tls-verify", "none", origin),
            "1" => meant.give("tls-verify", "request", origin),
            "2" | "3" => meant.give("tls-verify", "require", origin),
            _ => meant.wrong(origin, format!("ssl_verify_mode is {text:?}; it must be 0 to 3")),
        },
        "ssl_min_version" => match text {
            "0" | "1" => {
                meant.notes.push(Note::warning("TLS 1.0 and 1.1 are not spoken; 1.2 is the oldest"))
            }
            "2" => meant.give("tls-min-version", "1.2", origin),
            "3" => meant.give("tls-min-version", "1.3", origin),
            _ => meant.wrong(origin, format!("ssl_min_version is {text:?}; it must be 0 to 3")),
        },
        "ssl_keyformat" if matches!(text, "PEM" | "1") => {}
        "ssl_keyformat" => meant.wrong(origin, "keys are read in PEM only"),
        "ssl_ciphers" => meant.wrong(
            origin,
            "cipher suites cannot be chosen: all that are spoken are considered safe; leave it out",
        ),
        _ if is_passed_over(name) => meant.pass_over(origin),
        _ => meant.wrong(origin, format!("memcached has no option {name:?} after -o")),
    }
}

fn is_passed_over(name: &str) -> bool {
    let bare = name.strip_prefix("no_").unwrap_or(name);
    PASSED_OVER.contains(&bare) || FAMILIES.iter().any(|family| bare.starts_with(family))
}

/// Reads a memcached.conf as Debian's start script does: a flag a line, `#` comments; `-d` and `-h`
/// do not count there, and words without a dash are the script's own.
pub fn conf(path: &Path, text: &str) -> Meant {
    let mut meant = Meant::default();
    for (i, line) in text.lines().enumerate() {
        let line = line.split('#').next().unwrap_or_default().trim();
        let origin = Origin::MemcachedConf(path.to_path_buf(), i + 1);
        if line.is_empty() || line.starts_with("-d") || line.starts_with("-h") {
            continue;
        }
        if !line.starts_with('-') {
            let note = format!("{origin} is for memcached's start script");
            meant.notes.push(Note::debug(note));
            continue;
        }
        // The script gives the line to a shell.
        let words = line.split_whitespace().map(Into::into).collect();
        match flags::read(words, Some(&origin)) {
            Ok(read)
                if read.special.is_none()
                    && read.config.is_none()
                    && read.memcached_conf.is_none() =>
            {
                meant.given.extend(read.meant.given);
                meant.notes.extend(read.meant.notes);
                meant.problems.extend(read.meant.problems);
            }
            Ok(_) => meant.wrong(&origin, "is nothing for this file"),
            Err(problem) => meant.wrong(&origin, problem.message),
        }
    }
    meant
}
