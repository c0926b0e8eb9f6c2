//! One connection: what its turn does. A turn is one read at most, one call of the conversation, one
//! write; then others have theirs. The read may come before the turns of others that are ready, and
//! the write behind them. Called by `event_loop`, which says when; never blocks.
//!
//! ```text
//!            enough bytes                 Commit                  disk done
//!   Talking ------------> conversation ------------> Committing ------------> Talking
//!      ^                    |     |
//!      '--- Read, Again ----'     '--- Close ---> Closing ---> (Lingering) ---> gone
//! ```
//! Whatever its stage: while an answer is unsent, nothing else happens.

use std::io;
use std::mem;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use mio::event::Event;
use mio::{Registry, Token};

use super::buffers::{Rest, split};
use super::counters::{Record, State, raise};
use super::desk::Desk;
use super::socket::Moved;
use super::wire::{Filled, Wire};
use super::{Advance, Config, Conversation, Next};
use crate::limits::{LINGER_BYTES, READ_AHEAD_BYTES};

/// A rest up to this is copied before what arrives; a bigger one is read into.
const SMALL_REST: usize = 8 << 10;
/// How long a connection that is over is kept for its last answer to arrive.
const LINGER: Duration = Duration::from_secs(2);
/// Who holds something and does not move for so long is ended when all together hold too much.
const PRESSED: Duration = Duration::from_secs(1);
/// What has to arrive to gain a request another second.
const BYTES_PER_SECOND: usize = 64 << 10;

/// How a turn ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    /// It goes on when an event comes.
    Wait,
    /// There is more to do at once, when it is its turn again.
    Ready,
    /// It goes on when the committer has answered.
    Commit,
    /// It has answered, and goes on when that is sent: see [`Connection::answer`].
    Answered,
    /// It is over.
    Closed,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Talking,
    Committing,
    Closing,
    /// Throws away what still comes; so many bytes more at most.
    Lingering(usize),
}

/// Where the bytes are that the conversation gets.
#[derive(Clone, Copy)]
enum Source {
    Desk,
    Rest,
}

/// A connection.
pub(super) struct Connection<T> {
    pub token: Token,
    /// Is it in the list of those who have something to do?
    pub queued: bool,
    /// When it is ended if nothing happens.
    pub deadline: Option<Instant>,
    // Goes before the socket does: who sees the end of a connection finds what it held free.
    talk: T,
    wire: Wire,
    stage: Stage,
    /// What arrived and is not used.
    rest: Rest,
    /// The conversation needs so many bytes to go on.
    wanted: usize,
    /// The conversation goes on with what is there.
    again: bool,
    /// What is answered and not sent.
    unsent: Rest,
    /// What is answered and waits for the disk.
    parked: Rest,
    /// The socket may have bytes: an edge said so, and no read came back short since.
    readable: bool,
    /// The peer's end is behind those bytes.
    hung: bool,
    /// The peer's end was read.
    ended: bool,
    /// The conversation sent the peer away, who does not know yet and may be sending.
    dismissed: bool,
    /// The slot that its next bytes were read into before its turn.
    ahead: Option<usize>,
    /// The last read brought no more than fits a slot.
    sends_little: bool,
    /// The kernel is asked to tell when there is room for output.
    watches_room: bool,
    born: Instant,
    /// Since when the present request is incomplete.
    begun: Option<Instant>,
    /// What has come of it, bytes.
    arrived: usize,
    /// The request that was under way after the last talk.
    under_way: Option<u64>,
    /// Last time that bytes came or went.
    progressed: Instant,
    /// Bytes of requests and answers that are held now, as counted in the sum of all.
    held: usize,
    record: Arc<Record>,
}

impl<T: Conversation> Connection<T> {
    pub fn new(token: Token, wire: Wire, talk: T, record: Arc<Record>, now: Instant) -> Self {
        Connection {
            token,
            queued: false,
            deadline: None,
            wire,
            talk,
            stage: Stage::Talking,
            rest: Rest::default(),
            wanted: 1,
            again: false,
            unsent: Rest::default(),
            parked: Rest::default(),
            readable: false,
            hung: false,
            ended: false,
            dismissed: false,
            ahead: None,
            sends_little: true,
            watches_room: false,
            born: now,
            begun: None,
            arrived: 0,
            under_way: None,
            progressed: now,
            held: 0,
            record,
        }
    }

    pub fn register(&self, registry: &Registry) -> io::Result<()> {
        self.wire.socket().register(registry, self.token)
    }

    /// Takes in what the kernel says.
    pub fn event(&mut self, event: &Event) {
        self.hung |= event.is_read_closed();
        if event.is_readable() || event.is_error() || self.hung {
            self.look();
        }
    }

    /// Looks at the socket in its next turn, whether or not an event came.
    pub fn look(&mut self) {
        self.readable = !self.ended;
    }

    /// The committer has answered: what was parked goes out in the next turn, or nowhere.
    pub fn committed(&mut self, done: bool) {
        let parked = mem::take(&mut self.parked);
        if !done {
            self.stage = Stage::Closing;
        } else if self.unsent.is_empty() {
            self.stage = Stage::Talking;
            self.unsent = parked;
        } else {
            self.stage = Stage::Talking;
            self.unsent.append(parked.as_slice());
        }
    }

    /// Reads into a slot what its turn, which is to follow, would read first.
    pub fn read_ahead(&mut self, slot: usize, desk: &mut Desk) {
        let reads = self.stage == Stage::Talking
            && self.readable
            && self.sends_little
            && !self.again
            && self.rest.is_empty()
            && matches!(self.wire, Wire::Plain(_))
            && !self.is_blocked();
        let Some(place) = desk.slots.get_mut(slot).filter(|_| reads) else { return };
        place.bytes.clear();
        place.filled = self.wire.fill(&mut place.bytes, self.hung);
        self.ahead = Some(slot);
    }

    /// What the conversation will look for when it gets what was read ahead.
    pub fn hint<'a>(&self, desk: &'a Desk) -> Option<T::Hint<'a>> {
        let bytes = &desk.slots.get(self.ahead?)?.bytes;
        // A fault is met again, and counted, in the connection's turn.
        catch_unwind(AssertUnwindSafe(|| self.talk.hint(bytes))).ok()?
    }

    /// One turn, with everything that follows from it. With a slot it may end as
    /// [`Outcome::Answered`], the answer in the slot.
    pub fn turn(&mut self, slot: Option<usize>, desk: &mut Desk, registry: &Registry) -> Outcome {
        // What goes wrong with a connection is the peer's business: nobody here needs to know.
        let ahead = self.ahead;
        ahead.into_iter().for_each(|slot| desk.swap_input(slot));
        let outcome = self.step(desk).unwrap_or(Outcome::Closed);
        ahead.into_iter().for_each(|slot| desk.swap_input(slot));
        match outcome {
            Outcome::Answered if slot.is_some_and(|slot| desk.keep_answer(slot)) => outcome,
            Outcome::Answered => self.answer(desk, registry),
            _ => self.end_turn(outcome, desk, registry),
        }
    }

    /// The second half of a turn that has answered: sends the output. The answers of several turns
    /// go out one after the other, because whoever waits for many of them is woken once then.
    pub fn answer(&mut self, desk: &mut Desk, registry: &Registry) -> Outcome {
        let outcome = self.send(desk).and_then(|()| self.settled(desk)).unwrap_or(Outcome::Closed);
        self.end_turn(outcome, desk, registry)
    }

    fn end_turn(&mut self, outcome: Outcome, desk: &mut Desk, registry: &Registry) -> Outcome {
        desk.tidy();
        if outcome == Outcome::Closed || !self.may_hold(desk) {
            return Outcome::Closed;
        }
        let blocked = self.is_blocked();
        if blocked != self.watches_room {
            self.watches_room = blocked;
            if self.wire.socket().watch_room(registry, self.token, blocked).is_err() {
                return Outcome::Closed;
            }
        }
        self.deadline = self.due(desk.config());
        self.record.is(self.state());
        outcome
    }

    /// Counts what is held; false if that is too much beside what the others hold.
    fn may_hold(&mut self, desk: &Desk) -> bool {
        let held = self.rest.held() + self.unsent.held() + self.parked.held();
        if held == self.held {
            return true;
        }
        let grows = held > self.held;
        let sum = &desk.shared.counters.held;
        let all = if grows {
            sum.fetch_add(held - self.held, Relaxed) + (held - self.held)
        } else {
            sum.fetch_sub(self.held - held, Relaxed) - (self.held - held)
        };
        self.held = held;
        // One alone may have as much as its request takes.
        !(grows && all - held > desk.config().held_high)
    }

    /// It is over: what it held is free. Gives the bytes.
    pub fn let_go(&mut self) -> usize {
        mem::take(&mut self.held)
    }

    /// Is it to be ended: because its time is over, or because it holds something, does not move, and
    /// all together hold too much?
    pub fn is_over(&self, now: Instant, pressed: bool) -> bool {
        self.deadline.is_some_and(|deadline| deadline <= now)
            || (pressed && self.held > 0 && self.progressed + PRESSED <= now)
    }

    fn step(&mut self, desk: &mut Desk) -> io::Result<Outcome> {
        if self.is_blocked() && !self.flush(desk)? {
            return Ok(Outcome::Wait);
        }
        match self.stage {
            Stage::Talking => self.talk(desk),
            Stage::Committing => Ok(Outcome::Wait),
            Stage::Closing => self.finish(desk),
            Stage::Lingering(left) => self.linger(left, desk),
        }
    }

    /// Has a request begun to arrive?
    fn is_partial(&self) -> bool {
        !self.rest.is_empty() || self.under_way.is_some()
    }

    fn is_blocked(&self) -> bool {
        !self.unsent.is_empty() || self.wire.is_full()
    }

    /// Sends what is unsent; true when it is gone.
    fn flush(&mut self, desk: &Desk) -> io::Result<bool> {
        let taken = desk.counted(self.wire.send(self.unsent.as_slice()))?;
        self.unsent.consume(taken);
        if taken > 0 {
            self.progressed = desk.now;
            // The rest of a request was not read meanwhile: its time begins when it can be.
            self.begun = self.begun.map(|_| desk.now);
        }
        Ok(!self.is_blocked())
    }

    fn talk(&mut self, desk: &mut Desk) -> io::Result<Outcome> {
        if self.again || self.rest.len() >= self.wanted {
            return self.advance(Source::Rest, desk);
        }
        if self.readable
            && let Some(source) = self.gather(desk)?
        {
            return self.advance(source, desk);
        }
        self.settled(desk)
    }

    /// Reads once. Says where the bytes are if there are enough to go on, else they are in the rest.
    fn gather(&mut self, desk: &mut Desk) -> io::Result<Option<Source>> {
        let had = self.rest.len();
        let small = had <= SMALL_REST;
        let filled = if let Some(slot) = self.ahead.take() {
            desk.filled(slot)?
        } else if small {
            desk.input.clear();
            desk.input.extend_from_slice(self.rest.as_slice());
            self.wire.fill(&mut desk.input, self.hung)?
        } else {
            self.wire.fill(self.rest.room(self.wanted), self.hung)?
        };
        let have = if small { desk.input.len() } else { self.rest.len() };
        self.noted(filled, have - had, desk);
        if small && have >= self.wanted {
            self.rest = Rest::default();
            return Ok(Some(Source::Desk));
        }
        if small {
            self.rest.append(desk.input.get(had..).unwrap_or_default());
        }
        if have > 0 {
            self.begun.get_or_insert(desk.now);
        }
        Ok((have >= self.wanted).then_some(Source::Rest))
    }

    fn noted(&mut self, filled: Filled, bytes: usize, desk: &Desk) {
        self.readable = filled.more && !filled.ended;
        self.sends_little = bytes < READ_AHEAD_BYTES;
        if filled.ended && !self.ended {
            self.ended = true;
            self.talk.ended();
        }
        desk.count(|counters| {
            raise(&counters.received, bytes as u64);
        });
        self.arrived = self.arrived.saturating_add(bytes);
        self.progressed = desk.now;
    }

    /// Lets the conversation go on; what it says is to be sent.
    fn advance(&mut self, source: Source, desk: &mut Desk) -> io::Result<Outcome> {
        let input = mem::take(&mut desk.input);
        let mut rest = mem::take(&mut self.rest);
        let bytes = match source {
            Source::Desk => input.as_slice(),
            Source::Rest => rest.as_slice(),
        };
        let (talk, output) = (&mut self.talk, &mut desk.output);
        let advance = catch_unwind(AssertUnwindSafe(|| talk.advance(bytes, output)));
        if let (Source::Desk, Ok(Advance { used, .. })) = (source, &advance) {
            rest.append(input.get(*used..).unwrap_or_default());
        }
        desk.input = input;
        // A fault in this program costs the connection that met it, not those beside it.
        let Ok(Advance { used, next }) = advance else {
            desk.count(|counters| {
                counters.panicked.fetch_add(1, Relaxed);
            });
            return Ok(Outcome::Closed);
        };
        desk.moved += used + desk.output.len();
        if let Source::Rest = source {
            rest.consume(used);
        }
        self.rest = rest;
        let before = mem::replace(&mut self.under_way, self.talk.under_way());
        if used > 0 {
            self.record.asked(desk.shared.counters.millis(desk.now));
            if self.under_way.is_none() || self.under_way != before {
                self.begun = None;
                self.arrived = self.rest.len();
            }
        }
        if self.is_partial() {
            self.begun.get_or_insert(desk.now);
        }
        self.follow(next, desk);
        Ok(Outcome::Answered)
    }

    fn follow(&mut self, next: Next, desk: &mut Desk) {
        self.again = false;
        match next {
            Next::Read { wanted } => {
                // Without a new byte nothing can be different.
                self.wanted = wanted.max(self.rest.len() + 1);
                if self.wanted > desk.config().request_max {
                    self.stage = Stage::Closing;
                }
            }
            Next::Again => {
                self.again = true;
                desk.count(|counters| {
                    raise(&counters.yielded, 1);
                });
            }
            Next::Commit { from } => {
                self.again = true;
                self.parked = split(&mut desk.output, from);
                self.stage = Stage::Committing;
            }
            Next::Close => {
                self.stage = Stage::Closing;
                self.dismissed = true;
            }
        }
    }

    /// Sends what the conversation has just said. Nothing older is unsent: it would not have been
    /// asked.
    fn send(&mut self, desk: &mut Desk) -> io::Result<()> {
        if desk.output.is_empty() {
            return Ok(());
        }
        let taken = desk.counted(self.wire.send(&desk.output))?;
        if taken < desk.output.len() {
            self.unsent.append_from(&mut desk.output, taken);
        }
        self.progressed = desk.now;
        Ok(())
    }

    /// How it goes on after a turn of talk.
    fn settled(&mut self, desk: &mut Desk) -> io::Result<Outcome> {
        if self.stage == Stage::Committing {
            return Ok(Outcome::Commit);
        }
        let stuck = !self.again && self.rest.len() < self.wanted;
        let idle = stuck && !self.readable && self.rest.is_empty();
        if self.stage == Stage::Talking && ((self.ended && stuck) || (desk.draining && idle)) {
            self.stage = Stage::Closing;
        }
        if self.is_blocked() {
            return Ok(Outcome::Wait);
        }
        match self.stage {
            Stage::Closing => self.finish(desk),
            _ if self.readable || !stuck => Ok(Outcome::Ready),
            _ => Ok(Outcome::Wait),
        }
    }

    /// Everything is sent. A close with unread bytes, or with bytes on their way, would be a reset,
    /// which can overtake the last answer; so if the peer may still be sending, what he sends is
    /// thrown away for a while.
    fn finish(&mut self, desk: &mut Desk) -> io::Result<Outcome> {
        self.rest = Rest::default();
        self.talk.over();
        self.wire.say_goodbye();
        if self.ended {
            return Ok(Outcome::Closed);
        }
        desk.input.clear();
        match self.wire.socket().receive(&mut desk.input)? {
            Moved::Bytes(0) => Ok(Outcome::Closed),
            Moved::Blocked if !self.dismissed => Ok(Outcome::Closed),
            Moved::Blocked => {
                self.begin_to_linger(0, desk);
                self.readable = false;
                Ok(Outcome::Wait)
            }
            Moved::Bytes(bytes) => {
                self.begin_to_linger(bytes, desk);
                self.readable = true;
                Ok(Outcome::Ready)
            }
        }
    }

    fn begin_to_linger(&mut self, bytes: usize, desk: &Desk) {
        self.wire.socket().end_sending();
        self.progressed = desk.now;
        self.stage = Stage::Lingering(LINGER_BYTES.saturating_sub(bytes));
    }

    fn linger(&mut self, left: usize, desk: &mut Desk) -> io::Result<Outcome> {
        if !self.readable {
            return Ok(Outcome::Wait);
        }
        desk.input.clear();
        match self.wire.socket().receive(&mut desk.input)? {
            Moved::Blocked => {
                self.readable = false;
                Ok(Outcome::Wait)
            }
            Moved::Bytes(bytes) if bytes == 0 || bytes >= left => Ok(Outcome::Closed),
            Moved::Bytes(bytes) => {
                self.stage = Stage::Lingering(left - bytes);
                Ok(Outcome::Ready)
            }
        }
    }

    fn state(&self) -> State {
        match self.stage {
            Stage::Closing | Stage::Lingering(_) => State::Closing,
            Stage::Committing => State::Committing,
            Stage::Talking if !self.wire.is_open() => State::Handshake,
            Stage::Talking if self.is_blocked() => State::Writing,
            Stage::Talking if self.is_partial() => State::Partial,
            Stage::Talking => State::Reading,
        }
    }

    /// When it is to be ended if nothing happens until then.
    fn due(&self, config: &Config) -> Option<Instant> {
        if let Stage::Lingering(_) = self.stage {
            return Some(self.progressed + LINGER);
        }
        let present = if self.is_blocked() {
            Some(self.progressed + config.write)
        } else if self.stage == Stage::Committing {
            None
        } else if let Some(begun) = self.begun {
            let seconds = (self.arrived / BYTES_PER_SECOND) as u64;
            Some(begun + config.partial + Duration::from_secs(seconds))
        } else {
            config.idle.map(|idle| self.progressed + idle)
        };
        let handshake = (!self.wire.is_open()).then(|| self.born + config.handshake);
        let unknown = (!self.talk.is_known()).then(|| self.born + config.unknown);
        [present, handshake, unknown].into_iter().flatten().min()
    }
}
