//! The write path with deaths: all its rules hold, and each is needed. See `src/write_path.rs` for
//! what is promised and what is left out.

use holdfast_model::rules::{Rules, breaks, extra, holds};
use holdfast_model::write_path::{RULES, WritePath};

const MOST: usize = 150_000_000;

/// Two stripes that share a lane; two keys of one stripe; the same with deletes; a writer that goes
/// on after its slot was claimed again.
fn models(rules: Rules) -> [WritePath; 4] {
    let apart = WritePath {
        rules,
        stripe_of: [0, 1],
        writes: [1, 1, 0],
        reads: [0, 0, 2],
        deletes: false,
        deaths: 2,
    };
    let together = WritePath { stripe_of: [0, 0], ..apart };
    [
        apart,
        together,
        WritePath { deletes: true, ..together },
        WritePath { writes: [2, 1, 0], reads: [0, 0, 1], ..apart },
    ]
}

#[test]
fn holds_with_deaths() {
    for (model, name) in models(Rules::ALL).iter().zip(["apart", "together", "deletes", "again"]) {
        let mut model = *model;
        model.writes[1] += extra();
        holds(&format!("write path, {name}"), &model, MOST);
    }
}

#[test]
fn every_rule_is_needed() {
    for (rule, name) in RULES {
        breaks(name, &models(Rules::ALL.without(*rule as u32)), MOST);
    }
}
