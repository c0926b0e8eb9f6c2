//! The files of a store: mapped, believed, missed when they are no longer where they were, synced.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64};

use super::superblock::Superblock;
use crate::arena::{Arena, meta_magic, slot, word};
use crate::error::{Error, Result};
use crate::key::KeyHash;
use crate::options::Options;
use crate::sys::clock::Time;
use crate::sys::dir::{self, Dir};
use crate::sys::disk::{Disk, FileKind, RealDisk, Syncing};
use crate::sys::map::Map;
use crate::sys::peers::Peers;

pub(super) fn no_store(dir: &Dir) -> Result<Error> {
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

pub(super) fn lock_failed(dir: &Dir, e: std::io::Error) -> Error {
    Error::io(format!("locking {}", dir.join("lock").display()), e)
}

pub(super) fn try_alone(peers: &Peers, dir: &Dir) -> Result<bool> {
    peers.try_alone().map_err(|e| lock_failed(dir, e))
}

pub(super) fn share(peers: &Peers, dir: &Dir) -> Result<bool> {
    peers.try_share().map_err(|e| lock_failed(dir, e))
}

pub(super) fn open_peers(dir: &Dir) -> Result<Peers> {
    let life = dir.open_or_create("lock")?;
    let probe = dir.open_or_create("lock")?;
    Peers::new(life, probe, &dir.join("lock"))
}

/// Process ids of those who have it open, some of them if they are many.
pub(super) fn who_is_there(dir: &Dir, peers: &Peers) -> Result<Vec<String>> {
    let Some(superblock) = Superblock::read(dir)? else { return Ok(Vec::new()) };
    let Some(meta) = map_exact(dir, "meta", superblock.geometry.meta_bytes())? else {
        return Ok(Vec::new());
    };
    let slots = 0..superblock.geometry.slots as u32;
    let pid = |slot: u32| meta.load(superblock.geometry.slot(slot) + slot::PID);
    let held = slots.filter(|slot| pid(*slot) != 0 && peers.alive(*slot));
    Ok(held.take(20).map(|slot| pid(slot).to_string()).collect())
}

pub(super) fn data_is_missing(dir: &Dir) -> Error {
    Error::Damaged(format!(
        "{} is missing: this store's sessions were in it. Put it back, or remove the whole \
         directory to start with an empty store",
        dir.join("data").display()
    ))
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

pub(super) fn replaced(arena: &Arena, name: &str) -> Error {
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

/// The files of a store, mapped.
pub(super) struct Files {
    pub(super) superblock: Superblock,
    pub(super) data: Map,
    pub(super) index: Map,
    pub(super) meta: Map,
}

impl Files {
    pub(super) fn arena(self, dir: Dir, peers: Peers, options: &Options) -> Arena {
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
pub(super) fn map_exact(dir: &Dir, name: &str, bytes: u64) -> Result<Option<Map>> {
    let Some(file) = dir.open_file(name)? else { return Ok(None) };
    let map = Map::shared(file, bytes, &dir.join(name).display().to_string())?;
    Ok((map.usable() == bytes).then_some(map))
}

/// Maps a file that grows, if it is there, with address space for all that it may become.
fn map_growing(dir: &Dir, name: &str, reserve: u64) -> Result<Option<Map>> {
    let Some(file) = dir.open_file(name)? else { return Ok(None) };
    Map::shared(file, reserve, &dir.join(name).display().to_string()).map(Some)
}

pub(super) fn map_data(dir: &Dir, superblock: &Superblock) -> Result<Option<Map>> {
    map_growing(dir, "data", superblock.geometry.data_bytes())
}

pub(super) fn map_index(dir: &Dir, superblock: &Superblock) -> Result<Option<Map>> {
    map_growing(dir, "index", superblock.geometry.index_reserve())
}

/// Is this meta of this store, with these siblings, and was it made ready?
pub(super) fn is_whole(
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

pub(super) fn inode(dir: &Dir, name: &str, map: &Map) -> Result<u64> {
    map.file().map_or(Ok(0), |file| Ok(dir::identity(file, &dir.join(name))?.1))
}

pub(super) fn boot_of(meta: &Map) -> [u64; 2] {
    [meta.load(word::BOOT_ID), meta.load(word::BOOT_ID + 8)]
}

/// Is this what its processes left in memory, and not what the disk has of it? Nobody can tell where
/// the kernel does not remember files: then it is, as long as this boot lasts.
pub(super) fn was_in_memory(meta: &Map) -> bool {
    meta.load(word::REMEMBERED) != 1 || meta.file().is_none_or(dir::is_remembered)
}

/// Which files whoever joins must hold too.
pub(super) fn note_own_files(arena: &Arena) -> Result<()> {
    let remembered = arena.meta.file().is_some_and(dir::remember);
    arena.meta.store(word::REMEMBERED, remembered as u64);
    arena.meta.store(word::LOCK_INODE, arena.peers.lock_identity().1);
    arena.meta.store(word::META_INODE, inode(&arena.dir, "meta", &arena.meta)?);
    Ok(())
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
