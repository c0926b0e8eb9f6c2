//! What the operating system knows of this process: the usual `process_*` families, and the same under
//! the names of memcached_exporter's process collector. Reads /proc/self; what cannot be read there is
//! left out.

use std::fs;

use rustix::process::{Resource, getrlimit};

use super::text::Page;
use super::text::Type::{Counter, Gauge};
use super::{Numbers, look_up};

/// All of them, under both names.
pub(super) fn families(page: &mut Page, numbers: &Numbers) {
    let cpu = |name| look_up(&numbers.general, name).and_then(|text| text.parse::<f64>().ok());
    let used = cpu("rusage_user").zip(cpu("rusage_system")).map(|(user, system)| user + system);
    let moment = |name| look_up(&numbers.general, name).and_then(|text| text.parse::<u32>().ok());
    let start =
        moment("time").zip(moment("uptime")).map(|(now, up)| f64::from(now.saturating_sub(up)));
    let (virtual_bytes, resident) = memory().unzip();
    let as_f64 = |bytes: Option<u64>| bytes.map(to_f64);
    let rows = [
        ("cpu_seconds_total", Counter, used, "CPU time, seconds."),
        ("start_time_seconds", Gauge, start, "When the process started, unix seconds."),
        ("open_fds", Gauge, as_f64(open_fds()), "File descriptors that are open."),
        (
            "max_fds",
            Gauge,
            as_f64(getrlimit(Resource::Nofile).current),
            "File descriptors that may be.",
        ),
        ("virtual_memory_bytes", Gauge, as_f64(virtual_bytes), "Virtual memory, bytes."),
        (
            "resident_memory_bytes",
            Gauge,
            as_f64(resident),
            "Memory, the store's mapped pages included.",
        ),
    ];
    for prefix in ["process_", "memcached_process_"] {
        for (name, what, value, help) in rows {
            if let Some(value) = value {
                page.single(&format!("{prefix}{name}"), what, help, value);
            }
        }
    }
}

/// Prometheus knows no other numbers; sizes of processes are far below 2^53.
#[allow(clippy::cast_precision_loss, reason = "see above")]
fn to_f64(number: u64) -> f64 {
    number as f64
}

/// Virtual and resident bytes (proc(5), statm).
fn memory() -> Option<(u64, u64)> {
    let text = fs::read_to_string("/proc/self/statm").ok()?;
    let page = u64::try_from(rustix::param::page_size()).ok()?;
    let mut pages = text.split_whitespace().map(|word| word.parse::<u64>().ok());
    let (size, resident) = (pages.next()??, pages.next()??);
    Some((size.saturating_mul(page), resident.saturating_mul(page)))
}

fn open_fds() -> Option<u64> {
    // The one that reads the directory is among them.
    let count = fs::read_dir("/proc/self/fd").ok()?.count().saturating_sub(1);
    u64::try_from(count).ok()
}
