//! The n-th system call fails, for each call that each operation makes, once and for good.
//!
//! What is counted up until the fault no longer fires: the number of the call. After each: no crash,
//! no hang, success or an error that says what and where; then, without faults, every value is there,
//! for the process that met the fault, for one that comes while it stands still, and for one that
//! comes when it is gone. It would catch a latch that is left held, a segment that is lost, a file
//! that is believed though it was never finished, and a failed sync that is acknowledged. It cannot
//! show failures in the middle of a call, or what the kernel does with pages that it could not write:
//! `sync.rs` is about those.
//!
//! For every change a thinned list; all with `HOLDFAST_FAULTS=all`, parts with `HOLDFAST_FAULTS_ACT`.

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use holdfast::{Error, Store};
use holdfast_tests::process::{self, Ended};
use holdfast_tests::tracer::{self, Fault, How, KINDS, Kind};

use crate::acts::{Act, all};
use crate::stage::{
    LONG, Stage, check_alone, check_beside, free_at_the_end, look, must_be_clear, options, works,
};

/// No operation here makes more calls of a kind than this.
const MOST: u64 = 400;
/// Of a thinned list: every so many-th case.
const THINNED: u64 = 67;

/// What the worker says of its act.
fn outcome(done: bool) -> u64 {
    1 + done as u64
}

fn worker(act: &Act, path: &Path, fault: Option<&Fault>, says: &AtomicU64) {
    let mut store = (act.open)(path);
    tracer::stand_still();
    let done = (act.act)(&mut store, path);
    tracer::stand_still();
    says.store(outcome(done.is_ok()), Ordering::SeqCst);
    if let Err(error) = &done {
        must_be_clear(error, path);
        let unsynced = fault.is_some_and(|f| f.kind.name == "fdatasync" && fails(f.how));
        assert!(!matches!(error, Error::SyncFailed(_)) || unsynced, "{error}");
    }
    let store = store.or_else(|| match Store::open(path, &options()) {
        Ok(store) => Some(store),
        Err(e) => panic!("open after {done:?}: {e}"),
    });
    if let Some(store) = &store {
        look(store, &(act.after)(), done.is_ok());
        works(store, 20, is_sync(fault));
    }
    tracer::stand_still();
}

fn fails(how: How) -> bool {
    // The interrupted one is made again.
    how != How::Error(libc::EINTR)
}

fn is_sync(fault: Option<&Fault>) -> bool {
    fault.is_some_and(|fault| fault.kind.name == "fdatasync")
}

/// How often the fault fired, how the act ended, and what was wrong afterwards.
struct Case {
    fired: u64,
    done: bool,
    calls: Vec<u64>,
    /// Segments that are free when everything was deleted.
    free: u64,
    wrong: Option<String>,
}

fn case(act: &Act, template: &Stage, fault: Option<Fault>) -> Case {
    let stage = template.copy();
    let path = stage.store();
    let says = &process::shared_words(1)[0];
    let witness = act.beside.then(|| Witness::new(&path));
    let mut traced = tracer::start(fault, 15, || worker(act, &path, fault.as_ref(), says));
    let mut wrong = None;
    let mut expect = |what: &str, good: bool| {
        if !good && wrong.is_none() {
            wrong = Some(what.to_owned());
        }
    };
    // It stands still before its act; then after it; then when it has looked at what it left.
    expect("the act did not end", traced.step());
    let (fired, calls) = (traced.fired, traced.calls.clone());
    let parked = traced.go_on();
    let done = says.load(Ordering::SeqCst) == outcome(true);
    if parked {
        let seen = check_beside(&path, &(act.after)(), done, is_sync(fault.as_ref()));
        expect(&format!("a newcomer: {seen:?}"), seen == Ended::Exit(0));
    }
    let synced = fault.filter(|f| ["fdatasync", "fsync"].contains(&f.kind.name) && fails(f.how));
    // Whoever closes a store is not told, and the thread's own syncs are nobody's answer.
    let untold = ["close", "set that starts the thread"].contains(&act.name);
    let unsynced = synced.is_some() && fired > 0 && !untold;
    expect("a failed sync was acknowledged", !(done && unsynced));
    let ended = traced.finish();
    expect(&format!("the process itself: {ended:?}"), ended == Ended::Exit(0));
    drop(witness);
    if act.name == "repair" && !done {
        let again = process::fork(|| {
            (act.act)(&mut None, &path).expect("repaired the second time");
        });
        expect("it cannot be repaired any more", again.wait(LONG) == Ended::Exit(0));
    }
    let seen = check_alone(&path, &(act.after)(), done);
    expect(&format!("afterwards: {seen:?}"), seen == Ended::Exit(0));
    let free = free_at_the_end();
    for other in ["copy", "new"] {
        let there = stage.beside(other).join("super").exists();
        if there && (done || act.name == "restore" || act.name == "backup") {
            let seen = check_alone(&stage.beside(other), &(act.after)(), true);
            expect(&format!("{other}: {seen:?}"), seen == Ended::Exit(0));
        }
        expect("it was said to be done", there || !done || act.name != "backup" || other == "new");
    }
    Case { fired, done, calls, free, wrong }
}

/// A process that has the store open and does nothing.
struct Witness(process::Pid);

impl Witness {
    fn new(path: &Path) -> Witness {
        let (mut heard, say) = process::pipe();
        let child = process::fork(|| {
            let _store = Store::open(path, &options()).expect("the witness");
            process::write_raw(std::os::fd::AsRawFd::as_raw_fd(&say), b"!");
            loop {
                std::thread::sleep(std::time::Duration::from_secs(1));
            }
        });
        std::io::Read::read_exact(&mut heard, &mut [0]).expect("the witness opened it");
        Witness(child)
    }
}

impl Drop for Witness {
    fn drop(&mut self) {
        self.0.signal(libc::SIGKILL);
        self.0.wait(LONG);
    }
}

/// All faults of one kind of call in one act.
#[derive(Default)]
struct Row {
    cases: u64,
    succeeded: u64,
    refused: u64,
}

#[test]
fn whatever_call_fails_nothing_is_lost_held_or_wrongly_acknowledged() {
    let all_of_them = std::env::var("HOLDFAST_FAULTS").is_ok_and(|it| it == "all");
    let only = std::env::var("HOLDFAST_FAULTS_ACT").unwrap_or_default();
    let call = std::env::var("HOLDFAST_FAULTS_CALL").unwrap_or_default();
    println!("HOLDFAST_FAULTS={}", if all_of_them { "all" } else { "" });
    let (mut turn, mut cases, mut wrong) = (0, 0, Vec::new());
    for act in all().into_iter().filter(|act| act.name.contains(&only)) {
        let template = Stage::made(act.from, act.sync);
        let quiet = case(&act, &template, None);
        if let Some(why) = quiet.wrong {
            panic!("{} without a fault: {why}", act.name);
        }
        for (which, kind) in KINDS.iter().enumerate().filter(|(_, kind)| kind.name.contains(&call))
        {
            let made = quiet.calls[which];
            let mut row = Row::default();
            for (how, lasting) in faults(kind) {
                for nth in 1..=MOST {
                    turn += 1;
                    if !all_of_them && turn % THINNED != 0 {
                        if nth > made {
                            break;
                        }
                        continue;
                    }
                    let fault = Fault { kind: *kind, nth, how, lasting };
                    let mut met = case(&act, &template, Some(fault));
                    if met.wrong.is_none() && met.free < quiet.free {
                        let why = format!("{} of {} segments are free", met.free, quiet.free);
                        met.wrong = Some(why);
                    }
                    if let Some(why) = met.wrong {
                        let for_good = if lasting { " and all after it" } else { "" };
                        let name = kind.name;
                        let what = format!("{}: {name} {nth}{for_good} {how:?}: {why}", act.name);
                        eprintln!("{what}");
                        wrong.push(what);
                    }
                    if met.fired == 0 {
                        break;
                    }
                    cases += 1;
                    row.cases += 1;
                    *(if met.done { &mut row.succeeded } else { &mut row.refused }) += 1;
                }
            }
            if row.cases > 0 {
                let Row { cases, succeeded, refused } = row;
                println!(
                    "{:42} {:16} {made:4} calls {cases:5} faults: {succeeded:4} succeeded, {refused:4} refused",
                    act.name, kind.name
                );
            }
        }
    }
    println!("{cases} faults");
    assert!(wrong.is_empty(), "{} of {cases}:\n{}", wrong.len(), wrong.join("\n"));
}

/// Each of them lost a value, kept others out or ended a process: a namespace or an inode that could not
/// be looked at was taken for another one, a descriptor of the lock file was left open, a life was given
/// up for want of an answer, a part of a value that could not be read was taken for damaged.
#[test]
fn the_faults_that_did_harm_once_do_none() {
    let list = [
        ("open, closed before", "statx", libc::EIO, true),
        ("open with limits that grow", "statx", libc::EIO, false),
        ("repair", "newfstatat", libc::EIO, false),
        ("lock, write with it, unlock", "fcntl", libc::ENOLCK, true),
        ("backup", "pread", libc::EIO, false),
        ("repair", "pread", libc::EIO, true),
    ];
    for (name, call, number, lasting) in list {
        let act = all().into_iter().find(|act| act.name == name).expect("an act");
        let kind = *KINDS.iter().find(|kind| kind.name == call).expect("a call");
        let template = Stage::made(act.from, act.sync);
        for nth in 1..=MOST {
            let fault = Fault { kind, nth, how: How::Error(number), lasting };
            let met = case(&act, &template, Some(fault));
            assert_eq!(met.wrong, None, "{name}: {call} {nth}");
            if met.fired == 0 {
                break;
            }
        }
    }
}

/// Once, and for good; an interrupted call is not interrupted for ever.
fn faults(kind: &Kind) -> impl Iterator<Item = (How, bool)> {
    let once_only = |how: How| matches!(how, How::Error(libc::EINTR) | How::ErrorAfter(_));
    kind.faults
        .iter()
        .flat_map(move |how| [(*how, false), (*how, true)])
        .filter(move |(how, lasting)| !*lasting || !once_only(*how))
}
