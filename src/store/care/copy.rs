//! A copy of a store in another directory: where it may go, how it is written, and back again.
//!
//! `data` comes first, then `backup` with a checksum of each segment, then `super`: without that
//! nothing opens it, so a copy that was cut off is never taken for one.

use std::cell::Cell;
use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;

use super::{Meter, Progress};
use crate::error::{Error, Result, collect, reserve};
use crate::limits::MAX_BYTES_HIGH;
use crate::log::{Image, Source};
use crate::store::superblock::Superblock;
use crate::sys::dir::Dir;
use crate::sys::disk::RealDisk;
use crate::sys::{fault, map};

const MANIFEST: &str = "backup";
const MAGIC: [u8; 8] = *b"HFbackup";
/// Bytes before the checksums of the segments.
const FIXED: usize = 56;
const PAGE: usize = 4096;

/// What a restore did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Restored {
    /// False: it was ended by the caller, and nothing is left of it.
    pub complete: bool,
    /// Bytes written.
    pub bytes: u64,
    /// The version up to which the backup has everything.
    pub version: u64,
    /// Store time of that moment, unix milliseconds.
    pub taken_ms: u64,
}

/// What a backup says of itself: one checksum for each segment, 0 where nothing is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Manifest {
    pub(super) id: [u64; 2],
    pub(super) version: u64,
    pub(super) taken_ms: u64,
    pub(super) segment_bytes: u64,
    pub(super) sums: Vec<u32>,
}

fn number(bytes: &[u8]) -> u32 {
    u32::from_le_bytes(bytes.try_into().unwrap_or_default())
}

impl Manifest {
    fn encode(&self) -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        reserve(&mut bytes, FIXED + 4 * self.sums.len() + 4)?;
        bytes.extend_from_slice(&MAGIC);
        let count = self.sums.len() as u64;
        let words =
            [self.id[0], self.id[1], self.version, self.taken_ms, self.segment_bytes, count];
        words.iter().for_each(|word| bytes.extend_from_slice(&word.to_le_bytes()));
        self.sums.iter().for_each(|sum| bytes.extend_from_slice(&sum.to_le_bytes()));
        let sum = crc_fast::crc32_iscsi(&bytes);
        bytes.extend_from_slice(&sum.to_le_bytes());
        Ok(bytes)
    }

    /// `None`: it is not whole.
    fn decode(bytes: &[u8]) -> Result<Option<Manifest>> {
        let Some((fixed, sums)) = Manifest::parts(bytes) else { return Ok(None) };
        let sums = collect(sums.len() / 4, sums.chunks_exact(4).map(number))?;
        Ok(Some(Manifest { sums, ..fixed }))
    }

    /// What comes before the sums, and these.
    fn parts(bytes: &[u8]) -> Option<(Manifest, &[u8])> {
        let (body, sum) = bytes.split_at_checked(bytes.len().checked_sub(4)?)?;
        let word = |i: usize| {
            let bytes = body.get(i * 8..i * 8 + 8)?;
            Some(u64::from_le_bytes(bytes.try_into().ok()?))
        };
        let sums = body.get(FIXED..)?;
        let whole = body.starts_with(&MAGIC)
            && number(sum) == crc_fast::crc32_iscsi(body)
            && word(6)?.checked_mul(4) == Some(sums.len() as u64);
        let [a, b] = [word(1)?, word(2)?];
        let (version, taken_ms, segment_bytes) = (word(3)?, word(4)?, word(5)?);
        let fixed = Manifest { id: [a, b], version, taken_ms, segment_bytes, sums: Vec::new() };
        whole.then_some((fixed, sums))
    }

    pub(super) fn write(&self, dir: &Dir) -> Result<()> {
        let failed = |e| Error::io(format!("writing {}", dir.join(MANIFEST).display()), e);
        let mut file = dir.create(MANIFEST)?;
        file.write_all(&self.encode()?).map_err(failed)?;
        file.sync_all().map_err(failed)
    }

    fn read(dir: &Dir) -> Result<Manifest> {
        let path = dir.join(MANIFEST);
        let Some(file) = dir.open_to_read(MANIFEST)? else {
            return Err(Error::NoStore {
                path,
                why: "is missing: this directory holds no complete backup (a store that no \
                      process has open can be copied with cp -a)"
                    .into(),
            });
        };
        let mut bytes = Vec::new();
        file.take(MAX_BYTES_HIGH >> 14)
            .read_to_end(&mut bytes)
            .map_err(|e| Error::io(format!("reading {}", path.display()), e))?;
        Manifest::decode(&bytes)?.ok_or_else(|| {
            Error::Damaged(format!(
                "{} does not match its checksum: what of the backup is whole cannot be told; \
                 repair the backup and open it as a store to save what it holds",
                path.display()
            ))
        })
    }
}

/// The checksum of an image for the manifest; never 0, which says that nothing is there.
pub(super) fn sum_of(image: &Image) -> u32 {
    crc_fast::crc32_iscsi(image.bytes()).max(1)
}

/// A directory that is being filled; emptied and removed again unless it is kept.
pub(super) struct Destination {
    pub(super) dir: Dir,
    made: bool,
    kept: Cell<bool>,
}

impl Destination {
    /// The directory must be empty, or is made with owner and mode of the one copied.
    pub(super) fn prepare(path: &Path, from: &Dir, force_filesystem: bool) -> Result<Destination> {
        let path = &std::path::absolute(path)
            .map_err(|e| Error::io(format!("finding {}", path.display()), e))?;
        let refused = |why: &str| Err(Error::Refused { path: path.into(), why: why.into() });
        if from.is_above(path)? {
            return refused("is inside the directory that is to be copied; name one beside it");
        }
        let made = from.make_alike(path)?;
        let dir = match Dir::open(path, force_filesystem) {
            Ok(dir) => dir,
            Err(e) => {
                if made {
                    let _ = std::fs::remove_dir(path);
                }
                return Err(e);
            }
        };
        if !made && !dir.is_empty()? {
            return refused(
                "is not empty, and a copy never writes over anything; name a directory that is \
                 empty or does not exist (what a copy that was killed has left can be removed)",
            );
        }
        Ok(Destination { dir, made, kept: Cell::new(false) })
    }

    pub(super) fn data(&self) -> Result<File> {
        self.dir.remove("data")?;
        self.dir.create("data")
    }

    pub(super) fn failed(&self, what: &str, e: std::io::Error) -> Error {
        Error::io(format!("{what} {}", self.dir.join("data").display()), e)
    }

    /// The copy is complete: it stays.
    pub(super) fn keep(&self, superblock: &Superblock) -> Result<()> {
        superblock.write(&self.dir, &RealDisk)?;
        if self.made {
            self.sync_parent()?;
        }
        self.kept.set(true);
        Ok(())
    }

    /// The directory itself is to survive a power loss, as far as that is ours to see to.
    fn sync_parent(&self) -> Result<()> {
        let Some(parent) = self.dir.path().parent() else { return Ok(()) };
        let synced = File::open(parent).and_then(|parent| parent.sync_all());
        match synced.as_ref().map_err(std::io::Error::kind) {
            // A parent of somebody else's; a filesystem that does not sync directories.
            Ok(()) | Err(ErrorKind::PermissionDenied | ErrorKind::InvalidInput) => Ok(()),
            Err(_) => synced.map_err(|e| Error::io(format!("syncing {}", parent.display()), e)),
        }
    }
}

impl Drop for Destination {
    fn drop(&mut self) {
        if self.kept.get() {
            return;
        }
        // What cannot be removed is no store: `super` goes first.
        for name in ["super", "super.new", MANIFEST, "data"] {
            let _ = self.dir.remove(name);
        }
        if self.made {
            let _ = std::fs::remove_dir(self.dir.path());
        }
    }
}

/// Writes what of an image is not zero; gives the number of bytes.
pub(super) fn write_image(file: &File, image: &Image) -> std::io::Result<u64> {
    let start = image.end() - image.bytes().len() as u64;
    let bytes = image.bytes();
    let is_zero = |at: usize| bytes[at..bytes.len().min(at + PAGE)].iter().all(|byte| *byte == 0);
    let (mut at, mut written) = (0, 0);
    while at < bytes.len() {
        let zero = is_zero(at);
        let same = (at..bytes.len()).step_by(PAGE).take_while(|at| is_zero(*at) == zero).count();
        let end = bytes.len().min(at + same * PAGE);
        if !zero {
            fault::step();
            file.write_all_at(&bytes[at..end], start + at as u64)?;
            written += (end - at) as u64;
        }
        at = end;
    }
    Ok(written)
}

/// Reads a copy and compares it with what its manifest says; `each` gets every segment in it.
pub(super) fn compare(
    dir: &Dir,
    manifest: &Manifest,
    meter: &mut Meter,
    mut each: impl FnMut(&Image) -> Result<()>,
) -> Result<bool> {
    let path = dir.join("data");
    let Some(file) = dir.open_to_read("data")? else {
        return Err(Error::Damaged(format!("{} is missing", path.display())));
    };
    // Not what the cache remembers of it, as far as the system lets us.
    map::forget(&file);
    let source = Source {
        file: &file,
        segment_bytes: manifest.segment_bytes,
        segments: manifest.sums.len() as u64,
        secret: [0; 2],
    };
    let mut image = Image::new(&source)?;
    for (number, sum) in manifest.sums.iter().enumerate().filter(|(_, sum)| **sum != 0) {
        let reading = |e| Error::io(format!("reading {}", path.display()), e);
        image.read(&source, number as u64).map_err(reading)?;
        if sum_of(&image) != *sum {
            return Err(Error::Damaged(format!(
                "{}: segment {number} (from byte {}) is not what the backup wrote: it is damaged, \
                 or the backup was opened as a store since. Use another one; or repair it, open \
                 it as a store and see what it still has",
                path.display(),
                number as u64 * manifest.segment_bytes
            )));
        }
        each(&image)?;
        if !meter.add(manifest.segment_bytes) {
            return Ok(false);
        }
    }
    Ok(true)
}

pub(super) fn restore(from: &Path, to: &Path, progress: &mut Progress) -> Result<Restored> {
    let source = Dir::open(from, true)?;
    let manifest = Manifest::read(&source)?;
    let Some(superblock) = Superblock::read(&source)? else {
        return Err(Error::NoStore {
            path: from.into(),
            why: "has no super: the backup was cut off before it was complete".into(),
        });
    };
    let geometry = &superblock.geometry;
    if manifest.id != superblock.id
        || manifest.segment_bytes != geometry.segment_bytes
        || manifest.sums.len() as u64 > geometry.segments
    {
        return Err(Error::Damaged(format!(
            "{}: its files are of different stores or backups",
            from.display()
        )));
    }
    let destination = Destination::prepare(to, &source, false)?;
    let used = manifest.sums.iter().filter(|sum| **sum != 0).count() as u64;
    let mut meter = Meter { done: 0, total: used * manifest.segment_bytes, tell: progress };
    let data = destination.data()?;
    let mut bytes = 0;
    let whole = compare(&source, &manifest, &mut meter, |image| {
        bytes += write_image(&data, image).map_err(|e| destination.failed("writing", e))?;
        Ok(())
    })?;
    if !whole {
        return Ok(Restored::default());
    }
    let len = manifest.sums.len() as u64 * manifest.segment_bytes;
    data.set_len(len).map_err(|e| destination.failed("writing", e))?;
    data.sync_all().map_err(|e| destination.failed("syncing", e))?;
    // What was written is in memory in larger pieces than a store wants, see `map::keep_in_pages`.
    map::forget(&data);
    destination.keep(&superblock)?;
    let Manifest { version, taken_ms, .. } = manifest;
    Ok(Restored { complete: true, bytes, version, taken_ms })
}
