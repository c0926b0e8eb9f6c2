//! `holdfast bench`: a load generator for memcached and Redis compatible servers that checks every
//! answer.
//!
//! It sends what the options ask for, compares each value that comes back with the one value that
//! its key can have, and ends with the first answer that is not right: a wrong answer is never part
//! of a figure. It knows nothing of stores and of the server's insides; to it all servers are
//! equal. Called by the command line.
//!
//! | file | what it is |
//! |---|---|
//! | `options`, `address` | the command line, checked once |
//! | `values`, `pick`, `pace` | which keys, which bytes, when: pure |
//! | `wire` | the four dialects: pure |
//! | `batch` | requests under way and the check of their answers: pure |
//! | `socket`, `connection`, `worker` | connecting, one connection, one thread |
//! | `session` | fill, warm-up, measurement of one server |
//! | `tally`, `report`, `compare` | counting, telling, comparing |
//! | `machine`, `progress`, `limits`, `fault` | the system, the bar, the maxima, what ends a run |

mod address;
mod batch;
mod compare;
mod connection;
mod fault;
mod limits;
mod machine;
mod options;
mod pace;
mod pick;
mod progress;
mod report;
mod session;
mod socket;
mod tally;
mod values;
mod wire;
mod worker;

pub(super) use options::Args;

use address::Address;
use anyhow::Context;
use clap::CommandFactory;
use clap::error::ErrorKind;
use options::Load;
use report::{Report, Terms};
use serde::Serialize;
use session::Session;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// The JSON of a single run: the load, and what was measured.
#[derive(Serialize)]
struct Single<'a> {
    load: &'a Terms,
    #[serde(flatten)]
    report: &'a Report,
}

/// Runs the command: 0 when every request was answered rightly, 1 when not, 2 for its options.
pub(super) fn main(args: &Args) -> anyhow::Result<ExitCode> {
    let (addresses, load) = match args.checked() {
        Ok(checked) => checked,
        Err(message) => super::Cli::command().error(ErrorKind::ValueValidation, message).exit(),
    };
    let interrupted = Arc::new(AtomicBool::new(false));
    let stop = interrupted.clone();
    ctrlc::set_handler(move || stop.store(true, Ordering::Relaxed))
        .context("waiting for Ctrl-C")?;
    let errors = if args.compare {
        let comparison = compare::run(&addresses, &load, args.rounds, &interrupted)?;
        print(args.json, &comparison, || comparison.table())?;
        comparison.errors()
    } else {
        run_one(&addresses, &load, args.json, &interrupted)?
    };
    Ok(if errors == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn run_one(
    addresses: &[Address],
    load: &Load,
    json: bool,
    interrupted: &AtomicBool,
) -> anyhow::Result<u64> {
    let address = addresses.first().context("an address is needed")?;
    let report =
        measure(address, load, interrupted)?.context("interrupted before anything was measured")?;
    let terms = Terms::of(load);
    let single = Single { load: &terms, report: &report };
    print(json, &single, || format!("{}\n{}", terms.line(), report.table()))?;
    Ok(report.errors)
}

/// Opens a session, loads it as asked, and reports; nothing when it was interrupted before there
/// was anything to report.
fn measure(
    address: &Address,
    load: &Load,
    interrupted: &AtomicBool,
) -> anyhow::Result<Option<Report>> {
    let mut session = Session::open(address, load, interrupted)?;
    if (load.fill && !session.fill()?) || !session.warm_up()? {
        return Ok(None);
    }
    let measured = session.measure()?;
    let stopped = interrupted.load(Ordering::Relaxed);
    Ok(Some(Report::new(address, &session.version, load, measured, stopped)))
}

fn print<T: Serialize>(
    json: bool,
    object: &T,
    table: impl FnOnce() -> String,
) -> anyhow::Result<()> {
    use std::io::Write;
    let text = if json { serde_json::to_string(object)? + "\n" } else { table() };
    std::io::stdout().write_all(text.as_bytes()).context("writing the results")
}
