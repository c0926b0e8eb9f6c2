//! What an option may be: the check of a value as people write it, and the sentence that says what is
//! allowed. Pure; called by the layers for every value, whichever way it came in.

use std::time::Duration;

/// What may be written for an option.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Yes or no.
    Bool,
    /// A whole number within bounds.
    Number(u64, u64),
    /// A port; -1 is any free one, as for memcached.
    Port,
    /// Threads: a number, or as many as there are processors.
    Threads,
    /// Bytes.
    Size(u64, u64),
    /// A time span; the bound is in seconds.
    Span {
        /// The shortest, milliseconds.
        least_ms: u64,
        /// The longest, seconds.
        most_s: u64,
    },
    /// Permission bits.
    Octal,
    /// A name of a file or directory.
    Path,
    /// A word of at most so many bytes.
    Text(usize),
    /// One printable character of ASCII.
    Letter,
    /// One of these.
    Choice(&'static [&'static str]),
    /// Addresses; looked at closely where they are resolved.
    Addresses,
    /// Host names, separated by commas.
    Names,
    /// An address with its port, or `off`.
    AddressOrOff,
}

/// Longest value of any option, bytes.
const TEXT_MAX: usize = 4096;
const KIB: u64 = 1024;

impl Kind {
    /// Is this text allowed?
    pub fn allows(&self, text: &str) -> bool {
        if text.len() > TEXT_MAX || text.chars().any(char::is_control) {
            return false;
        }
        match *self {
            Kind::Bool => boolean(text).is_some(),
            Kind::Number(low, high) => {
                text.parse().is_ok_and(|number| (low..=high).contains(&number))
            }
            Kind::Port => text == "-1" || text.parse::<u16>().is_ok(),
            Kind::Threads => {
                text == "auto" || text.parse().is_ok_and(|n| (1..=THREADS_MAX).contains(&n))
            }
            Kind::Size(low, high) => size(text).is_some_and(|bytes| (low..=high).contains(&bytes)),
            Kind::Span { least_ms, most_s } => span(text).is_some_and(|span| {
                (Duration::from_millis(least_ms)..=Duration::from_secs(most_s)).contains(&span)
            }),
            Kind::Octal => octal(text).is_some(),
            Kind::Path => !text.is_empty(),
            Kind::Text(most) => text.len() <= most && !text.contains(char::is_whitespace),
            Kind::Letter => matches!(text.as_bytes(), [byte] if byte.is_ascii_graphic()),
            Kind::Choice(names) => names.contains(&text),
            Kind::Addresses | Kind::AddressOrOff => !text.trim().is_empty(),
            Kind::Names => text.split(',').all(|name| {
                name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_'))
            }),
        }
    }

    /// What is allowed, to follow "it must be".
    pub fn allowed(&self) -> String {
        match *self {
            Kind::Bool => "true or false".into(),
            Kind::Number(low, high) => format!("a number from {low} to {high}"),
            Kind::Port => "a port from 0 (no TCP) to 65535, or -1 (any free one)".into(),
            Kind::Threads => format!("a number from 1 to {THREADS_MAX}, or auto"),
            Kind::Size(low, high) => {
                format!("a size such as 64MiB, from {} to {}", show_size(low), show_size(high))
            }
            Kind::Span { least_ms, most_s } => format!(
                "a time span such as 30s or 1h30m, from {} to {}",
                show_span(Duration::from_millis(least_ms)),
                show_span(Duration::from_secs(most_s))
            ),
            Kind::Octal => "permission bits in octal, 0 to 777".into(),
            Kind::Path => "the name of a file".into(),
            Kind::Text(most) => format!("a word of at most {most} bytes"),
            Kind::Letter => "one printable character".into(),
            Kind::Choice(names) => match names {
                [first, last] => format!("{first} or {last}"),
                _ => format!("one of {}", names.join(", ")),
            },
            Kind::Addresses => {
                "addresses such as 127.0.0.1, [::1]:11211 or unix:/run/x.sock".into()
            }
            Kind::Names => "host names, separated by commas".into(),
            Kind::AddressOrOff => "an address with its port such as 127.0.0.1:9150, or off".into(),
        }
    }
}

/// Most event loops.
pub const THREADS_MAX: usize = 256;

/// Yes or no, as people write it in files and environments.
pub fn boolean(text: &str) -> Option<bool> {
    match text {
        "true" | "yes" | "on" | "1" => Some(true),
        "false" | "no" | "off" | "0" => Some(false),
        _ => None,
    }
}

/// Bytes: a number with an optional unit. `k`, `m`, `g`, `t` are powers of 1024 as for memcached's
/// `-I`; the units of powers of 1000 are not taken, because half of their users mean the others.
pub fn size(text: &str) -> Option<u64> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at_checked(digits)?;
    let factor = match unit.trim_start() {
        "" | "B" => 1,
        "k" | "K" | "KiB" => KIB,
        "m" | "M" | "MiB" => KIB.pow(2),
        "g" | "G" | "GiB" => KIB.pow(3),
        "t" | "T" | "TiB" => KIB.pow(4),
        _ => return None,
    };
    number.parse::<u64>().ok()?.checked_mul(factor)
}

/// A time span; a plain `0` needs no unit.
pub fn span(text: &str) -> Option<Duration> {
    match text {
        "0" => Some(Duration::ZERO),
        _ => humantime::parse_duration(text).ok(),
    }
}

/// Permission bits.
pub fn octal(text: &str) -> Option<u32> {
    let digits = text.bytes().all(|byte| byte.is_ascii_digit()) && !text.is_empty();
    u32::from_str_radix(text, 8).ok().filter(|bits| digits && *bits <= 0o777)
}

/// Bytes in the largest unit that says them exactly.
pub fn show_size(bytes: u64) -> String {
    let units = [(KIB.pow(4), "TiB"), (KIB.pow(3), "GiB"), (KIB.pow(2), "MiB"), (KIB, "KiB")];
    match units.iter().find(|(factor, _)| bytes >= *factor && bytes.is_multiple_of(*factor)) {
        Some((factor, unit)) => format!("{}{unit}", bytes / factor),
        None => format!("{bytes}"),
    }
}

/// A time span, such as `1h 30m`.
pub fn show_span(span: Duration) -> String {
    match span {
        Duration::ZERO => "0".into(),
        _ => humantime::format_duration(span).to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_powers_of_1024_and_ambiguous_units_are_not_taken() {
        let read = [("0", 0), ("64MiB", 64 << 20), ("1k", 1024), ("2 GiB", 2 << 30), ("7B", 7)];
        for (text, bytes) in read {
            assert_eq!(size(text), Some(bytes), "{text}");
        }
        for text in [
            "",
            "MiB",
            "1MB",
            "1kB",
            "-1",
            "1.5GiB",
            "99999999999999999999",
            "1e3",
            "9999999999TiB",
        ] {
            assert_eq!(size(text), None, "{text}");
        }
        assert_eq!(show_size(64 << 20), "64MiB");
        assert_eq!(show_size(1025), "1025");
        assert_eq!(size(&show_size(3 << 40)), Some(3 << 40));
    }

    #[test]
    fn spans_have_units() {
        assert_eq!(span("1h30m"), Some(Duration::from_secs(5400)));
        assert_eq!(span("250ms"), Some(Duration::from_millis(250)));
        assert_eq!(span("0"), Some(Duration::ZERO));
        for text in ["", "30", "1 fortnight", "-1s"] {
            assert_eq!(span(text), None, "{text}");
        }
        assert_eq!(span(&show_span(Duration::from_secs(5400))), Some(Duration::from_secs(5400)));
    }

    #[test]
    fn masks_are_octal() {
        assert_eq!(octal("0770"), Some(0o770));
        for text in ["", "8", "1000", "+7", "0x7"] {
            assert_eq!(octal(text), None, "{text}");
        }
    }

    #[test]
    fn control_characters_are_nowhere_allowed() {
        for kind in [Kind::Path, Kind::Text(99), Kind::Addresses] {
            assert!(kind.allows("a") && !kind.allows("a\nb") && !kind.allows("a\0"));
            assert!(!kind.allows(&"a".repeat(5000)));
        }
    }
}
