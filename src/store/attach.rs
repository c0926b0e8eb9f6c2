//! Opening: who is alone decides (create, trust, heal or rebuild), the others join.
//!
//! Byte 0 of the file `lock` is held shared by everybody attached. Whoever gets it exclusively is
//! alone: it makes the store ready, then lets the others in. Who joins looks again whether it is
//! ready, and on this kernel, after it has the byte.

use std::io::Read;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::superblock::{MAJOR, MINOR, Superblock, cores};
use super::{growth, recover, state};
use crate::arena::{Arena, meta_magic, slot, word};
use crate::error::{Error, Result};
use crate::index;
use crate::key::KeyHash;
use crate::options::Options;
use crate::sys::clock::{self, Time};
use crate::sys::dir::{self, Dir};
use crate::sys::disk::{self, Disk, FileKind, RealDisk, Syncing};
use crate::sys::map::Map;
use crate::sys::peers::Peers;

const DAY_MS: u64 = 24 * 3600 * 1000;
const HOLD_MS: u64 = 10 * 60 * 1000;
/// Longer than several who open it at once get in each other's way.
const ORPHANED: Duration = Duration::from_millis(800);
/// Longer than an opening or closing takes that nothing holds up.
const SOON: Duration = Duration::from_secs(2);
/// The byte of the magic of `meta` that differs between layouts.
const LAYOUT_AT: usize = 6;

/// Attaches this process to the store in a directory.
pub(super) fn attach(path: &Path, options: &Options) -> Result<Arena> {
    let dir = Dir::open(path, options.force_filesystem)?;
    let boot = dir::boot_id()?;
    if !options.create && Superblock::read(&dir)?.is_none() {
        return Err(no_store(&dir)?);
    }
    let peers = open_peers(&dir)?;
    let begun = Instant::now();
    let mut shared_since = None;
    loop {
        if try_alone(&peers, &dir)? {
            return Alone { dir, boot, options }.attach(peers);
        }
        if share(&peers, &dir)? {
            match join(&dir, boot)? {
                Some(files) => {
                    let arena = files.arena(dir, peers, options);
                    let anchor = arena.meta.load(word::ANCHOR);
                    arena.anchor.store(anchor, Ordering::Relaxed);
                    claim(&arena)?;
                    return Ok(arena);
                }
                // Not ready: if we can become alone, it falls to us.
                None if try_alone(&peers, &dir)? => {
                    return Alone { dir, boot, options }.attach(peers);
                }
                None => {
                    refuse_other_kernel(&dir, boot)?;
                    peers.leave().map_err(|e| lock_failed(&dir, e))?;
                }
            }
            // Who makes it ready shares it with nobody, and who only looks is gone in a moment.
            if shared_since.get_or_insert_with(Instant::now).elapsed() > ORPHANED {
                refuse_other_layout(&dir)?;
                return Err(orphaned(&dir, &peers));
            }
        } else {
            shared_since = None;
        }
        if begun.elapsed() >= options.open_timeout {
            refuse_other_layout(&dir)?;
            return Err(Error::Busy(format!(
                "{}: another process has been creating or recovering the store for {} ms",
                dir.path().display(),
                options.open_timeout.as_millis()
            )));
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Others have the store open, but not with the files that lie here.
fn orphaned(dir: &Dir, peers: &Peers) -> Error {
    let who = match who_is_there(dir, peers) {
        Ok(pids) if !pids.is_empty() => format!(" ({})", pids.join(", ")),
        _ => String::new(),
    };
    Error::Refused {
        path: dir.path().into(),
        why: format!(
            "index or meta was removed or replaced while processes had the store open: end them, \
             and whoever opens it next makes both anew{who}"
        ),
    }
}

fn no_store(dir: &Dir) -> Result<Error> {
    if dir.open_file("data")?.is_some() {
        return Ok(super_is_missing(dir));
    }
    Ok(Error::NoStore {
        path: dir.path().into(),
        why: "there is no store in this directory, and this call was not to create one".into(),
    })
}

pub(super) fn super_is_missing(dir: &Dir) -> Error {
    Error::Damaged(format!(
        "{0}/super is missing, but {0}/data is there: no empty store is made over an old one. Put \
         super back from a backup of this store, or move the files away",
        dir.path().display()
    ))
}

fn data_is_missing(dir: &Dir) -> Error {
    Error::Damaged(format!(
        "{} is missing: this store's sessions were in it. Put it back, or remove the whole \
         directory to start with an empty store",
        dir.join("data").display()
    ))
}

/// Without the file that they lock nobody can tell whether the processes live that had the store
/// open, and who robbed the living would ruin what they write.
fn lock_is_missing(dir: &Dir) -> Error {
    Error::Refused {
        path: dir.join("lock"),
        why: format!(
            "is not the file that the processes of this store hold: it was removed or replaced. End \
             all of them, then remove {}, and whoever opens the store next makes it anew",
            dir.join("meta").display()
        ),
    }
}

fn lock_failed(dir: &Dir, e: std::io::Error) -> Error {
    Error::io(format!("locking {}", dir.join("lock").display()), e)
}

fn try_alone(peers: &Peers, dir: &Dir) -> Result<bool> {
    peers.try_alone().map_err(|e| lock_failed(dir, e))
}

fn share(peers: &Peers, dir: &Dir) -> Result<bool> {
    peers.try_share().map_err(|e| lock_failed(dir, e))
}

fn open_peers(dir: &Dir) -> Result<Peers> {
    let life = dir.open_or_create("lock")?;
    let probe = dir.open_or_create("lock")?;
    Peers::new(life, probe, &dir.join("lock"))
}

/// In the child of a fork: a life of its own, in the mappings that it inherited.
pub(super) fn reattach(arena: &Arena) -> Result<()> {
    let forked = !arena.peers.is_of_this_process();
    let open = || arena.dir.open_file("lock")?.ok_or_else(|| replaced(arena, "lock"));
    let renewed = arena.peers.renew(open()?, open()?);
    if !renewed.map_err(|e| lock_failed(&arena.dir, e))? {
        return Err(replaced(arena, "lock"));
    }
    for _ in 0..5000 {
        if share(&arena.peers, &arena.dir)? {
            check_files(arena)?;
            check_kernel(&arena.dir, &arena.meta, dir::boot_id()?)?;
            sync_apart(arena, forked)?;
            return claim(arena);
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    Err(Error::Busy(format!("{}: another process recovers the store", arena.dir.path().display())))
}

/// This process syncs through a description that it shares with nobody.
fn sync_apart(arena: &Arena, forked: bool) -> Result<()> {
    let (name, data) = ("data", &arena.data);
    let file = arena.dir.open_file(name)?.ok_or_else(|| data_is_missing(&arena.dir))?;
    if dir::identity(&file, &arena.dir.join(name))?.1 != inode(&arena.dir, name, data)? {
        return Err(replaced(arena, name));
    }
    arena.syncing.renew(file, forked);
    Ok(())
}

fn mapped(arena: &Arena) -> [(&'static str, &Map); 3] {
    [("data", &arena.data), ("index", &arena.index), ("meta", &arena.meta)]
}

/// While nobody of ours held the store, somebody may have rebuilt or replaced it.
pub(super) fn check_files(arena: &Arena) -> Result<()> {
    for (name, map) in mapped(arena) {
        let Some(file) = map.file() else { continue };
        if !arena.dir.still_holds(name, file)? {
            return Err(replaced(arena, name));
        }
    }
    Ok(())
}

fn replaced(arena: &Arena, name: &str) -> Error {
    Error::Refused {
        path: arena.dir.join(name),
        why: "was moved, removed or replaced since this process opened the store: open it again"
            .into(),
    }
}

/// Which file of this store is no longer at its path? Who opens the store there now has another.
/// (`super` is replaced in the course of things.)
pub(super) fn lost(arena: &Arena) -> Option<&'static str> {
    let is_lost = |(name, map): &(&'static str, &Map)| {
        let ours = map.file().and_then(|file| dir::identity(file, &arena.dir.join(name)).ok());
        ours.is_some_and(|ours| arena.dir.has_lost(name, ours))
    };
    let lock_is_lost = || arena.dir.has_lost("lock", arena.peers.lock_identity());
    let mapped = mapped(arena).into_iter().find(is_lost).map(|(name, _)| name);
    mapped.or_else(|| lock_is_lost().then_some("lock"))
}

/// Now and then: is the store where it was? If not, the next operation says so.
pub(super) fn look_around(arena: &Arena) {
    if lost(arena).is_some() {
        arena.peers.doubt();
    }
}

/// This process has doubts. An error as long as there is reason for them.
pub(super) fn settle_doubt(arena: &Arena) -> Result<()> {
    if let Some(name) = lost(arena) {
        return Err(replaced(arena, name));
    }
    arena.peers.settle();
    Ok(())
}

/// Takes a process slot; everything that its dead owner left is healed before it counts as ours.
fn claim(arena: &Arena) -> Result<()> {
    let hint = arena.meta.add(word::SLOT_HINT, 1) as u32;
    let slots = arena.geometry.slots as u32;
    let row = |number| arena.geometry.slot(number);
    let epoch = |number| arena.meta.load(row(number) + slot::EPOCH);
    let about = |number, epoch: u64| {
        arena.meta.max(row(number) + slot::CLAIMED, epoch.saturating_add(1));
    };
    let number = arena
        .peers
        .claim(hint, slots, epoch, about)
        .map_err(|e| lock_failed(&arena.dir, e))?
        .ok_or_else(|| {
            Error::TooMany(format!(
                "{}: {slots} processes have the store open, its limit (max_processes)",
                arena.dir.path().display()
            ))
        })?;
    let at = arena.geometry.slot(number);
    super::stripe::heal_dead(arena, |owner| owner == number)?;
    arena.begin_life(number);
    arena.meta.store(at + slot::PID, std::process::id() as u64);
    arena.meta.store(at + slot::PID_NAMESPACE, dir::pid_namespace());
    arena.meta.store(at + slot::ATTACHED_MS, clock::mono_ms());
    arena.peers.settle();
    Ok(())
}

/// The files of a store, mapped.
struct Files {
    superblock: Superblock,
    data: Map,
    index: Map,
    meta: Map,
}

impl Files {
    fn arena(self, dir: Dir, peers: Peers, options: &Options) -> Arena {
        let disk: Arc<dyn Disk> = options.disk.clone().unwrap_or_else(|| Arc::new(RealDisk));
        Arena {
            dir,
            data: self.data,
            index: self.index,
            meta: self.meta,
            geometry: self.superblock.geometry,
            fixed: self.superblock.config,
            peers,
            time: Time::new(options.clock.clone()),
            disk,
            syncing: Syncing::new(),
            hash: KeyHash::new(self.superblock.config.hash, self.superblock.secret),
            secret: self.superblock.secret,
            operation_timeout: options.operation_timeout,
            anchor: AtomicU64::new(0),
            slot_at: AtomicU64::new(self.superblock.geometry.slot(0)),
            identity: AtomicU64::new(0),
            rolled: AtomicBool::new(false),
        }
    }
}

/// Maps a file, if it is there with the size that it must have.
fn map_exact(dir: &Dir, name: &str, bytes: u64) -> Result<Option<Map>> {
    let Some(file) = dir.open_file(name)? else { return Ok(None) };
    let map = Map::shared(file, bytes, &dir.join(name).display().to_string())?;
    Ok((map.usable() == bytes).then_some(map))
}

/// Maps a file that grows, if it is there, with address space for all that it may become.
fn map_growing(dir: &Dir, name: &str, reserve: u64) -> Result<Option<Map>> {
    let Some(file) = dir.open_file(name)? else { return Ok(None) };
    Map::shared(file, reserve, &dir.join(name).display().to_string()).map(Some)
}

fn map_data(dir: &Dir, superblock: &Superblock) -> Result<Option<Map>> {
    map_growing(dir, "data", superblock.geometry.data_bytes())
}

fn map_index(dir: &Dir, superblock: &Superblock) -> Result<Option<Map>> {
    map_growing(dir, "index", superblock.geometry.index_reserve())
}

/// Is this meta of this store, with these siblings, and was it made ready?
fn is_whole(
    dir: &Dir,
    meta: &Map,
    superblock: &Superblock,
    data: &Map,
    index: &Map,
) -> Result<bool> {
    let siblings = [inode(dir, "data", data)?, inode(dir, "index", index)?];
    Ok(meta.load(word::MAGIC) == meta_magic()
        && meta.load(word::READY) == 1
        && [meta.load(word::STORE_ID), meta.load(word::STORE_ID + 8)] == superblock.id
        && [meta.load(word::DATA_INODE), meta.load(word::INDEX_INODE)] == siblings
        && data.usable() >= meta.load(word::DATA_BYTES)
        && index.usable() >= meta.load(word::INDEX_BYTES))
}

fn inode(dir: &Dir, name: &str, map: &Map) -> Result<u64> {
    map.file().map_or(Ok(0), |file| Ok(dir::identity(file, &dir.join(name))?.1))
}

fn boot_of(meta: &Map) -> [u64; 2] {
    [meta.load(word::BOOT_ID), meta.load(word::BOOT_ID + 8)]
}

/// Others have the store open: they must run on this very kernel and in this time namespace.
fn check_kernel(dir: &Dir, meta: &Map, boot: [u64; 2]) -> Result<()> {
    let refused = |why: &str| Err(Error::Refused { path: dir.path().into(), why: why.into() });
    if boot_of(meta) != boot {
        return refused(
            "is open on another kernel (another machine or virtual machine); a store is for the \
             processes of one kernel, use one store per machine or the daemon",
        );
    }
    if meta.load(word::TIME_NAMESPACE) != dir::time_namespace()? {
        return refused("is open in another time namespace, where lifetimes would differ");
    }
    Ok(())
}

/// Others hold the store and we may not decide about it: is it because they run elsewhere?
fn refuse_other_kernel(dir: &Dir, boot: [u64; 2]) -> Result<()> {
    let Some(superblock) = Superblock::read(dir)? else { return Ok(()) };
    match map_exact(dir, "meta", superblock.geometry.meta_bytes())? {
        Some(meta) if meta.load(word::READY) == 1 => check_kernel(dir, &meta, boot),
        _ => Ok(()),
    }
}

/// Nobody let us in, and what those who are in there use is not for this library. (Not looked at
/// before: who is alone may just be making it anew.)
fn refuse_other_layout(dir: &Dir) -> Result<()> {
    let Some(mut meta) = dir.open_to_read("meta")? else { return Ok(()) };
    let (mut theirs, ours) = ([0; 8], meta_magic().to_le_bytes());
    if meta.read_exact(&mut theirs).is_err() || theirs[..6] != ours[..6] || theirs == ours {
        return Ok(());
    }
    let (theirs, ours) = (theirs[LAYOUT_AT], ours[LAYOUT_AT]);
    Err(Error::Refused {
        path: dir.path().into(),
        why: format!(
            "is open in processes with another version of this library, which share memory of \
             layout {theirs}; this one ({}) knows layout {ours}. Once they have closed it, it is \
             opened as it is",
            env!("CARGO_PKG_VERSION")
        ),
    })
}

/// Joins those who have it open; `None` if nobody has made it ready.
fn join(dir: &Dir, boot: [u64; 2]) -> Result<Option<Files>> {
    let Some(superblock) = Superblock::read(dir)? else { return Ok(None) };
    let geometry = &superblock.geometry;
    let Some(data) = map_data(dir, &superblock)? else {
        return if superblock.made { Err(data_is_missing(dir)) } else { Ok(None) };
    };
    let (Some(index), Some(meta)) =
        (map_index(dir, &superblock)?, map_exact(dir, "meta", geometry.meta_bytes())?)
    else {
        return Ok(None);
    };
    let noted = meta.load(word::META_INODE);
    let is_theirs = noted == 0 || noted == inode(dir, "meta", &meta)?;
    let whole = is_whole(dir, &meta, &superblock, &data, &index)?;
    if !is_theirs || !whole || boot_of(&meta) != boot {
        return Ok(None);
    }
    check_kernel(dir, &meta, boot)?;
    Ok(Some(Files { superblock, data, index, meta }))
}

/// The files that can be made anew, and why they need not be.
struct Derived {
    index: Map,
    meta: Map,
    here: bool,
    clean: bool,
}

/// Nobody else has the store open, and nobody can open it while this lives.
pub(super) struct Solitude<'a> {
    alone: Alone<'a>,
    peers: Peers,
}

impl<'a> Solitude<'a> {
    /// Refused, with their process ids, while others have it open.
    pub(super) fn enter(path: &Path, options: &'a Options) -> Result<Solitude<'a>> {
        let dir = Dir::open(path, options.force_filesystem)?;
        let boot = dir::boot_id()?;
        if Superblock::copies(&dir)?.is_empty() {
            return Err(no_store(&dir)?);
        }
        let peers = open_peers(&dir)?;
        let begun = Instant::now();
        while !try_alone(&peers, &dir)? {
            let pids = who_is_there(&dir, &peers)?;
            // Nobody by name: somebody comes or goes, or was just forked, and is done in a moment.
            if !pids.is_empty() || begun.elapsed() > SOON {
                let who = match pids.len() {
                    0 => "by a process that is just opening or closing it".into(),
                    1 => format!("by process {}", pids[0]),
                    _ => format!("by processes {}", pids.join(", ")),
                };
                let why = format!("is open {who}; close it there, or end them, and try again");
                return Err(Error::Refused { path: path.into(), why });
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        peers.assume_slot(0);
        Ok(Solitude { alone: Alone { dir, boot, options }, peers })
    }

    pub(super) fn dir(&self) -> &Dir {
        &self.alone.dir
    }

    pub(super) fn data(&self, superblock: &Superblock) -> Result<Map> {
        map_data(&self.alone.dir, superblock)?.ok_or_else(|| data_is_missing(&self.alone.dir))
    }

    /// The store as the last processes left it, healed; `Err` inside: it has to be rebuilt.
    pub(super) fn trust(
        self,
        superblock: Superblock,
    ) -> Result<std::result::Result<Arena, Solitude<'a>>> {
        let data = self.data(&superblock)?;
        match self.alone.derived(&superblock, &data)? {
            None => Ok(Err(self)),
            Some(Derived { index, meta, here, clean }) => {
                let files = Files { superblock, data, index, meta };
                self.alone.trust(files, self.peers, here, clean).map(Ok)
            }
        }
    }

    /// The store, rebuilt if need be.
    pub(super) fn make_ready(self) -> Result<Arena> {
        self.alone.make_ready(self.peers)
    }
}

/// Process ids of those who have it open, some of them if they are many.
fn who_is_there(dir: &Dir, peers: &Peers) -> Result<Vec<String>> {
    let Some(superblock) = Superblock::read(dir)? else { return Ok(Vec::new()) };
    let Some(meta) = map_exact(dir, "meta", superblock.geometry.meta_bytes())? else {
        return Ok(Vec::new());
    };
    let slots = 0..superblock.geometry.slots as u32;
    let pid = |slot: u32| meta.load(superblock.geometry.slot(slot) + slot::PID);
    let held = slots.filter(|slot| pid(*slot) != 0 && peers.alive(*slot));
    Ok(held.take(20).map(|slot| pid(slot).to_string()).collect())
}

/// The one that decides.
struct Alone<'a> {
    dir: Dir,
    boot: [u64; 2],
    options: &'a Options,
}

impl Alone<'_> {
    /// Makes the store ready, lets the others in and joins them.
    fn attach(self, peers: Peers) -> Result<Arena> {
        let arena = self.make_ready(peers)?;
        share(&arena.peers, &arena.dir)?;
        claim(&arena)?;
        Ok(arena)
    }

    fn make_ready(self, peers: Peers) -> Result<Arena> {
        peers.assume_slot(0);
        let mut superblock = self.superblock()?;
        self.settle(&mut superblock)?;
        let Some(data) = map_data(&self.dir, &superblock)? else {
            return Err(data_is_missing(&self.dir));
        };
        match self.derived(&superblock, &data)? {
            Some(Derived { index, meta, here, clean }) => {
                let files = Files { superblock, data, index, meta };
                self.trust(files, peers, here, clean)
            }
            None => self.rebuild(superblock, data, peers),
        }
    }

    /// Index and meta, if they are whole and of this boot, or were closed cleanly.
    fn derived(&self, superblock: &Superblock, data: &Map) -> Result<Option<Derived>> {
        let geometry = &superblock.geometry;
        let (Some(index), Some(meta)) = (
            map_index(&self.dir, superblock)?,
            map_exact(&self.dir, "meta", geometry.meta_bytes())?,
        ) else {
            return Ok(None);
        };
        let here = boot_of(&meta) == self.boot && was_in_memory(&meta);
        let clean = meta.load(word::CLEAN) == 1;
        let usable = is_whole(&self.dir, &meta, superblock, data, &index)?
            && growth::is_sound(&meta, &index, geometry)
            && (here || clean);
        Ok(usable.then_some(Derived { index, meta, here, clean }))
    }

    /// The store's identity, made here if there is no store yet.
    fn superblock(&self) -> Result<Superblock> {
        let (dir, options) = (&self.dir, self.options);
        let mut superblock = match Superblock::read(dir)? {
            Some(superblock) => superblock,
            None if !options.create => return Err(no_store(dir)?),
            None => {
                if dir.open_file("data")?.is_some() {
                    return Err(super_is_missing(dir));
                }
                let superblock = Superblock::new(options.config()?)?;
                superblock.write(dir, &*self.disk())?;
                superblock
            }
        };
        if !superblock.made {
            // Creation was cut short, or is under way here: nothing was ever stored.
            dir.remove("data")?;
            dir.create("data")?;
            superblock.made = true;
            superblock.write(dir, &*self.disk())?;
        }
        Ok(superblock)
    }

    fn disk(&self) -> Arc<dyn Disk> {
        self.options.disk.clone().unwrap_or_else(|| Arc::new(RealDisk))
    }

    /// Limits that wait for somebody who is alone come into force. What was laid out for the old
    /// ones goes first, so that a death in here leaves nothing to be misread.
    fn settle(&self, superblock: &mut Superblock) -> Result<()> {
        let Some(new) = superblock.config.settled() else { return Ok(()) };
        if let Some(meta) = map_exact(&self.dir, "meta", superblock.geometry.meta_bytes())? {
            if meta.load(word::SYNC_FAILED) != 0 {
                // First everything has to reach the disk; the next one who is alone has its turn.
                return Ok(());
            }
            if boot_of(&meta) == self.boot && meta.load(word::MAGIC) == meta_magic() {
                let boot_ms = Time::new(self.options.clock.clone()).boot_ms();
                let now = boot_ms.wrapping_add(meta.load(word::ANCHOR));
                superblock.newest_ms = superblock.newest_ms.max(now);
            }
        }
        self.dir.remove("meta")?;
        self.dir.sync()?;
        superblock.geometry = superblock.geometry.grown(&new, cores());
        superblock.config = new;
        superblock.write(&self.dir, &*self.disk())
    }

    /// Index and meta hold what the last processes left, by their death or a clean close.
    fn trust(self, files: Files, peers: Peers, here: bool, clean: bool) -> Result<Arena> {
        let (boot, superblock) = (self.boot, files.superblock);
        let time_namespace = dir::time_namespace()?;
        let known = files.meta.load(word::LOCK_INODE);
        if here && !clean && known != 0 && known != peers.lock_identity().1 {
            return Err(lock_is_missing(&self.dir));
        }
        let arena = files.arena(self.dir, peers, self.options);
        if here && arena.meta.load(word::TIME_NAMESPACE) != time_namespace {
            return Err(Error::Refused {
                path: arena.dir.path().into(),
                why: "was used in another time namespace of this kernel, where lifetimes differ"
                    .into(),
            });
        }
        if arena.meta.load(word::SYNC_FAILED) != 0 {
            rewrite_everything(&arena)?;
        }
        if here {
            arena.anchor.store(arena.meta.load(word::ANCHOR), Ordering::Relaxed);
        } else {
            anchor_clock(&arena, superblock.newest_ms.max(arena.meta.load(word::NEWEST_MS)));
            // Moments of the monotonic clock, which began anew with this boot.
            for moment in [
                word::LAST_SYNC_MS,
                word::FLUSHER_BEAT_MS,
                word::NO_ROOM_UNTIL_MS,
                word::NEXT_SWEEP_MS,
                word::NO_LIFE_UNTIL_MS,
                word::NO_VICTIM_UNTIL_MS,
                word::PLENTY_SINCE_MS,
            ] {
                arena.meta.store(moment, 0);
            }
        }
        state::publish(&arena, &superblock);
        recover::heal_all(&arena)?;
        arena.meta.store(word::BOOT_ID, boot[0]);
        arena.meta.store(word::BOOT_ID + 8, boot[1]);
        arena.meta.store(word::TIME_NAMESPACE, time_namespace);
        note_own_files(&arena)?;
        if clean {
            arena.meta.store(word::CLEAN, 0);
            sync_file(&arena, FileKind::Meta)?;
        }
        recover::mark_dirty(&arena);
        Ok(arena)
    }

    /// After a power loss, or when the derived files are missing or damaged.
    fn rebuild(self, mut superblock: Superblock, data: Map, peers: Peers) -> Result<Arena> {
        let (boot, options) = (self.boot, self.options);
        let time_namespace = dir::time_namespace()?;
        let disk = self.disk();
        let data_inode = inode(&self.dir, "data", &data)?;
        let unsynced = self.left_unsynced(&superblock)?;
        let meta_bytes = superblock.geometry.meta_bytes();
        let arena = Files {
            index: self.fresh(
                &*disk,
                FileKind::Index,
                index::NEW_BYTES,
                superblock.geometry.index_reserve(),
            )?,
            meta: self.fresh(&*disk, FileKind::Meta, meta_bytes, meta_bytes)?,
            superblock,
            data,
        }
        .arena(self.dir, peers, options);
        state::publish(&arena, &superblock);
        let found = recover::rebuild(&arena)?;
        let newest = found.newest_seq.max(superblock.flush_seq);
        superblock.seq_base = recover::next_base(&arena, newest, superblock.seq_base)?;
        superblock.newest_ms = superblock.newest_ms.max(found.newest_ms);
        arena.meta.store(word::SEQ, superblock.seq_base);
        arena.meta.store(word::RECOVERY_HORIZON_SEQ, superblock.seq_base);
        anchor_clock(&arena, superblock.newest_ms);
        arena.meta.store(word::BOOT_ID, boot[0]);
        arena.meta.store(word::BOOT_ID + 8, boot[1]);
        arena.meta.store(word::TIME_NAMESPACE, time_namespace);
        note_own_files(&arena)?;
        if unsynced {
            arena.data.redirty();
            sync_file(&arena, FileKind::Data)?;
        }
        let index_inode = inode(&arena.dir, "index.new", &arena.index)?;
        recover::sign(&arena, superblock.id, [data_inode, index_inode]);
        arena.dir.rename("index.new", "index")?;
        arena.dir.rename("meta.new", "meta")?;
        superblock.write(&arena.dir, &*disk)?;
        arena.meta.store(word::READY, 1);
        recover::mark_dirty(&arena);
        Ok(arena)
    }

    /// Does the meta that is not believed say that a sync failed? A new one would not know of it.
    fn left_unsynced(&self, superblock: &Superblock) -> Result<bool> {
        let old = map_exact(&self.dir, "meta", superblock.geometry.meta_bytes())?;
        Ok(old.is_some_and(|meta| {
            meta.load(word::MAGIC) == meta_magic() && meta.load(word::SYNC_FAILED) != 0
        }))
    }

    /// A new file of zeros, under its temporary name, with disk space behind every byte.
    fn fresh(&self, disk: &dyn Disk, kind: FileKind, bytes: u64, reserve: u64) -> Result<Map> {
        let name = format!("{}.new", kind.name());
        self.dir.remove(&name)?;
        let file = self.dir.create(&name)?;
        let shown = self.dir.join(&name).display().to_string();
        let map = Map::shared(file, reserve, &shown)?;
        disk::grow(disk, kind, &map, 0, bytes)
            .map_err(|e| Error::io(format!("making {shown} ({bytes} bytes)"), e))?;
        Ok(map)
    }
}

/// Is this what its processes left in memory, and not what the disk has of it? Nobody can tell where
/// the kernel does not remember files: then it is, as long as this boot lasts.
fn was_in_memory(meta: &Map) -> bool {
    meta.load(word::REMEMBERED) != 1 || meta.file().is_none_or(dir::is_remembered)
}

/// Which files whoever joins must hold too.
fn note_own_files(arena: &Arena) -> Result<()> {
    let remembered = arena.meta.file().is_some_and(dir::remember);
    arena.meta.store(word::REMEMBERED, remembered as u64);
    arena.meta.store(word::LOCK_INODE, arena.peers.lock_identity().1);
    arena.meta.store(word::META_INODE, inode(&arena.dir, "meta", &arena.meta)?);
    Ok(())
}

/// Store time goes on from the newest moment that the store has seen.
fn anchor_clock(arena: &Arena, newest_ms: u64) {
    let (boot, wall) = (arena.time.boot_ms(), arena.time.wall_ms());
    let now = wall.max(newest_ms);
    let anchor = now.wrapping_sub(boot);
    arena.meta.store(word::ANCHOR, anchor);
    arena.anchor.store(anchor, Ordering::Relaxed);
    // A clock far ahead of all that was ever written may be wrong: nothing is destroyed on its
    // word for a while.
    let hold =
        if newest_ms != 0 && wall > newest_ms.saturating_add(DAY_MS) { now + HOLD_MS } else { 0 };
    arena.meta.store(word::HOLD_RECLAIM_UNTIL, hold);
}

/// For who is alone with the store. A failure is noted for whoever opens it next: the kernel would
/// say yes to the next sync without another try.
pub(super) fn sync_file(arena: &Arena, kind: FileKind) -> Result<()> {
    let map = match kind {
        FileKind::Index => &arena.index,
        FileKind::Meta => &arena.meta,
        FileKind::Data | FileKind::Super => &arena.data,
    };
    let Some(file) = map.file() else { return Ok(()) };
    arena.disk.sync(kind, file).map_err(|e| {
        arena.meta.store(word::SYNC_FAILED, 1);
        Error::io(format!("syncing {}", arena.dir.join(kind.name()).display()), e)
    })
}

/// After a failed sync: every page is made dirty again and synced before anything is promised.
fn rewrite_everything(arena: &Arena) -> Result<()> {
    for (kind, map) in [
        (FileKind::Data, &arena.data),
        (FileKind::Index, &arena.index),
        (FileKind::Meta, &arena.meta),
    ] {
        map.redirty();
        sync_file(arena, kind)?;
    }
    arena.meta.store(word::SYNC_FAILED, 0);
    Ok(())
}

/// The last one out syncs everything and says so, so that not even a reboot needs a rebuild.
pub(super) fn close_cleanly(arena: &Arena) -> Result<()> {
    if arena.meta.load(word::SYNC_FAILED) != 0 || !try_alone(&arena.peers, &arena.dir)? {
        return Ok(());
    }
    arena.meta.store(word::NEWEST_MS, arena.now_ms());
    for kind in [FileKind::Data, FileKind::Index, FileKind::Meta] {
        sync_file(arena, kind)?;
    }
    arena.meta.store(word::DIRTY, 0);
    arena.meta.store(word::CLEAN, 1);
    sync_file(arena, FileKind::Meta)
}

/// The format that this library writes, for messages and statistics.
pub(super) fn format() -> (u16, u16) {
    (MAJOR, MINOR)
}
