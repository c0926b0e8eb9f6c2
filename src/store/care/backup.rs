//! A consistent copy of a store that is in use.
//!
//! One number T is drawn while all segments are pinned. The copy is the log up to T: segments
//! begun later are left out, the lanes are cut at the tails that they had, and of what is left
//! every record above T is blanked. What was acknowledged before T lies below those tails; what
//! came after it has a higher number. A record that is moved by the sweep meanwhile is still in the
//! segment that it came from, which the pin keeps.

use std::path::Path;
use std::time::{Duration, Instant};

use super::copy::{self, Destination, Manifest, sum_of, write_image};
use super::pin::{Gives, Pin};
use super::{Amount, Look, Meter, Progress, expiry_now, is_named, look, room, source, value_holds};
use crate::arena::{Arena, lane};
use crate::error::{Error, Result, collect, push, reserve};
use crate::limits::{BACKUP_TRIES, COPY_STEP, LINE};
use crate::log::record::{self, EXPIRY_AT, FOR_EVER, Header, OWNER, RUN, TOMBSTONE};
use crate::log::segment::{self, DRAINED, FREE, State, ZEROED};
use crate::log::{Image, Seen, Source};
use crate::store::superblock::Superblock;

/// How often a copy looks for segments that the sweep waits for.
const LOOK_EVERY: Duration = Duration::from_millis(2);

/// What a backup is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct BackedUp {
    /// False: it was ended by the caller, and nothing is left of it.
    pub complete: bool,
    /// Everything up to this version is in it.
    pub version: u64,
    /// Store time of that moment, unix milliseconds.
    pub taken_ms: u64,
    /// Records copied, current or not.
    pub records: Amount,
    /// Bytes written to the copy's `data`.
    pub bytes: u64,
    /// Records that could not be read. They are not in the copy; where the index led to one, the
    /// copy says that its key is gone, so that no older value takes its place.
    pub damaged: u64,
    /// Segments whose header is damaged. They are not in the copy: repair the store.
    pub segments_damaged: u64,
    /// How often it began anew because writers needed the room.
    pub restarts: u32,
    /// It was read back and compared.
    pub verified: bool,
}

pub(super) fn backup(
    arena: &Arena,
    to: &Path,
    verify: bool,
    progress: &mut Progress,
) -> Result<BackedUp> {
    let destination = Destination::prepare(to, &arena.dir, true)?;
    let source = source(arena)?;
    let used = (0..source.segments).filter(|s| in_use(arena, *s)).count() as u64;
    let once = used * source.segment_bytes;
    for restarts in 0..BACKUP_TRIES {
        let total = if verify { 2 * once } else { once };
        let mut meter = Meter { done: 0, total, tell: &mut *progress };
        let mut copy = Copy::begin(arena, source, &destination)?;
        match copy.run(&mut meter)? {
            Ended::Stopped => return Ok(BackedUp::default()),
            Ended::LetGo => continue,
            Ended::Complete => {}
        }
        let Copy { pin, file, manifest, superblock, mut report, .. } = copy;
        // From here on writers have their room back.
        drop(pin);
        crate::store::sweep::advance(arena);
        file.sync_all().map_err(|e| destination.failed("syncing", e))?;
        manifest.write(&destination.dir)?;
        if verify {
            if !copy::compare(&destination.dir, &manifest, &mut meter, |_| Ok(()))? {
                return Ok(BackedUp::default());
            }
            report.verified = true;
        }
        destination.keep(&superblock)?;
        return Ok(BackedUp { complete: true, restarts, ..report });
    }
    Err(Error::Full(format!(
        "writers needed the room that a backup holds back, {BACKUP_TRIES} times in a row; try \
         again when fewer values are written, or create a larger store (max_bytes of {})",
        arena.dir.path().display()
    )))
}

fn in_use(arena: &Arena, number: u64) -> bool {
    !matches!(segment::state(arena, number).kind(), FREE | ZEROED)
}

enum Ended {
    Complete,
    /// The caller wants no more.
    Stopped,
    /// The pin was broken.
    LetGo,
}

struct Copy<'a> {
    arena: &'a Arena,
    source: Source<'a>,
    destination: &'a Destination,
    pin: Pin<'a>,
    file: std::fs::File,
    /// The last number that belongs to the copy.
    until: u64,
    tails: Vec<u64>,
    /// Segments that were drained already.
    superseded: Vec<bool>,
    superblock: Superblock,
    manifest: Manifest,
    image: Image,
    room: Vec<u8>,
    report: BackedUp,
}

impl<'a> Copy<'a> {
    fn begin(
        arena: &'a Arena,
        source: Source<'a>,
        destination: &'a Destination,
    ) -> Result<Copy<'a>> {
        let pin = Pin::take(arena, Gives::Soon).ok_or_else(|| {
            Error::TooMany(format!(
                "{}: as many backups and checks as there may be are at work; wait for one to end",
                arena.dir.path().display()
            ))
        })?;
        // The options of that moment: read again until nothing changed around it.
        let mut superblock = read_super(arena)?;
        let (before, until, tails) = loop {
            let state = |n| segment::state(arena, n);
            let before: Vec<State> =
                collect(source.segments as usize, (0..source.segments).map(state))?;
            // Drawn, not read: whoever draws a higher one sees the pin.
            let until = arena.next_seq();
            let tail = |n| arena.meta.load(arena.geometry.lane(n) + lane::TAIL);
            let tails = (0..arena.geometry.all_lanes()).map(tail).collect();
            let again = read_super(arena)?;
            if again == superblock {
                break (before, until, tails);
            }
            superblock = again;
        };
        // What was alive in a drained segment is elsewhere, below those tails.
        let is_superseded = |(n, before): (u64, State)| {
            matches!(before.kind(), DRAINED | ZEROED)
                && segment::state(arena, n).incarnation() == before.incarnation()
        };
        let superseded = (0..source.segments).zip(before).map(is_superseded);
        let superseded = collect(source.segments as usize, superseded)?;
        let taken_ms = arena.now_ms();
        Ok(Copy {
            manifest: Manifest {
                id: superblock.id,
                version: until,
                taken_ms,
                segment_bytes: source.segment_bytes,
                sums: Vec::new(),
            },
            superblock: Superblock {
                // Far above what the store itself will reach: no version is issued by both.
                seq_base: superblock.seq_base.max(until).saturating_add(COPY_STEP),
                newest_ms: superblock.newest_ms.max(taken_ms),
                ..superblock
            },
            report: BackedUp { version: until, taken_ms, ..BackedUp::default() },
            file: destination.data()?,
            image: Image::new(&source)?,
            room: room(&source)?,
            arena,
            source,
            destination,
            pin,
            until,
            tails,
            superseded,
        })
    }

    /// In order, but what the sweep has emptied first: so it need not wait for long.
    fn run(&mut self, meter: &mut Meter) -> Result<Ended> {
        let segments = self.source.segments;
        let mut copied = std::mem::take(&mut self.superseded);
        let mut next = 0;
        let mut looked = Instant::now();
        let mut drained = Vec::new();
        while next < segments {
            if looked.elapsed() >= LOOK_EVERY {
                drained = self.let_go(&copied, next)?;
                looked = Instant::now();
            }
            let number = drained.pop().unwrap_or(next);
            if !std::mem::replace(&mut copied[number as usize], true) && in_use(self.arena, number)
            {
                self.segment(number)?;
                self.pin.release(number);
                if !meter.add(self.source.segment_bytes) {
                    return Ok(Ended::Stopped);
                }
            }
            if !self.pin.holds() {
                return Ok(Ended::LetGo);
            }
            if copied[next as usize] {
                next += 1;
                self.pin.pass(next);
            }
        }
        let len = self.manifest.sums.len() as u64 * self.source.segment_bytes;
        self.file.set_len(len).map_err(|e| self.destination.failed("writing", e))?;
        Ok(Ended::Complete)
    }

    /// What is copied and empty may go; gives what is empty but not copied yet.
    fn let_go(&self, copied: &[bool], next: u64) -> Result<Vec<u64>> {
        let is_drained = |n: &u64| segment::state(self.arena, *n).kind() == DRAINED;
        let mut waiting = Vec::new();
        for number in (next..self.source.segments).filter(is_drained) {
            match copied[number as usize] {
                true => self.pin.release(number),
                false => push(&mut waiting, number)?,
            }
        }
        Ok(waiting)
    }

    fn segment(&mut self, number: u64) -> Result<()> {
        let seen = look(self.arena, &self.source, &mut self.image, number).map_err(|e| {
            Error::io(format!("reading {}", self.arena.dir.join("data").display()), e)
        })?;
        let (header, end) = match seen {
            Look::Records { header, end, .. } => (header, end),
            Look::Bad => {
                self.report.segments_damaged += 1;
                return Ok(());
            }
            Look::Free | Look::Part | Look::Blank => return Ok(()),
        };
        if header.activation_seq >= self.until {
            return Ok(());
        }
        // Where its lane was at the moment of the copy.
        let then = |tail: &&u64| **tail != 0 && segment::of(self.arena, **tail - 1) == number;
        let end = self.tails.iter().find(then).map_or(end, |tail| end.min(*tail));
        self.image.cut(end);
        let before = self.report.records;
        match header.head_of() {
            Some(count) => self.run_of_segments(number, count, &header),
            None => {
                self.records(&header, end)?;
                match self.report.records == before {
                    true => Ok(()),
                    false => self.put(number),
                }
            }
        }
    }

    /// A copy in which something is missing because it could not be read is no copy.
    fn value_holds(&mut self, seen: &Seen) -> Result<bool> {
        value_holds(&self.source, &self.image, seen, &mut self.room)
            .map_err(|e| Error::io(format!("reading {}", self.arena.dir.join("data").display()), e))
    }

    fn records(&mut self, which: &segment::Header, end: u64) -> Result<()> {
        let mut at = self.image.end() - self.source.segment_bytes + LINE;
        while let Some(seen) = self.image.next(which, at, end) {
            at = self.image.after(&seen);
            if seen.header.seq > self.until {
                self.image.set_word(seen.at, 0);
                continue;
            }
            let holds = self.value_holds(&seen)?;
            match self.lives_until(&seen) {
                Some(_) if holds => self.report.records.add(&seen.header),
                _ => self.replace(&seen),
            }
        }
        Ok(())
    }

    /// The expiry of a record, which a touch may have torn as it was read.
    fn lives_until(&mut self, seen: &Seen) -> Option<u64> {
        seen.header.expires_ms().or_else(|| {
            let now = expiry_now(self.arena, seen.at, seen.header.seq)?;
            let word = record::expiry_word(now, seen.header.seq);
            self.image.set_word(seen.at + EXPIRY_AT, word);
            Some(now)
        })
    }

    /// A record that does not hold: if it is the current one of its key, the copy has a deletion in
    /// its place, which hides older ones as it did.
    fn replace(&mut self, seen: &Seen) {
        self.image.set_word(seen.at, 0);
        if !is_named(self.arena, seen.header.hash, seen.at) {
            return;
        }
        self.report.damaged += 1;
        let key = self.image.key(seen).to_vec();
        let mut gone = Header {
            flags: TOMBSTONE | seen.header.flags & OWNER,
            owner_len: 0,
            word7: 0,
            value_len: 0,
            lines: record::lines(key.len(), 0) as u32,
            value_crc: record::value_crc(&[]),
            expiry: record::expiry_word(0, seen.header.seq),
            shadows_until: FOR_EVER,
            ..seen.header
        };
        let mut room = [0; record::ENCODED_MAX];
        let (first, rest) = gone.encode(&key, &mut room);
        self.image.set_bytes(seen.at + 8, rest);
        self.image.set_word(seen.at, first);
        self.report.records.add(&gone);
    }

    /// A value that fills segments: its bodies first, the head once it is known that they hold.
    fn run_of_segments(&mut self, head: u64, count: u64, which: &segment::Header) -> Result<()> {
        let start = head * self.source.segment_bytes + LINE;
        let first = self.image.next(which, start, start + LINE);
        let Some(seen) = first.filter(|seen| seen.header.is(RUN)) else { return Ok(()) };
        if seen.header.seq > self.until || head + count > self.source.segments {
            return Ok(());
        }
        let holds = self.value_holds(&seen)?;
        if !holds || self.lives_until(&seen).is_none() {
            self.replace(&seen);
            self.image.plain_header(which, &self.source.secret);
            return self.put(head);
        }
        self.report.records.add(&seen.header);
        self.put(head)?;
        for body in head + 1..head + count {
            self.image.read(&self.source, body).map_err(|e| {
                Error::io(format!("reading {}", self.arena.dir.join("data").display()), e)
            })?;
            self.put(body)?;
        }
        Ok(())
    }

    fn put(&mut self, number: u64) -> Result<()> {
        let written = write_image(&self.file, &self.image);
        self.report.bytes += written.map_err(|e| self.destination.failed("writing", e))?;
        let sums = &mut self.manifest.sums;
        let count = sums.len().max(number as usize + 1);
        reserve(sums, count - sums.len())?;
        sums.resize(count, 0);
        sums[number as usize] = sum_of(&self.image);
        Ok(())
    }
}

fn read_super(arena: &Arena) -> Result<Superblock> {
    Superblock::read(&arena.dir)?
        .ok_or_else(|| Error::Damaged(format!("{} is missing", arena.dir.join("super").display())))
}
