//! Mending a store that nobody has open.
//!
//! First everything is looked at and a plan made; then what will be lost is written to a side file;
//! then `data` is changed, word by word in an order that a death cannot make worse; then index and
//! meta are made anew. Each step finds done what was done before, so a repair that was killed is
//! simply run again.

use std::collections::HashSet;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::{Finding, Findings, Meter, Progress, room, value_holds, verify};
use crate::arena::{Arena, lane, segment as row, word};
use crate::error::{Error, Result, reserve};
use crate::index::{Slot, Table};
use crate::key::{Key, KeyHash};
use crate::limits::{KEY_MAX, LINE, STRIPES};
use crate::log::record;
use crate::log::segment::{self, ACTIVE, DRAINED, FREE, ZEROED};
use crate::log::{Image, Run, Seen, Source};
use crate::options::Options;
use crate::store::alone::{self, Solitude};
use crate::store::superblock::Superblock;
use crate::store::{ops, owner};
use crate::sys::dir::Dir;
use crate::sys::disk::{FileKind, RealDisk};
use crate::sys::map::Map;

/// How to repair.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RepairOptions {
    /// Only say what would be done. The store is opened for it as by any process.
    pub dry_run: bool,
    /// See [`Options::force_filesystem`].
    pub force_filesystem: bool,
}

/// What a repair did, or would do.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Repaired {
    /// False: it was ended by the caller while it looked, and nothing was changed.
    pub complete: bool,
    /// What was wrong, the first 1000.
    pub findings: Vec<Finding>,
    /// How much was wrong.
    pub findings_total: u64,
    /// A copy of `super` was replaced by the other.
    pub super_rewritten: bool,
    /// Segments that got their header back.
    pub headers_mended: u64,
    /// Pieces of `data` that could not be read and were dropped.
    pub pieces_dropped: u64,
    /// Their bytes.
    pub bytes_dropped: u64,
    /// Of them: current values whose key is known, so that no older value takes their place.
    pub keys_deleted: u64,
    /// Where the dropped bytes are.
    pub dropped_file: Option<PathBuf>,
    /// Index and meta were made anew.
    pub rebuilt: bool,
}

/// Why a piece is dropped; a number in the side file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
enum Reason {
    /// A value does not match its checksum.
    Value = 1,
    /// The expiry does not match its check.
    Expiry = 2,
    /// A record's header or key does not match its checksum.
    Header = 3,
    /// A segment without a readable header or record.
    Segment = 4,
}

impl Reason {
    fn what(self) -> &'static str {
        match self {
            Reason::Value => "a value does not match its checksum",
            Reason::Expiry => "the expiry of a record does not match its check",
            Reason::Header => "a record's header or key does not match its checksum",
            Reason::Segment => "nothing can be read in a segment whose header is damaged",
        }
    }
}

/// Bytes that nothing can be made of. Their first word is zeroed.
#[derive(Debug)]
struct Piece {
    at: u64,
    len: u64,
    reason: Reason,
    /// What it was stored under, if that is certain and the index led to it.
    key: Option<Name>,
}

#[derive(Default)]
struct Plan {
    newest_seq: u64,
    headers: Vec<(u64, segment::Header)>,
    pieces: Vec<Piece>,
    found: Findings,
}

pub(super) fn repair(
    path: &Path,
    options: &RepairOptions,
    progress: &mut Progress,
) -> Result<Repaired> {
    let open = Options {
        force_filesystem: options.force_filesystem,
        thread: false,
        operation_timeout: Duration::from_secs(60),
        ..Options::default()
    };
    let solitude = Solitude::enter(path, &open)?;
    let mut report = Repaired::default();
    let mut found = Findings::default();
    let superblock = mend_super(solitude.dir(), options, &mut report, &mut found)?;
    // Believed, index and meta say more than the log alone: what is current, what is in use.
    match solitude.trust(superblock)? {
        Ok(arena) => {
            let checked = verify::verify(&arena, progress)?;
            let plan =
                Survey::new(&arena.dir, &arena.data, &superblock, Some(&arena))?.run(progress)?;
            let Some(plan) = plan.filter(|_| checked.complete) else {
                alone::close_cleanly(&arena)?;
                return Ok(Repaired::default());
            };
            let own = |f: &Finding| f.file != FileKind::Super;
            let damaged = checked.findings.iter().any(own) || !plan.is_empty();
            // The check says more of each damage than the plan; copies of super are listed above.
            checked.findings.into_iter().filter(own).for_each(|f| found.add(f));
            if found.total == 0 {
                plan.found.list.iter().for_each(|f| found.add(f.clone()));
            }
            if !options.dry_run && damaged {
                plan.prepare(&arena.dir, &arena.data, &superblock, &mut report)?;
                plan.drop_pieces(&arena)?;
                // Without it the next opener rebuilds, whoever that is.
                arena.dir.remove("meta")?;
                arena.dir.sync()?;
                drop(arena);
                rebuild(path, &open)?;
            } else {
                alone::close_cleanly(&arena)?;
            }
            plan.summarise(&mut report);
            report.rebuilt = damaged;
        }
        Err(solitude) => {
            let data = solitude.data(&superblock)?;
            let Some(plan) =
                Survey::new(solitude.dir(), &data, &superblock, None)?.run(progress)?
            else {
                return Ok(Repaired::default());
            };
            plan.found.list.iter().for_each(|f| found.add(f.clone()));
            if !options.dry_run {
                plan.prepare(solitude.dir(), &data, &superblock, &mut report)?;
                drop(data);
                let arena = solitude.make_ready()?;
                plan.drop_pieces(&arena)?;
                alone::close_cleanly(&arena)?;
            }
            plan.summarise(&mut report);
            report.rebuilt = true;
        }
    }
    Ok(Repaired { complete: true, findings_total: found.total, findings: found.list, ..report })
}

/// Somebody may have been faster: then it was they who rebuilt.
fn rebuild(path: &Path, open: &Options) -> Result<()> {
    match Solitude::enter(path, open) {
        Ok(solitude) => alone::close_cleanly(&solitude.make_ready()?),
        Err(Error::Refused { .. }) => Ok(()),
        Err(other) => Err(other),
    }
}

fn mend_super(
    dir: &Dir,
    options: &RepairOptions,
    report: &mut Repaired,
    found: &mut Findings,
) -> Result<Superblock> {
    let copies = Superblock::copies(dir)?;
    let superblock = Superblock::read(dir)?.ok_or_else(|| Error::NoStore {
        path: dir.path().into(),
        why: "there is no store in this directory".into(),
    })?;
    for (copy, bad) in copies.iter().enumerate().filter(|(_, copy)| copy.is_err()) {
        report.super_rewritten = true;
        found.add(Finding {
            file: FileKind::Super,
            offset: copy as u64 * 4096,
            segment: None,
            what: format!("copy {} of 2 cannot be read ({bad:?})", copy + 1),
            consequence: "none as long as the other copy is whole",
            remedy: "the other copy takes its place",
        });
    }
    if report.super_rewritten && !options.dry_run {
        superblock.write(dir, &RealDisk)?;
    }
    Ok(superblock)
}

/// A look at the whole log, with the index if it can be believed.
struct Survey<'a> {
    source: Source<'a>,
    /// Length of `data`.
    bytes: u64,
    hash: KeyHash,
    arena: Option<&'a Arena>,
    image: Image,
    /// For a second segment beside the first.
    other: Image,
    room: Vec<u8>,
    /// Places to which slots lead, in order.
    named: Vec<u64>,
    /// Bodies of values that are whole.
    bodies: HashSet<u64>,
    plan: Plan,
}

impl<'a> Survey<'a> {
    fn new(
        dir: &Dir,
        data: &'a Map,
        superblock: &Superblock,
        arena: Option<&'a Arena>,
    ) -> Result<Survey<'a>> {
        let looking = |e| Error::io(format!("looking at {}", dir.join("data").display()), e);
        let file = data.file().ok_or_else(|| Error::Damaged("data is not a file".into()))?;
        let source = Source {
            file,
            segment_bytes: superblock.geometry.segment_bytes,
            segments: superblock.geometry.segments,
            secret: superblock.secret,
        };
        Ok(Survey {
            bytes: file.metadata().map_err(looking)?.len(),
            source,
            hash: KeyHash::new(superblock.config.hash, superblock.secret),
            arena,
            image: Image::new(&source)?,
            other: Image::new(&source)?,
            room: room(&source)?,
            named: arena.map_or(Ok(Vec::new()), named_places)?,
            bodies: HashSet::new(),
            plan: Plan::default(),
        })
    }

    /// `None`: ended by the caller.
    fn run(mut self, progress: &mut Progress) -> Result<Option<Plan>> {
        let bytes = self.bytes;
        let mut meter = Meter { done: 0, total: bytes, tell: progress };
        for number in 0..bytes.div_ceil(self.source.segment_bytes).min(self.source.segments) {
            if !self.bodies.contains(&number) {
                self.segment(number)?;
            }
            if !meter.add(self.source.segment_bytes) {
                return Ok(None);
            }
        }
        Ok(Some(self.plan))
    }

    fn segment(&mut self, number: u64) -> Result<()> {
        if self.is_free(number) {
            return Ok(());
        }
        if let Err(e) = self.image.read(&self.source, number) {
            // Left as it is: what the medium does not give cannot be copied aside.
            self.find(
                number * self.source.segment_bytes,
                number,
                format!("it cannot be read: {e}"),
            );
            return Ok(());
        }
        let header = match self.image.header(&self.source.secret) {
            Some(header) if header.body_of().is_some() => return Ok(()),
            Some(header) => header,
            None if self.was_given_back(number) => return Ok(()),
            None => match self.header_for(number) {
                Some(header) => {
                    let what = "the header of a segment does not match its checksum".into();
                    self.find(number * self.source.segment_bytes, number, what);
                    self.plan.headers.push((number, header));
                    header
                }
                None => {
                    let (at, len) = (number * self.source.segment_bytes, self.source.segment_bytes);
                    self.drop(Piece { at, len, reason: Reason::Segment, key: None });
                    return Ok(());
                }
            },
        };
        self.records(number, &header);
        Ok(())
    }

    fn find(&mut self, at: u64, segment: u64, what: String) {
        self.plan.found.add(Finding {
            file: FileKind::Data,
            offset: at,
            segment: Some(segment),
            what,
            consequence: "what is in it cannot be read after a rebuild",
            remedy: "repair mends it, or puts it aside",
        });
    }

    fn drop(&mut self, piece: Piece) {
        let segment = piece.at / self.source.segment_bytes;
        self.find(piece.at, segment, format!("{} ({} bytes)", piece.reason.what(), piece.len));
        self.plan.pieces.push(piece);
    }

    fn is_free(&self, number: u64) -> bool {
        self.arena.is_some_and(|arena| {
            matches!(segment::state(arena, number).kind(), FREE | ZEROED | DRAINED)
        })
    }

    /// Places in this part of `data` to which slots lead.
    fn named_in(&self, from: u64, until: u64) -> &[u64] {
        let first = self.named.partition_point(|at| *at < from);
        let end = self.named.partition_point(|at| *at < until);
        &self.named[first..end.max(first)]
    }

    /// May an older record take the place of this one? Without an index nobody knows, and the log
    /// decides; but an owner that was ended is not to come back.
    fn matters(&self, at: u64, is_owner: bool) -> bool {
        self.named.binary_search(&at).is_ok() || (is_owner && self.arena.is_none())
    }

    /// A magic word of 0 before other words is how a segment is freed; all zeros, one never used.
    fn was_given_back(&self, number: u64) -> bool {
        let words = self.image.header_words();
        let freed = words[0] == 0 && words != [0; 8];
        let start = number * self.source.segment_bytes;
        let empty = words == [0; 8] && self.first_record(start + LINE).is_none();
        (freed || empty) && self.named_in(start, self.image.end()).is_empty()
    }

    /// The first record at or behind a line, of whatever incarnation.
    fn first_record(&self, from: u64) -> Option<Seen> {
        let mut at = from;
        while at + LINE <= self.image.end() {
            if let Some(seen) = self.image.record_at(at) {
                return Some(seen);
            }
            at += LINE;
        }
        None
    }

    /// A header in place of one that is damaged, from what the records say. `None`: there is none
    /// that can be read.
    ///
    /// Its records carry its salt. Older ones behind them carry others, which must not come back:
    /// the index tells, or what is left of the header, or that they lie behind the first.
    fn header_for(&self, number: u64) -> Option<segment::Header> {
        let start = number * self.source.segment_bytes;
        let old = segment::Header::believed(&self.image.header_words());
        let named = self.named_in(start + LINE, self.image.end());
        let attested = named.iter().find_map(|at| self.image.record_at(*at));
        let of_old = || {
            let lines = (start + LINE..self.image.end()).step_by(LINE as usize);
            lines
                .filter(|at| (self.image.word(*at) >> 32) as u32 == old.salt as u32)
                .find_map(|at| self.image.record_at(at))
        };
        let seen = attested.or_else(of_old).or_else(|| self.first_record(start + LINE))?;
        let salt = seen.header.salt;
        let row = self.arena.map(|arena| {
            let at = arena.geometry.segment(number) + row::ACTIVATION_SEQ;
            (segment::state(arena, number).incarnation(), arena.meta.load(at))
        });
        // A salt follows from the incarnation and the activation: both are right if it does.
        let exact = [Some((old.incarnation, old.activation_seq)), row]
            .into_iter()
            .flatten()
            .find_map(|(incarnation, seq)| {
                let whole =
                    segment::salt_of(&self.hash, &self.source.secret, number, incarnation, seq);
                (whole as u32 == salt).then_some((incarnation, whole, seq))
            });
        // Else as old as can be: then nothing is dropped that may shadow what is in here.
        let (incarnation, salt, activation_seq) =
            exact.unwrap_or((row.map_or(old.incarnation, |row| row.0), salt as u64, 0));
        let header = segment::Header { incarnation, salt, activation_seq, activated_ms: 0, ..old };
        let first = self.image.record_at(start + LINE);
        Some(match first.filter(|first| first.header.is(record::RUN)) {
            Some(first) => header.as_head(Run::length(self.source.segment_bytes, &first.header)),
            None => header.plain(),
        })
    }

    /// Where the log ends in this segment.
    fn end(&self, number: u64) -> u64 {
        let end = self.image.end();
        let Some(arena) = self.arena else { return end };
        let state = segment::state(arena, number);
        if state.kind() != ACTIVE || state.arg() as u64 >= arena.geometry.all_lanes() {
            return end;
        }
        let tail = arena.meta.load(arena.geometry.lane(state.arg() as u64) + lane::TAIL);
        if tail != 0 && segment::of(arena, tail - 1) == number { tail } else { end }
    }

    fn records(&mut self, number: u64, which: &segment::Header) {
        let end = self.end(number);
        let mut at = number * self.source.segment_bytes + LINE;
        loop {
            let next = self.image.next(which, at, end);
            let until = next.map_or(end, |seen| seen.at);
            self.gap(at, until, which, next.is_none());
            let Some(seen) = next else { return };
            self.plan.newest_seq = self.plan.newest_seq.max(seen.header.seq);
            if let Some(count) = which.head_of() {
                return self.large(number, count, &seen);
            }
            at = self.image.after(&seen);
            if self.holds(&seen) == Some(false) {
                self.record(&seen, Reason::Value);
            } else if seen.header.expires_ms().is_none() {
                self.record(&seen, Reason::Expiry);
            }
        }
    }

    /// Does its value hold? `None`: the medium does not give it, so it is left as it is.
    fn holds(&mut self, seen: &Seen) -> Option<bool> {
        match value_holds(&self.source, &self.image, seen, &mut self.room) {
            Ok(holds) => Some(holds),
            Err(e) => {
                let segment = seen.at / self.source.segment_bytes;
                self.find(seen.at, segment, format!("a value cannot be read: {e}"));
                None
            }
        }
    }

    /// A record whose header holds, but not the rest.
    fn record(&mut self, seen: &Seen, reason: Reason) {
        let len = (seen.header.lines as u64 * LINE).min(self.image.end() - seen.at);
        let is_owner = seen.header.is(record::OWNER);
        let name = (self.image.key(seen).to_vec(), is_owner);
        let key = self.matters(seen.at, is_owner).then_some(name);
        self.drop(Piece { at: seen.at, len, reason, key });
    }

    /// Lines between two records, or behind the last: damaged ones begin with a word that is not
    /// zero, or are where a slot leads.
    fn gap(&mut self, from: u64, until: u64, which: &segment::Header, is_last: bool) {
        if from >= until {
            return;
        }
        let mut named = self.named_in(from, until).to_vec();
        let first = self.image.word(from);
        let own = (first >> 32) as u32 == which.salt as u32 && first as u32 != 0;
        let begins = if is_last { own } else { first != 0 };
        if begins && named.first() != Some(&from) {
            named.insert(0, from);
        }
        for (i, at) in named.iter().enumerate() {
            let mut end = named.get(i + 1).copied().unwrap_or(until);
            if is_last && i + 1 == named.len() {
                // How far it goes only its own header tells, if at all.
                let lines = record::Header::decode(self.image.range(*at, LINE)).lines as u64;
                end = end.min(at + lines.clamp(1, self.source.segment_bytes / LINE) * LINE);
            }
            let key = self.key_at(*at).filter(|name| self.matters(*at, name.1));
            self.drop(Piece { at: *at, len: end - at, reason: Reason::Header, key });
        }
    }

    /// The key of a record whose header does not hold: certain only if its hash is there too.
    fn key_at(&self, at: u64) -> Option<Name> {
        let header = record::Header::decode(self.image.range(at, LINE));
        let len = header.key_len as usize;
        let key = self.image.range(at + LINE, len as u64);
        let whole = (1..=KEY_MAX).contains(&len) && key.len() == len;
        let name = |is_owner| (key.to_vec(), is_owner);
        match header.hash {
            hash if whole && hash == self.hash.first(key) => Some(name(false)),
            hash if whole && hash == self.hash.second(key) => Some(name(true)),
            _ => None,
        }
    }

    /// A value that fills segments: its bodies need their headers too.
    fn large(&mut self, head: u64, count: u64, seen: &Seen) {
        if self.holds(seen) == Some(false) {
            return self.record(seen, Reason::Value);
        }
        if seen.header.expires_ms().is_none() {
            return self.record(seen, Reason::Expiry);
        }
        for body in head + 1..(head + count).min(self.source.segments) {
            self.bodies.insert(body);
            if self.other.read(&self.source, body).is_err() {
                continue;
            }
            let found = self.other.header(&self.source.secret);
            if found.and_then(|header| header.body_of()) != Some(head) {
                let what = "the header of a part of a large value does not match".into();
                self.find(body * self.source.segment_bytes, body, what);
                let old = segment::Header::believed(&self.other.header_words());
                self.plan.headers.push((body, old.as_body(head)));
            }
        }
    }
}

/// All places to which slots lead, in order.
fn named_places(arena: &Arena) -> Result<Vec<u64>> {
    let mut places = Vec::new();
    for table in (0..STRIPES).filter_map(|which| Table::of(arena, which)) {
        reserve(&mut places, table.len() as usize)?;
        let slots = table.slots().map(|at| Slot(arena.index.load(at)).offset());
        places.extend(slots.filter(|at| *at != 0));
    }
    places.sort_unstable();
    places.dedup();
    Ok(places)
}

impl Plan {
    fn is_empty(&self) -> bool {
        self.headers.is_empty() && self.pieces.is_empty()
    }

    fn summarise(&self, report: &mut Repaired) {
        report.headers_mended = self.headers.len() as u64;
        report.pieces_dropped = self.pieces.len() as u64;
        report.bytes_dropped = self.pieces.iter().map(|piece| piece.len).sum();
        report.keys_deleted = self.pieces.iter().filter(|piece| piece.key.is_some()).count() as u64;
    }

    /// What will be dropped is put aside, and headers are as they were.
    fn prepare(
        &self,
        dir: &Dir,
        data: &Map,
        superblock: &Superblock,
        report: &mut Repaired,
    ) -> Result<()> {
        if !self.pieces.is_empty() {
            report.dropped_file = Some(self.put_aside(dir, data, superblock)?);
        }
        for (number, header) in &self.headers {
            let at = number * superblock.geometry.segment_bytes;
            for (i, word) in header.words(&superblock.secret).into_iter().enumerate().rev() {
                data.store(at + i as u64 * 8, word);
            }
        }
        sync(data, dir)
    }

    /// Nothing older takes the place of what is dropped; only then it is made harmless.
    fn drop_pieces(&self, arena: &Arena) -> Result<()> {
        arena.meta.max(word::SEQ, self.newest_seq);
        for name in self.pieces.iter().filter_map(|piece| piece.key.as_ref()) {
            bury(arena, name)?;
        }
        sync(&arena.data, &arena.dir)?;
        for piece in &self.pieces {
            arena.data.store(piece.at, 0);
        }
        sync(&arena.data, &arena.dir)
    }

    /// Copies what will be dropped: `HFdrop`, version, store id, number of pieces; then for each
    /// {place in data, length, reason 32 | checksum 32} and its bytes.
    fn put_aside(&self, dir: &Dir, data: &Map, superblock: &Superblock) -> Result<PathBuf> {
        let (mut file, path) = side_file(dir)?;
        let failed = |e| Error::io(format!("writing {}", path.display()), e);
        let mut bytes = b"HFdrop\x01\0".to_vec();
        for word in [superblock.id[0], superblock.id[1], self.pieces.len() as u64] {
            bytes.extend_from_slice(&word.to_le_bytes());
        }
        file.write_all(&bytes).map_err(failed)?;
        for piece in &self.pieces {
            let len = piece.len.min(data.usable().saturating_sub(piece.at));
            let mut content = Vec::new();
            data.append_to(piece.at, len as usize, &mut content)?;
            let sum = crc_fast::crc32_iscsi(&content);
            for word in [piece.at, len, piece.reason as u64 | (sum as u64) << 32] {
                file.write_all(&word.to_le_bytes()).map_err(failed)?;
            }
            file.write_all(&content).map_err(failed)?;
        }
        file.sync_all().map_err(failed)?;
        dir.sync()?;
        Ok(path)
    }
}

/// A new file named after the time.
fn side_file(dir: &Dir) -> Result<(std::fs::File, PathBuf)> {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let seconds = now.map_or(0, |now| now.as_secs());
    for i in 0..64 {
        let name = format!("dropped-{}.bin", seconds + i);
        match dir.create(&name) {
            Ok(file) => return Ok((file, dir.join(&name))),
            Err(Error::Io { source, .. }) if source.raw_os_error() == Some(libc::EEXIST) => {}
            Err(other) => return Err(other),
        }
    }
    Err(Error::Refused {
        path: dir.path().into(),
        why: "has too many files dropped-*.bin of this minute; move them away".into(),
    })
}

fn sync(data: &Map, dir: &Dir) -> Result<()> {
    let Some(file) = data.file() else { return Ok(()) };
    file.sync_data().map_err(|e| {
        // The next one who repairs may find nothing left to change, and is to write it all the same.
        data.redirty();
        Error::io(format!("syncing {}", dir.join("data").display()), e)
    })
}

/// What a piece was stored under, and whether that is the name of an owner.
type Name = (Vec<u8>, bool);

/// Sees to it that nothing older takes the place of a record that is dropped. An owner whose record
/// is lost is ended: who of its values were alive only that record could tell. Best effort where
/// the index itself is damaged: the rebuild does without it.
fn bury(arena: &Arena, (name, is_owner): &Name) -> Result<()> {
    let done = match is_owner {
        true => owner::end(arena, name),
        false => ops::bury_key(arena, &Key::new(name, &arena.hash)?),
    };
    match done {
        Err(Error::Damaged(_)) => Ok(()),
        other => other,
    }
}
