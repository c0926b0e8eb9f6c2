//! The two text formats of Prometheus: 0.0.4, and OpenMetrics 1.0 for those who accept it. Our own
//! writer, because the kept crates write only the second one, in which a counter cannot have a name
//! such as `memcached_uptime_seconds`, that existing dashboards ask for.

use std::fmt::{Display, Write};

/// Which of the two.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Style {
    /// Prometheus text 0.0.4.
    Plain,
    /// OpenMetrics 1.0.
    Open,
}

impl Style {
    /// By what a client accepts.
    pub fn accepted(accept: &str) -> Style {
        match accept.contains("application/openmetrics-text") {
            true => Style::Open,
            false => Style::Plain,
        }
    }

    /// The media type.
    pub fn media(self) -> &'static str {
        match self {
            Style::Plain => "text/plain; version=0.0.4; charset=utf-8",
            Style::Open => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }
}

/// What a family's numbers are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Type {
    /// They only grow.
    Counter,
    /// They come and go.
    Gauge,
    /// They fall into buckets.
    Histogram,
}

/// A page that is being written.
pub struct Page {
    text: String,
    style: Style,
}

/// The samples of one family.
pub struct Samples<'a> {
    page: &'a mut Page,
    name: &'a str,
    what: Type,
    help: &'a str,
    begun: bool,
}

impl Page {
    /// An empty one.
    pub fn new(style: Style) -> Page {
        Page { text: String::with_capacity(64 << 10), style }
    }

    /// A family, whose samples the closure adds. Without any it is left out.
    pub fn family(&mut self, name: &str, what: Type, help: &str, add: impl FnOnce(&mut Samples)) {
        add(&mut Samples { page: self, name, what, help, begun: false });
    }

    /// A family of one sample without labels.
    pub fn single(&mut self, name: &str, what: Type, help: &str, value: impl Display) {
        self.family(name, what, help, |samples| samples.add(&[], value));
    }

    /// The text.
    pub fn finish(mut self) -> String {
        if self.style == Style::Open {
            self.text.push_str("# EOF\n");
        }
        self.text
    }
}

impl Samples<'_> {
    /// One sample.
    pub fn add(&mut self, labels: &[(&str, &str)], value: impl Display) {
        self.line("", labels, value);
    }

    /// A histogram's samples: each bucket's end and how many fell into it alone; the last has no end.
    pub fn buckets(
        &mut self,
        labels: &[(&str, &str)],
        buckets: impl Iterator<Item = (Option<f64>, u64)>,
        sum: f64,
    ) {
        let mut below = 0_u64;
        for (end, count) in buckets {
            below = below.saturating_add(count);
            if let Some(end) = end {
                let end = end.to_string();
                let labels: Vec<_> = labels.iter().copied().chain([("le", end.as_str())]).collect();
                self.line("_bucket", &labels, below);
            }
        }
        let labelled: Vec<_> = labels.iter().copied().chain([("le", "+Inf")]).collect();
        self.line("_bucket", &labelled, below);
        self.line("_sum", labels, sum);
        self.line("_count", labels, below);
    }

    fn begin(&mut self) {
        let open = self.page.style == Style::Open;
        let bare = self.name.strip_suffix("_total");
        // OpenMetrics names a counter's family without the _total of its samples, and knows no
        // counters whose samples are without it.
        let (family, what) = match (self.what, bare) {
            (Type::Counter, Some(bare)) if open => (bare, "counter"),
            (Type::Counter, None) if open => (self.name, "unknown"),
            (Type::Counter, _) => (self.name, "counter"),
            (Type::Gauge, _) => (self.name, "gauge"),
            (Type::Histogram, _) => (self.name, "histogram"),
        };
        let help = self.help;
        // Writing to a string does not fail.
        let _ = write!(self.page.text, "# HELP {family} {help}\n# TYPE {family} {what}\n");
        self.begun = true;
    }

    fn line(&mut self, suffix: &str, labels: &[(&str, &str)], value: impl Display) {
        if !self.begun {
            self.begin();
        }
        let text = &mut self.page.text;
        text.push_str(self.name);
        text.push_str(suffix);
        for (i, (name, value)) in labels.iter().enumerate() {
            text.push(if i == 0 { '{' } else { ',' });
            let _ = write!(text, "{name}=\"");
            escape(text, value);
            text.push('"');
        }
        if !labels.is_empty() {
            text.push('}');
        }
        let _ = writeln!(text, " {value}");
    }
}

fn escape(text: &mut String, value: &str) {
    for c in value.chars() {
        match c {
            '\\' => text.push_str("\\\\"),
            '"' => text.push_str("\\\""),
            '\n' => text.push_str("\\n"),
            c => text.push(c),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_formats_say_the_same_in_their_own_ways() {
        let write = |style| {
            let mut page = Page::new(style);
            page.single("a_total", Type::Counter, "Of a.", 3);
            page.single("b_seconds", Type::Counter, "Of b.", 0.5);
            page.family("none", Type::Gauge, "Nothing.", |_| ());
            page.family("c", Type::Histogram, "Of c.", |samples| {
                let buckets = [(Some(0.1), 2), (Some(1.0), 0), (None, 1)];
                samples.buckets(&[("x", "\"\\\n")], buckets.into_iter(), 4.5);
            });
            page.finish()
        };
        let plain = "# HELP a_total Of a.\n# TYPE a_total counter\na_total 3\n\
                     # HELP b_seconds Of b.\n# TYPE b_seconds counter\nb_seconds 0.5\n\
                     # HELP c Of c.\n# TYPE c histogram\n\
                     c_bucket{x=\"\\\"\\\\\\n\",le=\"0.1\"} 2\n\
                     c_bucket{x=\"\\\"\\\\\\n\",le=\"1\"} 2\n\
                     c_bucket{x=\"\\\"\\\\\\n\",le=\"+Inf\"} 3\n\
                     c_sum{x=\"\\\"\\\\\\n\"} 4.5\nc_count{x=\"\\\"\\\\\\n\"} 3\n";
        assert_eq!(write(Style::Plain), plain);
        let open = plain
            .replace("HELP a_total", "HELP a")
            .replace("TYPE a_total", "TYPE a")
            .replace("b_seconds counter", "b_seconds unknown");
        assert_eq!(write(Style::Open), open + "# EOF\n");
    }
}
