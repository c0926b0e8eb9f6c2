//! What the admin port tells: the executor's, the store's and the loops' numbers in one place.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use holdfast::backend::Backend;

use super::around::Around;
use crate::command::Dialect;
use crate::counters::{Op, Snapshot, bucket_end};
use crate::execute::Executor;
use crate::http::{Reason, Source};
use crate::metrics::{Latency, NetNumbers, Numbers};

/// Where the numbers are.
pub(super) struct Facts {
    executor: Arc<Executor>,
    store: Arc<dyn Backend>,
    around: Arc<Around>,
}

impl Facts {
    pub(super) fn new(
        executor: Arc<Executor>,
        store: Arc<dyn Backend>,
        around: Arc<Around>,
    ) -> Facts {
        Facts { executor, store, around }
    }

    fn net(&self) -> NetNumbers {
        let totals = self.around.watch().map(|watch| watch.totals()).unwrap_or_default();
        NetNumbers {
            writes: totals.writes,
            commits: totals.commits,
            timed_out: totals.timed_out,
            panicked: totals.panicked,
            accept_failed: totals.accept_failed,
        }
    }
}

fn latencies(counted: &Snapshot) -> Vec<Latency> {
    let pairs = Dialect::ALL.iter().flat_map(|dialect| Op::ALL.map(|op| (*dialect, op)));
    let latency = |(dialect, op): (Dialect, Op)| {
        let latency = counted.latency(dialect, op);
        let buckets = latency.buckets.iter().enumerate();
        Latency {
            op: op.name(),
            dialect: dialect.name(),
            buckets: buckets.map(|(number, count)| (bucket_end(number), *count)).collect(),
            sum: Duration::from_nanos(latency.sum_nanos),
        }
    };
    pairs.map(latency).collect()
}

impl Source for Facts {
    fn numbers(&self) -> Numbers {
        let group = |name| self.executor.stats(name).unwrap_or_default();
        Numbers {
            general: group(""),
            settings: group("settings"),
            items: group("items"),
            slabs: group("slabs"),
            store: self.store.stats().ok(),
            latencies: latencies(&self.executor.counted()),
            net: self.net(),
        }
    }

    fn ready(&self) -> Vec<Reason> {
        let mut reasons = Vec::new();
        if self.around.draining.load(Ordering::Relaxed) {
            reasons.push(Reason { code: "draining", text: "the server is about to end".into() });
        }
        if self.around.sync_failed() {
            let text = "the last sync failed: nothing new is acknowledged until the store is opened \
                        anew";
            reasons.push(Reason { code: "sync", text: text.into() });
        }
        if self.around.is_astray() {
            let text = "the store's directory was moved, removed or replaced";
            reasons.push(Reason { code: "store", text: text.into() });
        }
        if let Err(error) = self.store.now_ms().and_then(|_| self.store.exists(b"ready")) {
            reasons.push(Reason { code: "store", text: error.to_string() });
        }
        reasons
    }
}
