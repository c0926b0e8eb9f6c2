//! Policies to compare with, simulated: exact LRU, and S3-FIFO as its authors describe it (Yang,
//! Zhang, Qiu, Yue, Rashmi, SOSP 2023, section 4). Both know only what objects cost.

use std::collections::VecDeque;

use crate::trace::Trace;

/// What a simulated cache does for one request.
pub trait Policy {
    /// Is it there, and alive at this time? It counts as used then.
    fn get(&mut self, id: u32, now_ms: u32) -> bool;
    /// Stores it, until then (`u32::MAX` = for ever).
    fn set(&mut self, id: u32, until_ms: u32);
}

/// Requests that count, and how many of them missed.
#[derive(Default, Clone, Copy)]
pub struct Score {
    pub counted: u64,
    pub missed: u64,
}

impl Score {
    pub fn add(&mut self, counted: bool, hit: bool) {
        self.counted += counted as u64;
        self.missed += (counted && !hit) as u64;
    }

    /// Percent.
    pub fn misses(self) -> f64 {
        self.missed as f64 / self.counted as f64 * 100.0
    }
}

pub fn play(trace: &Trace, mut policy: impl Policy) -> Score {
    let mut score = Score::default();
    for request in &trace.requests {
        let hit = policy.get(request.id, request.at_ms);
        score.add(request.counted, hit);
        if request.writes || !hit {
            let until = if trace.ttl_ms == 0 { u32::MAX } else { request.at_ms + trace.ttl_ms };
            policy.set(request.id, until);
        }
    }
    score
}

/// Least recently used goes first. A list through arrays, with its head at index `ids`.
pub struct Lru<C> {
    cost: C,
    left: u64,
    next: Vec<u32>,
    /// Of an object that is not there: itself.
    before: Vec<u32>,
    until: Vec<u32>,
}

impl<C: Fn(u32) -> u64> Lru<C> {
    pub fn new(ids: u32, budget: u64, cost: C) -> Lru<C> {
        let alone: Vec<u32> = (0..=ids).collect();
        Lru { cost, left: budget, next: alone.clone(), before: alone, until: vec![0; ids as usize] }
    }

    fn head(&self) -> u32 {
        self.until.len() as u32
    }

    fn is_there(&self, id: u32) -> bool {
        self.next[id as usize] != id
    }

    fn unlink(&mut self, id: u32) {
        let (next, before) = (self.next[id as usize], self.before[id as usize]);
        self.next[before as usize] = next;
        self.before[next as usize] = before;
        (self.next[id as usize], self.before[id as usize]) = (id, id);
    }

    fn link(&mut self, id: u32) {
        let head = self.head();
        let first = self.next[head as usize];
        (self.next[id as usize], self.before[id as usize]) = (first, head);
        self.next[head as usize] = id;
        self.before[first as usize] = id;
    }
}

impl<C: Fn(u32) -> u64> Policy for Lru<C> {
    fn get(&mut self, id: u32, now_ms: u32) -> bool {
        if !self.is_there(id) {
            return false;
        }
        self.unlink(id);
        if self.until[id as usize] <= now_ms {
            self.left += (self.cost)(id);
            return false;
        }
        self.link(id);
        true
    }

    fn set(&mut self, id: u32, until_ms: u32) {
        self.until[id as usize] = until_ms;
        if self.is_there(id) {
            self.unlink(id);
            return self.link(id);
        }
        let cost = (self.cost)(id);
        while self.left < cost {
            let last = self.before[self.head() as usize];
            if last == self.head() {
                return;
            }
            self.unlink(last);
            self.left += (self.cost)(last);
        }
        self.left -= cost;
        self.link(id);
    }
}

#[derive(Clone, Copy, PartialEq)]
enum Place {
    Nowhere,
    Small,
    Main,
}

/// A small queue that most objects leave at its end, a main queue for those that were used, and a
/// list of those that left, who go to the main queue if they come back.
pub struct S3Fifo<C> {
    cost: C,
    budget: u64,
    small: VecDeque<u32>,
    main: VecDeque<u32>,
    ghost: VecDeque<(u32, u32)>,
    small_bytes: u64,
    main_bytes: u64,
    ghost_bytes: u64,
    place: Vec<Place>,
    used: Vec<u8>,
    /// Which of its entries in `ghost` is valid; 0 = none.
    ghost_entry: Vec<u32>,
    ghosts: u32,
    until: Vec<u32>,
}

impl<C: Fn(u32) -> u64> S3Fifo<C> {
    pub fn new(ids: u32, budget: u64, cost: C) -> S3Fifo<C> {
        let ids = ids as usize;
        S3Fifo {
            cost,
            budget,
            small: VecDeque::new(),
            main: VecDeque::new(),
            ghost: VecDeque::new(),
            small_bytes: 0,
            main_bytes: 0,
            ghost_bytes: 0,
            place: vec![Place::Nowhere; ids],
            used: vec![0; ids],
            ghost_entry: vec![0; ids],
            ghosts: 0,
            until: vec![0; ids],
        }
    }

    fn small_budget(&self) -> u64 {
        self.budget / 10
    }

    /// Takes at least one object away; false if there is none.
    fn evict(&mut self) -> bool {
        if self.small_bytes >= self.small_budget() || self.main.is_empty() {
            self.evict_small() || self.evict_main()
        } else {
            self.evict_main()
        }
    }

    /// What was used more than once goes on to the main queue; false if all did.
    fn evict_small(&mut self) -> bool {
        while let Some(id) = self.small.pop_front() {
            let cost = (self.cost)(id);
            self.small_bytes -= cost;
            if self.used[id as usize] <= 1 {
                self.place[id as usize] = Place::Nowhere;
                self.remember(id, cost);
                return true;
            }
            self.used[id as usize] = 0;
            self.enter_main(id, cost);
            if self.main_bytes > self.budget - self.small_budget() {
                return self.evict_main();
            }
        }
        false
    }

    fn enter_main(&mut self, id: u32, cost: u64) {
        self.place[id as usize] = Place::Main;
        self.main_bytes += cost;
        self.main.push_back(id);
    }

    /// What was used comes round once more for each use.
    fn evict_main(&mut self) -> bool {
        while let Some(id) = self.main.pop_front() {
            if self.used[id as usize] == 0 {
                self.main_bytes -= (self.cost)(id);
                self.place[id as usize] = Place::Nowhere;
                return true;
            }
            self.used[id as usize] -= 1;
            self.main.push_back(id);
        }
        false
    }

    /// As many bytes are remembered as the main queue may have.
    fn remember(&mut self, id: u32, cost: u64) {
        self.ghosts += 1;
        self.ghost_entry[id as usize] = self.ghosts;
        self.ghost.push_back((id, self.ghosts));
        self.ghost_bytes += cost;
        while self.ghost_bytes > self.budget - self.small_budget() {
            let Some((id, entry)) = self.ghost.pop_front() else { break };
            self.ghost_bytes -= (self.cost)(id);
            if self.ghost_entry[id as usize] == entry {
                self.ghost_entry[id as usize] = 0;
            }
        }
    }
}

impl<C: Fn(u32) -> u64> Policy for S3Fifo<C> {
    fn get(&mut self, id: u32, now_ms: u32) -> bool {
        let hit = self.place[id as usize] != Place::Nowhere && self.until[id as usize] > now_ms;
        if hit {
            self.used[id as usize] = (self.used[id as usize] + 1).min(3);
        }
        hit
    }

    fn set(&mut self, id: u32, until_ms: u32) {
        self.until[id as usize] = until_ms;
        if self.place[id as usize] != Place::Nowhere {
            return;
        }
        let cost = (self.cost)(id);
        while self.small_bytes + self.main_bytes + cost > self.budget {
            if !self.evict() {
                return;
            }
        }
        self.used[id as usize] = 0;
        if self.ghost_entry[id as usize] != 0 {
            // Its entry stays in the list until its turn comes, as nobody's.
            self.ghost_entry[id as usize] = 0;
            self.enter_main(id, cost);
        } else {
            self.place[id as usize] = Place::Small;
            self.small_bytes += cost;
            self.small.push_back(id);
        }
    }
}
