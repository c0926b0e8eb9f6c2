//! Session locks: all rules hold, and each is needed. See `src/lock.rs` for what is promised and what
//! is left out.

use holdfast_model::lock::{Locks, RULES};
use holdfast_model::rules::{Rules, breaks, extra, holds};

const MOST: usize = 60_000_000;

fn all(rules: Rules) -> Locks {
    Locks { rules, deaths: 2, leases: 1, leavers: 1 }
}

#[test]
fn holds_with_deaths_leases_and_leavers() {
    let model = Locks { leases: 1 + extra(), leavers: 1 + extra(), ..all(Rules::ALL) };
    holds("session lock", &model, MOST);
    holds("session lock, nobody leaves", &Locks { leases: 0, leavers: 0, ..model }, MOST);
}

#[test]
fn every_rule_is_needed() {
    for (rule, name) in RULES {
        let model = all(Rules::ALL.without(*rule as u32));
        let patient = Locks { leases: 0, leavers: 0, ..model };
        breaks(name, &[model, patient, Locks { deaths: 1, ..patient }], MOST);
    }
}
