//! The dialects: bytes to [`Command`], [`Reply`] to bytes. They do no I/O, keep no request, and know
//! nothing of the store, of sockets and of each other; this door alone knows all of them.
//!
//! The first byte of a connection decides between the binary dialect and the lines; among lines,
//! each first word decides between the classic text commands and the meta commands.

mod ahead;
pub mod binary;
mod lines;
#[cfg(test)]
mod lines_tests;
pub mod meta;
pub mod number;
pub mod text;

use crate::command::{Command, Dialect, Reply};
pub use ahead::{Ahead, Seen};

/// What a parser may believe; from outside, because it changes while the server runs.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Longest value, bytes.
    pub value_max: u64,
    /// May tests move the clock?
    pub test_commands: bool,
    /// Are there passwords? Only then is there a way to say who is there.
    pub passwords: bool,
}

/// What the bytes at hand come to.
#[derive(Debug, PartialEq, Eq)]
pub enum Parsed<'a> {
    /// Not a whole request: another look pays when at least `wanted` bytes are there, what is there
    /// now included. Always more than what is there.
    Incomplete {
        /// Bytes.
        wanted: usize,
    },
    /// A request, to be executed and answered in its form.
    Request {
        /// Bytes that it took.
        used: usize,
        /// What is asked.
        command: Command<'a>,
        /// How the answer is to look.
        form: Form<'a>,
    },
    /// Nothing to execute: the answer is known already.
    Refused {
        /// Bytes that it took.
        used: usize,
        /// So many bytes more belong to it and are to be thrown away, as they arrive.
        skip: u64,
        /// What is to be written, in the dialect's own bytes; may be empty.
        answer: &'static [u8],
        /// What was written since the beginning of this request line is taken back.
        retract: bool,
        /// The connection ends behind the answer.
        close: bool,
    },
    /// The same, where the answer repeats something of the request.
    Answered {
        /// Bytes that it took.
        used: usize,
        /// So many bytes more belong to it and are to be thrown away, as they arrive.
        skip: u64,
        /// What is to be written.
        answer: binary::Answer,
        /// The connection ends behind the answer.
        close: bool,
    },
    /// Bytes that are passed over without an answer, such as the end of a line of keys.
    Skipped {
        /// Bytes.
        used: usize,
    },
}

/// How an answer is to look: what a dialect remembers of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form<'a> {
    /// Classic text.
    Text(text::Form),
    /// Meta.
    Meta(meta::Form<'a>),
    /// Binary.
    Binary(binary::Form<'a>),
}

/// What is spoken on a listener.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Spoken {
    /// Everything: the first byte decides.
    #[default]
    Any,
    /// Lines only.
    Lines,
    /// Packets only.
    Binary,
}

/// The dialect of one connection.
#[derive(Debug)]
pub enum Codec {
    /// Nothing has arrived yet.
    Unknown,
    /// Lines: text and meta.
    Lines(text::Text),
    /// Packets.
    Binary(binary::Binary),
}

impl Codec {
    /// Of a connection on such a listener.
    pub fn new(spoken: Spoken) -> Codec {
        match spoken {
            Spoken::Any => Codec::Unknown,
            Spoken::Lines => Codec::Lines(text::Text::new()),
            Spoken::Binary => Codec::Binary(binary::Binary::new()),
        }
    }

    /// Parses what is at the beginning of `input`, which is not empty. `decoded` is room for a key
    /// that does not stand in the input as it is; it stays empty, and unallocated, for all others.
    pub fn parse<'a>(
        &mut self,
        input: &'a [u8],
        decoded: &'a mut Vec<u8>,
        limits: &Limits,
    ) -> Parsed<'a> {
        match self {
            Codec::Unknown => {
                *self = match input.first() {
                    Some(&binary::REQUEST) => Codec::Binary(binary::Binary::new()),
                    _ => Codec::Lines(text::Text::new()),
                };
                self.parse(input, decoded, limits)
            }
            Codec::Lines(text) if !text.in_keys() && meta::is_meta(input) => {
                let mut remains = false;
                let parsed = meta::parse(input, decoded, limits, &mut remains);
                if remains {
                    text.expect_remains();
                }
                parsed
            }
            Codec::Lines(text) => text.parse(input, limits),
            Codec::Binary(binary) => binary.parse(input, limits),
        }
    }

    /// Looks for the keys of what will be parsed, without parsing it: a hint, and no more.
    pub fn peek(&self, ahead: &mut Ahead) {
        match self {
            Codec::Unknown if ahead.starts_with(binary::REQUEST) => ahead.packets(),
            Codec::Unknown => ahead.lines(false),
            Codec::Lines(text) => ahead.lines(text.in_keys()),
            Codec::Binary(_) => ahead.packets(),
        }
    }

    /// Appends the bytes of an answer to `out`.
    pub fn encode(&mut self, form: &Form, reply: &Reply, out: &mut Vec<u8>) {
        match (self, form) {
            (Codec::Lines(text), Form::Text(form)) => text.encode(form, reply, out),
            (Codec::Binary(binary), Form::Binary(form)) => binary.encode(form, reply, out),
            (_, Form::Meta(form)) => meta::encode(form, reply, out),
            // A form comes from the codec that is asked to use it.
            _ => {}
        }
    }

    /// Does the next byte begin a request line (or packet), and not the next key of one?
    pub fn at_line_start(&self) -> bool {
        !matches!(self, Codec::Lines(text) if text.in_keys())
    }
}

impl Form<'_> {
    /// The dialect, for statistics.
    pub fn dialect(&self) -> Dialect {
        match self {
            Form::Text(_) => Dialect::Text,
            Form::Meta(_) => Dialect::Meta,
            Form::Binary(_) => Dialect::Binary,
        }
    }

    /// What outlives the request's bytes, for answers of many pages.
    pub fn kept(&self) -> Form<'static> {
        match self {
            Form::Text(form) => Form::Text(*form),
            Form::Meta(form) => Form::Meta(form.kept()),
            Form::Binary(form) => Form::Binary(form.kept()),
        }
    }
}
