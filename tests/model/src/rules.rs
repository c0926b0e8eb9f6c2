//! The rules of a protocol, each of which can be left out: a model that holds shows little as long
//! as nobody has seen it fail.

use crate::search::{Model, Searched, search};

/// Which rules are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rules(u32);

impl Rules {
    /// All of them.
    pub const ALL: Rules = Rules(u32::MAX);

    /// All of them but this one.
    pub fn without(self, rule: u32) -> Rules {
        Rules(self.0 & !(1 << rule))
    }

    /// Is this one kept?
    pub fn keeps(self, rule: u32) -> bool {
        self.0 & 1 << rule != 0
    }
}

/// A rule: what is done, in words.
pub type Named<R> = (R, &'static str);

/// How much more than usual is to happen in each model: `HOLDFAST_MODEL_SIZE` less one.
pub fn extra() -> u8 {
    let size = std::env::var("HOLDFAST_MODEL_SIZE").ok().and_then(|size| size.parse().ok());
    size.unwrap_or(1).max(1) - 1
}

/// Searches a model with all its rules, prints how many states that were, and fails if it breaks.
pub fn holds<M: Model>(name: &str, model: &M, most: usize) -> Searched {
    let found = search(model, most);
    println!("{name}: {} states, {} steps deep", found.states, found.depth);
    if let Some(broken) = &found.broken {
        panic!("{name}: {}\n{}", broken.what, broken.trace.join("\n"));
    }
    found
}

/// Searches models without one of their rules, one after the other until something breaks, prints
/// the shortest way to that, and fails if nothing does.
pub fn breaks<M: Model>(rule: &str, models: &[M], most: usize) -> &'static str {
    let mut states = 0;
    for model in models {
        let found = search(model, most);
        states += found.states;
        if let Some(broken) = found.broken {
            println!("without \"{rule}\": {}, after {states} states", broken.what);
            println!("{}\n", broken.trace.join("\n"));
            return broken.what;
        }
    }
    panic!("nobody notices that this is left out ({states} states): {rule}");
}
