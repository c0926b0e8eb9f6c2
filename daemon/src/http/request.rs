//! Heads of HTTP requests: bytes to a checked request, or to the status of its refusal. Pure; httparse
//! does the parsing, this room says what is allowed. Only requests without bodies are.

use std::net::IpAddr;

use crate::limits::{HTTP_HEAD_MAX, HTTP_HEADERS_MAX};

/// A request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// Is the body of the answer wanted?
    pub head_only: bool,
    /// Without the query.
    pub path: String,
    /// Behind the `?`.
    pub query: String,
    /// The Accept header.
    pub accept: String,
    /// The name that it was asked by, lower case, without its port.
    pub host: Option<String>,
    /// Does the connection go on?
    pub keep_alive: bool,
}

/// What the bytes at hand come to.
#[derive(Debug, PartialEq, Eq)]
pub enum Head {
    /// Not a whole head.
    Incomplete,
    /// A request, and how many bytes it took.
    Whole(Request, usize),
    /// Refused with this status; the connection ends.
    Refused(u16),
}

/// Looks at what has arrived.
pub fn parse(bytes: &[u8]) -> Head {
    let mut headers = [httparse::EMPTY_HEADER; HTTP_HEADERS_MAX];
    let mut parsed = httparse::Request::new(&mut headers);
    match parsed.parse(bytes) {
        Ok(httparse::Status::Complete(used)) if used <= HTTP_HEAD_MAX => match request(&parsed) {
            Ok(request) => Head::Whole(request, used),
            Err(status) => Head::Refused(status),
        },
        Ok(httparse::Status::Partial) if bytes.len() < HTTP_HEAD_MAX => Head::Incomplete,
        Ok(_) | Err(httparse::Error::TooManyHeaders) => Head::Refused(431),
        Err(_) => Head::Refused(400),
    }
}

fn request(parsed: &httparse::Request) -> Result<Request, u16> {
    let head_only = match parsed.method {
        Some("GET") => false,
        Some("HEAD") => true,
        _ => return Err(405),
    };
    let header = |name: &str| -> Result<Option<&str>, u16> {
        let mut found =
            parsed.headers.iter().filter(|header| header.name.eq_ignore_ascii_case(name));
        let Some(first) = found.next() else { return Ok(None) };
        // Two of them are somebody's trick: which one counts is what the trick is about.
        match found.next() {
            Some(_) => Err(400),
            None => std::str::from_utf8(first.value).map(Some).map_err(|_| 400),
        }
    };
    if header("Transfer-Encoding")?.is_some() || header("Content-Length")?.is_some_and(|n| n != "0")
    {
        return Err(400);
    }
    let modern = parsed.version == Some(1);
    let host = header("Host")?.map(bare_host);
    if modern && host.is_none() {
        return Err(400);
    }
    let target = parsed.path.unwrap_or_default();
    if !target.starts_with('/') {
        return Err(400);
    }
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let connection = header("Connection").unwrap_or(Some("close")).unwrap_or_default();
    let says =
        |word: &str| connection.split(',').any(|part| part.trim().eq_ignore_ascii_case(word));
    Ok(Request {
        head_only,
        path: path.to_string(),
        query: query.to_string(),
        accept: header("Accept").unwrap_or_default().unwrap_or_default().to_string(),
        host,
        keep_alive: if modern { !says("close") } else { says("keep-alive") },
    })
}

/// Without port and brackets, lower case.
fn bare_host(host: &str) -> String {
    let host = host.trim();
    let bare = match host.strip_prefix('[') {
        Some(inner) => inner.split(']').next().unwrap_or_default(),
        None => host.split(':').next().unwrap_or_default(),
    };
    bare.to_ascii_lowercase()
}

/// May the port be asked by this name?
///
/// A web page can have its own name point to 127.0.0.1 and then read what is served there as its own
/// (DNS rebinding). There are no secrets here, but numbers that are nobody's business; so on a loopback
/// address only addresses, localhost and names that were configured are good. Where the port was put on
/// another address on purpose, whoever reaches it may read it, under any name.
pub fn is_known(host: Option<&str>, loopback: bool, names: &[String]) -> bool {
    let Some(host) = host.filter(|_| loopback) else { return true };
    host.parse::<IpAddr>().is_ok()
        || host == "localhost"
        || host.ends_with(".localhost")
        || names.iter().any(|name| name == host)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn whole(text: &str) -> Request {
        match parse(text.as_bytes()) {
            Head::Whole(request, used) if used == text.len() => request,
            other => panic!("{text:?}: {other:?}"),
        }
    }

    #[test]
    fn requests_are_told_apart_from_their_beginnings_and_from_nonsense() {
        let text = "GET /a?b=c HTTP/1.1\r\nHost: X:9150\r\nAccept: y\r\n\r\n";
        let request = whole(text);
        assert_eq!((request.path.as_str(), request.query.as_str()), ("/a", "b=c"));
        assert_eq!((request.host.as_deref(), request.keep_alive), (Some("x"), true));
        for cut in 0..text.len() {
            assert_eq!(parse(&text.as_bytes()[..cut]), Head::Incomplete, "{cut}");
        }
        assert!(!whole("HEAD / HTTP/1.0\r\n\r\n").keep_alive);
        assert!(whole("GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n").keep_alive);
        assert!(!whole("GET / HTTP/1.1\r\nHost: a\r\nConnection: te, close\r\n\r\n").keep_alive);
        assert_eq!(
            whole("GET / HTTP/1.1\r\nHost: [::1]:9150\r\n\r\n").host.as_deref(),
            Some("::1")
        );
    }

    #[test]
    fn what_is_not_for_this_port_is_refused_by_its_status() {
        for (text, status) in [
            ("POST / HTTP/1.1\r\nHost: a\r\n\r\n", 405),
            ("GET / HTTP/1.1\r\n\r\n", 400),
            ("GET http://a/ HTTP/1.1\r\nHost: a\r\n\r\n", 400),
            ("GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400),
            ("GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n", 400),
            ("GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n", 400),
            ("GET / HTTP/1.1\r\nHost: \u{e9}\r\n x: y\r\n\r\n", 400),
            ("\u{80}\u{0}get a\r\n", 400),
            ("set a 0 0 1\r\n", 400),
        ] {
            assert_eq!(parse(text.as_bytes()), Head::Refused(status), "{text:?}");
        }
        let long = format!("GET / HTTP/1.1\r\nHost: {}", "a".repeat(9000));
        assert_eq!(parse(long.as_bytes()), Head::Refused(431));
        let many = format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", "a: b\r\n".repeat(70));
        assert_eq!(parse(many.as_bytes()), Head::Refused(431));
    }

    #[test]
    fn no_bytes_make_it_panic_and_what_is_whole_is_within_bounds() {
        let pieces: [&[u8]; 14] = [
            b"GET ",
            b"HEAD /",
            b"/",
            b" HTTP/1.1",
            b"\r\n",
            b"\n",
            b"Host: ",
            b"[",
            b"]:",
            b"\xff",
            b"Connection: ,close",
            b"?",
            b"\0",
            b": ",
        ];
        let mut state = 20_251_120_u64;
        for _ in 0..20_000 {
            let mut bytes = vec![];
            for _ in 0..12 {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                let pick = usize::try_from(state >> 33).unwrap_or(0) % pieces.len();
                bytes.extend_from_slice(pieces[pick]);
            }
            if let Head::Whole(request, used) = parse(&bytes) {
                assert!(used <= bytes.len() && request.path.starts_with('/'));
            }
        }
    }

    #[test]
    fn on_loopback_only_addresses_localhost_and_configured_names_are_good() {
        let names = ["cache1.example".to_string()];
        let known = |host| is_known(Some(host), true, &names);
        assert!(known("127.0.0.1") && known("::1") && known("localhost") && known("a.localhost"));
        assert!(known("cache1.example") && !known("evil.example") && !known(""));
        assert!(is_known(None, true, &names), "HTTP/1.0 has none, and browsers do not speak it");
        assert!(is_known(Some("anything.example"), false, &[]));
    }
}
