//! The C ABI: everything that C, PHP and other languages see of Holdfast.
//!
//! Each exported function checks its arguments, calls one verb of [`crate::backend::Backend`] and
//! turns the answer into a number. All checks of pointers, lengths and struct sizes are in
//! [`boundary`] and [`buffer`], the net under panics and the error sentences in [`failure`]; the
//! other files hold no rule of their own.
//!
//! The doc comments in these files *are* the C manual: `include/holdfast.h` is generated from them,
//! with the introduction from `include/cbindgen.toml`, and a test compares it with the committed
//! one.
//!
//! Nothing in the library calls this room.
//!
//! To add a function: write it here with its page (what it does, parameters with units, results,
//! ownership, blocking, threads, fork), regenerate the header, and add it to `tests/capi`. Names,
//! parameter order and numbers are never changed and never reused; structs only grow at the end.

mod boundary;
mod buffer;
mod care;
mod failure;
mod info;
mod locks;
mod many;
mod owners;
mod results;
mod scan;
mod state;
mod store;
#[cfg(test)]
mod tests;
mod types;
mod values;
mod writes;
