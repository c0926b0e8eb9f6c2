//! One connection's talk: bytes through the codec to the executor and back. The only place where
//! dialect, execution and the loop's terms meet; it does no I/O.

use std::cell::RefCell;
use std::sync::Arc;
use std::time::Instant;

use crate::command::{Command, Listing, Mode, Reply, Set};
use crate::execute::{Client, Executor, Room};
use crate::limits::{AHEAD, OUTPUT_HIGH, TURN_TIME, UNKNOWN_BODY_MAX};
use crate::net::{Advance, Conversation, Next};
use crate::protocol::{Ahead, Codec, Form, Limits, Parsed, Seen};

thread_local! {
    /// What a request needs for its time, once for all connections of a loop.
    static ROOM: RefCell<Room> = RefCell::new(Room::default());
}

/// The talk of one connection.
pub struct Talk {
    executor: Arc<Executor>,
    client: Client,
    codec: Codec,
    /// Requests that run before others have their turn.
    per_turn: u32,
    /// Bytes still to come that are thrown away.
    skip: u64,
    /// A listing under way, and whom it is told to.
    listing: Option<(Listing, Form<'static>)>,
    closing: bool,
    /// Request lines and packets so far, the present one included.
    begun: u64,
}

/// How a step of the talk goes on.
enum Step {
    On,
    Wait(usize),
    Close,
}

/// Where this call's output stands.
struct Marks {
    /// From here on it may be sent only when what was written is on the disk.
    commit: Option<usize>,
    /// Where the answers to the present request line begin, if they are all still here.
    line: Option<usize>,
}

impl Talk {
    /// The talk of a connection that was just made.
    pub fn new(executor: Arc<Executor>, client: Client, codec: Codec, per_turn: u32) -> Talk {
        Talk { executor, client, codec, per_turn, skip: 0, listing: None, closing: false, begun: 0 }
    }

    fn limits(&self) -> Limits {
        let limits = self.executor.limits();
        match self.client.is_known() {
            true => limits,
            false => Limits { value_max: limits.value_max.min(UNKNOWN_BODY_MAX), ..limits },
        }
    }

    /// Throws away what is to be thrown away; gives the bytes.
    fn skip(&mut self, input: &[u8]) -> usize {
        let here = usize::try_from(self.skip).map_or(input.len(), |skip| skip.min(input.len()));
        self.skip -= here as u64;
        here
    }

    /// Asks for the memory that the next requests of a pipeline will want, so that they wait for it
    /// together and not one after the other. Gives the bytes of them.
    fn look_ahead(&self, input: &[u8]) -> usize {
        let mut ahead = Ahead::new(input, AHEAD);
        self.codec.peek(&mut ahead);
        if ahead.keys().len() > 1 {
            self.executor.foresee(ahead.keys());
        }
        ahead.bytes().max(1)
    }

    /// One request, or what there is of it.
    fn step(
        &mut self,
        input: &[u8],
        limits: &Limits,
        out: &mut Vec<u8>,
        marks: &mut Marks,
        room: &mut Room,
        used: &mut usize,
    ) -> Step {
        let starts_line = self.codec.at_line_start();
        if starts_line {
            marks.line = Some(out.len());
            self.begun += 1;
        }
        let mut decoded = Vec::new();
        match self.codec.parse(input, &mut decoded, limits) {
            Parsed::Incomplete { wanted } => return Step::Wait(wanted),
            Parsed::Skipped { used: bytes } => *used += bytes,
            Parsed::Refused { used: bytes, skip, answer, retract, close } => {
                *used += bytes;
                self.skip = skip;
                if let (true, Some(line)) = (retract, marks.line) {
                    out.truncate(line);
                    marks.commit = marks.commit.map(|from| from.min(line));
                }
                out.extend_from_slice(answer);
                self.client.refused();
                if close {
                    return Step::Close;
                }
            }
            Parsed::Answered { used: bytes, skip, answer, close } => {
                *used += bytes;
                self.skip = skip;
                answer.write(out);
                self.client.refused();
                if close {
                    return Step::Close;
                }
            }
            Parsed::Request { used: bytes, command, form } => {
                *used += bytes;
                let command = self.introduced(command, &form);
                let from = out.len();
                let reply = self.executor.run(&mut self.client, &command, form.dialect(), room);
                if let Reply::Listing(listing) = reply {
                    self.listing = Some((listing, form.kept()));
                } else {
                    self.codec.encode(&form, &reply, out);
                }
                let ends = matches!(reply, Reply::Bye);
                if self.client.take_unsynced() {
                    marks.commit.get_or_insert(from);
                }
                if ends {
                    return Step::Close;
                }
            }
        }
        Step::On
    }

    /// Who is not known yet says who it is with the classic dialect's first *set*: its value is
    /// `name password` (protocol.txt, "Authentication").
    fn introduced<'a>(&self, command: Command<'a>, form: &Form) -> Command<'a> {
        match (command, form) {
            (Command::Set(Set { value, mode: Mode::Set, compare: None, .. }), Form::Text(_))
                if !self.client.is_known() =>
            {
                let mut parts = value.splitn(2, |byte| *byte == b' ');
                let user = parts.next().unwrap_or_default();
                Command::Authenticate { user, password: parts.next().unwrap_or_default() }
            }
            _ => command,
        }
    }

    /// A page of the listing that is under way.
    fn page(&mut self, out: &mut Vec<u8>) {
        let Some((mut listing, form)) = self.listing.take() else { return };
        let codec = &mut self.codec;
        let paged = self.executor.page(&mut listing, &mut |entry| {
            codec.encode(&form, &Reply::Listed(*entry), out);
        });
        match paged {
            Ok(true) => self.listing = Some((listing, form)),
            Ok(false) => self.codec.encode(&form, &Reply::ListEnd, out),
            Err(failure) => self.codec.encode(&form, &Reply::Failed(failure), out),
        }
    }

    fn talk(&mut self, input: &[u8], out: &mut Vec<u8>, room: &mut Room) -> Advance {
        let mut marks = Marks { commit: None, line: None };
        let (mut used, mut foreseen) = (0, 0);
        let mut limits = self.limits();
        let mut known = self.client.is_known();
        let mut left = self.per_turn;
        let begun = Instant::now();
        self.client.begin(begun);
        let next = loop {
            if self.closing {
                break Next::Close;
            }
            // The clock was read when the last request ended, to know what it took.
            let took = self.client.ended().saturating_duration_since(begun);
            if left == 0 || took >= TURN_TIME || out.len() >= OUTPUT_HIGH {
                break Next::Again;
            }
            left -= 1;
            if self.listing.is_some() {
                // As much work as a turn may be.
                self.page(out);
                left = 0;
                continue;
            }
            if self.skip > 0 {
                used += self.skip(&input[used..]);
            }
            let rest = &input[used..];
            if rest.is_empty() {
                break Next::Read { wanted: 1 };
            }
            if used >= foreseen && known {
                foreseen = used + self.look_ahead(rest);
            }
            match self.step(rest, &limits, out, &mut marks, room, &mut used) {
                // Who has just become known may send more in the same breath.
                Step::On if known != self.client.is_known() => {
                    known = !known;
                    limits = self.limits();
                }
                Step::On => {}
                Step::Wait(wanted) => break Next::Read { wanted },
                Step::Close => self.closing = true,
            }
        };
        match marks.commit {
            Some(from) => Advance { used, next: Next::Commit { from } },
            None => Advance { used, next },
        }
    }
}

impl Conversation for Talk {
    type Hint<'a> = Seen<'a>;

    fn advance(&mut self, input: &[u8], out: &mut Vec<u8>) -> Advance {
        ROOM.with(|room| match room.try_borrow_mut() {
            Ok(mut room) => self.talk(input, out, &mut room),
            // No request runs inside another.
            Err(_) => Advance { used: 0, next: Next::Close },
        })
    }

    fn hint<'a>(&self, input: &'a [u8]) -> Option<Seen<'a>> {
        if self.skip > 0 || !self.client.is_known() {
            return None;
        }
        let mut ahead = Ahead::new(input, 1);
        self.codec.peek(&mut ahead);
        ahead.keys().first().copied()
    }

    fn over(&mut self) {
        self.client.leave();
    }

    fn is_known(&self) -> bool {
        self.client.is_known()
    }

    fn under_way(&self) -> Option<u64> {
        (self.skip > 0 || !self.codec.at_line_start()).then_some(self.begun)
    }
}
