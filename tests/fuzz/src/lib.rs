//! What the targets have in common: a conversation played to a codec, whole and in pieces.
//!
//! A target fails not only when something panics. For every input: the same bytes mean the same,
//! however they are cut; a parser that wants more says so truthfully; it uses no more than there is;
//! it allocates in proportion to what it was given, whatever lengths are declared in it; and no answer
//! to what it understood makes the encoder fall over.

pub mod edits;
pub mod room;
// What the tests have: a store with one of everything.
#[path = "../../support/random.rs"]
pub mod random;
#[path = "../../support/signed.rs"]
mod signed;
#[path = "../../support/specimen.rs"]
pub mod specimen;

pub use random::content;
pub use signed::{signature, signed};

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering};

use holdfastd::command::{Command, Entry, Failure, Found, Listing, Reply};
use holdfastd::protocol::{Codec, Limits, Parsed, Spoken};

/// Counts what is asked of the system's allocator.
pub struct Counting;

static ALLOCATED: AtomicUsize = AtomicUsize::new(0);

// SAFETY: every call is handed on to the system's allocator as it is.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATED.fetch_add(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller keeps the contract of this method, which is the same.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        // SAFETY: as above; the memory came from the system's allocator.
        unsafe { System.dealloc(memory, layout) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

/// Runs it; an assertion that it allocated at most so many bytes.
pub fn within<T>(bytes: usize, work: impl FnOnce() -> T) -> T {
    let before = ALLOCATED.load(Ordering::Relaxed);
    let result = work();
    let used = ALLOCATED.load(Ordering::Relaxed) - before;
    assert!(used <= bytes, "{used} bytes were allocated for a bound of {bytes}");
    result
}

const LIMITS: Limits = Limits { value_max: 4096, test_commands: true, passwords: true };
/// Beside twice its input a parser may use so much.
const SLACK: usize = 64 << 10;

/// What a piece of input came to, whatever pieces it arrived in.
#[derive(Debug, PartialEq, Eq)]
pub enum Event {
    /// A request: the command and the form of its answer.
    Request(String),
    /// An answer without a request.
    Answer(Vec<u8>),
    /// What was answered on this line is taken back.
    Retract,
    /// The end.
    Close,
}

/// Plays the bytes, cut at these places (ascending), and tells what they came to. Whole ones are
/// answered as well, in every way: how an input is cut makes no difference to that.
pub fn play(spoken: Spoken, input: &[u8], cuts: &[usize]) -> Vec<Event> {
    let mut codec = Codec::new(spoken);
    let mut events = Vec::new();
    let mut ends: Vec<usize> = cuts.iter().copied().filter(|cut| *cut < input.len()).collect();
    ends.push(input.len());
    let mut ends = ends.into_iter();
    let mut end = ends.next().unwrap_or(0);
    let (mut at, mut skip, mut wanted) = (0_usize, 0_u64, 1_usize);
    loop {
        let here = usize::try_from(skip).unwrap_or(usize::MAX).min(end - at);
        at += here;
        skip -= here as u64;
        if end - at < wanted.max(1) || skip > 0 {
            match ends.next() {
                Some(next) => end = next,
                None => return events,
            }
            continue;
        }
        let given = &input[at..end];
        let mut decoded = Vec::new();
        let starts = codec.at_line_start();
        let parsed = within(2 * given.len() + SLACK, || codec.parse(given, &mut decoded, &LIMITS));
        wanted = 1;
        let used = match parsed {
            Parsed::Incomplete { wanted: more } => {
                assert!(more > given.len(), "wants {more} and has {}", given.len());
                wanted = more;
                continue;
            }
            Parsed::Request { used, command, form } => {
                events.push(Event::Request(format!("{command:?} {form:?} {starts}")));
                let mut out = Vec::new();
                if cuts.is_empty() {
                    for reply in replies(&command) {
                        codec.encode(&form, &reply, &mut out);
                    }
                } else {
                    // The last of them: what follows on a line of keys depends on it.
                    codec.encode(&form, &Reply::Failed(Failure::Internal), &mut out);
                }
                used
            }
            Parsed::Refused { used, skip: more, answer, retract, close } => {
                skip = more;
                if retract {
                    events.push(Event::Retract);
                }
                told(&mut events, answer, close);
                used
            }
            Parsed::Answered { used, skip: more, answer, close } => {
                skip = more;
                let mut out = Vec::new();
                answer.write(&mut out);
                told(&mut events, &out, close);
                used
            }
            Parsed::Skipped { used } => used,
        };
        assert!(used <= given.len(), "used {used} of {}", given.len());
        assert!(used > 0 || skip > 0 || events.last() == Some(&Event::Close), "no progress");
        if events.last() == Some(&Event::Close) {
            return events;
        }
        at += used;
    }
}

fn told(events: &mut Vec<Event>, answer: &[u8], close: bool) {
    if !answer.is_empty() {
        events.push(Event::Answer(answer.to_vec()));
    }
    if close {
        events.push(Event::Close);
    }
}

/// Answers of every kind, fitting or not.
fn replies<'a>(command: &Command<'a>) -> Vec<Reply<'a>> {
    let key: &[u8] = match command {
        Command::Get(get) => get.key,
        _ => b"key",
    };
    let found = Found {
        key,
        value: b"value",
        size: 5,
        flags: u32::MAX,
        version: u64::MAX,
        ttl_s: Some(u64::MAX),
        read_before: true,
        idle_s: u64::MAX,
        won: true,
        stale: true,
        taken: true,
    };
    let entry = Entry {
        key,
        expires_s: None,
        idle_s: 0,
        seen_s: 0,
        version: u64::MAX,
        read_before: false,
        class: 255,
        size: u64::MAX,
    };
    vec![
        Reply::Found(found),
        Reply::Missing,
        Reply::NotStored,
        Reply::Exists,
        Reply::Deleted,
        Reply::Touched,
        Reply::NotANumber,
        Reply::Ok,
        Reply::Noop,
        Reply::Version("1.6.45-x"),
        Reply::Described(entry),
        Reply::Listing(Listing::default()),
        Reply::Listed(entry),
        Reply::ListEnd,
        Reply::Failed(Failure::TooLarge),
        Reply::Failed(Failure::LockLost),
        Reply::Failed(Failure::Forbidden("no")),
        Reply::Failed(Failure::Conflict("no")),
        Reply::Failed(Failure::Internal),
    ]
}

/// The assertion of the dialects: cut in two, cut in three, byte by byte, the input means what it means whole.
/// The first two bytes choose the cuts, the rest is the input.
pub fn same_at_every_cut(spoken: Spoken, data: &[u8]) {
    let [first, second, input @ ..] = data else { return };
    let whole = play(spoken, input, &[]);
    let one = usize::from(*first) * input.len() / 256;
    let other = usize::from(*second) * input.len() / 256;
    let cuts = [one.min(other), one.max(other)];
    assert_eq!(whole, play(spoken, input, &cuts), "cut at {cuts:?}");
    // It takes longest: one input in eight.
    if input.len() <= 512 && first % 8 == 0 {
        let all: Vec<usize> = (1..input.len()).collect();
        assert_eq!(whole, play(spoken, input, &all), "byte by byte");
    }
}
