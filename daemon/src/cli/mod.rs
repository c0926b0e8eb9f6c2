//! The command line `holdfast`: one file (or room) per command.
//!
//! Commands speak to people: they print results to standard output, what went wrong as one sentence
//! to standard error, and end with 0, with 1 when the work failed, or with 2 when the options make
//! no sense. `bin/holdfast.rs` calls [`main`] and nothing else.

mod bench;

use clap::{Parser, Subcommand};
use std::process::ExitCode;

/// Work with Holdfast stores and servers.
#[derive(Debug, Parser)]
#[command(name = "holdfast", version, about, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Load a memcached or Redis compatible server, check every answer, measure
    Bench(Box<bench::Args>),
}

/// Does what the arguments of this process ask for.
pub fn main() -> ExitCode {
    let done = match Cli::parse().command {
        Command::Bench(args) => bench::main(&args),
    };
    match done {
        Ok(code) => code,
        Err(error) => {
            eprintln!("holdfast: {error:#}");
            ExitCode::FAILURE
        }
    }
}
