//! A disk that remembers what was synced, and makes the images that a power cut can leave.
//!
//! The page cache writes when it likes: of each piece that was not synced the disk may hold what
//! the last sync left, what it is now, or what it was at any moment at which the test looked
//! between. Pieces are of 8, 512 or 4096 bytes, and do not wait for each other. So an image is more
//! than a real disk does to a store, never less, but for two things: the caches of a disk that
//! lies about its syncs, and directories, of which the tests of creation see to themselves.

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use holdfast::{Disk, FileKind};

use crate::Rng;

/// A disk writes so many bytes at once.
pub const SECTOR: usize = 512;
const PAGE: usize = 4096;

/// Words of `meta` that an image needs for a file that was copied to look like the same one after
/// a reboot (see arena.rs): the boot id, and the inodes of its siblings.
const BOOT_ID: usize = 0x10;
const DATA_INODE: usize = 0x30;
const INDEX_INODE: usize = 0x38;

/// The seam's test double.
#[derive(Default)]
pub struct CutDisk {
    files: Mutex<HashMap<FileKind, Watched>>,
    syncs: AtomicU64,
    fail_next: AtomicBool,
}

/// How much of what was not synced reached the disk.
#[derive(Debug, Clone, Copy)]
pub enum Luck {
    Nothing,
    Everything,
    /// Each sector for itself: old, new, or torn within; new once in so many.
    Some(u64),
    /// Everything up to a moment of [`CutDisk::look`] in the order in which it was written, and
    /// nothing later.
    Until(u64),
    /// Each piece of so many bytes as it was at any moment, pieces of 8 torn off a sector's front
    /// or back.
    Pieces(usize),
}

/// A file, and what it held since its last sync.
#[derive(Default)]
struct Watched {
    synced: Vec<u8>,
    seen: Vec<u8>,
    /// Of each sector that changed since: moments, and what it held from then on.
    later: BTreeMap<usize, Vec<(u64, Vec<u8>)>>,
    /// Moments since the sync; each look that finds a change is one.
    moments: u64,
    /// What the last look read into, for the next.
    room: Vec<u8>,
}

impl Watched {
    /// Notes what changed; gives the number of the moment.
    fn look(&mut self, file: &File) -> io::Result<u64> {
        let mut now = std::mem::take(&mut self.room);
        now.resize(file.metadata()?.len() as usize, 0);
        file.read_exact_at(&mut now, 0)?;
        // A file only grows; what it grows by is zeros until it is written.
        self.seen.resize(now.len().max(self.seen.len()), 0);
        now.resize(self.seen.len(), 0);
        let mut changed = Vec::new();
        for (page, (new, old)) in now.chunks(PAGE).zip(self.seen.chunks(PAGE)).enumerate() {
            if new != old {
                let sectors = new.chunks(SECTOR).zip(old.chunks(SECTOR)).enumerate();
                let differ = sectors.filter(|(_, (new, old))| new != old);
                changed
                    .extend(differ.map(|(i, (new, _))| (page * PAGE / SECTOR + i, new.to_vec())));
            }
        }
        self.moments += !changed.is_empty() as u64;
        for (sector, held) in changed {
            self.later.entry(sector).or_default().push((self.moments, held));
        }
        self.room = std::mem::replace(&mut self.seen, now);
        Ok(self.moments)
    }

    fn sync(&mut self, file: &File) -> io::Result<()> {
        self.look(file)?;
        self.synced.resize(self.seen.len(), 0);
        for sector in self.later.keys() {
            let range = range_of(*sector, self.seen.len());
            self.synced[range.clone()].copy_from_slice(&self.seen[range]);
        }
        self.later.clear();
        self.moments = 0;
        Ok(())
    }

    /// What a sector held at a moment; 0 is the sync.
    fn at(&self, sector: usize, moment: u64) -> &[u8] {
        let known = self.later.get(&sector).map_or(&[][..], |known| known);
        match known.iter().rev().find(|(from, _)| *from <= moment) {
            Some((_, held)) => held,
            None => self.synced.get(range_of(sector, self.synced.len())).unwrap_or_default(),
        }
    }

    /// What the disk holds if each sector that was not synced is `pick`ed: from its front so many
    /// bytes of one moment, then those of another.
    fn image(&self, mut pick: impl FnMut(usize, &[(u64, Vec<u8>)]) -> Torn) -> Vec<u8> {
        let mut image = self.synced.clone();
        image.resize(self.seen.len(), 0);
        for (sector, known) in &self.later {
            let Torn { at, front, back } = pick(*sector, known);
            let range = range_of(*sector, image.len());
            let at = at.min(range.len());
            let put = |to: &mut [u8], from: &[u8], skip: usize| {
                let from = from.get(skip..).unwrap_or_default();
                let len = from.len().min(to.len());
                to[..len].copy_from_slice(&from[..len]);
                to[len..].fill(0);
            };
            put(&mut image[range.start..range.start + at], self.at(*sector, front), 0);
            put(&mut image[range.start + at..range.end], self.at(*sector, back), at);
        }
        image
    }
}

/// `at` bytes as they were at the moment `front`, the rest as at the moment `back`.
struct Torn {
    at: usize,
    front: u64,
    back: u64,
}

impl Torn {
    fn whole(moment: u64) -> Torn {
        Torn { at: SECTOR, front: moment, back: moment }
    }
}

fn range_of(sector: usize, len: usize) -> Range<usize> {
    (sector * SECTOR).min(len)..((sector + 1) * SECTOR).min(len)
}

impl Disk for CutDisk {
    fn sync(&self, kind: FileKind, file: &File) -> io::Result<()> {
        if self.fail_next.swap(false, Ordering::SeqCst) {
            return Err(io::Error::from_raw_os_error(libc::EIO));
        }
        self.files().entry(kind).or_default().sync(file)?;
        // What says what the store is covers nothing that is in it.
        if kind != FileKind::Super {
            self.syncs.fetch_add(1, Ordering::SeqCst);
        }
        Ok(())
    }
}

impl CutDisk {
    pub fn new() -> Arc<CutDisk> {
        Arc::default()
    }

    /// On which the files of a directory are as they were written.
    pub fn with_data(path: &Path) -> Arc<CutDisk> {
        let disk = CutDisk::new();
        let file = File::open(path.join("data")).expect("data");
        disk.files().entry(FileKind::Data).or_default().sync(&file).expect("read");
        disk
    }

    fn files(&self) -> MutexGuard<'_, HashMap<FileKind, Watched>> {
        self.files.lock().expect("no panic under it")
    }

    /// How many syncs have ended, of whatever file but `super`.
    pub fn syncs(&self) -> u64 {
        self.syncs.load(Ordering::SeqCst)
    }

    /// The next sync fails, and only that.
    pub fn fail_once(&self) {
        self.fail_next.store(true, Ordering::SeqCst);
    }

    /// Notes what `data` holds now, as one of the states that each of its sectors may be found in;
    /// gives the number of that moment since the last sync.
    pub fn look(&self, from: &Path) -> u64 {
        let file = File::open(from.join("data")).expect("data");
        self.files().entry(FileKind::Data).or_default().look(&file).expect("read")
    }

    /// Is this what the last sync of `super` covered?
    pub fn has_synced(&self, superblock: &[u8]) -> bool {
        self.files().get(&FileKind::Super).is_some_and(|watched| watched.synced == superblock)
    }

    /// How many such moments there were.
    pub fn moments(&self) -> u64 {
        self.files().entry(FileKind::Data).or_default().moments
    }

    /// `data` after a cut.
    pub fn data(&self, from: &Path, rng: &mut Rng, luck: Luck) -> Vec<u8> {
        self.file(FileKind::Data, from, rng, luck)
    }

    /// Places of the sectors that changed at a moment.
    pub fn places(&self, moment: u64) -> Vec<u64> {
        let files = self.files();
        let later = files[&FileKind::Data].later.iter();
        let changed = later.filter(|(_, known)| known.iter().any(|(at, _)| *at == moment));
        changed.map(|(sector, _)| (sector * SECTOR) as u64).collect()
    }

    /// `data` after a cut at which of the sector at each place the last state was written of those
    /// that `reached`, which is asked for a moment and a place.
    pub fn data_where(&self, from: &Path, reached: impl Fn(u64, u64) -> bool) -> Vec<u8> {
        self.look(from);
        let files = self.files();
        files[&FileKind::Data].image(|sector, known| {
            let place = (sector * SECTOR) as u64;
            let there = known.iter().map(|(moment, _)| *moment);
            Torn::whole(there.filter(|moment| reached(*moment, place)).max().unwrap_or(0))
        })
    }

    fn file(&self, kind: FileKind, from: &Path, rng: &mut Rng, luck: Luck) -> Vec<u8> {
        let mut files = self.files();
        let watched = files.entry(kind).or_default();
        let file = File::open(from.join(kind.name())).expect("the file");
        let now = watched.look(&file).expect("read");
        let mut image = match luck {
            Luck::Nothing => watched.synced.clone(),
            Luck::Everything => watched.seen.clone(),
            Luck::Until(moment) => watched.image(|_, _| Torn::whole(moment)),
            Luck::Some(one_in) => watched.image(|_, known| match rng.one_in(one_in) {
                true => Torn::whole(now),
                false if rng.one_in(3) => torn(rng, now, 0),
                // As it was at some moment between.
                false if rng.one_in(4) => Torn::whole(rng.pick(known).0),
                false => Torn::whole(0),
            }),
            Luck::Pieces(bytes) => {
                let mut of_page = (usize::MAX, 0);
                watched.image(|sector, _| {
                    let page = sector * SECTOR / bytes.max(SECTOR);
                    if page != of_page.0 {
                        of_page = (page, rng.below(now + 1));
                    }
                    let other = rng.below(now + 1);
                    if bytes < SECTOR {
                        torn(rng, of_page.1, other)
                    } else {
                        Torn::whole(of_page.1)
                    }
                })
            }
        };
        if matches!(luck, Luck::Some(_) | Luck::Pieces(_)) && rng.one_in(4) {
            // The file's new length is written, or is not, for itself.
            image.truncate(watched.synced.len());
        }
        image
    }

    /// Writes what a cut leaves of the store at `from` to the directory `to`: with its derived files
    /// (as after a reboot) or without.
    pub fn cut(&self, from: &Path, to: &Path, rng: &mut Rng, luck: Luck, derived: bool) {
        write(to, "super", &std::fs::read(from.join("super")).expect("super"));
        write(to, "data", &self.data(from, rng, luck));
        if !derived {
            return;
        }
        write(to, "index", &self.file(FileKind::Index, from, rng, luck));
        let mut meta = self.file(FileKind::Meta, from, rng, luck);
        if meta.len() > INDEX_INODE + 8 {
            meta[BOOT_ID] ^= 1;
            for (at, name) in [(DATA_INODE, "data"), (INDEX_INODE, "index")] {
                let inode = std::fs::metadata(to.join(name)).expect("just written").ino();
                meta[at..at + 8].copy_from_slice(&inode.to_le_bytes());
            }
        }
        write(to, "meta", &meta);
    }
}

/// A sector of which the front is of one moment and the back of another.
fn torn(rng: &mut Rng, one: u64, other: u64) -> Torn {
    let at = rng.below(SECTOR as u64 / 8 + 1) as usize * 8;
    if rng.one_in(2) {
        Torn { at, front: one, back: other }
    } else {
        Torn { at, front: other, back: one }
    }
}

fn write(to: &Path, name: &str, bytes: &[u8]) {
    std::fs::write(to.join(name), bytes).expect(name);
    let mode = std::fs::Permissions::from_mode(0o600);
    std::fs::set_permissions(to.join(name), mode).expect("chmod");
}

/// One image after the other, in the same directory: what is the same in the next is not written
/// again.
pub struct Images {
    dir: tempfile::TempDir,
    /// What `data` holds.
    data: Option<Vec<u8>>,
}

impl Default for Images {
    fn default() -> Images {
        Images { dir: crate::memory_dir(), data: None }
    }
}

impl Images {
    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    /// Makes the directory hold this log and nothing derived from another one.
    pub fn hold(&mut self, superblock: &[u8], data: Vec<u8>) {
        self.forget_derived();
        match self.data.take() {
            Some(before) => self.change(&before, &data),
            None => write(self.path(), "data", &data),
        }
        // Opening it gave it new numbers.
        write(self.path(), "super", superblock);
        self.data = Some(data);
    }

    fn change(&self, before: &[u8], data: &[u8]) {
        let file = File::options().write(true).open(self.path().join("data")).expect("data");
        if before.len() != data.len() {
            file.set_len(data.len() as u64).expect("its length");
        }
        for (page, new) in data.chunks(PAGE).enumerate() {
            if before.get(page * PAGE..page * PAGE + new.len()) != Some(new) {
                file.write_all_at(new, (page * PAGE) as u64).expect("a page");
            }
        }
    }

    /// The next to open it has to rebuild it.
    pub fn forget_derived(&self) {
        for name in ["meta", "index"] {
            let _ = std::fs::remove_file(self.path().join(name));
        }
    }

    /// Something was written to the log: the next image is written as a whole.
    pub fn used(&mut self) {
        self.data = None;
    }

    /// Lets the image go, and becomes another directory.
    pub fn give(&mut self) -> tempfile::TempDir {
        let before = std::mem::take(self);
        before.dir
    }
}
