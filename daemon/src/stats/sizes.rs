//! Classes of sizes, in the place of memcached's slabs, and what is known of each.
//!
//! The store does not count sizes. Its scan goes in the order of the keys' hashes, so the first few
//! thousand keys are a fair sample of all; of a small store they are all. What is shown for a larger
//! one is the sample's share of the number of keys.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use holdfast::{SCAN_DONE, Scan};

use super::{Facts, Lines, Panel, line, record_bytes};
use crate::counters::{CLASSES, ClassCount, class_bytes, class_of};
use crate::limits::SAMPLE_KEYS;

/// Bytes of a slab page, as tools of memcached assume.
const PAGE: u64 = 1 << 20;

#[derive(Debug, Clone, Copy, Default)]
struct Class {
    items: u64,
    bytes: u64,
    idle_s: u64,
}

/// How sizes are spread over the store.
#[derive(Debug, Clone)]
pub(super) struct Sample {
    classes: [Class; CLASSES],
    /// Items by the size of their records.
    sizes: BTreeMap<u64, u64>,
}

/// `part` of `whole`, for a `total`.
fn share(part: u64, whole: u64, total: u64) -> u64 {
    let share = u128::from(part) * u128::from(total) / u128::from(whole.max(1));
    u64::try_from(share).unwrap_or(u64::MAX)
}

impl Sample {
    fn take(panel: &Panel, facts: &Facts) -> holdfast::Result<Sample> {
        let mut sample = Sample { classes: [Class::default(); CLASSES], sizes: BTreeMap::new() };
        let (mut cursor, mut given) = (0, 0);
        // A page looks at a bounded number of records, and never at none.
        while cursor != SCAN_DONE && given < SAMPLE_KEYS {
            let scan = Scan { limit: SAMPLE_KEYS - given, ..Scan::default() };
            let page = facts.store.scan(&mut cursor, &scan, &mut |entry| {
                let bytes = record_bytes(entry.key, entry.item.value_len);
                if let Some(class) = sample.classes.get_mut(usize::from(class_of(bytes))) {
                    class.items += 1;
                    class.bytes += bytes;
                    let hash = facts.store.key_hash(entry.key).unwrap_or(0);
                    let idle_s = (facts.idle_s)(hash, entry.item.version);
                    class.idle_s = class.idle_s.max(idle_s);
                }
                *sample.sizes.entry(bytes).or_default() += 1;
                ControlFlow::Continue(())
            })?;
            given += page.given;
        }
        if cursor != SCAN_DONE {
            let keys = panel.store(facts)?.keys;
            for class in &mut sample.classes {
                class.items = share(class.items, given, keys);
                class.bytes = share(class.bytes, given, keys);
            }
            for items in sample.sizes.values_mut() {
                *items = share(*items, given, keys);
            }
        }
        Ok(sample)
    }

    /// The classes that have items.
    fn used(&self) -> impl Iterator<Item = (u8, &Class)> {
        (0..).zip(&self.classes).filter(|(_, class)| class.items > 0)
    }
}

fn sample(panel: &Panel, facts: &Facts) -> holdfast::Result<Sample> {
    panel.sample.get(|| Sample::take(panel, facts))
}

/// Counted by memcached for each class, and nothing that this store does.
const NOTHING: &[&str] = &[
    "evicted",
    "evicted_nonzero",
    "evicted_time",
    "outofmemory",
    "tailrepairs",
    "reclaimed",
    "expired_unfetched",
    "evicted_unfetched",
    "evicted_active",
    "crawler_reclaimed",
    "crawler_items_checked",
    "lrutail_reflocked",
    "moves_to_cold",
    "moves_to_warm",
    "moves_within_lru",
    "direct_reclaims",
    "hits_to_hot",
    "hits_to_warm",
];

pub(super) fn items(panel: &Panel, facts: &Facts, lines: &mut Lines) -> holdfast::Result<()> {
    let counted = facts.counters.snapshot();
    for (number, class) in sample(panel, facts)?.used() {
        let mut add = |name: &str, value: u64| line(lines, format!("items:{number}:{name}"), value);
        add("number", class.items);
        add("number_hot", 0);
        add("number_warm", 0);
        add("number_cold", class.items);
        add("age_hot", 0);
        add("age_warm", 0);
        add("age", class.idle_s);
        add("mem_requested", class.bytes);
        for name in NOTHING {
            add(name, 0);
        }
        add("hits_to_cold", counted.get_class(ClassCount::GetHits, number));
        add("hits_to_temp", 0);
    }
    Ok(())
}

pub(super) fn slabs(panel: &Panel, facts: &Facts, lines: &mut Lines) -> holdfast::Result<()> {
    let counted = facts.counters.snapshot();
    let sample = sample(panel, facts)?;
    for (number, class) in sample.used() {
        let mut add = |name: &str, value: u64| line(lines, format!("{number}:{name}"), value);
        let chunk = class_bytes(number);
        let a_page = (PAGE / chunk).max(1);
        let pages = class.items.div_ceil(a_page);
        let chunks = pages.saturating_mul(a_page);
        add("chunk_size", chunk);
        add("chunks_per_page", a_page);
        add("total_pages", pages);
        add("total_chunks", chunks);
        add("used_chunks", class.items);
        add("free_chunks", chunks.saturating_sub(class.items));
        add("free_chunks_end", 0);
        add("get_hits", counted.get_class(ClassCount::GetHits, number));
        add("cmd_set", counted.get_class(ClassCount::CmdSet, number));
        // Deletes and touches do not look at sizes: they are in the general statistics only.
        add("delete_hits", 0);
        add("incr_hits", counted.get_class(ClassCount::IncrHits, number));
        add("decr_hits", counted.get_class(ClassCount::DecrHits, number));
        add("cas_hits", counted.get_class(ClassCount::CasHits, number));
        add("cas_badval", counted.get_class(ClassCount::CasBadval, number));
        add("touch_hits", 0);
    }
    line(lines, "active_slabs", sample.used().count());
    line(lines, "total_malloced", panel.store(facts)?.data_bytes);
    Ok(())
}

pub(super) fn sizes(panel: &Panel, facts: &Facts, lines: &mut Lines) -> holdfast::Result<()> {
    for (bytes, items) in &sample(panel, facts)?.sizes {
        line(lines, bytes.to_string(), items);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_of_a_large_total_does_not_overflow() {
        assert_eq!(share(1, 4, 100), 25);
        assert_eq!(share(4096, 4096, u64::MAX), u64::MAX);
        assert_eq!(share(0, 0, 5), 0);
    }
}
