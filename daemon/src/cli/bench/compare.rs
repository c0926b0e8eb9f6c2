//! `holdfast bench --compare`: the same load on several servers in turn, round after round.
//!
//! A machine's speed wanders, so only what was measured next to each other compares: each round
//! measures every server, beginning with another one each time, and the ratio to the first server
//! is taken within each round. What is reported is the median of the rounds, and how far they are
//! apart. Called by the command.

use super::address::Address;
use super::options::Load;
use super::report::{Report, Terms, per};
use super::tally::median;
use serde::Serialize;
use std::fmt::Write as _;
use std::sync::atomic::{AtomicBool, Ordering};

/// All rounds of all servers.
#[derive(Debug, Serialize)]
pub(super) struct Comparison {
    load: Terms,
    rounds: usize,
    interrupted: bool,
    servers: Vec<Server>,
}

#[derive(Debug, Serialize)]
struct Server {
    name: String,
    median: Figures,
    /// To the first server, in the same round: the median, and the least and most for the rate.
    ratio: Figures,
    ratio_least: f64,
    ratio_most: f64,
    rounds: Vec<Report>,
}

#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
struct Figures {
    requests_per_second: f64,
    p50_us: f64,
    p99_us: f64,
    p99_9_us: f64,
    server_us_per_request: Option<f64>,
}

/// Measures `rounds` times on every address; only whole rounds count.
pub(super) fn run(
    addresses: &[Address],
    load: &Load,
    rounds: usize,
    interrupted: &AtomicBool,
) -> anyhow::Result<Comparison> {
    let mut whole: Vec<Vec<Report>> = Vec::new();
    for round in 0..rounds {
        let load = Load { fill: load.fill && round == 0, ..load.clone() };
        let Some(reports) = one_round(addresses, &load, round, interrupted)? else { break };
        whole.push(reports);
    }
    let interrupted = interrupted.load(Ordering::Relaxed);
    if whole.is_empty() {
        anyhow::bail!("interrupted before the first round was over");
    }
    let servers = (0..addresses.len()).map(|at| server(&whole, at)).collect();
    Ok(Comparison { load: Terms::of(load), rounds: whole.len(), interrupted, servers })
}

/// Reports in the order of the addresses, measured in an order that turns from round to round.
fn one_round(
    addresses: &[Address],
    load: &Load,
    round: usize,
    interrupted: &AtomicBool,
) -> anyhow::Result<Option<Vec<Report>>> {
    let mut reports = Vec::with_capacity(addresses.len());
    for turn in 0..addresses.len() {
        let at = (turn + round) % addresses.len();
        let Some(address) = addresses.get(at) else { continue };
        match super::measure(address, load, interrupted)? {
            Some(report) if !interrupted.load(Ordering::Relaxed) => reports.push((at, report)),
            _ => return Ok(None),
        }
    }
    reports.sort_by_key(|(at, _)| *at);
    Ok(Some(reports.into_iter().map(|(_, report)| report).collect()))
}

fn server(rounds: &[Vec<Report>], at: usize) -> Server {
    let own: Vec<Report> = rounds.iter().filter_map(|round| round.get(at)).cloned().collect();
    let first = rounds.iter().filter_map(|round| round.first());
    let figures: Vec<Figures> = own.iter().map(Figures::of).collect();
    let pairs = figures.iter().zip(first.map(Figures::of));
    let ratios: Vec<Figures> = pairs.map(|(own, first)| own.to(&first)).collect();
    let rates = || ratios.iter().map(|ratio| ratio.requests_per_second);
    Server {
        name: own.first().map(|report| report.name.clone()).unwrap_or_default(),
        median: Figures::median(&figures),
        ratio: Figures::median(&ratios),
        ratio_least: rates().fold(f64::INFINITY, f64::min),
        ratio_most: rates().fold(0.0, f64::max),
        rounds: own,
    }
}

impl Figures {
    fn of(report: &Report) -> Self {
        let all = report.latency_us.all;
        Self {
            requests_per_second: report.requests_per_second,
            p50_us: all.p50,
            p99_us: all.p99,
            p99_9_us: all.p99_9,
            server_us_per_request: report.cpu.server_us_per_request,
        }
    }

    fn to(self, first: &Self) -> Self {
        let server = self.server_us_per_request.zip(first.server_us_per_request);
        Self {
            requests_per_second: per(self.requests_per_second, first.requests_per_second),
            p50_us: per(self.p50_us, first.p50_us),
            p99_us: per(self.p99_us, first.p99_us),
            p99_9_us: per(self.p99_9_us, first.p99_9_us),
            server_us_per_request: server.map(|(own, first)| per(own, first)),
        }
    }

    fn median(all: &[Self]) -> Self {
        let middle = |figure: fn(&Self) -> f64| median(all.iter().map(figure).collect());
        let server: Vec<f64> = all.iter().filter_map(|one| one.server_us_per_request).collect();
        Self {
            requests_per_second: middle(|one| one.requests_per_second),
            p50_us: middle(|one| one.p50_us),
            p99_us: middle(|one| one.p99_us),
            p99_9_us: middle(|one| one.p99_9_us),
            server_us_per_request: (!server.is_empty()).then(|| median(server)),
        }
    }
}

impl Comparison {
    /// Requests that servers refused, in all rounds.
    pub(super) fn errors(&self) -> u64 {
        self.servers.iter().flat_map(|server| &server.rounds).map(|report| report.errors).sum()
    }

    /// The table for people: medians, and below them the ratios to the first server.
    pub(super) fn table(&self) -> String {
        let width = self.servers.iter().map(|server| server.name.chars().count()).max();
        let width = width.unwrap_or(0).max(6);
        let mut out = String::new();
        let stopped = if self.interrupted { ", interrupted" } else { "" };
        // Writing to a string does not fail.
        let _ = writeln!(out, "{}\nmedians of {} rounds{stopped}", self.load.line(), self.rounds);
        let heads = ["requests/s", "p50 us", "p99 us", "p99.9 us", "server us/req"];
        let _ = writeln!(out, "{}", line("", width, heads.map(str::to_owned)));
        for server in &self.servers {
            let cells = server.median.cells([0, 1, 1, 1, 2]);
            let _ = writeln!(out, "{}", line(&server.name, width, cells));
        }
        if let Some(first) = self.servers.first() {
            let _ = writeln!(out, "ratios to {}, round by round", first.name);
        }
        for server in self.servers.iter().skip(1) {
            let cells = server.ratio.cells([3; 5]);
            let _ = writeln!(
                out,
                "{}   requests/s {:.3} to {:.3}",
                line(&server.name, width, cells),
                server.ratio_least,
                server.ratio_most
            );
        }
        out
    }
}

impl Figures {
    fn cells(&self, digits: [usize; 5]) -> [String; 5] {
        let [rate, p50, p99, p99_9, cpu] = digits;
        let shown = |number: f64, digits: usize| format!("{number:.digits$}");
        [
            shown(self.requests_per_second, rate),
            shown(self.p50_us, p50),
            shown(self.p99_us, p99),
            shown(self.p99_9_us, p99_9),
            self.server_us_per_request.map_or_else(|| "-".to_owned(), |us| shown(us, cpu)),
        ]
    }
}

fn line(name: &str, width: usize, cells: [String; 5]) -> String {
    cells.iter().fold(format!("  {name:<width$}"), |line, cell| format!("{line} {cell:>14}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figures(rate: f64, p50: f64, cpu: Option<f64>) -> Figures {
        Figures {
            requests_per_second: rate,
            p50_us: p50,
            p99_us: p50 * 2.0,
            p99_9_us: p50 * 3.0,
            server_us_per_request: cpu,
        }
    }

    #[test]
    fn ratios_are_own_by_first_and_need_both_cpu_times() {
        let own = figures(300.0, 5.0, Some(2.0));
        let ratio = own.to(&figures(100.0, 10.0, Some(4.0)));
        assert_eq!((ratio.requests_per_second, ratio.p50_us, ratio.p99_9_us), (3.0, 0.5, 0.5));
        assert_eq!(ratio.server_us_per_request, Some(0.5));
        assert_eq!(own.to(&figures(0.0, 1.0, None)).requests_per_second, 0.0);
        assert_eq!(own.to(&figures(1.0, 1.0, None)).server_us_per_request, None);
    }

    #[test]
    fn medians_are_taken_figure_by_figure() {
        let all = [figures(1.0, 9.0, None), figures(2.0, 8.0, Some(5.0)), figures(3.0, 1.0, None)];
        let middle = Figures::median(&all);
        assert_eq!((middle.requests_per_second, middle.p50_us), (2.0, 8.0));
        assert_eq!(middle.server_us_per_request, Some(5.0));
    }
}
