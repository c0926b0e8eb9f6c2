//! Care for a store as a whole: check it, mend it, copy it, tell what of it could be given back.
//!
//! Who checks or copies takes no latch but to look at a doubtful record a second time, and reads
//! the log through the file, not through the mapping. Segments are kept from being freed under it
//! by a [`pin`], which dies with its process and gives way when writers need the room.
//! Called by [`Store`](super::Store) only; `sweep` asks `pin`.

mod backup;
mod copy;
pub(super) mod pin;
mod reclaim;
mod repair;
mod verify;

pub use backup::BackedUp;
pub use copy::Restored;
pub use reclaim::Reclaimable;
pub use repair::{RepairOptions, Repaired};
pub use verify::Verified;

use std::path::Path;
use std::time::Duration;

use super::Store;
use super::life::{self, Life};
use super::owner::{self, Standing};
use crate::arena::{Arena, lane};
use crate::error::{Error, Result, reserve};
use crate::index::{Slot, Table, stripe_of};
use crate::limits::{FINDINGS, LINE};
use crate::log::record::{self, Header};
use crate::log::segment::{self, ACTIVE, BODY, FREE, RUN, State, ZEROED};
use crate::log::{self, Image, Seen, Source};
use crate::sys::disk::FileKind;
use crate::sys::map::Scratch;

/// Called now and then with what is done and what there is to do, bytes; false ends the work.
pub type Progress<'a> = dyn FnMut(u64, u64) -> bool + 'a;

/// A number of things and the bytes that they take.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Amount {
    /// How many.
    pub count: u64,
    /// Bytes in `data`, padding included.
    pub bytes: u64,
}

impl Amount {
    fn add(&mut self, header: &Header) {
        self.count += 1;
        self.bytes += header.lines as u64 * LINE;
    }
}

/// Something that is not as it was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// In which file.
    pub file: FileKind,
    /// Where in it, bytes.
    pub offset: u64,
    /// In which segment of `data`.
    pub segment: Option<u64>,
    /// What is wrong.
    pub what: String,
    /// What follows from it.
    pub consequence: &'static str,
    /// What to do.
    pub remedy: &'static str,
}

/// Findings, the first of which are kept.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct Findings {
    list: Vec<Finding>,
    total: u64,
}

impl Findings {
    fn add(&mut self, finding: Finding) {
        self.total += 1;
        if self.list.len() < FINDINGS {
            self.list.push(finding);
        }
    }
}

/// Tells the caller how far the work is.
struct Meter<'a, 'b> {
    done: u64,
    total: u64,
    tell: &'a mut Progress<'b>,
}

impl Meter<'_, '_> {
    /// So many bytes more; false: stop.
    fn add(&mut self, bytes: u64) -> bool {
        self.done = (self.done + bytes).min(self.total);
        (self.tell)(self.done, self.total)
    }
}

fn source(arena: &Arena) -> Result<Source<'_>> {
    let file = arena.data.file().ok_or_else(|| Error::Damaged("data is not a file".into()))?;
    Ok(Source {
        file,
        segment_bytes: arena.geometry.segment_bytes,
        segments: arena.geometry.segments,
        secret: arena.secret,
    })
}

/// What an image of a segment of a living store shows.
enum Look {
    /// Nothing is in it.
    Free,
    /// Part of a value that fills segments: the head tells of all, or nobody yet.
    Part,
    /// Its magic was taken away: on its way to be free, or it was just begun.
    Blank,
    /// Its header is not what was written.
    Bad,
    /// Records up to `end`.
    Records { state: State, header: segment::Header, end: u64 },
}

/// Looks again as long as the segment changes hands meanwhile.
const LOOKS: u32 = 8;

/// Reads a segment into an image, with what its row in `meta` said before and after.
fn look(arena: &Arena, source: &Source, image: &mut Image, number: u64) -> std::io::Result<Look> {
    let mut last = Look::Free;
    for _ in 0..LOOKS {
        let state = segment::state(arena, number);
        match state.kind() {
            FREE | ZEROED => return Ok(Look::Free),
            BODY => return Ok(Look::Part),
            _ => {}
        }
        // Behind the tail nothing is part of the log; a record may be under way there.
        let end = tail_in(arena, number, state).unwrap_or(u64::MAX);
        image.read(source, number)?;
        let header = image.header(&source.secret);
        let now = segment::state(arena, number);
        if now.incarnation() != state.incarnation() || matches!(now.kind(), FREE | ZEROED | BODY) {
            continue;
        }
        last = match header {
            // Begun, but its header is not there yet or is the one before.
            _ if state.kind() == RUN
                && header.is_none_or(|h| h.incarnation != state.incarnation()) =>
            {
                return Ok(Look::Part);
            }
            Some(header) if header.incarnation == state.incarnation() => {
                let end = end.min(image.end());
                return Ok(Look::Records { state, header, end });
            }
            None if image.header_words()[0] != 0 => {
                // Its taker may be about to write it.
                std::thread::sleep(Duration::from_millis(1));
                Look::Bad
            }
            _ => return Ok(Look::Blank),
        };
    }
    Ok(last)
}

/// The tail of the lane that appends to this segment.
fn tail_in(arena: &Arena, number: u64, state: State) -> Option<u64> {
    if state.kind() != ACTIVE || state.arg() as u64 >= arena.geometry.all_lanes() {
        return None;
    }
    let tail = arena.meta.load(arena.geometry.lane(state.arg() as u64) + lane::TAIL);
    (tail != 0 && segment::of(arena, tail - 1) == number).then_some(tail)
}

/// Does the index name the record at this place?
fn is_named(arena: &Arena, hash: u64, at: u64) -> bool {
    Table::of(arena, stripe_of(hash)).is_some_and(|table| {
        let here = |_: u64, slot: Slot| (slot.offset() == at).then_some(());
        table.candidates(&arena.index, hash, here).is_some()
    })
}

/// The expiry of a record of the store now, by one load: in an image it may be torn.
fn expiry_now(arena: &Arena, at: u64, seq: u64) -> Option<u64> {
    if !arena.data.contains(at, LINE) {
        return None;
    }
    record::expiry_ms(arena.data.load(at + record::EXPIRY_AT), seq)
}

/// Is the record here, with this expiry, a value at this moment?
fn is_alive(arena: &Arena, at: u64, header: &Header, expires_ms: u64, now_ms: u64) -> bool {
    let mut scratch = Scratch::new();
    let standing = match header.owner_len {
        0 => Standing::Unowned,
        // Gone meanwhile: whoever asks looks again.
        _ if !log::read_names(arena, at, header, &mut scratch) => return false,
        _ => owner::standing(arena, header, &scratch.bytes()[LINE as usize..]),
    };
    life::of(arena, header, expires_ms, || standing, || now_ms) == Life::Alive
}

/// Room for the largest piece of a value, so that none is ever wanting.
fn room(source: &Source) -> Result<Vec<u8>> {
    let mut room = Vec::new();
    reserve(&mut room, source.segment_bytes as usize)?;
    Ok(room)
}

/// Reads the pieces of a large value that lie behind the first segment.
fn add_piece(
    source: &Source,
    room: &mut Vec<u8>,
    place: std::ops::Range<u64>,
    sum: &mut crate::log::Sum,
) -> std::io::Result<()> {
    use std::os::unix::fs::FileExt;
    room.resize((place.end - place.start) as usize, 0);
    source.file.read_exact_at(room, place.start)?;
    sum.add(room);
    Ok(())
}

/// Does the value of a record in an image hold? What cannot be read now may hold all the same.
fn value_holds(
    source: &Source,
    image: &Image,
    seen: &Seen,
    room: &mut Vec<u8>,
) -> std::io::Result<bool> {
    let mut failure = None;
    let holds = image.value_holds(seen, |place, sum| {
        let added = add_piece(source, room, place, sum);
        added.map_err(|e| failure = Some(e)).is_ok()
    });
    match failure {
        // The file ends before the value does: nothing else will ever be read there.
        Some(e) if e.kind() != std::io::ErrorKind::UnexpectedEof => Err(e),
        _ => Ok(holds),
    }
}

impl Store {
    /// Looks at every byte that can be checked, while others go on: both copies of `super`, each
    /// segment's header, each record with its value, each slot of the index, and whether every
    /// record that is current can be found. Reads about as fast as memory gives it.
    ///
    /// What looks wrong is looked at again under the latch that keeps others from changing it, so
    /// that a healthy store has no findings however busy it is. Counters that drifted apart from
    /// what they count, which deaths of processes may leave behind, are reported as numbers.
    ///
    /// ```
    /// # use holdfast::*;
    /// # let private = std::os::unix::fs::PermissionsExt::from_mode(0o700);
    /// # let dir = tempfile::Builder::new().permissions(private).tempdir().unwrap();
    /// # let options = Options { create: true, max_bytes: Some(8 << 20), ..Options::default() };
    /// # let store = Store::open(dir.path(), &options)?;
    /// store.set(b"k", b"v", 0, Ttl::Never)?;
    /// let report = store.verify(&mut |done, total| done <= total)?;
    /// assert!(report.complete && report.findings.is_empty());
    /// assert_eq!(report.live.count, 1);
    /// # Ok::<(), Error>(())
    /// ```
    pub fn verify(&self, progress: &mut Progress) -> Result<Verified> {
        verify::verify(self.arena()?, progress)
    }

    /// Copies the store, while others go on, to a directory that is empty or not there yet: as it
    /// was at one moment. Every write that was acknowledged before the call is in it, none that
    /// began after that moment is. What was not finished then is in it whole, or not at all.
    ///
    /// The copy is a store: open it, or [`Store::restore`] it elsewhere. Its index is rebuilt when
    /// it is opened. Until the copy is complete it has no `super` and cannot be opened. With
    /// `verify` it is read back and compared when it is done.
    ///
    /// Writers are not held up. Space that comes free waits for the copy to pass by; when writers
    /// need it the copy begins anew, and after some times fails with [`Error::Full`]. Lifetimes that
    /// are prolonged while it runs may be in the copy, and so may a delete that found no room for
    /// its record: both change what is stored in place.
    ///
    /// ```
    /// # use holdfast::*;
    /// # let private = std::os::unix::fs::PermissionsExt::from_mode(0o700);
    /// # let dir = tempfile::Builder::new().permissions(private).tempdir().unwrap();
    /// # let (path, elsewhere) = (dir.path().join("s"), dir.path().join("copy"));
    /// # std::fs::create_dir(&path).unwrap();
    /// # std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();
    /// # let options = Options { create: true, max_bytes: Some(8 << 20), ..Options::default() };
    /// # let store = Store::open(&path, &options)?;
    /// store.set(b"k", b"v", 0, Ttl::Never)?;
    /// let made = store.backup(&elsewhere, true, &mut |_, _| true)?;
    /// assert!(made.complete && made.records.count == 1);
    /// store.set(b"k", b"later", 0, Ttl::Never)?;
    ///
    /// let copy = Store::open(&elsewhere, &Options::default())?;
    /// let mut value = Vec::new();
    /// copy.get(b"k", &mut value)?.expect("it was there");
    /// assert_eq!(value, b"v");
    /// # Ok::<(), Error>(())
    /// ```
    pub fn backup(
        &self,
        to: impl AsRef<Path>,
        verify: bool,
        progress: &mut Progress,
    ) -> Result<BackedUp> {
        backup::backup(self.arena()?, to.as_ref(), verify, progress)
    }

    /// Makes a store in the directory `to`, which is empty or not there yet, from the backup in
    /// `from`. The backup is checked first and left as it is; one that is damaged is refused.
    ///
    /// ```
    /// # use holdfast::*;
    /// # let private = std::os::unix::fs::PermissionsExt::from_mode(0o700);
    /// # let dir = tempfile::Builder::new().permissions(private).tempdir().unwrap();
    /// # let (path, backup) = (dir.path().join("s"), dir.path().join("copy"));
    /// # std::fs::create_dir(&path).unwrap();
    /// # std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();
    /// # let options = Options { create: true, max_bytes: Some(8 << 20), ..Options::default() };
    /// # let store = Store::open(&path, &options)?;
    /// # store.set(b"k", b"v", 0, Ttl::Never)?;
    /// # store.backup(&backup, false, &mut |_, _| true)?;
    /// let restored = dir.path().join("restored");
    /// Store::restore(&backup, &restored, &mut |_, _| true)?;
    /// assert!(Store::open(&restored, &Options::default())?.exists(b"k")?.is_some());
    /// # Ok::<(), Error>(())
    /// ```
    pub fn restore(
        from: impl AsRef<Path>,
        to: impl AsRef<Path>,
        progress: &mut Progress,
    ) -> Result<Restored> {
        copy::restore(from.as_ref(), to.as_ref(), progress)
    }

    /// Mends a store that nobody has open, and never touches what is whole in it.
    ///
    /// A damaged copy of `super` is replaced by the other. A segment whose header is damaged gets it
    /// back from what its records say. A record that cannot be read is written to a side file,
    /// `dropped-<time>.bin` in the store's directory, and then made harmless; if the index still
    /// tells which key led to it, an older value of that key does not come back in its place.
    /// Then `index` and `meta` are rebuilt. A store in which nothing is wrong is left alone.
    ///
    /// It is refused while any process has the store open. Killed at any point it can be run again.
    /// With [`RepairOptions::dry_run`] it only says what it would do.
    ///
    /// ```
    /// # use holdfast::*;
    /// # let private = std::os::unix::fs::PermissionsExt::from_mode(0o700);
    /// # let dir = tempfile::Builder::new().permissions(private).tempdir().unwrap();
    /// # let options = Options { create: true, max_bytes: Some(8 << 20), ..Options::default() };
    /// # let store = Store::open(dir.path(), &options)?;
    /// store.set(b"k", b"v", 0, Ttl::Never)?;
    /// drop(store);
    /// let report = Store::repair(dir.path(), &RepairOptions::default(), &mut |_, _| true)?;
    /// assert!(report.complete && report.findings.is_empty() && !report.rebuilt);
    /// # Ok::<(), Error>(())
    /// ```
    pub fn repair(
        path: impl AsRef<Path>,
        options: &RepairOptions,
        progress: &mut Progress,
    ) -> Result<Repaired> {
        repair::repair(path.as_ref(), options, progress)
    }

    /// What a full compaction would give back. Quick (`exact` false): from the counters, in
    /// microseconds, without what has expired and as far off as the counters are. Exact: by a walk
    /// over the records' headers, while others go on.
    ///
    /// ```
    /// # use holdfast::*;
    /// # let private = std::os::unix::fs::PermissionsExt::from_mode(0o700);
    /// # let dir = tempfile::Builder::new().permissions(private).tempdir().unwrap();
    /// # let options = Options { create: true, max_bytes: Some(8 << 20), ..Options::default() };
    /// # let store = Store::open(dir.path(), &options)?;
    /// store.set(b"k", b"one", 0, Ttl::Never)?;
    /// store.set(b"k", b"two", 0, Ttl::Never)?;
    /// let space = store.reclaimable(true)?;
    /// assert_eq!((space.live.count, space.dead.count), (1, 1));
    /// # Ok::<(), Error>(())
    /// ```
    pub fn reclaimable(&self, exact: bool) -> Result<Reclaimable> {
        reclaim::reclaimable(self.arena()?, exact)
    }
}
