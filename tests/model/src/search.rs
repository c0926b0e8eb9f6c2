//! The search: every state that a model can reach, breadth first, so that the first wrong one has
//! the shortest way to it.
//!
//! A model says where it begins, which steps there are from a state, and what is wrong with a
//! state. Three things are errors: a state that is wrong, one from which nothing can happen though
//! not all is over, and one from which the end cannot be reached any more. Memory is sequentially
//! consistent here: a step is one access to what is shared, and everybody sees it at once. What a
//! search shows holds for the sizes that it was run with, and for no others.

use std::hash::{BuildHasher, BuildHasherDefault, Hash, Hasher};

/// A protocol, cut down until all its states can be looked at.
pub trait Model {
    /// Everything that there is: shared words, what each process is about to do, what was promised.
    type State: Clone + Eq + Hash;

    /// Where it begins.
    fn start(&self) -> Self::State;

    /// Every step that some process, the clock or the mains can make next.
    fn steps(&self, state: &Self::State, next: &mut Vec<(Step, Self::State)>);

    /// Which promise does this state break?
    fn wrong(&self, state: &Self::State) -> Option<&'static str>;

    /// Has everybody done what there was to do?
    fn is_over(&self, state: &Self::State) -> bool;

    /// A state in a line, for traces.
    fn show(&self, state: &Self::State) -> String;
}

/// Who does what. Processes have numbers; what no process does has names of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step(pub Who, pub &'static str);

/// Who makes a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Who {
    /// A process.
    Process(u8),
    /// Something outside of all of them.
    World,
}

/// What a search came to.
pub struct Searched {
    /// Different states that were reached.
    pub states: usize,
    /// Steps of the longest shortest way to one of them.
    pub depth: u32,
    /// `None`: the model holds.
    pub broken: Option<Broken>,
}

/// The shortest way to something wrong.
pub struct Broken {
    /// The promise that is broken.
    pub what: &'static str,
    /// A line for each step.
    pub trace: Vec<String>,
}

/// Looks at every state, or at all up to the first wrong one. More states than `most` is a panic:
/// a search that was cut short has shown nothing.
pub fn search<M: Model>(model: &M, most: usize) -> Searched {
    let mut seen = Seen::new(model.start());
    // The steps from each state that lead to a state known by then: the way back from the end.
    let mut edges: Vec<(u32, u32)> = Vec::new();
    let (mut next, mut at, mut depth) = (Vec::new(), 0, 0);
    if let Some(what) = model.wrong(&seen.states[0]) {
        return seen.broken(model, 0, what, depth);
    }
    while at < seen.states.len() {
        model.steps(&seen.states[at], &mut next);
        if next.is_empty() && !model.is_over(&seen.states[at]) {
            return seen.broken(model, at, "nobody can go on", depth);
        }
        for (_, state) in next.drain(..) {
            let (to, new) = seen.insert(state, at as u32);
            edges.push((to, at as u32));
            if new {
                depth = depth.max(seen.depth(to as usize));
                if let Some(what) = model.wrong(&seen.states[to as usize]) {
                    return seen.broken(model, to as usize, what, depth);
                }
            }
        }
        assert!(seen.states.len() <= most, "more than {most} states: make the model smaller");
        at += 1;
    }
    match seen.without_end(model, edges) {
        Some(lost) => seen.broken(model, lost, "the end cannot be reached any more", depth),
        None => Searched { states: seen.states.len(), depth, broken: None },
    }
}

/// The states met so far, in the order in which they were met.
struct Seen<S> {
    states: Vec<S>,
    /// From which state, and after how many steps.
    from: Vec<(u32, u32)>,
    /// Numbers of states plus one by their hash; 0 = free. A power of two, at most half full.
    table: Vec<u32>,
}

impl<S: Clone + Eq + Hash> Seen<S> {
    fn new(start: S) -> Seen<S> {
        let mut seen = Seen { states: Vec::new(), from: Vec::new(), table: vec![0; 1 << 12] };
        seen.insert(start, 0);
        seen
    }

    fn place(&self, state: &S) -> usize {
        let hash = BuildHasherDefault::<Mixer>::default().hash_one(state) as usize;
        let mut place = hash & (self.table.len() - 1);
        loop {
            match self.table[place] {
                0 => return place,
                number if self.states[number as usize - 1] == *state => return place,
                _ => place = (place + 1) & (self.table.len() - 1),
            }
        }
    }

    /// The number of a state, and whether it is new.
    fn insert(&mut self, state: S, from: u32) -> (u32, bool) {
        let place = self.place(&state);
        if self.table[place] != 0 {
            return (self.table[place] - 1, false);
        }
        let depth = if self.states.is_empty() { 0 } else { self.depth(from as usize) + 1 };
        self.states.push(state);
        self.from.push((from, depth));
        self.table[place] = self.states.len() as u32;
        if self.states.len() * 2 > self.table.len() {
            self.table = vec![0; self.table.len() * 2];
            for number in 0..self.states.len() {
                let place = self.place(&self.states[number]);
                self.table[place] = number as u32 + 1;
            }
        }
        (self.states.len() as u32 - 1, true)
    }

    fn depth(&self, number: usize) -> u32 {
        self.from[number].1
    }

    /// The first state from which no way leads to an end.
    fn without_end<M: Model<State = S>>(
        &self,
        model: &M,
        mut edges: Vec<(u32, u32)>,
    ) -> Option<usize> {
        edges.sort_unstable();
        let mut ends = vec![false; self.states.len()];
        let mut open: Vec<u32> = Vec::new();
        for (number, state) in self.states.iter().enumerate() {
            if model.is_over(state) {
                ends[number] = true;
                open.push(number as u32);
            }
        }
        while let Some(to) = open.pop() {
            let first = edges.partition_point(|edge| edge.0 < to);
            for (_, from) in edges[first..].iter().take_while(|edge| edge.0 == to) {
                if !ends[*from as usize] {
                    ends[*from as usize] = true;
                    open.push(*from);
                }
            }
        }
        ends.iter().position(|ends| !ends)
    }

    fn broken<M: Model<State = S>>(
        &self,
        model: &M,
        at: usize,
        what: &'static str,
        depth: u32,
    ) -> Searched {
        let mut way = vec![at];
        while way[way.len() - 1] != 0 {
            way.push(self.from[way[way.len() - 1]].0 as usize);
        }
        way.reverse();
        let mut trace = vec![format!("{:>10}  {:<44}  {}", "", "", model.show(&self.states[0]))];
        let mut next = Vec::new();
        for pair in way.windows(2) {
            let (from, to) = (&self.states[pair[0]], &self.states[pair[1]]);
            model.steps(from, &mut next);
            let step = next.iter().find(|(_, state)| state == to).expect("the step taken").0;
            next.clear();
            let who = match step.0 {
                Who::Process(number) => format!("process {number}"),
                Who::World => "the world".into(),
            };
            trace.push(format!("{who:>10}  {:<44}  {}", step.1, model.show(to)));
        }
        Searched { states: self.states.len(), depth, broken: Some(Broken { what, trace }) }
    }
}

/// A hash for states: a multiplication for each word. Nobody chooses states to make it slow.
#[derive(Default)]
struct Mixer(u64);

impl Mixer {
    fn add(&mut self, word: u64) {
        self.0 = (self.0.rotate_left(5) ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }
}

impl Hasher for Mixer {
    fn write(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.add(u64::from_le_bytes(word));
        }
    }

    fn write_u8(&mut self, n: u8) {
        self.add(n as u64);
    }

    fn write_u16(&mut self, n: u16) {
        self.add(n as u64);
    }

    fn write_u32(&mut self, n: u32) {
        self.add(n as u64);
    }

    fn write_u64(&mut self, n: u64) {
        self.add(n);
    }

    fn write_usize(&mut self, n: usize) {
        self.add(n as u64);
    }

    fn write_isize(&mut self, n: isize) {
        self.add(n as u64);
    }

    fn finish(&self) -> u64 {
        let mixed = (self.0 ^ self.0 >> 32).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed ^ mixed >> 29
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two processes add one to a counter: each loads it, then stores what it loaded plus one.
    struct Counter {
        locked: bool,
        gives_back: bool,
    }

    impl Model for Counter {
        /// The lock, the counter, and of each process what it is at and what it loaded.
        type State = (bool, u8, [(u8, u8); 2]);

        fn start(&self) -> Self::State {
            (false, 0, [(0, 0); 2])
        }

        fn steps(&self, state: &Self::State, next: &mut Vec<(Step, Self::State)>) {
            for who in 0..2 {
                let mut to = *state;
                let what = match to.2[who].0 {
                    0 if self.locked && to.0 => continue,
                    0 => {
                        to.0 = self.locked;
                        "takes the lock"
                    }
                    1 => {
                        to.2[who].1 = to.1;
                        "loads"
                    }
                    2 => {
                        to.1 = to.2[who].1 + 1;
                        "stores"
                    }
                    3 => {
                        to.0 = !self.gives_back;
                        "lets go"
                    }
                    _ => continue,
                };
                to.2[who].0 += 1;
                next.push((Step(Who::Process(who as u8), what), to));
            }
        }

        fn wrong(&self, state: &Self::State) -> Option<&'static str> {
            (self.is_over(state) && state.1 != 2).then_some("a count was lost")
        }

        fn is_over(&self, state: &Self::State) -> bool {
            state.2.iter().all(|process| process.0 == 4)
        }

        fn show(&self, state: &Self::State) -> String {
            format!("{state:?}")
        }
    }

    #[test]
    fn the_search_finds_what_is_wrong_by_the_shortest_way_and_nothing_else() {
        let found = search(&Counter { locked: true, gives_back: true }, 1000);
        assert!(found.broken.is_none());
        let lost = search(&Counter { locked: false, gives_back: true }, 1000).broken.unwrap();
        assert_eq!((lost.what, lost.trace.len()), ("a count was lost", 9));
        let stuck = search(&Counter { locked: true, gives_back: false }, 1000).broken.unwrap();
        assert_eq!((stuck.what, stuck.trace.len()), ("nobody can go on", 5));
    }
}
