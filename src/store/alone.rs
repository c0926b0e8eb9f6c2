//! Alone with a store: it is made, believed as it was left, or rebuilt from its log, and closed.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::files::{
    Files, boot_of, data_is_missing, inode, is_whole, map_data, map_exact, map_index, no_store,
    note_own_files, open_peers, super_is_missing, sync_file, try_alone, was_in_memory,
    who_is_there,
};
use super::superblock::{Superblock, cores};
use super::{growth, recover, state};
use crate::arena::{Arena, meta_magic, word};
use crate::error::{Error, Result};
use crate::index;
use crate::options::Options;
use crate::sys::clock::Time;
use crate::sys::dir::{self, Dir};
use crate::sys::disk::{self, Disk, FileKind, RealDisk};
use crate::sys::map::Map;
use crate::sys::peers::Peers;

const DAY_MS: u64 = 24 * 3600 * 1000;
const HOLD_MS: u64 = 10 * 60 * 1000;

/// Longer than an opening or closing takes that nothing holds up.
const SOON: Duration = Duration::from_secs(2);

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

/// The one that decides.
pub(super) struct Alone<'a> {
    pub(super) dir: Dir,
    pub(super) boot: [u64; 2],
    pub(super) options: &'a Options,
}

impl Alone<'_> {
    /// Makes the store ready; the others wait until its caller lets them in.
    pub(super) fn make_ready(self, peers: Peers) -> Result<Arena> {
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
