//! What is killed: every operation that stores to shared memory, each with what goes before it.
//!
//! An operation that is not in here dies untested, so a new verb needs a line in one of these
//! files. What opens, closes and makes stores is in `opening.rs`.

mod locks;
mod owners;
mod space;
mod values;
mod whole;

use holdfast::{Held, Options};

use crate::scene::Scene;

/// An operation, what goes before it in the parent, and what in the child that is to die in it.
pub struct Act {
    pub name: &'static str,
    pub options: fn(&mut Options),
    pub before: fn(&Scene),
    pub child: fn(&Scene) -> Option<Held>,
    pub act: fn(&holdfast::Store, Option<Held>),
    /// Attaching is part of it.
    pub attaches: bool,
    /// Only the next change of the value settles what became of it.
    pub is_settled_by_a_change: bool,
    /// Whoever is alone with the store afterwards makes index and meta anew.
    pub is_rebuilt: bool,
    /// How much is stored afterwards in what was given back.
    pub fillers: u32,
}

/// Most begin with a value and with nothing in the child.
const USUAL: Act = Act {
    name: "",
    options: |_| {},
    before: Scene::old,
    child: |_| None,
    act: |_, _| {},
    attaches: false,
    is_settled_by_a_change: false,
    is_rebuilt: false,
    fillers: 8,
};

pub fn all() -> Vec<Act> {
    [values::acts(), locks::acts(), owners::acts(), whole::acts(), space::acts()]
        .into_iter()
        .flatten()
        .collect()
}

/// Those whose stores are few, so that a second death can follow each first one.
pub fn short() -> Vec<Act> {
    [values::acts(), locks::acts(), owners::acts(), whole::short()].into_iter().flatten().collect()
}
