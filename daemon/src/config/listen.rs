//! Addresses to listen on, as memcached writes them and a little more. Turns text into endpoints; opens
//! nothing. Called by the door of this room.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;

use crate::limits::ENDPOINTS_MAX;

/// Which dialects an endpoint speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// The first byte decides.
    Auto,
    /// Lines: text and meta.
    Ascii,
    /// Packets.
    Binary,
}

impl Protocol {
    /// As `-B` and `proto[...]` write it.
    pub fn parse(text: &str) -> Option<Protocol> {
        match text {
            "auto" | "negotiating" => Some(Protocol::Auto),
            "ascii" => Some(Protocol::Ascii),
            "binary" => Some(Protocol::Binary),
            _ => None,
        }
    }
}

/// Where an endpoint is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum At {
    /// TCP; port 0 is any free one.
    Tcp(SocketAddr),
    /// A unix socket and its permission bits.
    Unix(PathBuf, u32),
}

/// One place to listen at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// Where.
    pub at: At,
    /// Is TLS spoken there?
    pub tls: bool,
    /// Which dialects.
    pub protocol: Protocol,
    /// Its name in statistics, if it was given one.
    pub tag: Option<String>,
}

impl Endpoint {
    /// Can only this machine reach it?
    pub fn is_local(&self) -> bool {
        match &self.at {
            At::Tcp(address) => is_local(address.ip()),
            At::Unix(..) => true,
        }
    }
}

/// Can only this machine reach this address?
pub fn is_local(ip: IpAddr) -> bool {
    ip.to_canonical().is_loopback()
}

/// What holds for addresses that say nothing else.
pub struct Common<'a> {
    /// `None` = no TCP where no port is written.
    pub port: Option<u16>,
    /// Permission bits of unix sockets.
    pub mode: u32,
    /// TLS on TCP.
    pub tls: bool,
    /// Dialects.
    pub protocol: Protocol,
    /// Addresses of a host name.
    pub resolve: &'a dyn Fn(&str) -> Vec<IpAddr>,
    /// Makes a path absolute.
    pub absolute: &'a dyn Fn(&str) -> PathBuf,
}

/// All endpoints of a list; an error is a sentence.
pub fn endpoints(list: &str, common: &Common) -> Result<Vec<Endpoint>, String> {
    let mut all = vec![];
    for item in list.split([',', ';']).map(str::trim).filter(|item| !item.is_empty()) {
        for endpoint in one(item, common)? {
            if !all.iter().any(|other: &Endpoint| other.at == endpoint.at) {
                all.push(endpoint);
            }
        }
        if all.len() > ENDPOINTS_MAX {
            return Err(format!("more than {ENDPOINTS_MAX} addresses"));
        }
    }
    Ok(all)
}

fn one(item: &str, common: &Common) -> Result<Vec<Endpoint>, String> {
    let (mut tls, mut protocol, mut tag, mut rest) = (common.tls, common.protocol, None, item);
    loop {
        if let Some(after) = rest.strip_prefix("notls:") {
            (tls, rest) = (false, after);
        } else if let Some((name, after)) = bracketed(rest, "proto[") {
            protocol = Protocol::parse(name).ok_or_else(|| {
                format!("{name:?} in {item:?} is no protocol; it must be auto, ascii or binary")
            })?;
            rest = after;
        } else if let Some((name, after)) = bracketed(rest, "tag[") {
            (tag, rest) = (Some(name.to_string()), after);
        } else {
            break;
        }
    }
    let endpoint = |at, tls| Endpoint { at, tls, protocol, tag: tag.clone() };
    if let Some(path) = rest.strip_prefix("unix:") {
        return match path {
            "" => Err(format!("{item:?} names no socket; unix:/run/x.sock would")),
            path => Ok(vec![endpoint(At::Unix((common.absolute)(path), common.mode), false)]),
        };
    }
    let (host, port) = split(rest).ok_or_else(|| {
        format!("{item:?} is no address; 127.0.0.1, host:11211, [::1]:11211, * or unix:/path are")
    })?;
    // No port of its own, and no TCP for those who have none.
    let Some(port) = port.or(common.port) else { return Ok(vec![]) };
    let addresses = match host {
        "*" => vec![Ipv4Addr::UNSPECIFIED.into(), Ipv6Addr::UNSPECIFIED.into()],
        host => match host.parse() {
            Ok(ip) => vec![ip],
            Err(_) => (common.resolve)(host),
        },
    };
    if addresses.is_empty() {
        return Err(format!("the host name {host:?} has no address"));
    }
    let socket = |ip| endpoint(At::Tcp(SocketAddr::new(ip, port)), tls);
    Ok(addresses.into_iter().map(socket).collect())
}

/// `proto[x]:rest`.
fn bracketed<'a>(text: &'a str, begins: &str) -> Option<(&'a str, &'a str)> {
    text.strip_prefix(begins)?.split_once("]:")
}

/// Host and port, if there is one.
fn split(text: &str) -> Option<(&str, Option<u16>)> {
    if text.is_empty() {
        return None;
    }
    if text.parse::<Ipv6Addr>().is_ok() {
        return Some((text, None));
    }
    if let Some(inner) = text.strip_prefix('[') {
        let (host, after) = inner.split_once(']')?;
        host.parse::<Ipv6Addr>().ok()?;
        return match after.strip_prefix(':') {
            Some(port) => Some((host, Some(port.parse().ok()?))),
            None => after.is_empty().then_some((host, None)),
        };
    }
    let (host, port) = match text.split_once(':') {
        Some((host, port)) => (host, Some(port.parse().ok()?)),
        None => (text, None),
    };
    let is_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
    (host == "*" || (!host.is_empty() && host.chars().all(is_name))).then_some((host, port))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(list: &str) -> Result<Vec<Endpoint>, String> {
        let local = |name: &str| match name {
            "localhost" => vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()],
            _ => vec![],
        };
        let common = Common {
            port: Some(11211),
            mode: 0o600,
            tls: true,
            protocol: Protocol::Auto,
            resolve: &local,
            absolute: &|path| PathBuf::from("/here").join(path),
        };
        endpoints(list, &common)
    }

    fn places(list: &str) -> Vec<String> {
        let show = |endpoint: &Endpoint| match &endpoint.at {
            At::Tcp(address) => address.to_string(),
            At::Unix(path, mode) => format!("{} {mode:o}", path.display()),
        };
        read(list).unwrap_or_default().iter().map(show).collect()
    }

    #[test]
    fn addresses_have_many_shapes() {
        assert_eq!(places("127.0.0.1"), ["127.0.0.1:11211"]);
        assert_eq!(places("127.0.0.1:0,[::1]:7;::1"), ["127.0.0.1:0", "[::1]:7", "[::1]:11211"]);
        assert_eq!(places("localhost:5"), ["127.0.0.1:5", "[::1]:5"]);
        assert_eq!(places("*"), ["0.0.0.0:11211", "[::]:11211"]);
        assert_eq!(places("unix:a.sock, unix:/b"), ["/here/a.sock 600", "/b 600"]);
        assert_eq!(places("127.0.0.1,127.0.0.1:11211"), ["127.0.0.1:11211"]);
    }

    #[test]
    fn prefixes_change_one_address() {
        let read =
            read("notls:127.0.0.1,tag[b1]:proto[binary]:127.0.0.2,unix:/x").unwrap_or_default();
        let facts: Vec<_> = read.iter().map(|e| (e.tls, e.protocol, e.tag.as_deref())).collect();
        assert_eq!(
            facts,
            [
                (false, Protocol::Auto, None),
                (true, Protocol::Binary, Some("b1")),
                (false, Protocol::Auto, None)
            ]
        );
    }

    #[test]
    fn what_is_no_address_is_said_to_be_none() {
        for bad in [
            "a b",
            "1.2.3.4:x",
            "1.2.3.4:65536",
            "[::1",
            "[::1]x",
            "[1.2.3.4]:5",
            "unix:",
            ":7",
            "proto[rot13]:1.1.1.1",
            "nowhere.invalid",
        ] {
            assert!(read(bad).is_err(), "{bad}");
        }
    }
}
