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
//! `net` and [`command`] name nobody; `protocol` names `command`; `execute` names `command` and the
//! library; [`conversation`] joins the three, `server` everything.
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
