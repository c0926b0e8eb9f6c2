//! Reading without a latch: look, copy, look again; only then is what was copied judged.

use std::sync::atomic::Ordering;

use super::pack;
use super::stripe::{Current, Stripe};
use super::{Item, Mark, flush, life, owner};
use crate::arena::{Arena, Count};
use crate::error::{Error, Result};
use crate::index::{Slot, Table, stripe_of};
use crate::key::Key;
use crate::limits::{LINE, READ_RETRIES};
use crate::log;
use crate::log::record::{self, COMPRESSED, GIVEN, Header, TOMBSTONE};
use crate::sys::map::Scratch;
use crate::sys::words::fence;

/// What one look without a latch came to.
pub(super) enum Look {
    Hit(Item),
    Miss,
    Damaged,
    /// Something moved while it was read.
    Again,
}

pub(super) fn damaged(arena: &Arena) -> Error {
    arena.count(Count::DamagedReads);
    Error::Damaged(format!(
        "a record in {} does not match its checksum; this key's value cannot be given",
        arena.dir.join("data").display()
    ))
}

/// Reads a value into `out` (which is cleared), taking no latch, and counts that.
#[inline]
pub(super) fn get(arena: &Arena, key: &Key, out: &mut Vec<u8>) -> Result<Option<Item>> {
    arena.count(Count::Gets);
    read_and(arena, key, out, |_| arena.count(Count::Hits))
}

/// A value that was read, with what only the store knows of it.
pub(super) struct Known {
    pub(super) item: Item,
    /// The record's number. Two records never share it, but two values may share a version that
    /// their writers gave.
    pub(super) seq: u64,
    /// The version, if its writer gave it.
    pub(super) given: Option<u64>,
}

/// Reads a value into `out` (which is cleared), taking no latch.
pub(super) fn read(arena: &Arena, key: &Key, out: &mut Vec<u8>) -> Result<Option<Known>> {
    let mut header = Header::default();
    let item = read_and(arena, key, out, |scratch| header = Header::decode(scratch.bytes()))?;
    let given = header.is(GIVEN).then(|| header.version());
    Ok(item.map(|item| Known { item, seq: header.seq, given }))
}

/// The same; `hit` gets the record when there is one. (Not by the caller: to look at the answer
/// costs a pass through memory.)
#[inline(always)]
fn read_and(
    arena: &Arena,
    key: &Key,
    out: &mut Vec<u8>,
    mut hit: impl FnMut(&mut Scratch),
) -> Result<Option<Item>> {
    for attempt in 0..=READ_RETRIES {
        // Whoever is overtaken again and again reads where nobody can overtake.
        let _still = match attempt {
            READ_RETRIES => Some(Stripe::latch(arena, key.hash)?),
            _ => None,
        };
        let begun = flush::under_way(arena);
        let mut scratch = Scratch::new();
        match look_in(arena, key, Some(out), &mut scratch)? {
            Look::Hit(_)
                if begun != 0 && attempt < READ_RETRIES && flush::is_left(arena, begun)? => {}
            Look::Hit(item) => {
                hit(&mut scratch);
                return Ok(Some(item));
            }
            Look::Miss => {
                out.clear();
                return Ok(None);
            }
            Look::Damaged => {
                out.clear();
                return Err(damaged(arena));
            }
            Look::Again => {}
        }
    }
    Err(damaged(arena))
}

/// Looks at an item without its value.
pub(super) fn exists(arena: &Arena, key: &Key) -> Result<Option<Item>> {
    for attempt in 0..=READ_RETRIES {
        let _still = match attempt {
            READ_RETRIES => Some(Stripe::latch(arena, key.hash)?),
            _ => None,
        };
        let begun = flush::under_way(arena);
        match look(arena, key, None)? {
            Look::Hit(_)
                if begun != 0 && attempt < READ_RETRIES && flush::is_left(arena, begun)? => {}
            Look::Hit(item) => return Ok(Some(item)),
            Look::Miss => return Ok(None),
            Look::Damaged => return Err(damaged(arena)),
            Look::Again => {}
        }
    }
    Err(damaged(arena))
}

/// One look: slot, copy, then slot, record and table again; only then are the copies judged.
#[inline(always)]
pub(super) fn look(arena: &Arena, key: &Key, out: Option<&mut Vec<u8>>) -> Result<Look> {
    look_in(arena, key, out, &mut Scratch::new())
}

/// The same; the header of a hit stays in `scratch`, but for its checksum and expiry.
#[inline(always)]
fn look_in(
    arena: &Arena,
    key: &Key,
    mut out: Option<&mut Vec<u8>>,
    scratch: &mut Scratch,
) -> Result<Look> {
    // What a dead process left half done comes first: nothing that was read changes later without
    // somebody who changes it. Asked after the look it could have been settled in between.
    if Stripe::is_left(arena, key.hash) {
        Stripe::settle_key(arena, key.hash)?;
    }
    let Some(table) = Table::of(arena, stripe_of(key.hash)) else {
        return Err(Error::Damaged(arena.dir.join("meta").display().to_string()));
    };
    let mut bad = false;
    let found = table.candidates(&arena.index, key.hash, |slot_at, slot| {
        match judge(arena, key, slot_at, slot, scratch, out.as_deref_mut()) {
            Ok(Judged::Other) => None,
            Ok(Judged::Bad) => {
                bad = true;
                None
            }
            Ok(Judged::Moved) => Some(Ok(Look::Again)),
            Ok(Judged::Mine(look)) => Some(Ok(look)),
            Err(e) => Some(Err(e)),
        }
    });
    fence(Ordering::Acquire);
    let moved = !table.is_still(arena, stripe_of(key.hash));
    match found {
        Some(Err(e)) => Err(e),
        _ if moved => Ok(Look::Again),
        Some(Ok(look)) => Ok(look),
        None if bad => Ok(Look::Damaged),
        None => Ok(Look::Miss),
    }
}

enum Judged {
    /// Another key.
    Other,
    /// A record that is not whole: it may have been this key's.
    Bad,
    /// The slot changed meanwhile.
    Moved,
    Mine(Look),
}

#[inline(always)]
fn judge(
    arena: &Arena,
    key: &Key,
    slot_at: u64,
    slot: Slot,
    scratch: &mut Scratch,
    out: Option<&mut Vec<u8>>,
) -> Result<Judged> {
    let at = slot.offset();
    if out.is_some() {
        arena.data.prefetch(at, slot.fetch_bytes());
    }
    let unmoved = || {
        fence(Ordering::Acquire);
        slot.same_place(Slot(arena.index.load(slot_at)))
    };
    let Some(header) = log::read_header(arena, at, key.bytes.len(), scratch) else {
        return Ok(if unmoved() { Judged::Bad } else { Judged::Moved });
    };
    if !log::is_of(&header, scratch, key) {
        let whole = is_whole_header(arena, at, scratch);
        // A place that was left may be another key's by now, and this key's record elsewhere.
        return Ok(match unmoved() {
            true if whole => Judged::Other,
            true => Judged::Bad,
            false => Judged::Moved,
        });
    }
    let holds = header.plausible(log::room_at(arena, at))
        && (header.owner_len == 0 || log::read_names(arena, at, &header, scratch))
        && header.checks(scratch.bytes())
        && !header.is(TOMBSTONE);
    if !holds {
        return Ok(if unmoved() { Judged::Bad } else { Judged::Moved });
    }
    let reads = out.is_some();
    Ok(match take(arena, slot_at, slot, header, scratch, out)? {
        Look::Again => Judged::Moved,
        Look::Hit(item) if reads && arena.evicts() => {
            note_read(arena, slot_at, slot);
            Judged::Mine(Look::Hit(item))
        }
        look => Judged::Mine(look),
    })
}

/// For the eviction: a value that is read stays longer. Lost if the slot changed meanwhile.
#[inline(always)]
fn note_read(arena: &Arena, slot_at: u64, slot: Slot) {
    let noted = slot.with_frequency(slot.frequency() + 1);
    if noted != slot {
        let _ = arena.index.cas(slot_at, slot.0, noted.0);
    }
}

/// Takes what is behind a slot, once its header was found to hold (it and its names are in
/// `scratch`): its value, if wanted, and what is known of it. Copies, then looks whether anything
/// moved; only then are the copies judged.
#[inline(always)]
pub(super) fn take(
    arena: &Arena,
    slot_at: u64,
    slot: Slot,
    mut header: Header,
    scratch: &mut Scratch,
    out: Option<&mut Vec<u8>>,
) -> Result<Look> {
    let at = slot.offset();
    let unmoved = || {
        fence(Ordering::Acquire);
        slot.same_place(Slot(arena.index.load(slot_at)))
    };
    // A touch may store this word while bytes are copied: only a load of its own is whole.
    header.expiry = arena.data.load(at + record::EXPIRY_AT);
    let mut value_len = header.value_len as u64;
    let mut value_holds = true;
    if let Some(out) = out {
        out.clear();
        value_holds = log::read_value(arena, at, &header, out)?;
        // The first two words again: a record that began to be overwritten shows here.
        let first = header.first_word();
        if !unmoved() || arena.data.load(at) != first || arena.data.load(at + 8) != header.seq {
            return Ok(Look::Again);
        }
        value_holds = value_holds && record::value_crc(out) == header.value_crc;
        if header.is(COMPRESSED) {
            value_holds = value_holds && pack::unpack(out)?;
            value_len = out.len() as u64;
        }
    } else {
        if header.is(COMPRESSED) {
            let claimed = log::first_word(arena, at, &header);
            let original = claimed.and_then(|word| pack::original_len(word, value_len));
            value_holds = original.is_some();
            value_len = original.unwrap_or_default();
        }
        if !unmoved() {
            return Ok(Look::Again);
        }
    }
    let Some(expires_ms) = header.expires_ms().filter(|_| value_holds) else {
        return Ok(Look::Damaged);
    };
    let standing = || owner::standing(arena, &header, &scratch.bytes()[LINE as usize..]);
    let life = life::of(arena, &header, expires_ms, standing, || arena.now_ms());
    if !life.is_value(arena)? {
        return Ok(Look::Miss);
    }
    Ok(Look::Hit(item(&header, value_len, expires_ms)))
}

fn is_whole_header(arena: &Arena, at: u64, scratch: &mut Scratch) -> bool {
    log::read_checked(arena, at, scratch).is_some()
}

pub(super) fn item(header: &Header, value_len: u64, expires_ms: u64) -> Item {
    Item {
        version: header.version(),
        flags: header.user_flags,
        expires_ms,
        value_len,
        mark: Mark::of(header.flags),
    }
}

/// Reads the stored bytes of a record under its stripe's latch, checked.
pub(super) fn read_current(arena: &Arena, current: &Current, out: &mut Vec<u8>) -> Result<()> {
    let read = log::read_value(arena, current.slot.offset(), &current.header, out)?;
    match read && record::value_crc(out) == current.header.value_crc {
        true => Ok(()),
        false => Err(damaged(arena)),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;
    use std::time::{Duration, Instant};

    use super::*;
    use crate::arena::stripe;
    use crate::key::Kind;
    use crate::options::{Options, Sync, Ttl};
    use crate::store::ops::{self, Doomed};
    use crate::store::stripe::Found;
    use crate::store::{Store, Write};
    use crate::sys::latch;

    fn made() -> Result<(tempfile::TempDir, Store)> {
        let private = PermissionsExt::from_mode(0o700);
        let dir = tempfile::Builder::new().permissions(private).tempdir().expect("a directory");
        let options = Options {
            create: true,
            thread: false,
            sync: Some(Sync::None),
            max_bytes: Some(8 << 20),
            ..Options::default()
        };
        let store = Store::open(dir.path(), &options)?;
        Ok((dir, store))
    }

    fn slot_of(store: &Store, name: &[u8]) -> Result<(u64, Slot)> {
        let arena = store.arena()?;
        store.set(name, b"value", 0, Ttl::Never)?;
        let key = store.key(arena, name)?;
        match Stripe::latch(arena, key.hash)?.find(&key) {
            Found::Present(current) => Ok((current.slot_at, current.slot)),
            _ => panic!("it was just written"),
        }
    }

    /// A reader is slow, its key's record is moved meanwhile, and another key's record comes to lie
    /// in the old place: the key is not missing.
    #[test]
    fn another_keys_record_is_believed_only_while_the_slot_names_it() -> Result<()> {
        let (_dir, store) = made()?;
        let arena = store.arena()?;
        let (mine, other) = (slot_of(&store, b"mine")?, slot_of(&store, b"other")?);
        let key = store.key(arena, b"mine")?;
        let judged =
            |slot_at| judge(arena, &key, slot_at, other.1, &mut Scratch::new(), Some(&mut vec![]));
        assert!(matches!(judged(mine.0)?, Judged::Moved), "the slot names another place by now");
        assert!(matches!(judged(other.0)?, Judged::Other), "the slot still names it");
        Ok(())
    }

    /// Keys whose hashes are the same in all 64 bits: the bytes tell them apart, also where the sweep
    /// moves them and a rebuild finds them.
    #[test]
    fn keys_of_one_hash_are_told_apart() -> Result<()> {
        let (dir, mut store) = made()?;
        let key = |bytes| Key { bytes, hash: 0x1234_5678_9abc_def0, kind: Kind::Value };
        let set = |store: &Store, name, value: &[u8]| -> Result<()> {
            ops::put(store.arena()?, &key(name), value, &Write::default()).map(drop)
        };
        let shown = |store: &Store, name| -> Result<Option<Vec<u8>>> {
            let mut value = Vec::new();
            Ok(get(store.arena()?, &key(name), &mut value)?.map(|_| value))
        };
        for name in [&b"one"[..], b"two", b"three"] {
            set(&store, name, name)?;
        }
        set(&store, b"two", b"second")?;
        ops::delete(store.arena()?, &key(b"three"), Doomed::Any, None)?;
        for what in ["written", "moved", "found by a rebuild"] {
            match what {
                "moved" => drop(store.compact()?),
                "found by a rebuild" => {
                    drop(store);
                    std::fs::remove_file(dir.path().join("meta")).expect("meta was there");
                    store = Store::open(dir.path(), &Options::default())?;
                }
                _ => {}
            }
            assert_eq!(shown(&store, b"one")?.as_deref(), Some(&b"one"[..]), "{what}");
            assert_eq!(shown(&store, b"two")?.as_deref(), Some(&b"second"[..]), "{what}");
            assert_eq!(shown(&store, b"three")?, None, "{what}");
            assert_eq!(shown(&store, b"four")?, None, "{what}");
        }
        Ok(())
    }

    /// Who looks may have a stripe and a lock, and whoever has just seen to what was left here may
    /// want that lock next: if the look waited for the latch both would wait in vain.
    #[test]
    fn a_look_waits_for_what_was_left_half_done_and_not_for_the_latch() -> Result<()> {
        let (_dir, store) = made()?;
        let arena = store.arena()?;
        let (_, slot) = slot_of(&store, b"owner")?;
        let key = store.key(arena, b"owner")?;
        let row = arena.geometry.stripe(stripe_of(key.hash));
        let latch = arena.meta.cell(row + stripe::LATCH);
        // Armed by a process slot that nobody has.
        arena.meta.store(row + stripe::REDO_SLOT, slot.0);
        arena.meta.store(row + stripe::REDO_RECORD, slot.offset() | 5 << 40);
        arena.meta.store(row + stripe::REDO, 1);
        assert!(latch::try_acquire(latch, arena.peers.slot()));
        let (begun, seen) = std::thread::scope(|scope| {
            scope.spawn(|| {
                std::thread::sleep(Duration::from_millis(50));
                arena.meta.store(row + stripe::REDO, 0);
            });
            (Instant::now(), look(arena, &key, None))
        });
        assert!(begun.elapsed() >= Duration::from_millis(50), "it did not wait");
        assert!(
            matches!(seen?, Look::Hit(_)),
            "the latch is still held, and what it saw to is done"
        );
        latch::release(latch);
        Ok(())
    }
}
