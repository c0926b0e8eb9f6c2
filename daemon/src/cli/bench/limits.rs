//! Every maximum of the load generator, in one place. Used by the whole room.

use std::time::Duration;

/// The longest key that memcached takes.
pub(super) const MAX_KEY_BYTES: usize = 250;
/// The largest value that can be asked for.
pub(super) const MAX_VALUE_BYTES: usize = 64 << 20;
/// The most keys: their numbers fit the key's digits and the binary protocol's tag.
pub(super) const MAX_KEYS: u64 = 1_000_000_000;
/// The most connections, active or idle: more than one source address has ports for.
pub(super) const MAX_CONNECTIONS: usize = 60_000;
/// The most requests that one connection sends before it waits for the answers.
pub(super) const MAX_PIPELINE: usize = 4096;
/// The most keys of one request.
pub(super) const MAX_MULTI: usize = 4096;
/// The most threads.
pub(super) const MAX_THREADS: usize = 256;
/// The most rounds of a comparison.
pub(super) const MAX_ROUNDS: usize = 1000;
/// The most addresses of a comparison.
pub(super) const MAX_ADDRESSES: usize = 16;
/// The most bytes that one batch of a connection may send or have answered.
pub(super) const MAX_BATCH_BYTES: usize = 256 << 20;
/// The most bytes of all batches of all connections at one time, should no server read them.
pub(super) const MAX_BATCHES_BYTES: usize = 8 << 30;
/// The longest line of an answer without a value.
pub(super) const MAX_LINE_BYTES: usize = 2048;
/// What a thread reads at once, shared by all its connections.
pub(super) const READ_BYTES: usize = 256 << 10;
/// Buffers of a connection that grew beyond this go back to the allocator when they are empty.
pub(super) const KEPT_BYTES: usize = 16 << 10;
/// What one batch of the fill should not exceed.
pub(super) const FILL_BATCH_BYTES: usize = 64 << 10;
/// How many connections may be ready at once before the next look.
pub(super) const EVENTS: usize = 1024;
/// The longest lifetime that all protocols take as a number of seconds from now.
pub(super) const MAX_TTL_SECONDS: u32 = 30 * 24 * 3600;
/// The longest latency that is told apart; longer ones are counted as this.
pub(super) const MAX_LATENCY: Duration = Duration::from_secs(120);
/// How much of an unexpected answer is shown.
pub(super) const SHOWN_BYTES: usize = 96;
/// How often a thread looks whether it has been stopped or an answer is overdue.
pub(super) const LOOK_EVERY: Duration = Duration::from_millis(100);
/// The longest answer to the first words on a connection.
pub(super) const GREETING_BYTES: usize = 1024;
/// How long after its end a phase at a fixed rate may start what was due before.
pub(super) const LATE_STARTS: Duration = Duration::from_millis(100);
