//! A stripe's table becomes larger under readers and writers: a copy in another place, then one
//! store of the table's word.
//!
//! One at a time does this, under the growth latch. Mostly it is done ahead of need: whoever lets
//! go of a stripe that is crowded takes the growth latch, then the stripe. What is slow, the first
//! touch of each record and room in the file, comes before the stripe, so that its writers wait
//! for a copy in memory and nothing else. Who finds no slot for a new key has the stripe already
//! and takes the growth latch under it; that is no deadlock, because whoever holds the growth latch
//! waits for a stripe only a moment.

use std::time::Duration;

use super::stripe::Stripe;
use crate::arena::{Arena, Geometry, word};
use crate::error::{Error, Result};
use crate::index::{self, Slot, Table};
use crate::limits::{GROWTH_TRIES, INDEX_SHARE, INDEX_STEP, LINE, STRIPES};
use crate::log;
use crate::sys::disk::{self, FileKind};
use crate::sys::latch;
use crate::sys::map::{Map, Scratch};

/// How long who makes tables larger waits for a stripe, and others for who died at it.
const MOMENT: Duration = Duration::from_millis(5);
/// How long a new key without a slot waits for others' growth.
const PATIENCE: Duration = Duration::from_secs(1);

/// Makes a table larger in which a new key found no slot.
#[cold]
pub(super) fn make_way(stripe: &Stripe) -> Result<()> {
    let arena = stripe.arena();
    let cell = arena.meta.cell(word::GROWTH_LATCH);
    latch::acquire(cell, &arena.peers, arena.operation_timeout.min(PATIENCE))
        .ok_or_else(|| arena.busy("the growth of the index", latch::owner(cell)))?;
    Alone(arena).replace(stripe, 1)
}

/// Makes a crowded table larger, or a worn one anew, unless somebody is at one: then a later write
/// will. There still is room, so what is in the way is no failure of the write that came here.
#[cold]
pub(super) fn relieve(arena: &Arena, which: u64) {
    let _ = try_relieve(arena, which);
}

fn try_relieve(arena: &Arena, which: u64) -> Result<()> {
    let cell = arena.meta.cell(word::GROWTH_LATCH);
    if latch::owner(cell).is_some_and(|owner| arena.peers.alive(owner)) {
        return Ok(());
    }
    let Some(seen) = Table::of(arena, which) else { return Ok(()) };
    touch_records(arena, &seen);
    if latch::acquire(cell, &arena.peers, MOMENT).is_none() {
        return Ok(());
    }
    let alone = Alone(arena);
    // The file grows now, if it has to: nobody else takes the place.
    seen.successor(1, |bytes| find_place(arena, bytes))?;
    match Stripe::latch_within(arena, which, MOMENT)? {
        Some(stripe) if stripe.table().word == seen.word => {
            alone.replace(&stripe, stripe.is_crowded() as u64)
        }
        _ => Ok(()),
    }
}

/// Every record is touched once, so that under the latch it is in memory and mapped.
fn touch_records(arena: &Arena, table: &Table) {
    table.walk(&arena.index, prefetch(arena), |_, slot| {
        if arena.data.contains(slot.offset(), LINE) {
            std::hint::black_box(arena.data.load(slot.offset() + LINE / 2));
        }
        Some(())
    });
}

/// Header and, for the most part, key.
fn prefetch(arena: &Arena) -> impl Fn(Slot) {
    |slot| arena.data.prefetch(slot.offset(), 2 * LINE)
}

/// The one who makes a table larger.
struct Alone<'a>(&'a Arena);

impl Alone<'_> {
    /// Gives a stripe another table, at least so many sizes larger.
    fn replace(&self, stripe: &Stripe, least: u64) -> Result<()> {
        let (arena, old) = (self.0, stripe.table());
        for steps in least..least + GROWTH_TRIES {
            let new = old.successor(steps, |bytes| find_place(arena, bytes))?;
            let new = new.ok_or_else(|| full(arena))?;
            let mut scratch = Scratch::new();
            let used = new.take_over(&old, &arena.index, prefetch(arena), |slot| {
                log::hash_at(arena, slot.offset(), &mut scratch)
                    .filter(|hash| index::stripe_of(*hash) == stripe.number())
            });
            if let Some(used) = used {
                stripe.replace_table(new, used);
                return Ok(());
            }
        }
        Err(full(arena))
    }
}

impl Drop for Alone<'_> {
    fn drop(&mut self) {
        latch::release(self.0.meta.cell(word::GROWTH_LATCH));
    }
}

/// A place for a table, with disk space behind it.
fn find_place(arena: &Arena, bytes: u64) -> Result<u64> {
    let tables = all_tables(arena).ok_or_else(|| damaged(arena))?;
    let at = index::find_gap(&tables, bytes);
    let (end, ready) = (at + bytes, arena.meta.load(word::INDEX_BYTES));
    if end > ready {
        let (most, step) = (arena.geometry.index_reserve(), INDEX_STEP.max(ready / INDEX_SHARE));
        if end > most {
            return Err(full(arena));
        }
        // The file itself says how much of it there is, whatever became of the word.
        if !arena.index.contains(0, ready) {
            return Err(damaged(arena));
        }
        let grown = end.max(ready + step).next_multiple_of(4096).min(most);
        disk::grow(&*arena.disk, FileKind::Index, &arena.index, ready, grown)
            .map_err(|e| Error::io(format!("growing {}", arena.dir.join("index").display()), e))?;
        arena.meta.max(word::INDEX_BYTES, grown);
    }
    match arena.index.contains(at, bytes) {
        true => Ok(at),
        false => Err(damaged(arena)),
    }
}

fn tables(meta: &Map, index: &Map, geometry: &Geometry) -> Option<Vec<Table>> {
    (0..STRIPES).map(|which| Table::read(meta, index, geometry.stripe(which))).collect()
}

fn all_tables(arena: &Arena) -> Option<Vec<Table>> {
    tables(&arena.meta, &arena.index, &arena.geometry)
}

/// Does every stripe have a table, and each its place for itself? For who is alone with them.
pub(super) fn is_sound(meta: &Map, index: &Map, geometry: &Geometry) -> bool {
    tables(meta, index, geometry).is_some_and(|tables| index::are_apart(&tables))
}

/// Slots of the index as it is.
pub(super) fn slots(arena: &Arena) -> u64 {
    all_tables(arena).into_iter().flatten().map(|table| table.len()).sum()
}

#[cold]
fn damaged(arena: &Arena) -> Error {
    Error::Damaged(format!(
        "{} does not say where the index is; close all processes of this store and remove that \
         file, and the next to open the store makes it anew",
        arena.dir.join("meta").display()
    ))
}

#[cold]
pub(super) fn full(arena: &Arena) -> Error {
    Error::Full(format!(
        "the index has grown to the {} bytes that a store of {} bytes has for it; sessions that \
         expire make room, or create a larger store (max_bytes)",
        arena.geometry.index_reserve(),
        arena.geometry.data_bytes()
    ))
}
