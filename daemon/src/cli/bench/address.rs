//! `[name=]host:port[@pid]` and `[name=]unix:/path[@pid]`: where a server listens, what to call it,
//! and which process it is. Pure; called by the options.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

/// Where a server listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Place {
    /// `host:port`, resolved when it is connected to.
    Tcp(String),
    /// The path of a unix socket.
    Unix(PathBuf),
}

/// One server to measure.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Address {
    /// What reports call it: the name it was given, else where it listens.
    pub(super) name: String,
    pub(super) place: Place,
    /// Its process, for its CPU time.
    pub(super) pid: Option<u32>,
}

impl FromStr for Address {
    type Err = String;

    fn from_str(whole: &str) -> Result<Self, String> {
        let (name, rest) = split_name(whole);
        let (target, pid) = split_pid(rest)?;
        let place = match target.strip_prefix("unix:") {
            Some("") => return Err("`unix:` needs the path of a socket".into()),
            Some(path) => Place::Unix(PathBuf::from(path)),
            None => Place::Tcp(checked_host_port(target)?),
        };
        Ok(Self { name: name.unwrap_or(target).to_owned(), place, pid })
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => f.write_str(address),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// A name ends at the first `=`, and has none of the characters that addresses are made of.
fn split_name(whole: &str) -> (Option<&str>, &str) {
    match whole.split_once('=') {
        Some((name, rest)) if !name.is_empty() && !name.contains([':', '/', '@', '[']) => {
            (Some(name), rest)
        }
        _ => (None, whole),
    }
}

/// A path may contain `@`; only digits after the last one are a process.
fn split_pid(rest: &str) -> Result<(&str, Option<u32>), String> {
    match rest.rsplit_once('@') {
        Some((target, digits)) if digits.bytes().all(|b| b.is_ascii_digit()) => {
            match digits.parse() {
                Ok(pid) if pid > 0 => Ok((target, Some(pid))),
                _ => Err(format!("`{digits}` after the `@` is not a process id")),
            }
        }
        _ => Ok((rest, None)),
    }
}

fn checked_host_port(target: &str) -> Result<String, String> {
    let wanted = "expected host:port or unix:/path";
    let (host, port) = target.rsplit_once(':').ok_or(wanted)?;
    if host.is_empty() || (host.contains(':') && !host.starts_with('[')) {
        return Err(wanted.into());
    }
    match port.parse::<u16>() {
        Ok(port) if port > 0 => Ok(target.to_owned()),
        _ => Err(format!("`{port}` is not a port")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_places_and_processes_are_told_apart() {
        let all: Address = "memcached=127.0.0.1:11211@77".parse().unwrap();
        assert_eq!(all.name, "memcached");
        assert_eq!(all.place, Place::Tcp("127.0.0.1:11211".into()));
        assert_eq!(all.pid, Some(77));
        let bare: Address = "[::1]:1".parse().unwrap();
        assert_eq!((bare.name.as_str(), bare.pid), ("[::1]:1", None));
        let path: Address = "unix:/run/a=b@c/s".parse().unwrap();
        assert_eq!(path.place, Place::Unix("/run/a=b@c/s".into()));
        assert_eq!(path.name, "unix:/run/a=b@c/s");
        let both: Address = "x=unix:/s@5".parse().unwrap();
        assert_eq!((both.name.as_str(), both.pid), ("x", Some(5)));
        assert_eq!(both.place.to_string(), "unix:/s");
    }

    #[test]
    fn what_is_not_an_address_is_refused() {
        for bad in
            ["", "localhost", ":1", "h:", "h:0", "h:65536", "::1:5", "unix:", "h:1@0", "h:1@"]
        {
            assert!(bad.parse::<Address>().is_err(), "{bad:?} was taken");
        }
    }
}
