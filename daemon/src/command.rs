//! The narrow waist: what can be asked of the daemon, and what it can answer.
//!
//! Every dialect parses bytes to a [`Command`] and makes bytes of a [`Reply`]; `execute` makes the
//! one of the other. Nothing here names a dialect or does any I/O. Both borrow: a command from the
//! bytes that arrived, a reply from the buffer that the value was read into.

/// How long a value is to live.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expiry {
    /// As long as the store lets it by default.
    Default,
    /// So many milliseconds from now (at least 1).
    In(u64),
    /// Until this moment, unix milliseconds; it may have passed.
    At(u64),
    /// Over at once: the request succeeds, and nobody ever reads the value.
    Past,
}

impl Expiry {
    /// The rule of all memcached dialects: 0 is for ever, up to 30 days are seconds from now, more is
    /// a moment in unix seconds, below 0 is over at once (protocol.txt, "Expiration times").
    pub fn of_seconds(seconds: i64) -> Expiry {
        const MONTH: u64 = 60 * 60 * 24 * 30;
        match u64::try_from(seconds) {
            Err(_) => Expiry::Past,
            Ok(0) => Expiry::Default,
            Ok(seconds @ 1..=MONTH) => Expiry::In(seconds * 1000),
            Ok(seconds) => Expiry::At(seconds.saturating_mul(1000)),
        }
    }
}

/// How a client talks, for statistics.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say it")]
pub enum Dialect {
    Text,
    Meta,
    Binary,
}

impl Dialect {
    /// All of them, in the order of their numbers.
    pub const ALL: [Dialect; 3] = [Dialect::Text, Dialect::Meta, Dialect::Binary];

    /// Its name in labels.
    pub fn name(self) -> &'static str {
        match self {
            Dialect::Text => "text",
            Dialect::Meta => "meta",
            Dialect::Binary => "binary",
        }
    }
}

/// One request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Command<'a> {
    /// Reads a value.
    Get(Get<'a>),
    /// Stores a value.
    Set(Set<'a>),
    /// Removes a value, or marks it.
    Delete(Delete<'a>),
    /// Adds to a number or takes from it.
    Count(Count<'a>),
    /// Gives a value a new lifetime.
    Touch {
        /// Which.
        key: &'a [u8],
        /// Its new lifetime.
        expiry: Expiry,
    },
    /// Everything that is there when the moment comes is gone then; `None` = now.
    Flush {
        /// When.
        at: Option<Expiry>,
    },
    /// What is known of a key beside its value, for people (`me`).
    Describe {
        /// Which.
        key: &'a [u8],
    },
    /// All keys of the store with what is known of them, as a [`Listing`] to be paged through.
    List(Listing),
    /// Counters; the group's name, empty = the general ones.
    Stats(&'a [u8]),
    /// Sets the counters back to 0.
    ResetStats,
    /// How much is logged.
    Verbosity(u32),
    /// The name and version of the server.
    Version,
    /// Nothing; its answer says that everything before it is answered.
    Noop,
    /// Ends the connection, after everything before it was answered.
    Quit,
    /// Ends the server, if it was started so that it may be.
    Shutdown {
        /// Lets the connections finish first.
        gracefully: bool,
    },
    /// Something that a memcached tunes and that there is nothing to tune of here: answered with OK.
    Tune,
    /// Reads the certificates and passwords again.
    Reload,
    /// Says who is there.
    Authenticate {
        /// Name.
        user: &'a [u8],
        /// Proof.
        password: &'a [u8],
    },
    /// A test's: moves the clock by so many seconds.
    MoveClock(i64),
}

/// How to read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Get<'a> {
    /// Which.
    pub key: &'a [u8],
    /// Is the value wanted, or only what is known of it?
    pub value: bool,
    /// Its new lifetime, if it gets one.
    pub touch: Option<Expiry>,
    /// What is not there is made: an empty placeholder with this lifetime. Its maker has won.
    pub vivify: Option<Expiry>,
    /// One of those who read it when it has less than so many seconds to live wins, and is to bring a
    /// new value.
    pub recache_below_s: Option<u64>,
    /// The version that a placeholder gets.
    pub version: Option<u64>,
    /// It does not count as read: neither the hit nor the time of the last access is remembered.
    pub unseen: bool,
    /// Who asks cannot be told that he has won, and so he never does.
    pub untold: bool,
}

impl<'a> Get<'a> {
    /// A plain read.
    pub fn new(key: &'a [u8]) -> Get<'a> {
        Get {
            key,
            value: true,
            touch: None,
            vivify: None,
            recache_below_s: None,
            version: None,
            unseen: false,
            untold: true,
        }
    }
}

/// What becomes of the bytes of a [`Set`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// They are the value, whatever was there.
    Set,
    /// They are the value, if there is none.
    Add,
    /// They are the value, if there is one.
    Replace,
    /// They go behind the value that is there.
    Append,
    /// They go before the value that is there.
    Prepend,
}

/// How to store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Set<'a> {
    /// Where.
    pub key: &'a [u8],
    /// What.
    pub value: &'a [u8],
    /// The client's own 32 bits.
    pub flags: u32,
    /// How long it lives. Append and prepend leave the lifetime as it is.
    pub expiry: Expiry,
    /// How it is combined with what is there.
    pub mode: Mode,
    /// Only if the present value has this version.
    pub compare: Option<u64>,
    /// With `compare` older than the present version: stored all the same, and marked stale.
    pub invalidate: bool,
    /// The version that the value gets.
    pub version: Option<u64>,
    /// Append and prepend: what is not there is made, with this lifetime.
    pub vivify: Option<Expiry>,
}

impl<'a> Set<'a> {
    /// A plain one.
    pub fn new(key: &'a [u8], value: &'a [u8], flags: u32, expiry: Expiry, mode: Mode) -> Set<'a> {
        Set {
            key,
            value,
            flags,
            expiry,
            mode,
            compare: None,
            invalidate: false,
            version: None,
            vivify: None,
        }
    }
}

/// How to remove.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Delete<'a> {
    /// Which.
    pub key: &'a [u8],
    /// Only if it has this version.
    pub compare: Option<u64>,
    /// It stays and is marked stale: one of those who read it wins.
    pub invalidate: bool,
    /// The lifetime of what is only marked.
    pub expiry: Option<Expiry>,
    /// The version of what is only marked.
    pub version: Option<u64>,
    /// The item stays, its value and flags go.
    pub only_value: bool,
}

impl<'a> Delete<'a> {
    /// A plain one.
    pub fn new(key: &'a [u8]) -> Delete<'a> {
        Delete {
            key,
            compare: None,
            invalidate: false,
            expiry: None,
            version: None,
            only_value: false,
        }
    }
}

/// How to count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Count<'a> {
    /// Which.
    pub key: &'a [u8],
    /// By how much.
    pub delta: u64,
    /// Down instead of up; it ends at 0, and up wraps around at 2^64.
    pub down: bool,
    /// What is not there is made, with this number and this lifetime.
    pub initial: Option<(u64, Expiry)>,
    /// A new lifetime for a number that is there.
    pub expiry: Option<Expiry>,
    /// Only if it has this version.
    pub compare: Option<u64>,
    /// The version that it gets.
    pub version: Option<u64>,
}

impl<'a> Count<'a> {
    /// A plain one.
    pub fn new(key: &'a [u8], delta: u64, down: bool) -> Count<'a> {
        Count { key, delta, down, initial: None, expiry: None, compare: None, version: None }
    }
}

/// Which keys a [`Command::List`] goes over, and where it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Listing {
    /// Where in the store it goes on; 0 at the beginning.
    pub cursor: u64,
    /// Entries still wanted at most; `None` = all.
    pub left: Option<u64>,
    /// Only the size class of this number (see [`Entry::class`]).
    pub class: Option<u8>,
}

/// A value that was read, and what is known of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Found<'a> {
    /// Which.
    pub key: &'a [u8],
    /// Its bytes; empty when they were not asked for.
    pub value: &'a [u8],
    /// How many bytes it has, asked for or not.
    pub size: u64,
    /// The client's own 32 bits.
    pub flags: u32,
    /// Changes with every write.
    pub version: u64,
    /// Seconds to live; `None` = for ever.
    pub ttl_s: Option<u64>,
    /// Was it read before, since it was stored?
    pub read_before: bool,
    /// Seconds since it was read or stored.
    pub idle_s: u64,
    /// This reader is the one that is to bring a new value.
    pub won: bool,
    /// It was marked: it is not good any more.
    pub stale: bool,
    /// Another reader has won already.
    pub taken: bool,
}

/// A line of a [`Command::List`], or the answer to a [`Command::Describe`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry<'a> {
    /// Which.
    pub key: &'a [u8],
    /// Unix seconds; `None` = never.
    pub expires_s: Option<u64>,
    /// Seconds since it was read or stored.
    pub idle_s: u64,
    /// Unix seconds when it was read or stored, as far as it is known.
    pub seen_s: u64,
    /// Changes with every write.
    pub version: u64,
    /// Was it read since it was stored?
    pub read_before: bool,
    /// Its class among the sizes that the statistics show.
    pub class: u8,
    /// Bytes that it takes in the store.
    pub size: u64,
}

/// Why a request could not be done. No text here names a key or a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    /// The value is longer than the store takes.
    TooLarge,
    /// The store is full.
    Full,
    /// The stored bytes are not what was written.
    Damaged,
    /// The connection's session lock was lost: nothing was written.
    LockLost,
    /// Somebody who is stopped holds what is needed; trying again may help.
    Busy,
    /// Nothing can be written: the disk failed, or is mounted read-only.
    NotWritable,
    /// Not allowed by how the server was started.
    Forbidden(&'static str),
    /// What the request asks for is not to be had together; says what.
    Conflict(&'static str),
    /// Everything else; the log says more.
    Internal,
}

/// One answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reply<'a> {
    /// What was read.
    Found(Found<'a>),
    /// There is nothing to read, count, touch or compare with.
    Missing,
    /// Written; the version now stored (0: it was over before anybody could read it).
    Stored {
        /// Of the new value.
        version: u64,
        /// Bytes of the value as it is now, with what was there before it grew.
        size: u64,
    },
    /// What the request demanded of the present value is not so.
    NotStored,
    /// There is a value of another version.
    Exists,
    /// Gone, or marked.
    Deleted,
    /// It has its new lifetime.
    Touched,
    /// The number now, with what is known of it.
    Counted {
        /// After counting.
        number: u64,
        /// Of the number as it is now.
        version: u64,
        /// Seconds to live; `None` = for ever.
        ttl_s: Option<u64>,
    },
    /// What is there cannot be counted.
    NotANumber,
    /// Done.
    Ok,
    /// See [`Command::Noop`].
    Noop,
    /// See [`Command::Version`].
    Version(&'a str),
    /// Counters, in their order.
    Stats(&'a [(String, String)]),
    /// See [`Command::Describe`].
    Described(Entry<'a>),
    /// A listing begins: the pages are fetched one by one, each entry encoded with
    /// [`Reply::Listed`], the end with [`Reply::ListEnd`].
    Listing(Listing),
    /// One entry of it.
    Listed(Entry<'a>),
    /// It is over.
    ListEnd,
    /// The connection is known now.
    Welcome,
    /// Name or password are wrong.
    Unwelcome,
    /// Nobody has said yet who is there.
    WhoAreYou,
    /// The connection ends, without an answer.
    Bye,
    /// It could not be done.
    Failed(Failure),
}
