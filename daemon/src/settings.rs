//! What a running server was told: the settings that several rooms read. Made once by the start from
//! the configuration; what may change under way is atomic. Nothing here reads a file or a flag.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

/// What keys of session locks mean.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum SessionLocks {
    /// `add` of a lock's key takes the store's own session lock for the connection.
    #[default]
    Lock,
    /// They are keys like others, and only their expiry frees them: behind proxies whose connections
    /// are shared by many clients.
    Expiry,
}

/// What `stats settings` says of things that only other rooms use.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names are those of memcached's settings")]
pub struct Shown {
    pub max_connections: u64,
    pub tcp_port: u16,
    pub inter: String,
    pub domain_socket: String,
    pub socket_mode: u32,
    pub threads: u64,
    pub backlog: u64,
    pub binding_protocol: String,
    pub requests_per_turn: u64,
    pub idle_timeout_s: u64,
    pub maxconns_fast: bool,
    pub auth_sasl: bool,
    pub auth_ascii: bool,
    pub tls: bool,
    pub tls_chain: String,
    pub tls_key: String,
    pub tls_ca: String,
    pub tls_min_version: String,
    pub store: String,
}

impl Default for Shown {
    fn default() -> Shown {
        Shown {
            max_connections: 1024,
            tcp_port: 0,
            inter: String::new(),
            domain_socket: String::new(),
            socket_mode: 0o700,
            threads: 1,
            backlog: 1024,
            binding_protocol: "auto-negotiate".into(),
            requests_per_turn: u64::from(crate::limits::REQUESTS_PER_TURN),
            idle_timeout_s: 0,
            maxconns_fast: true,
            auth_sasl: false,
            auth_ascii: false,
            tls: false,
            tls_chain: String::new(),
            tls_key: String::new(),
            tls_ca: String::new(),
            tls_min_version: "tlsv1.2".into(),
            store: String::new(),
        }
    }
}

/// The settings of a running server.
#[derive(Debug)]
pub struct Settings {
    /// Session keys begin so, and their locks' keys with this and `lock.`.
    pub session_prefix: Vec<u8>,
    /// What the locks' keys mean.
    pub session_locks: SessionLocks,
    /// Name and version, as clients are told.
    pub version: String,
    /// Between a key's prefix and its rest, for `stats detail`.
    pub prefix_delimiter: u8,
    /// May a client end the server (`-A`)?
    pub may_shutdown: bool,
    /// May tests move the clock?
    pub test_commands: bool,
    /// Only shown.
    pub shown: Shown,
    may_flush: AtomicBool,
    may_dump: AtomicBool,
    detail: AtomicBool,
    verbosity: AtomicU32,
    value_max: AtomicU64,
    evicts: AtomicBool,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            session_prefix: b"memc.sess.key.".to_vec(),
            session_locks: SessionLocks::Lock,
            version: concat!("1.6.45-holdfast-", env!("CARGO_PKG_VERSION")).into(),
            prefix_delimiter: b':',
            may_shutdown: false,
            test_commands: false,
            shown: Shown::default(),
            may_flush: AtomicBool::new(true),
            may_dump: AtomicBool::new(true),
            detail: AtomicBool::new(false),
            verbosity: AtomicU32::new(0),
            value_max: AtomicU64::new(1 << 20),
            evicts: AtomicBool::new(false),
        }
    }
}

impl Settings {
    /// May a client flush the store (not with `-F`)?
    pub fn may_flush(&self) -> bool {
        self.may_flush.load(Ordering::Relaxed)
    }

    /// May a client list the keys (not with `-X`)?
    pub fn may_dump(&self) -> bool {
        self.may_dump.load(Ordering::Relaxed)
    }

    /// Are the commands counted for each prefix of keys?
    pub fn detail(&self) -> bool {
        self.detail.load(Ordering::Relaxed)
    }

    /// How much is logged; 0 is least.
    pub fn verbosity(&self) -> u32 {
        self.verbosity.load(Ordering::Relaxed)
    }

    /// Longest value that the store takes now, bytes.
    pub fn value_max(&self) -> u64 {
        self.value_max.load(Ordering::Relaxed)
    }

    /// Does a full store drop old values now?
    pub fn evicts(&self) -> bool {
        self.evicts.load(Ordering::Relaxed)
    }

    /// From now on.
    pub fn set_evicts(&self, does: bool) {
        self.evicts.store(does, Ordering::Relaxed);
    }

    /// From now on.
    pub fn set_may_flush(&self, may: bool) {
        self.may_flush.store(may, Ordering::Relaxed);
    }

    /// From now on.
    pub fn set_may_dump(&self, may: bool) {
        self.may_dump.store(may, Ordering::Relaxed);
    }

    /// From now on.
    pub fn set_detail(&self, on: bool) {
        self.detail.store(on, Ordering::Relaxed);
    }

    /// From now on.
    pub fn set_verbosity(&self, level: u32) {
        self.verbosity.store(level, Ordering::Relaxed);
    }

    /// From now on.
    pub fn set_value_max(&self, bytes: u64) {
        self.value_max.store(bytes, Ordering::Relaxed);
    }

    /// The session id whose lock has this key, if it is the key of a lock.
    #[inline]
    pub fn lock_of<'k>(&self, key: &'k [u8]) -> Option<&'k [u8]> {
        if self.session_locks == SessionLocks::Expiry {
            return None;
        }
        let id = key.strip_prefix(&self.session_prefix[..])?.strip_prefix(b"lock.")?;
        (!id.is_empty()).then_some(id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_is_known_by_its_prefix() {
        let settings = Settings::default();
        assert_eq!(settings.lock_of(b"memc.sess.key.lock.abc"), Some(&b"abc"[..]));
        for other in [&b"memc.sess.key.abc"[..], b"memc.sess.key.lock.", b"lock.abc", b"", b"memc"]
        {
            assert_eq!(settings.lock_of(other), None);
        }
        let shared = Settings { session_locks: SessionLocks::Expiry, ..Settings::default() };
        assert_eq!(shared.lock_of(b"memc.sess.key.lock.abc"), None);
        let bare = Settings { session_prefix: Vec::new(), ..Settings::default() };
        assert_eq!(bare.lock_of(b"lock.abc"), Some(&b"abc"[..]));
    }
}
