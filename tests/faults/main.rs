//! Faults of everything around a store: system calls, memory, its directory, the room on its disk.
//!
//! Each room says what it would catch and what it cannot show.

mod abi;
mod acts;
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
mod calls;
mod memory;
mod places;
mod space;
mod stage;
mod sync;
