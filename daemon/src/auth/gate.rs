//! What failed attempts cost: after a few of them the next ones wait, each time twice as long, so
//! that trying out passwords leads nowhere. Nobody is made to sleep here: who comes too soon is
//! refused, and the caller goes on with others.
//!
//! Counted is by peer and name. By peer alone, one application with a wrong password in its
//! settings would lock out all others behind the same address, and one good password would clear
//! the way for guessing another.

use std::collections::hash_map::RandomState;
use std::collections::{BTreeMap, HashMap};
use std::hash::BuildHasher;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::limits::{
    FAILING_NAMES_MAX, FAILING_PEERS_MAX, FAILURE_WAIT_MAX_S, FAILURES_KEPT_S, FREE_FAILURES,
};

/// Where an attempt comes from, as far as it matters for counting.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Peer {
    /// This machine, without an address: unix sockets.
    Local,
    /// An address.
    V4(Ipv4Addr),
    /// The network of an address: who has one address in it has all.
    V6([u16; 4]),
}

impl Peer {
    /// Of an address as text, with a port or without.
    pub fn of(address: &str) -> Peer {
        let with_port = address.parse::<SocketAddr>().map(|address| address.ip());
        match with_port.or_else(|_| address.parse::<IpAddr>()) {
            Ok(address) => address.into(),
            Err(_) => Peer::Local,
        }
    }
}

impl From<IpAddr> for Peer {
    fn from(address: IpAddr) -> Peer {
        match address.to_canonical() {
            IpAddr::V4(address) => Peer::V4(address),
            IpAddr::V6(address) => {
                let [a, b, c, d, ..] = address.segments();
                Peer::V6([a, b, c, d])
            }
        }
    }
}

/// Failures in a row, and when the next attempt may be.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Throttle {
    failures: u32,
    last: Option<Instant>,
}

impl Throttle {
    /// The wait that the failures so far demand.
    fn wait(&self) -> Duration {
        match self.failures.checked_sub(FREE_FAILURES) {
            None => Duration::ZERO,
            Some(more) => {
                let seconds = 1_u64.checked_shl(more).unwrap_or(u64::MAX);
                Duration::from_secs(seconds.min(FAILURE_WAIT_MAX_S))
            }
        }
    }

    /// May there be an attempt now? If not, how long is it still?
    pub(super) fn may_try(&self, now: Instant) -> Result<(), Duration> {
        let since = self.last.map_or(Duration::MAX, |last| now.saturating_duration_since(last));
        match self.wait().checked_sub(since) {
            None | Some(Duration::ZERO) => Ok(()),
            Some(left) => Err(left),
        }
    }

    /// An attempt failed.
    pub(super) fn failed(&mut self, now: Instant) {
        let kept = Duration::from_secs(FAILURES_KEPT_S);
        if self.last.is_some_and(|last| now.saturating_duration_since(last) > kept) {
            self.failures = 0;
        }
        self.failures = self.failures.saturating_add(1);
        self.last = Some(now);
    }
}

/// The failures that came from one peer.
#[derive(Debug, Default)]
struct Record {
    /// By name, for the first names that failed; hashes, so that no name is kept.
    names: Vec<(u64, Throttle)>,
    /// All names after those together: who tries many is not served better than who tries one.
    others: Throttle,
    /// Where it stands in the order of the last failures.
    place: u64,
}

impl Record {
    /// The throttle that a name is under.
    fn of(&self, name: u64) -> Throttle {
        match self.names.iter().find(|(known, _)| *known == name) {
            Some((_, throttle)) => *throttle,
            None if self.names.len() < FAILING_NAMES_MAX => Throttle::default(),
            None => self.others,
        }
    }

    fn failed(&mut self, name: u64, now: Instant) {
        let room = self.names.len() < FAILING_NAMES_MAX;
        match self.names.iter_mut().find(|(known, _)| *known == name) {
            Some((_, throttle)) => throttle.failed(now),
            None if room => {
                let mut throttle = Throttle::default();
                throttle.failed(now);
                self.names.push((name, throttle));
            }
            None => self.others.failed(now),
        }
    }
}

#[derive(Debug, Default)]
struct Table {
    records: HashMap<Peer, Record>,
    /// The peers, who failed longest ago first.
    order: BTreeMap<u64, Peer>,
    next_place: u64,
}

impl Table {
    /// The record of a peer that fails now, the youngest from here on. The oldest makes room.
    fn record(&mut self, peer: Peer) -> &mut Record {
        let full = self.records.len() >= FAILING_PEERS_MAX && !self.records.contains_key(&peer);
        if let Some((_, oldest)) = full.then(|| self.order.pop_first()).flatten() {
            self.records.remove(&oldest);
        }
        let record = self.records.entry(peer).or_default();
        self.order.remove(&record.place);
        record.place = self.next_place;
        self.order.insert(record.place, peer);
        self.next_place += 1;
        record
    }
}

/// Remembers who failed, for all connections of a server.
#[derive(Debug, Default)]
pub struct Gate {
    hasher: RandomState,
    table: Mutex<Table>,
}

impl Gate {
    /// One that remembers nobody.
    pub fn new() -> Gate {
        Gate::default()
    }

    /// May this peer try this name now? If not, how long is it still?
    pub fn may_try(&self, peer: Peer, user: &[u8], now: Instant) -> Result<(), Duration> {
        let name = self.hasher.hash_one(user);
        match self.table.lock().records.get(&peer) {
            Some(record) => record.of(name).may_try(now),
            None => Ok(()),
        }
    }

    /// An attempt failed that was allowed.
    pub fn failed(&self, peer: Peer, user: &[u8], now: Instant) {
        let name = self.hasher.hash_one(user);
        self.table.lock().record(peer).failed(name, now);
    }

    /// An attempt succeeded: what failed under this name is forgotten, and nothing else.
    pub fn succeeded(&self, peer: Peer, user: &[u8]) {
        let name = self.hasher.hash_one(user);
        let mut table = self.table.lock();
        let Some(record) = table.records.get_mut(&peer) else { return };
        record.names.retain(|(known, _)| *known != name);
        if record.names.is_empty() && record.others.failures == 0 {
            let place = record.place;
            table.order.remove(&place);
            table.records.remove(&peer);
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    fn seconds(count: u64) -> Duration {
        Duration::from_secs(count)
    }

    #[test]
    fn the_wait_begins_with_the_fifth_failure_and_doubles_up_to_a_minute() {
        let (gate, mut now) = (Gate::new(), Instant::now());
        for _ in 0..5 {
            assert_eq!(gate.may_try(Peer::Local, b"ada", now), Ok(()));
            gate.failed(Peer::Local, b"ada", now);
        }
        for wait in [1, 2, 4, 8, 16, 32, 60, 60, 60] {
            assert_eq!(gate.may_try(Peer::Local, b"ada", now), Err(seconds(wait)));
            now += seconds(wait);
            assert_eq!(gate.may_try(Peer::Local, b"ada", now), Ok(()));
            gate.failed(Peer::Local, b"ada", now);
        }
        let mut throttle = Throttle { failures: u32::MAX, last: None };
        throttle.failed(now);
        assert_eq!(throttle.may_try(now), Err(seconds(60)));
    }

    #[test]
    fn a_clock_that_goes_back_lengthens_no_wait() {
        let (gate, now) = (Gate::new(), Instant::now() + seconds(100));
        for _ in 0..5 {
            gate.failed(Peer::Local, b"ada", now);
        }
        assert_eq!(gate.may_try(Peer::Local, b"ada", now - seconds(50)), Err(seconds(1)));
    }

    #[test]
    fn old_failures_do_not_count() {
        let (gate, now) = (Gate::new(), Instant::now());
        for _ in 0..4 {
            gate.failed(Peer::Local, b"ada", now);
        }
        let later = now + seconds(FAILURES_KEPT_S + 1);
        gate.failed(Peer::Local, b"ada", later);
        assert_eq!(gate.may_try(Peer::Local, b"ada", later), Ok(()));
    }

    #[test]
    fn failures_of_one_name_do_not_touch_others_and_a_success_clears_its_own() {
        let (gate, now) = (Gate::new(), Instant::now());
        for _ in 0..5 {
            gate.failed(Peer::Local, b"ada", now);
        }
        assert_eq!(gate.may_try(Peer::Local, b"bob", now), Ok(()));
        gate.succeeded(Peer::Local, b"bob");
        assert!(gate.may_try(Peer::Local, b"ada", now).is_err());
        gate.succeeded(Peer::Local, b"ada");
        assert_eq!(gate.may_try(Peer::Local, b"ada", now), Ok(()));
        let table = gate.table.lock();
        assert!(table.records.is_empty() && table.order.is_empty());
    }

    #[test]
    fn many_names_from_one_peer_wait_together_and_push_no_record_out() {
        let (gate, now) = (Gate::new(), Instant::now());
        for _ in 0..5 {
            gate.failed(Peer::Local, b"ada", now);
        }
        for number in 0..10_000_u32 {
            gate.failed(Peer::Local, &number.to_be_bytes(), now);
        }
        assert!(gate.may_try(Peer::Local, b"ada", now).is_err());
        assert_eq!(gate.may_try(Peer::Local, b"never tried", now), Err(seconds(60)));
        assert_eq!(gate.table.lock().records[&Peer::Local].names.len(), FAILING_NAMES_MAX);
    }

    #[test]
    fn the_table_is_bounded_and_who_failed_longest_ago_goes_first() {
        let (gate, now) = (Gate::new(), Instant::now());
        let peer = |number: u32| Peer::V4(Ipv4Addr::from_bits(number));
        let most = u32::try_from(FAILING_PEERS_MAX).unwrap();
        for _ in 0..5 {
            for number in 0..most {
                gate.failed(peer(number), b"ada", now);
            }
        }
        gate.failed(peer(0), b"ada", now);
        gate.failed(peer(most), b"ada", now);
        assert_eq!(gate.may_try(peer(1), b"ada", now), Ok(()));
        assert_eq!(gate.may_try(peer(0), b"ada", now), Err(seconds(2)));
        assert_eq!(gate.may_try(peer(2), b"ada", now), Err(seconds(1)));
        let table = gate.table.lock();
        assert_eq!((table.records.len(), table.order.len()), (4096, 4096));
    }

    #[test]
    fn peers_are_addresses_without_ports_and_networks() {
        let v4 = Peer::V4(Ipv4Addr::new(192, 0, 2, 7));
        for text in ["192.0.2.7", "192.0.2.7:11211", "::ffff:192.0.2.7", "[::ffff:192.0.2.7]:9"] {
            assert_eq!(Peer::of(text), v4);
        }
        assert_eq!(Peer::of("[2001:db8::1]:9"), Peer::of("2001:db8::ffff"));
        assert_ne!(Peer::of("2001:db8::1"), Peer::of("2001:db8:0:1::1"));
        assert_eq!(Peer::of(""), Peer::Local);
    }
}
