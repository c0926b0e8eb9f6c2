//! The requests of one connection that wait for their answers, and the check of each answer.
//!
//! Answers come in the order of the requests, in every dialect. An answer is counted when it is the
//! one that its request must get: the right kind, the right key, the right bytes; anything else is
//! a [`Fault`] that names the request. No sockets. Called by the connection.

use super::fault::{Fault, hint, shown};
use super::tally::{Kind, Tally};
use super::values::Values;
use super::wire::{Answer, Item, Protocol, Shape, tag};

/// What all answers of a run are checked against.
pub(super) struct Rules {
    pub(super) protocol: Protocol,
    pub(super) values: Values,
    pub(super) allow_misses: bool,
}

#[derive(Debug, Clone, Copy)]
struct Request {
    kind: Kind,
    keys: usize,
    /// When it should have started, at a fixed rate.
    intended: Option<u64>,
}

/// The requests under way, and how far the first of them is answered.
pub(super) struct Batch {
    connection: usize,
    requests: Vec<Request>,
    /// The keys of all requests, one after the other.
    keys: Vec<u64>,
    sent_at: u64,
    head: usize,
    /// Where the keys of the first unanswered request begin, and how many of them are dealt with.
    keys_at: usize,
    seen: usize,
    counted: bool,
    refused: bool,
    answered: u64,
}

impl Batch {
    pub(super) fn new(connection: usize) -> Self {
        Self {
            connection,
            requests: Vec::new(),
            keys: Vec::new(),
            sent_at: 0,
            head: 0,
            keys_at: 0,
            seen: 0,
            counted: false,
            refused: false,
            answered: 0,
        }
    }

    /// Requests that are not answered.
    pub(super) fn waiting(&self) -> usize {
        self.requests.len() - self.head
    }

    pub(super) fn connection(&self) -> usize {
        self.connection
    }

    pub(super) fn answered(&self) -> u64 {
        self.answered
    }

    /// Forgets answered requests, before the next ones.
    pub(super) fn clear(&mut self) {
        self.requests.clear();
        self.keys.clear();
        self.head = 0;
        self.keys_at = 0;
    }

    /// Adds a request, and returns its keys to write it with.
    pub(super) fn add(
        &mut self,
        kind: Kind,
        keys: impl Iterator<Item = u64>,
        intended: Option<u64>,
    ) -> &[u64] {
        let from = self.keys.len();
        self.keys.extend(keys);
        self.requests.push(Request { kind, keys: self.keys.len() - from, intended });
        self.keys.get(from..).unwrap_or_default()
    }

    /// All requests leave now.
    pub(super) fn sent(&mut self, now: u64) {
        self.sent_at = now;
    }

    /// Takes all whole answers at the front of `bytes` and returns how many bytes they were.
    pub(super) fn take_all(
        &mut self,
        bytes: &[u8],
        rules: &Rules,
        tally: &mut Tally,
        now: u64,
    ) -> Result<usize, Fault> {
        let mut used = 0;
        while let Some(rest) = bytes.get(used..).filter(|rest| !rest.is_empty()) {
            if self.waiting() == 0 {
                let request = format!("nothing on connection {}", self.connection);
                let expected = "no bytes".to_owned();
                return Err(Fault::Wrong { request, expected, came: shown(rest) });
            }
            let parsed = rules.protocol.parse(rest, rules.values.value_size());
            match parsed.map_err(|reason| self.garbage(rules, rest, reason))? {
                None => break,
                Some(answer) => {
                    self.take(answer, rules, tally, now)?;
                    used += answer.used;
                }
            }
        }
        Ok(used)
    }

    fn take(
        &mut self,
        answer: Answer<'_>,
        rules: &Rules,
        tally: &mut Tally,
        now: u64,
    ) -> Result<(), Fault> {
        let Some(&request) = self.requests.get(self.head) else { return Ok(()) };
        let shape = rules.protocol.shape(request.keys);
        match (request.kind, answer.item) {
            (_, Item::Refused { text, passing: true }) if !self.counted => {
                self.refuse(text, request, shape, tally);
            }
            (_, Item::Refused { text, .. }) => {
                let text_shown = text.escape_ascii().to_string();
                let request = self.describe(rules);
                return Err(Fault::Refused { request, text: text_shown, hint: hint(text) });
            }
            (Kind::Set, Item::Stored) => {
                self.check_tag(answer, rules)?;
                self.finish(tally, now);
            }
            (Kind::Get, Item::Value { .. } | Item::Miss { .. })
                if shape != Shape::Counted || self.counted =>
            {
                self.take_value(answer, rules, tally)?;
                if self.seen == request.keys && !matches!(shape, Shape::Ended { .. }) {
                    self.finish(tally, now);
                }
            }
            (Kind::Get, Item::End) if matches!(shape, Shape::Ended { .. }) => {
                while self.seen < request.keys {
                    self.miss(rules, tally)?;
                }
                self.finish_unless_refused(tally, now);
            }
            (Kind::Get, Item::Array(count))
                if shape == Shape::Counted && !self.counted && count == request.keys =>
            {
                self.counted = true;
            }
            _ => return Err(self.unexpected(answer, rules)),
        }
        Ok(())
    }

    /// A value or a miss, of the next key or, where it is named, of one of the next keys.
    fn take_value(
        &mut self,
        answer: Answer<'_>,
        rules: &Rules,
        tally: &mut Tally,
    ) -> Result<(), Fault> {
        let (name, data) = match answer.item {
            Item::Value { key, data } => (key, data),
            Item::Miss { key } => {
                let next = self.pending_keys().first().copied();
                if key.is_some_and(|key| rules.values.number(key) != next) {
                    return Err(self.unexpected(answer, rules));
                }
                self.check_tag(answer, rules)?;
                return self.miss(rules, tally);
            }
            _ => return Err(self.unexpected(answer, rules)),
        };
        if let Some(name) = name {
            let number = rules.values.number(name);
            let ahead = self.pending_keys().iter().position(|&key| Some(key) == number);
            let Some(skipped) = ahead else { return Err(self.unexpected(answer, rules)) };
            for _ in 0..skipped {
                self.miss(rules, tally)?;
            }
        }
        let Some(&key) = self.pending_keys().first() else {
            return Err(self.unexpected(answer, rules));
        };
        self.check_tag(answer, rules)?;
        if let Err(mismatch) = rules.values.check(key, data) {
            return Err(Fault::Wrong {
                request: self.describe(rules),
                expected: format!("the value of key {}, which a set wrote", rules.values.key(key)),
                came: format!("{mismatch}: {}", shown(data)),
            });
        }
        self.seen += 1;
        tally.hits += 1;
        Ok(())
    }

    fn miss(&mut self, rules: &Rules, tally: &mut Tally) -> Result<(), Fault> {
        if !rules.allow_misses && !self.refused {
            let number = self.pending_keys().first().copied().unwrap_or_default();
            let key = rules.values.key(number);
            return Err(Fault::Missed { request: self.describe(rules), key });
        }
        self.seen += 1;
        tally.misses += u64::from(!self.refused);
        Ok(())
    }

    /// The server is out of something: the request is not counted as answered.
    fn refuse(&mut self, text: &[u8], request: Request, shape: Shape, tally: &mut Tally) {
        if !self.refused {
            tally.refused(|| text.escape_ascii().to_string());
        }
        let goes_on = request.kind == Kind::Get && shape == Shape::Ended { by_refusal: false };
        self.refused = true;
        if !goes_on {
            self.advance();
        }
    }

    fn finish_unless_refused(&mut self, tally: &mut Tally, now: u64) {
        if self.refused { self.advance() } else { self.finish(tally, now) }
    }

    fn finish(&mut self, tally: &mut Tally, now: u64) {
        if let Some(request) = self.requests.get(self.head) {
            let start = request.intended.unwrap_or(self.sent_at);
            tally.answered(request.kind, now.saturating_sub(start));
        }
        self.advance();
    }

    fn advance(&mut self) {
        self.keys_at += self.requests.get(self.head).map_or(0, |request| request.keys);
        self.head += 1;
        self.answered += 1;
        self.seen = 0;
        self.counted = false;
        self.refused = false;
    }

    /// The keys of the first unanswered request that nothing has come for.
    fn pending_keys(&self) -> &[u64] {
        let keys = self.requests.get(self.head).map_or(0, |request| request.keys);
        self.keys.get(self.keys_at + self.seen..self.keys_at + keys).unwrap_or_default()
    }

    fn check_tag(&self, answer: Answer<'_>, rules: &Rules) -> Result<(), Fault> {
        let expected = self.pending_keys().first().map(|&key| tag(key));
        if answer.tag.is_none() || answer.tag == expected {
            return Ok(());
        }
        Err(Fault::Wrong {
            request: self.describe(rules),
            expected: format!("an answer with the opaque field {}", expected.unwrap_or_default()),
            came: format!("one with {}", answer.tag.unwrap_or_default()),
        })
    }

    /// The first unanswered request, in words.
    pub(super) fn describe(&self, rules: &Rules) -> String {
        let Some(request) = self.requests.get(self.head) else {
            return format!("no request of connection {}", self.connection);
        };
        let verb = if request.kind == Kind::Get { "get" } else { "set" };
        let keys = self.keys.get(self.keys_at..self.keys_at + request.keys).unwrap_or_default();
        let first = rules.values.key(keys.first().copied().unwrap_or_default());
        let more = match keys.len() {
            0 | 1 => String::new(),
            count => format!(" and {} more keys", count - 1),
        };
        let (number, connection) = (self.answered + 1, self.connection);
        format!("\"{verb} {first}{more}\" (request {number} of connection {connection})")
    }

    fn expected(&self, rules: &Rules) -> String {
        match self.requests.get(self.head) {
            Some(Request { kind: Kind::Set, .. }) => "that it is stored".into(),
            Some(_) => {
                let key = self.pending_keys().first().map(|&number| rules.values.key(number));
                match key {
                    Some(key) => format!("{} bytes for key {key}", rules.values.value_size()),
                    None => "the end of the values".into(),
                }
            }
            None => "nothing".into(),
        }
    }

    #[cold]
    fn unexpected(&self, answer: Answer<'_>, rules: &Rules) -> Fault {
        let came = match answer.item {
            Item::Value { key: Some(key), .. } => format!("a value for key {}", shown(key)),
            Item::Value { key: None, data } => format!("the value {}", shown(data)),
            Item::Miss { key: Some(key) } => format!("a miss of key {}", shown(key)),
            Item::Miss { key: None } => "a miss".into(),
            Item::Stored => "that it is stored".into(),
            Item::End => "the end of the values".into(),
            Item::Array(count) => format!("{count} values"),
            Item::Alive(_) => "a sign of life".into(),
            Item::Refused { text, .. } => shown(text),
        };
        Fault::Wrong { request: self.describe(rules), expected: self.expected(rules), came }
    }

    #[cold]
    fn garbage(&self, rules: &Rules, bytes: &[u8], reason: &str) -> Fault {
        let came = format!("{reason}: {}", shown(bytes));
        Fault::Wrong { request: self.describe(rules), expected: self.expected(rules), came }
    }
}

#[cfg(test)]
mod tests;
