//! Every maximum of the daemon in one place; what belongs to the store is in its own options.

use std::time::Duration;

/// Longest key on the memcached wire, bytes.
pub const KEY_MAX: usize = 250;
/// Longest request line, bytes; a line of keys to get is taken key by key and may be longer.
pub const LINE_MAX: usize = 2048;
/// Longest opaque of a meta request, bytes.
pub const OPAQUE_MAX: usize = 32;
/// Words of one meta request, its verb and key counted.
pub const META_WORDS_MAX: usize = 20;
/// Longest body that is taken from who has not said yet who it is, bytes.
pub const UNKNOWN_BODY_MAX: u64 = 1024;
/// Session locks that one connection can hold at once.
pub const LOCKS_PER_CONNECTION: usize = 64;
/// Requests of one connection that run before others have their turn (`-R`).
pub const REQUESTS_PER_TURN: u32 = 64;
/// A connection whose requests have taken so long lets others have their turn before the next.
pub const TURN_TIME: Duration = Duration::from_millis(1);
/// Requests behind the present one whose values are asked for ahead.
pub const AHEAD: usize = 8;
/// A connection with so much unsent output runs no further request, bytes. A peer that asks and does not
/// read costs so much, one answer, and what is left of a [`READ_BUFFER`].
pub const OUTPUT_HIGH: usize = 32 << 10;
/// Bytes of a request beside its value, at most.
pub const BESIDE_VALUE_MAX: usize = 256 << 10;
/// Longest body of a refused packet that is read to its end and thrown away, bytes; before a longer
/// one the connection ends.
pub const SKIPPED_BODY_MAX: u64 = (64 << 20) + 1024;
/// Longest password file, bytes.
pub const PASSWORD_FILE_MAX: u64 = 1 << 20;
/// Users in it.
pub const USERS_MAX: usize = 1024;
/// Longest line of it, bytes: name, password and the name once more fit a message of an unknown peer.
pub const PASSWORD_LINE_MAX: usize = 500;
/// Attempts to say who one is that may fail before the next has to wait.
pub const FREE_FAILURES: u32 = 5;
/// Longest wait between failed attempts, seconds.
pub const FAILURE_WAIT_MAX_S: u64 = 60;
/// Failures so old do not count any more, seconds.
pub const FAILURES_KEPT_S: u64 = 15 * 60;
/// Peers whose failures are remembered.
pub const FAILING_PEERS_MAX: usize = 4096;
/// Names of one peer whose failures are counted each for itself.
pub const FAILING_NAMES_MAX: usize = 16;
/// Bytes that a loop reads at once, and its buffer for it. What a turn does not use of them is kept for
/// its connection, so this too is a part of what a peer costs that asks and does not read.
pub const READ_BUFFER: usize = 24 << 10;
/// Connections whose next bytes a loop reads before it gives them their turns.
pub const READ_AHEAD: usize = 16;
/// Bytes that it reads of each; who sends more at once is read in its turn.
pub const READ_AHEAD_BYTES: usize = 4 << 10;
/// Answers that a loop keeps while others have their turns, to send them in one go; with more, those
/// of one connection or the requests and answers of all, it sends what it has.
pub const ANSWERS_KEPT: usize = 64 << 10;
/// A loop's output buffer that has grown beyond this is given back after the turn, bytes.
pub const OUTPUT_KEPT: usize = 256 << 10;
/// New connections that a loop accepts before others have their turn.
pub const ACCEPTS_PER_TURN: usize = 64;
/// Messages of other threads that a loop takes before others have their turn.
pub const MESSAGES_PER_TURN: usize = 256;
/// Events that a loop takes from the kernel at once.
pub const EVENTS_PER_TURN: usize = 1024;
/// Bytes of a connection that is over that are thrown away, so that its last answer arrives.
pub const LINGER_BYTES: usize = 1 << 20;
/// Certificates of one chain, and of those who sign clients' certificates.
pub const CERTIFICATES_MAX: usize = 1024;
/// Bytes of a file with certificates or a key.
pub const PEM_BYTES_MAX: u64 = 4 << 20;
/// Listeners of one server.
pub const LISTENERS_MAX: usize = 256;
/// Turns in which everybody who is in a listener's queue is accepted before it is closed.
pub const LAST_ACCEPT_TURNS: usize = 1024;
/// Tries, 10 ms apart, to be the only one who puts a unix socket into a directory.
pub const TURN_TRIES: u32 = 500;
/// Names that are tried for a directory that only one process may have.
pub const PRIVATE_NAMES_TRIED: u32 = 16;
/// Addresses to listen on.
pub const ENDPOINTS_MAX: usize = 64;
/// Configuration files are not longer, bytes.
pub const CONFIG_FILE_MAX: u64 = 1 << 20;
/// Sets of the table of what was read when; a power of two.
pub const RECENCY_SETS: usize = 1 << 15;
/// Values in one set of it.
pub const RECENCY_WAYS: usize = 4;
/// Entries in a page of a listing.
pub const LIST_PAGE: u64 = 1000;
/// Prefixes of keys that `stats detail` counts for; commands on others go uncounted.
pub const PREFIXES_MAX: usize = 1024;
/// Keys that are looked at to know how sizes are spread over the store.
pub const SAMPLE_KEYS: u64 = 4096;
/// Loops whose counters are kept apart; more of them share.
pub const COUNTING_THREADS_MAX: usize = 256;
/// A loop's room for the value that is read is given back when it has grown beyond this, bytes.
pub const VALUE_ROOM_KEPT: usize = 2 << 20;
/// How often a read that is to make what is missing begins anew when others come between.
pub const VIVIFY_TRIES: u32 = 8;
/// Bytes of unfinished requests and unsent answers that all connections hold together for longer than
/// a second: a thousand that do not read cost 64 KiB each then, however much they asked for.
pub const HELD_MAX: usize = 64 << 20;
/// The same at any time: a crowd of clients that do read may each wait for a big value at once.
pub const HELD_HIGH: usize = 512 << 20;
/// Longest CPU profile, seconds.
pub const PROFILE_MAX_S: u64 = 60;
/// Requests of the admin port at once.
pub const HTTP_AT_ONCE: usize = 8;
/// Longest head of a request to the admin port, bytes.
pub const HTTP_HEAD_MAX: usize = 8 << 10;
/// Header lines of one request to the admin port.
pub const HTTP_HEADERS_MAX: usize = 64;
/// Seconds that a request to the admin port may take to arrive, and its answer to be taken.
pub const HTTP_DEADLINE_S: u64 = 5;
/// Requests of one connection to the admin port.
pub const HTTP_REQUESTS_MAX: usize = 1000;
/// Longest value that any store can be made for, bytes.
pub const VALUE_HIGH: u64 = 64 << 20;
/// Connections that `stats conns` shows.
pub const SHOWN_CONNECTIONS_MAX: usize = 4096;
/// How often it is looked whether somebody changed the store's options, and whether all threads run.
pub const BEAT: Duration = Duration::from_secs(1);
/// Beats in a row that find the store's directory gone before the server ends: what it acknowledges
/// nobody else sees, and ends with it.
pub const BEATS_ASTRAY: u32 = 3;
/// How long a request may wait for another process that was stopped, or for room in a full store: all
/// connections of its loop wait with it. Longer than a process that may use only a part of a
/// processor is paused.
pub const STORE_WAIT: Duration = Duration::from_millis(100);
