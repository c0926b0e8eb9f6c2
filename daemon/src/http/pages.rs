//! The pages: which path shows what.

use std::sync::atomic::Ordering;

use serde_json::json;

use super::Shared;
use super::request::Request;
use crate::metrics::{self, Style};
use crate::profile::{self, ProfileError};

/// What is sent.
pub(super) struct Answer {
    status: u16,
    media: &'static str,
    pub(super) body: Vec<u8>,
}

const TEXT: &str = "text/plain; charset=utf-8";
const JSON: &str = "application/json";

/// Paths and what they are for, as the index shows them.
const PATHS: [(&str, &str); 4] = [
    ("/metrics", "numbers for Prometheus"),
    ("/health", "200 while the process is alive"),
    ("/ready", "200 when requests are answered as they should, else 503 with the reasons"),
    ("/debug/pprof/profile?seconds=30", "a CPU profile, with --profiling"),
];
/// What a profile takes when nobody says how long, seconds.
const PROFILE_DEFAULT_S: u64 = 30;

/// The page of a request.
pub(super) fn answer(request: &Request, shared: &Shared) -> Answer {
    match request.path.as_str() {
        "/" => index(),
        "/metrics" => {
            let style = Style::accepted(&request.accept);
            let ready = shared.source.ready().is_empty();
            let body = metrics::page(&shared.source.numbers(), ready, style).into_bytes();
            Answer { status: 200, media: style.media(), body }
        }
        "/health" => Answer { status: 200, media: TEXT, body: b"alive\n".to_vec() },
        "/ready" => ready(shared),
        "/debug/pprof/profile" if shared.settings.profiling => cpu_profile(request, shared),
        _ => refusal(404),
    }
}

/// A refusal, with a body that says the same.
pub(super) fn refusal(status: u16) -> Answer {
    failure(status, reason(status))
}

/// Status line and headers.
pub(super) fn head(answer: &Answer, goes_on: bool) -> String {
    let (status, length) = (answer.status, answer.body.len());
    let allow = if status == 405 { "Allow: GET, HEAD\r\n" } else { "" };
    format!(
        "HTTP/1.1 {status} {}\r\nContent-Type: {}\r\nContent-Length: {length}\r\n{allow}\
         Cache-Control: no-store\r\nX-Content-Type-Options: nosniff\r\nConnection: {}\r\n\r\n",
        reason(status),
        answer.media,
        if goes_on { "keep-alive" } else { "close" },
    )
}

fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        400 => "Bad Request",
        404 => "Not Found",
        405 => "Method Not Allowed",
        408 => "Request Timeout",
        409 => "Conflict",
        421 => "Misdirected Request",
        431 => "Request Header Fields Too Large",
        503 => "Service Unavailable",
        _ => "Internal Server Error",
    }
}

fn failure(status: u16, text: &str) -> Answer {
    Answer { status, media: TEXT, body: format!("{text}\n").into_bytes() }
}

fn in_json(status: u16, value: &serde_json::Value) -> Answer {
    Answer { status, media: JSON, body: format!("{value}\n").into_bytes() }
}

fn index() -> Answer {
    let paths: serde_json::Map<_, _> =
        PATHS.iter().map(|(path, what)| ((*path).into(), (*what).into())).collect();
    let version = env!("CARGO_PKG_VERSION");
    in_json(200, &json!({ "server": "holdfastd", "version": version, "paths": paths }))
}

fn ready(shared: &Shared) -> Answer {
    let reasons = shared.source.ready();
    let status = if reasons.is_empty() { 200 } else { 503 };
    in_json(status, &json!({ "ready": reasons.is_empty(), "reasons": reasons }))
}

fn cpu_profile(request: &Request, shared: &Shared) -> Answer {
    let asked = request.query.split('&').find_map(|part| part.strip_prefix("seconds="));
    // What is no number is refused in the same words as what is too long.
    let seconds = asked.map_or(PROFILE_DEFAULT_S, |text| text.parse().unwrap_or(0));
    match profile::cpu(seconds, &|| shared.ending.load(Ordering::Acquire)) {
        Ok(body) => Answer { status: 200, media: "application/octet-stream", body },
        Err(error) => {
            let status = match error {
                ProfileError::Seconds => 400,
                ProfileError::Busy => 409,
                ProfileError::NotBuilt => 404,
                ProfileError::Ending => 503,
                ProfileError::Failed(_) => 500,
            };
            failure(status, &error.to_string())
        }
    }
}
