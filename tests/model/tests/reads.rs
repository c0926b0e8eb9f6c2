//! Reads that take nothing: all rules hold, and each is needed. See `src/reads.rs` for what is
//! promised and what is left out.

use holdfast_model::reads::{RULES, Reads, Rule, Wraps};
use holdfast_model::rules::{Rules, breaks, extra, holds};

const MOST: usize = 150_000_000;

fn models(rules: Rules) -> [Reads; 4] {
    let plain = Reads {
        rules,
        wraps: Wraps::Nothing,
        writes: 1,
        deletes: 1,
        others: 1,
        moves: 1,
        growths: 1,
    };
    let bare = rules.without(Rule::Checked as u32);
    // Without the other key: see src/reads.rs, what a slot that wraps cannot tell.
    let own = Reads { writes: 2, others: 0, growths: 0, ..plain };
    [
        plain,
        Reads { rules: bare, wraps: Wraps::Incarnations, ..own },
        Reads { wraps: Wraps::Incarnations, ..own },
        Reads { wraps: Wraps::SaltsToo, moves: 2, ..own },
    ]
}

/// Without checksums too as long as salts differ.
#[test]
fn holds_while_everything_moves() {
    for mut model in models(Rules::ALL) {
        model.moves += extra();
        holds(&format!("reads, {:?}", model.wraps), &model, MOST);
    }
}

#[test]
fn every_rule_is_needed() {
    for (rule, name) in RULES {
        breaks(name, &models(Rules::ALL.without(*rule as u32)), MOST);
    }
}

/// As long as salts differ the first word says all that the number could, and a place that is
/// written anew is named by no slot; when they do not differ the checksums are needed anyway.
#[test]
fn two_rules_are_for_good_measure() {
    for rule in [Rule::NumberAgain, Rule::ZeroFirst] {
        for model in models(Rules::ALL.without(rule as u32)) {
            holds(&format!("reads without {rule:?}, {:?}", model.wraps), &model, MOST);
        }
    }
}
