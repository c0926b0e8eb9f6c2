//! The sweep with power cuts: all rules hold, and each is needed. See `src/power.rs` for what is
//! promised and what is left out.

use holdfast_model::power::{Power, RULES, Rule};
use holdfast_model::rules::{Rules, breaks, extra, holds};

const MOST: usize = 150_000_000;

/// One cut; two, of which the second shows what was made of the first; a cache.
fn models(rules: Rules) -> [Power; 3] {
    let once = Power {
        rules,
        evicts: false,
        puts: 2,
        deletes: 1,
        touches: 1,
        sweeps: 2,
        ticks: 1,
        cuts: 1,
    };
    let twice = Power { touches: 0, sweeps: 1, cuts: 2, ..once };
    [once, twice, Power { evicts: true, touches: 0, ..once }]
}

#[test]
fn holds_over_cuts() {
    for (model, name) in models(Rules::ALL).iter().zip(["one cut", "two cuts", "a cache"]) {
        let model = Power { sweeps: model.sweeps + extra(), ..*model };
        holds(&format!("power, {name}"), &model, MOST);
    }
}

#[test]
fn every_rule_is_needed() {
    for (rule, name) in RULES {
        let [once, twice, cache] = models(Rules::ALL.without(*rule as u32));
        let model = match rule {
            Rule::Horizon | Rule::ExpiredStays => twice,
            // The next incarnation's second record takes the tombstone's place on the disk, while the
            // header and the value that it hid are still the old ones.
            Rule::SecondRound => Power { puts: 3, touches: 0, sweeps: 1, ticks: 0, ..once },
            Rule::EvictionNoted | Rule::MoveNoted | Rule::AbsentBuried => cache,
            _ => once,
        };
        breaks(name, &[model], MOST);
    }
}
