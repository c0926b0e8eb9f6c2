//! The words of a shared mapping: the only way by which the library touches what other processes
//! touch too, and the waits that belong to it.
//!
//! Without the feature `orders` they are the atomics, the fence and the pause of the standard library,
//! by another name. With it a test can put itself between: it is told of each access with the order
//! that the code asks for, and may answer in the memory's place. So the real code runs under
//! explorers of schedules and of weak memory. For whoever is told time passes as he says alone, and a
//! sleep ends when he says: what an explorer sees must depend on nothing but its choices.

#[cfg(not(feature = "orders"))]
mod plain {
    pub(crate) use std::hint::spin_loop as pause;
    pub(crate) use std::sync::atomic::{AtomicU32 as Cell, AtomicU64 as Word, fence};

    use std::sync::atomic::Ordering;
    use std::time::Duration;

    /// Counts without a locked instruction, for statistics: no protocol rests on it.
    #[inline(always)]
    pub(crate) fn tally(word: &Word, amount: u64) {
        let value = word.load(Ordering::Relaxed).wrapping_add(amount);
        word.store(value, Ordering::Relaxed);
    }

    #[inline(always)]
    pub(crate) fn now() -> Option<Duration> {
        None
    }

    #[inline(always)]
    pub(crate) fn sleep(_: Duration) -> bool {
        false
    }
}

#[cfg(not(feature = "orders"))]
pub(crate) use plain::*;

#[cfg(feature = "orders")]
mod told {
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
    use std::time::Duration;

    use crate::sys::clock;

    /// What is done to a word.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub enum Act {
        /// Reads it.
        Load,
        /// Writes it.
        Store(u64),
        /// Writes it and gives what was there.
        Swap(u64),
        /// Adds, wrapping at the word's size.
        Add(u64),
        /// Keeps the larger one.
        Max(u64),
        /// Keeps the smaller one.
        Min(u64),
        /// Writes the second if the first is there; the order of a failure.
        Exchange(u64, u64, Ordering),
    }

    /// One access: the word's address in this process, whether it has 32 bits, and what is done.
    #[derive(Debug, Clone, Copy)]
    pub struct Access {
        /// Where the word is.
        pub at: usize,
        /// 32 bits, not 64.
        pub short: bool,
        /// What is done.
        pub act: Act,
        /// As the code asks for.
        pub order: Ordering,
    }

    /// Who is told of every access that this thread makes.
    pub trait Observer {
        /// The word's value before, `Err` for an exchange that failed; `None`: as ever, in memory.
        fn access(&self, access: Access) -> Option<std::result::Result<u64, u64>>;
        /// A fence between accesses.
        fn fence(&self, order: Ordering);
        /// The thread waits for what another one does.
        fn pause(&self);
        /// The same, for so long at most; says how much time passes for everybody.
        fn sleep(&self, limit: Duration) -> Duration;
    }

    thread_local! {
        static OBSERVER: std::cell::Cell<Option<&'static dyn Observer>> =
            const { std::cell::Cell::new(None) };
        /// By how much time has passed for it.
        static SLEPT: std::cell::Cell<Duration> = const { std::cell::Cell::new(Duration::ZERO) };
    }

    /// Tells this one from now on, for whom no time has passed yet; gives who was told before.
    pub fn observe(observer: Option<&'static dyn Observer>) -> Option<&'static dyn Observer> {
        MOMENT.get_or_init(clock::mono);
        SLEPT.set(Duration::ZERO);
        OBSERVER.replace(observer)
    }

    pub(crate) fn fence(order: Ordering) {
        match OBSERVER.get() {
            Some(observer) => observer.fence(order),
            None => std::sync::atomic::fence(order),
        }
    }

    pub(crate) fn pause() {
        match OBSERVER.get() {
            Some(observer) => observer.pause(),
            None => std::hint::spin_loop(),
        }
    }

    static MOMENT: OnceLock<Duration> = OnceLock::new();

    /// The observer's monotonic time, if there is one.
    pub(crate) fn now() -> Option<Duration> {
        OBSERVER.get()?;
        Some(*MOMENT.get()? + SLEPT.get())
    }

    /// Counts as without an observer, who is not told: no protocol rests on it.
    pub(crate) fn tally(word: &Word, amount: u64) {
        let value = word.0.load(Ordering::Relaxed).wrapping_add(amount);
        word.0.store(value, Ordering::Relaxed);
    }

    /// Was there somebody to be told of a sleep? Then it is over.
    pub(crate) fn sleep(limit: Duration) -> bool {
        let Some(observer) = OBSERVER.get() else { return false };
        let passed = observer.sleep(limit);
        SLEPT.set(SLEPT.get() + passed);
        true
    }

    macro_rules! word {
        ($name:ident, $atomic:ident, $int:ident) => {
            #[repr(transparent)]
            pub(crate) struct $name($atomic);

            impl $name {
                fn told(&self, act: Act, order: Ordering) -> Option<Result<$int, $int>> {
                    let (at, short) = (self as *const Self as usize, size_of::<$int>() == 4);
                    let answer = OBSERVER.get()?.access(Access { at, short, act, order })?;
                    Some(answer.map(|value| value as $int).map_err(|value| value as $int))
                }

                fn or(
                    &self,
                    act: Act,
                    order: Ordering,
                    memory: impl FnOnce(&$atomic) -> $int,
                ) -> $int {
                    match self.told(act, order) {
                        Some(Ok(value) | Err(value)) => value,
                        None => memory(&self.0),
                    }
                }

                pub(crate) fn load(&self, order: Ordering) -> $int {
                    self.or(Act::Load, order, |word| word.load(order))
                }

                pub(crate) fn store(&self, value: $int, order: Ordering) {
                    if self.told(Act::Store(value as u64), order).is_none() {
                        self.0.store(value, order);
                    }
                }

                pub(crate) fn swap(&self, value: $int, order: Ordering) -> $int {
                    self.or(Act::Swap(value as u64), order, |word| word.swap(value, order))
                }

                pub(crate) fn fetch_add(&self, value: $int, order: Ordering) -> $int {
                    self.or(Act::Add(value as u64), order, |word| word.fetch_add(value, order))
                }

                pub(crate) fn compare_exchange(
                    &self,
                    old: $int,
                    new: $int,
                    order: Ordering,
                    failed: Ordering,
                ) -> Result<$int, $int> {
                    let act = Act::Exchange(old as u64, new as u64, failed);
                    match self.told(act, order) {
                        Some(answer) => answer,
                        None => self.0.compare_exchange(old, new, order, failed),
                    }
                }
            }
        };
    }

    word!(Word, AtomicU64, u64);
    word!(Cell, AtomicU32, u32);

    impl Cell {
        pub(crate) const fn new(value: u32) -> Cell {
            Cell(AtomicU32::new(value))
        }

        pub(crate) fn as_ptr(&self) -> *mut u32 {
            self.0.as_ptr()
        }
    }

    impl Word {
        #[cfg(test)]
        pub(crate) const fn new(value: u64) -> Word {
            Word(AtomicU64::new(value))
        }

        pub(crate) fn fetch_max(&self, value: u64, order: Ordering) -> u64 {
            self.or(Act::Max(value), order, |word| word.fetch_max(value, order))
        }

        pub(crate) fn fetch_min(&self, value: u64, order: Ordering) -> u64 {
            self.or(Act::Min(value), order, |word| word.fetch_min(value, order))
        }
    }
}

#[cfg(feature = "orders")]
pub use told::*;
