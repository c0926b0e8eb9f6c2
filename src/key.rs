//! A key: checked bytes and their hash, made once at the edge.

use std::hash::Hasher;

use crate::error::{Error, Result};
use crate::limits::{KEY_MAX, OWNER_MAX};

/// How keys are hashed; a property of the store, chosen at its creation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum HashKind {
    /// rapidhash v3, seeded: 2-5 ns for a session id.
    #[default]
    Rapid,
    /// SipHash-1-3: a keyed pseudo-random function, for ports that take keys from strangers.
    Sip13,
}

/// The hash function of one store: its kind and the store's secret.
#[derive(Clone)]
pub(crate) struct KeyHash {
    kind: HashKind,
    secret: [u64; 2],
    first: rapidhash::v3::RapidSecrets,
    second: rapidhash::v3::RapidSecrets,
}

impl KeyHash {
    pub(crate) fn new(kind: HashKind, secret: [u64; 2]) -> KeyHash {
        KeyHash {
            kind,
            secret,
            first: rapidhash::v3::RapidSecrets::seed(secret[0]),
            second: rapidhash::v3::RapidSecrets::seed(secret[1]),
        }
    }

    /// The hash that places a key in the index.
    #[inline]
    pub(crate) fn first(&self, key: &[u8]) -> u64 {
        match self.kind {
            HashKind::Rapid => rapidhash::v3::rapidhash_v3_seeded(key, &self.first),
            HashKind::Sip13 => self.sip(key, self.secret[0]),
        }
    }

    /// An independent hash: with the first it names a session lock.
    #[inline]
    pub(crate) fn second(&self, key: &[u8]) -> u64 {
        match self.kind {
            HashKind::Rapid => rapidhash::v3::rapidhash_v3_seeded(key, &self.second),
            HashKind::Sip13 => self.sip(key, !self.secret[0]),
        }
    }

    fn sip(&self, key: &[u8], k0: u64) -> u64 {
        let mut hasher = siphasher::sip::SipHasher13::new_with_keys(k0, self.secret[1]);
        hasher.write(key);
        hasher.finish()
    }
}

/// Whose names a key is one of: no name of one kind is ever taken for one of the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// What a caller stores values under.
    Value,
    /// Owners of values.
    Owner,
}

/// A key of 1 to [`KEY_MAX`] bytes with its place.
#[derive(Clone, Copy)]
pub(crate) struct Key<'a> {
    pub(crate) bytes: &'a [u8],
    pub(crate) hash: u64,
    pub(crate) kind: Kind,
}

impl<'a> Key<'a> {
    // Always: a key passed back through memory would be stored as words and loaded as vectors.
    #[inline(always)]
    pub(crate) fn new(bytes: &'a [u8], hash: &KeyHash) -> Result<Key<'a>> {
        if bytes.is_empty() || bytes.len() > KEY_MAX {
            return Err(Error::Invalid(format!(
                "a key has 1 to {KEY_MAX} bytes, this one {}",
                bytes.len()
            )));
        }
        Ok(Key { bytes, hash: hash.first(bytes), kind: Kind::Value })
    }

    /// The name of an owner, of 1 to [`OWNER_MAX`] bytes.
    pub(crate) fn of_owner(name: &'a [u8], hash: &KeyHash) -> Result<Key<'a>> {
        if name.is_empty() || name.len() > OWNER_MAX {
            return Err(Error::Invalid(format!(
                "the name of an owner has 1 to {OWNER_MAX} bytes, this one {}",
                name.len()
            )));
        }
        Ok(Key { bytes: name, hash: hash.second(name), kind: Kind::Owner })
    }
}
