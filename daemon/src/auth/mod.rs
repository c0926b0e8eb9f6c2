//! Who may talk: the password file ([`Users`]), what failures cost ([`Gate`]), and what one
//! connection is known for ([`Standing`]). Nothing here reads a socket or a clock, and nothing says
//! a name or a password in an error or a log line; `execute` is the caller, `server` loads the file.

mod gate;
mod users;

use std::time::{Duration, Instant};

use gate::Throttle;
pub use gate::{Gate, Peer};
pub use users::{AuthError, Fault, Users};

/// What an attempt to say who is there came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Attempt {
    /// The connection is known now.
    Welcome,
    /// Name or password are wrong.
    Unwelcome,
    /// Too many failed before: nothing was compared, and nothing will be for so long.
    TooSoon(Duration),
}

/// What one connection is known for.
///
/// It begins unknown and is known after an attempt that succeeded, until the next attempt: each
/// attempt begins by forgetting the one before. So there is no order of attempts in which one that
/// failed leaves a connection known (CVE-2013-7239 was such an order).
#[derive(Debug)]
pub struct Standing {
    known: bool,
    throttle: Throttle,
}

impl Standing {
    /// Of a connection on a server with passwords.
    pub fn unknown() -> Standing {
        Standing { known: false, throttle: Throttle::default() }
    }

    /// Of a connection on a server that asks nobody.
    pub fn unasked() -> Standing {
        Standing { known: true, throttle: Throttle::default() }
    }

    /// May it do what only the known may?
    pub fn is_known(&self) -> bool {
        self.known
    }

    /// Says who is there. Another name that succeeds takes the place of the one before.
    pub fn attempt(
        &mut self,
        users: &Users,
        gate: &Gate,
        peer: Peer,
        (user, password): (&[u8], &[u8]),
        now: Instant,
    ) -> Attempt {
        self.known = false;
        let allowed = self.throttle.may_try(now);
        if let Err(wait) = allowed.and_then(|()| gate.may_try(peer, user, now)) {
            return Attempt::TooSoon(wait);
        }
        if !users.check(user, password) {
            self.throttle.failed(now);
            gate.failed(peer, user, now);
            return Attempt::Unwelcome;
        }
        self.throttle = Throttle::default();
        gate.succeeded(peer, user);
        self.known = true;
        Attempt::Welcome
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    fn users() -> Users {
        Users::parse(b"ada:one\nbob:two\n").unwrap()
    }

    const GOOD: (&[u8], &[u8]) = (b"ada", b"one");
    const OTHER: (&[u8], &[u8]) = (b"bob", b"two");
    const WRONG: (&[u8], &[u8]) = (b"ada", b"two");
    const NOBODY: (&[u8], &[u8]) = (b"", b"");

    /// All orders of up to four attempts: known is who succeeded last, and nobody else.
    #[test]
    fn only_the_last_attempt_counts_in_every_order() {
        let users = users();
        let tries = [GOOD, OTHER, WRONG, NOBODY];
        for number in 0..4_usize.pow(4) {
            let (gate, mut standing) = (Gate::new(), Standing::unknown());
            let mut digits = number;
            for _ in 0..4 {
                let attempt = tries[digits % 4];
                digits /= 4;
                let outcome = standing.attempt(&users, &gate, Peer::Local, attempt, Instant::now());
                let good = attempt == GOOD || attempt == OTHER;
                assert_eq!(outcome == Attempt::Welcome, good, "order {number}");
                assert_eq!(standing.is_known(), good, "order {number}");
            }
        }
    }

    #[test]
    fn the_right_password_is_not_even_compared_while_the_connection_has_to_wait() {
        let (users, gate) = (users(), Gate::new());
        let (mut standing, start) = (Standing::unknown(), Instant::now());
        for _ in 0..5 {
            let outcome = standing.attempt(&users, &gate, Peer::Local, WRONG, start);
            assert_eq!(outcome, Attempt::Unwelcome);
        }
        let early = start + Duration::from_millis(999);
        let outcome = standing.attempt(&users, &gate, Peer::Local, GOOD, early);
        assert_eq!(outcome, Attempt::TooSoon(Duration::from_millis(1)));
        assert!(!standing.is_known());
        // A new connection under the same name from the same place waits as well, another does not.
        let outcome = Standing::unknown().attempt(&users, &gate, Peer::Local, GOOD, early);
        assert_eq!(outcome, Attempt::TooSoon(Duration::from_millis(1)));
        let mut elsewhere = Standing::unknown();
        let peer = Peer::of("192.0.2.1:4000");
        assert_eq!(elsewhere.attempt(&users, &gate, peer, GOOD, early), Attempt::Welcome);
        let late = start + Duration::from_secs(1);
        assert_eq!(standing.attempt(&users, &gate, Peer::Local, GOOD, late), Attempt::Welcome);
        assert!(standing.is_known());
    }

    #[test]
    fn a_connection_that_goes_through_names_has_to_wait_and_others_do_not() {
        let (users, gate, now) = (users(), Gate::new(), Instant::now());
        let mut standing = Standing::unknown();
        for name in [b"a", b"b", b"c", b"d", b"e"] {
            let outcome = standing.attempt(&users, &gate, Peer::Local, (name, b"x"), now);
            assert_eq!(outcome, Attempt::Unwelcome);
        }
        let outcome = standing.attempt(&users, &gate, Peer::Local, GOOD, now);
        assert_eq!(outcome, Attempt::TooSoon(Duration::from_secs(1)));
        let outcome = Standing::unknown().attempt(&users, &gate, Peer::Local, GOOD, now);
        assert_eq!(outcome, Attempt::Welcome);
    }

    #[test]
    fn who_was_known_and_tries_too_soon_is_known_no_more() {
        let (users, gate, now) = (users(), Gate::new(), Instant::now());
        let mut standing = Standing::unknown();
        assert_eq!(standing.attempt(&users, &gate, Peer::Local, OTHER, now), Attempt::Welcome);
        let mut wrong = Standing::unknown();
        for _ in 0..5 {
            wrong.attempt(&users, &gate, Peer::Local, WRONG, now);
        }
        assert!(standing.is_known());
        let outcome = standing.attempt(&users, &gate, Peer::Local, GOOD, now);
        assert!(matches!(outcome, Attempt::TooSoon(_)));
        assert!(!standing.is_known());
    }

    #[test]
    fn a_server_without_passwords_knows_everybody() {
        assert!(Standing::unasked().is_known());
        assert!(!Standing::unknown().is_known());
    }
}
