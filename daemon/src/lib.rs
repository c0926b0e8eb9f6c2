//! `holdfastd`: a drop-in memcached that remembers.
//!
//! The daemon serves a Holdfast store to clients of memcached, beside any number of processes that
//! have the same store open themselves. What one side writes the other reads at once.
//!
//! # The rooms
//!
//! Bytes come in through `net`, are understood by `protocol`, done by `execute`, and go back the
//! same way:
//!
//! ```text
//!  net  --bytes-->  conversation  --bytes-->  protocol  --Command-->  execute  --> the store
//!       <--bytes--                <--bytes--            <--Reply---
//! ```
//!
//! | room | what it is |
//! |---|---|
//! | [`command`] | what can be asked and answered: the narrow waist, without dialects and I/O |
//! | [`protocol`] | the dialects, strangers to each other: bytes to commands, replies to bytes |
//! | [`net`] | listeners, loops, connections, TLS; knows nothing of requests |
//! | [`execute`] | commands on the store, with `sessions` (locks over the wire), `recency` (what was read when) |
//! | [`counters`], [`stats`], [`metrics`] | what is counted, as memcached and as Prometheus want to see it |
//! | [`auth`] | who may talk |
//! | [`conversation`] | one connection: joins protocol, execute and net |
//! | [`config`], [`settings`] | what was said by flags, environment and files; what of it a running server reads |
//! | [`http`], [`profile`] | the admin port |
//! | [`log`], [`service`] | the log; what a server is to its system |
//! | [`server`] | everything together, for the time that it runs |
//! | [`cli`] | the program `holdfast` |
//!
//! `net` and `command` name nobody; `protocol` names `command`; `execute` names `command` and the
//! library. A test holds the arrows.
#![deny(unsafe_code)]

pub mod auth;
pub mod cli;
pub mod command;
pub mod config;
pub mod conversation;
pub mod counters;
pub mod execute;
pub mod http;
pub mod limits;
pub mod log;
pub mod metrics;
pub mod net;
pub mod profile;
pub mod protocol;
mod recency;
pub mod server;
pub mod service;
mod sessions;
pub mod settings;
pub mod stats;
