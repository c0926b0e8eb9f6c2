//! One loop: a thread that owns its connections and gives each its turn. Events only say who has
//! something to do; the work is done from a list, one turn each, so that nobody waits longer than
//! one turn of everybody else. Started by `running`.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender};
use mio::{Events, Poll, Registry, Token};
use slab::Slab;

use super::accept::{Acceptor, Newcomer};
use super::commit::Asked;
use super::connection::{Connection, Outcome};
use super::counters::Record;
use super::desk::Desk;
use super::running::Shared;
use super::sweep::Sweep;
#[cfg(feature = "tls")]
use super::tls::Secured;
use super::wire::Wire;
use super::{Conversation, Host};
use crate::limits::{
    EVENTS_PER_TURN, LAST_ACCEPT_TURNS, LISTENERS_MAX, MESSAGES_PER_TURN, READ_AHEAD,
};

/// The token of those who send messages.
pub(super) const WAKER: Token = Token(usize::MAX);
/// The listeners' tokens begin here.
pub(super) const LISTENERS: usize = usize::MAX - LISTENERS_MAX;
/// A connection's token is its place in the low half and its generation in the high half: an event
/// that is late does not reach the one who has the place now.
const HALF: u32 = usize::BITS / 2;
const PLACES: usize = 1 << HALF;

/// What a loop is told by others.
#[derive(Debug)]
pub(super) enum Message {
    /// A connection is this loop's from now on.
    Newcomer(Newcomer),
    /// Everything up to this batch is on the disk, or could not be brought there.
    Committed { batch: u64, done: bool },
    /// No more connections, those in the queues excepted.
    StopAccepting { done: Option<Sender<()>> },
    /// Each connection ends when it has nothing to do; at the deadline all. Says then whether all
    /// had ended in time.
    Drain { deadline: Instant, gone: Sender<bool> },
    /// The end.
    Stop,
}

/// A loop.
pub(super) struct EventLoop<H: Host> {
    poll: Poll,
    inbox: Receiver<Message>,
    host: Arc<H>,
    desk: Desk,
    /// Boxed: a place costs a word, and a connection's memory goes with it.
    connections: Slab<Box<Connection<H::Talk>>>,
    generation: usize,
    /// Those who have something to do, each once.
    ready: VecDeque<Token>,
    /// Those who had their turn and have more to do: they come after those who have just come.
    yielded: VecDeque<Token>,
    acceptor: Option<Acceptor>,
    committer: Sender<Asked>,
    /// The number of the batch that collects now.
    batch: u64,
    /// Who waits for which batch.
    parked: VecDeque<(u64, Token)>,
    sweep: Sweep,
    /// Connections with a deadline.
    timed: usize,
    drain: Option<(Instant, Sender<bool>)>,
    stopped: bool,
}

impl<H: Host> EventLoop<H> {
    pub fn new(
        thread: usize,
        poll: Poll,
        inbox: Receiver<Message>,
        shared: Arc<Shared>,
        host: Arc<H>,
        committer: Sender<Asked>,
        acceptor: Option<Acceptor>,
    ) -> EventLoop<H> {
        let desk = Desk::new(shared, thread);
        EventLoop {
            poll,
            inbox,
            host,
            sweep: Sweep::new(desk.now),
            desk,
            connections: Slab::new(),
            generation: 0,
            ready: VecDeque::new(),
            yielded: VecDeque::new(),
            acceptor,
            committer,
            batch: 1,
            parked: VecDeque::new(),
            timed: 0,
            drain: None,
            stopped: false,
        }
    }

    /// Runs until it is told to stop.
    pub fn run(mut self) {
        let shared = self.desk.shared.clone();
        let _alive = shared.alive();
        let mut events = Events::with_capacity(EVENTS_PER_TURN);
        while !self.stopped {
            let sleep = self.sleep();
            if self.poll.poll(&mut events, sleep).is_err() {
                // A signal, or the kernel without memory: what is ready is still known.
                events.clear();
            }
            self.desk.now = Instant::now();
            for event in &events {
                self.event(event);
            }
            self.messages();
            self.accept();
            self.turns();
            self.ask_committer();
            self.deadlines();
        }
        let places: Vec<usize> = self.connections.iter().map(|(place, _)| place).collect();
        for place in places {
            self.close(place);
        }
    }

    /// How long nothing is due.
    fn sleep(&self) -> Option<Duration> {
        if !self.ready.is_empty() || !self.yielded.is_empty() || !self.inbox.is_empty() {
            return Some(Duration::ZERO);
        }
        let now = Instant::now();
        let accept =
            self.acceptor.as_ref().and_then(|acceptor| acceptor.due_in(now, &self.desk.shared));
        let sweep = (self.timed > 0).then(|| self.sweep.due_in(now));
        let drain = self.drain.as_ref().map(|(until, _)| until.saturating_duration_since(now));
        [accept, sweep, drain].into_iter().flatten().min()
    }

    fn event(&mut self, event: &mio::event::Event) {
        let token = event.token();
        if token == WAKER {
            // The inbox is looked at in every round.
        } else if token.0 >= LISTENERS {
            if let Some(acceptor) = &mut self.acceptor {
                acceptor.somebody_came(token.0 - LISTENERS);
            }
        } else if let Some(connection) = find(&mut self.connections, token) {
            connection.event(event);
            self.enqueue(token);
        }
    }

    fn enqueue(&mut self, token: Token) {
        if let Some(connection) = find(&mut self.connections, token)
            && !connection.queued
        {
            connection.queued = true;
            self.ready.push_back(token);
        }
    }

    fn messages(&mut self) {
        for _ in 0..MESSAGES_PER_TURN {
            let Ok(message) = self.inbox.try_recv() else { return };
            match message {
                Message::Newcomer(newcomer) => self.seat(newcomer),
                Message::Committed { batch, done } => self.committed(batch, done),
                Message::StopAccepting { done } => self.stop_accepting(done),
                Message::Drain { deadline, gone } => self.begin_drain(deadline, gone),
                Message::Stop => self.stopped = true,
            }
        }
    }

    fn accepts(&self) -> bool {
        let wants = |acceptor: &Acceptor| acceptor.wants_turn(self.desk.now, &self.desk.shared);
        self.acceptor.as_ref().is_some_and(wants)
    }

    fn accept(&mut self) {
        if !self.accepts() {
            return;
        }
        let Some(mut acceptor) = self.acceptor.take() else { return };
        let shared = self.desk.shared.clone();
        acceptor.turn(self.desk.now, &shared, &mut |thread, newcomer| {
            if thread == self.desk.thread {
                self.seat(newcomer);
            } else {
                shared.send(thread, Message::Newcomer(newcomer));
            }
        });
        self.acceptor = Some(acceptor);
    }

    /// Everybody who has come so far still gets in; then the listeners are closed.
    fn stop_accepting(&mut self, done: Option<Sender<()>>) {
        if let Some(acceptor) = &mut self.acceptor {
            acceptor.look_again();
        }
        for _ in 0..LAST_ACCEPT_TURNS {
            self.accept();
            if !self.accepts() {
                break;
            }
        }
        self.acceptor = None;
        self.desk.shared.counters.accepting.store(false, Relaxed);
        if let Some(done) = done {
            let _ = done.send(());
        }
    }

    /// A connection gets its place; one that cannot get one ends.
    fn seat(&mut self, newcomer: Newcomer) {
        let thread = self.desk.thread;
        if self.connections.len() >= PLACES - 2 * LISTENERS_MAX || !self.try_seat(newcomer) {
            self.desk.shared.connection_ended(thread);
        }
    }

    fn try_seat(&mut self, newcomer: Newcomer) -> bool {
        let Newcomer { socket, listener, peer, tls } = newcomer;
        let number = socket.number();
        #[cfg(feature = "tls")]
        let wire = match (tls, &self.desk.config().tls) {
            (false, _) => Wire::Plain(socket),
            (true, Some(tls)) => match Secured::new(socket, tls) {
                Some(secured) => Wire::Secured(Box::new(secured)),
                None => return false,
            },
            (true, None) => return false,
        };
        #[cfg(not(feature = "tls"))]
        let wire = match tls {
            false => Wire::Plain(socket),
            true => return false,
        };
        let thread = self.desk.thread;
        let name = peer.map(|peer: SocketAddr| peer.to_string()).unwrap_or_default();
        let talk = self.host.greet(listener, thread, &name);
        let asked = self.desk.shared.counters.millis(self.desk.now);
        let record = Arc::new(Record::new(number, listener, peer, asked));
        let entry = self.connections.vacant_entry();
        let place = entry.key();
        self.generation = self.generation.wrapping_add(1);
        let token = Token((self.generation << HALF) | place);
        let connection = Connection::new(token, wire, talk, record.clone(), self.desk.now);
        if connection.register(self.poll.registry()).is_err() {
            return false;
        }
        entry.insert(Box::new(connection));
        self.desk.count(|counters| {
            let mut connected = counters.connected.lock();
            if connected.len() <= place {
                connected.resize(place + 1, None);
            }
            if let Some(seat) = connected.get_mut(place) {
                *seat = Some(record);
            }
        });
        // Its first turn sets its deadline.
        self.enqueue(token);
        true
    }

    fn close(&mut self, place: usize) {
        let Some(mut connection) = self.connections.try_remove(place) else { return };
        self.desk.shared.counters.held.fetch_sub(connection.let_go(), Relaxed);
        self.timed -= usize::from(connection.deadline.is_some());
        self.desk.count(|counters| {
            if let Some(seat) = counters.connected.lock().get_mut(place) {
                *seat = None;
            }
        });
        // The descriptor is free before somebody is told that there is one.
        drop(connection);
        self.desk.shared.connection_ended(self.desk.thread);
    }

    /// One turn for each who has something to do now.
    fn turns(&mut self) {
        self.ready.append(&mut self.yielded);
        while !self.ready.is_empty() {
            let some = self.ready.len().min(READ_AHEAD);
            if some > 1 {
                self.read_ahead(some);
            }
            self.some_turns(some);
        }
    }

    /// Reads for the next so many before any of them has its turn: what their requests are about is
    /// known together then, and fetched together.
    fn read_ahead(&mut self, some: usize) {
        for (slot, token) in self.ready.iter().take(some).enumerate() {
            if let Some(connection) = find(&mut self.connections, *token) {
                connection.read_ahead(slot, &mut self.desk);
            }
        }
        let mut hints = [<H::Talk as Conversation>::Hint::default(); READ_AHEAD];
        let mut found = 0;
        for token in self.ready.iter().take(some) {
            let hint = find(&mut self.connections, *token).and_then(|one| one.hint(&self.desk));
            if let (Some(hint), Some(free)) = (hint, hints.get_mut(found)) {
                *free = hint;
                found += 1;
            }
        }
        if found > 1 {
            self.host.foresee(hints.get(..found).unwrap_or_default());
        }
    }

    /// Turns of the next so many, and then their answers in one go.
    fn some_turns(&mut self, some: usize) {
        let mut answered = [None; READ_AHEAD];
        self.desk.moved = 0;
        for slot in 0..some {
            let Some(token) = self.ready.pop_front() else { break };
            let Some(connection) = find(&mut self.connections, token) else { continue };
            connection.queued = false;
            let place = (some > 1).then_some(slot);
            let outcome = self.one_turn(token, |one, desk, poll| one.turn(place, desk, poll));
            if outcome == Some(Outcome::Answered)
                && let Some(place) = answered.get_mut(slot)
            {
                *place = Some(token);
            }
            if self.desk.is_full() {
                self.answers(&mut answered);
            }
        }
        self.answers(&mut answered);
    }

    /// Sends what was kept in the slots of these.
    fn answers(&mut self, answered: &mut [Option<Token>]) {
        self.desk.moved = 0;
        for (slot, token) in answered.iter_mut().enumerate() {
            if let Some(token) = token.take() {
                self.desk.take_answer(slot);
                if self.one_turn(token, Connection::answer).is_none() {
                    self.desk.tidy();
                }
            }
        }
    }

    /// A turn, or a part of it, of a connection that is still there, with what follows from it.
    fn one_turn(
        &mut self,
        token: Token,
        part: impl FnOnce(&mut Connection<H::Talk>, &mut Desk, &Registry) -> Outcome,
    ) -> Option<Outcome> {
        let connection = find(&mut self.connections, token)?;
        let timed = connection.deadline.is_some();
        let outcome = part(connection, &mut self.desk, self.poll.registry());
        self.timed += usize::from(connection.deadline.is_some());
        self.timed -= usize::from(timed);
        match outcome {
            Outcome::Wait | Outcome::Answered => {}
            Outcome::Ready => {
                connection.queued = true;
                self.yielded.push_back(token);
            }
            Outcome::Commit => self.parked.push_back((self.batch, token)),
            Outcome::Closed => self.close(token.0 % PLACES),
        }
        Some(outcome)
    }

    /// All who have parked something in this round wait for one batch.
    fn ask_committer(&mut self) {
        if self.parked.back().is_some_and(|(batch, _)| *batch == self.batch) {
            let asked = Asked { thread: self.desk.thread, batch: self.batch };
            self.batch += 1;
            if self.committer.send(asked).is_err() {
                self.committed(asked.batch, false);
            }
        }
    }

    fn committed(&mut self, batch: u64, done: bool) {
        while self.parked.front().is_some_and(|(waits, _)| *waits <= batch) {
            let Some((_, token)) = self.parked.pop_front() else { return };
            if let Some(connection) = find(&mut self.connections, token) {
                connection.committed(done);
                self.enqueue(token);
            }
        }
    }

    /// Do all connections together hold more than they should?
    fn is_pressed(&self) -> bool {
        self.desk.shared.counters.held.load(Relaxed) > self.desk.config().held_max
    }

    /// Ends those whose time is over.
    fn deadlines(&mut self) {
        let pressed = self.is_pressed();
        for place in self.sweep.slice(self.desk.now, self.connections.capacity()) {
            let connection = self.connections.get(place);
            if connection.is_some_and(|connection| connection.is_over(self.desk.now, pressed)) {
                self.desk.count(|counters| {
                    counters.timed_out.fetch_add(1, Relaxed);
                });
                self.close(place);
            }
        }
        let Some((until, _)) = &self.drain else { return };
        let over = *until <= self.desk.now;
        if self.connections.is_empty() || over {
            self.end_drain();
        }
    }

    fn begin_drain(&mut self, deadline: Instant, gone: Sender<bool>) {
        self.drain = Some((deadline, gone));
        self.desk.draining = true;
        let tokens: Vec<Token> =
            self.connections.iter().map(|(_, connection)| connection.token).collect();
        for token in tokens {
            if let Some(connection) = find(&mut self.connections, token) {
                connection.look();
            }
            self.enqueue(token);
        }
    }

    fn end_drain(&mut self) {
        let places: Vec<usize> = self.connections.iter().map(|(place, _)| place).collect();
        let in_time = places.is_empty();
        for place in places {
            self.close(place);
        }
        if let Some((_, gone)) = self.drain.take() {
            let _ = gone.send(in_time);
        }
    }
}

/// The connection of this token, if it is still the one that has the place.
fn find<T>(connections: &mut Slab<Box<Connection<T>>>, token: Token) -> Option<&mut Connection<T>> {
    let connection = connections.get_mut(token.0 % PLACES)?;
    (connection.token == token).then_some(&mut **connection)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may panic")]
mod tests {
    use std::os::unix::net::UnixStream;

    use super::*;
    use crate::net::socket::Socket;
    use crate::net::{Advance, Next};

    struct Silent;

    impl Conversation for Silent {
        type Hint<'a> = ();

        fn advance(&mut self, input: &[u8], _out: &mut Vec<u8>) -> Advance {
            Advance { used: input.len(), next: Next::Read { wanted: 1 } }
        }

        fn is_known(&self) -> bool {
            true
        }
    }

    fn seat(connections: &mut Slab<Box<Connection<Silent>>>, generation: usize) -> Token {
        let token = Token((generation << HALF) | connections.vacant_key());
        let (socket, _) = UnixStream::pair().unwrap();
        let wire = Wire::Plain(Socket::new(socket.into()));
        let record = Arc::new(Record::new(0, 0, None, 0));
        let connection = Connection::new(token, wire, Silent, record, Instant::now());
        connections.insert(Box::new(connection));
        token
    }

    #[test]
    fn an_event_for_one_who_is_gone_does_not_reach_the_one_in_his_place() {
        let mut connections = Slab::new();
        let (first, second) = (seat(&mut connections, 1), seat(&mut connections, 2));
        connections.remove(0);
        assert!(find(&mut connections, first).is_none());
        let third = seat(&mut connections, 3);
        assert_eq!(third.0 % PLACES, first.0 % PLACES);
        assert!(find(&mut connections, first).is_none(), "a late event finds nobody");
        assert_eq!(find(&mut connections, third).unwrap().token, third);
        assert_eq!(find(&mut connections, second).unwrap().token, second);
        assert!(find(&mut connections, WAKER).is_none());
    }
}
