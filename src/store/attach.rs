//! Opening: who is alone decides (create, trust, heal or rebuild), the others join.
//!
//! Byte 0 of the file `lock` is held shared by everybody attached. Whoever gets it exclusively is
//! alone: it makes the store ready, then lets the others in. Who joins looks again whether it is
//! ready, and on this kernel, after it has the byte.

use std::io::Read;
use std::path::Path;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::alone::Alone;
use super::files::{
    Files, boot_of, check_files, data_is_missing, inode, is_whole, lock_failed, map_data,
    map_exact, map_index, no_store, open_peers, replaced, share, try_alone, who_is_there,
};
use super::superblock::{MAJOR, MINOR, Superblock};
use crate::arena::{Arena, meta_magic, slot, word};
use crate::error::{Error, Result};
use crate::options::Options;
use crate::sys::clock;
use crate::sys::dir::{self, Dir};
use crate::sys::map::Map;
use crate::sys::peers::Peers;

/// Longer than several who open it at once get in each other's way.
const ORPHANED: Duration = Duration::from_millis(800);

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
            return attach_alone(Alone { dir, boot, options }, peers);
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
                    return attach_alone(Alone { dir, boot, options }, peers);
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

/// Makes the store ready, lets the others in and joins them.
fn attach_alone(alone: Alone, peers: Peers) -> Result<Arena> {
    let arena = alone.make_ready(peers)?;
    share(&arena.peers, &arena.dir)?;
    claim(&arena)?;
    Ok(arena)
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

/// The format that this library writes, for messages and statistics.
pub(super) fn format() -> (u16, u16) {
    (MAJOR, MINOR)
}
