//! What the generator asks of the operating system: open files, its processors, CPU times.
//! It changes nothing beyond its own process. Called before a run and around its measurement.

use anyhow::{Context, bail};
use rustix::process::{Resource, getrlimit, setrlimit};
use rustix::thread::{CpuSet, sched_setaffinity};
use rustix::time::{ClockId, clock_gettime};
use std::time::Duration;

/// Lets this process have so many files open, or says why it cannot.
pub(super) fn allow_files(needed: usize) -> anyhow::Result<()> {
    let needed = needed as u64;
    let mut limit = getrlimit(Resource::Nofile);
    if limit.current.is_none_or(|current| current >= needed) {
        return Ok(());
    }
    if let Some(maximum) = limit.maximum.filter(|&maximum| maximum < needed) {
        bail!(
            "{needed} open files are needed and this process may have {maximum} (its hard limit \
             of open files): fewer --connections and --idle, or raise it with `ulimit -Hn`"
        );
    }
    limit.current = limit.maximum;
    setrlimit(Resource::Nofile, limit).context("raising the limit of open files")
}

/// Keeps the calling thread on one processor.
pub(super) fn stay_on(cpu: usize) -> anyhow::Result<()> {
    let mut set = CpuSet::new();
    set.set(cpu);
    sched_setaffinity(None, &set)
        .with_context(|| format!("--cpu {cpu}: this process may not run there"))
}

/// The CPU time of this process so far, user and system.
pub(super) fn own_cpu() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    let nanoseconds = u64::try_from(time.tv_nsec).unwrap_or(0);
    Duration::from_secs(seconds) + Duration::from_nanos(nanoseconds)
}

/// The CPU time of all threads of another process so far, user and system.
pub(super) fn cpu_of(pid: u32) -> anyhow::Result<Duration> {
    let path = format!("/proc/{pid}/stat");
    let stat = std::fs::read_to_string(&path)
        .with_context(|| format!("the server's process {pid}: cannot read {path}"))?;
    let ticks = ticks(&stat).with_context(|| format!("{path} has no CPU times"))?;
    let per_second = rustix::param::clock_ticks_per_second().max(1);
    Ok(Duration::from_secs_f64(ticks as f64 / per_second as f64))
}

/// proc(5): utime and stime are fields 14 and 15. The second field, the name, may contain anything,
/// so they are counted from its last parenthesis.
fn ticks(stat: &str) -> Option<u64> {
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_ascii_whitespace().skip(11);
    let user = fields.next()?.parse::<u64>().ok()?;
    let system = fields.next()?.parse::<u64>().ok()?;
    user.checked_add(system)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpu_times_are_found_behind_any_name() {
        let stat = "7 (a) b 1 2) S 1 7 7 0 -1 4194560 100 0 0 0 250 17 0 0 20 0 1 0 5 6 7";
        assert_eq!(ticks(stat), Some(267));
        assert_eq!(ticks("7 (a) S 1"), None);
        assert_eq!(ticks(""), None);
    }

    #[test]
    fn a_busy_process_has_used_time() {
        let (before, of_before) = (own_cpu(), cpu_of(std::process::id()).unwrap());
        let mut sum = 0u64;
        while own_cpu() - before < Duration::from_millis(40) {
            sum = super::super::pick::mix(sum);
        }
        let of_after = cpu_of(std::process::id()).unwrap();
        assert!(of_after > of_before, "{of_before:?} {of_after:?} {sum}");
    }

    #[test]
    fn what_the_system_denies_is_said() {
        assert!(cpu_of(u32::MAX).unwrap_err().to_string().contains("process"));
        assert!(stay_on(CpuSet::MAX_CPU - 1).unwrap_err().to_string().contains("--cpu"));
        assert!(allow_files(64).is_ok());
        if getrlimit(Resource::Nofile).maximum.is_some() {
            let error = allow_files(usize::MAX).unwrap_err().to_string();
            assert!(error.contains("hard limit"), "{error}");
        }
    }
}
