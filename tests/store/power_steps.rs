//! Power cuts at every boundary: before each store to shared memory that follows a change of the
//! log, and before each change of the directory.
//!
//! The files are looked at in the middle of an operation, and images are made of what a cut there
//! can leave: all that was written, nothing of it, the beginning of it, and mixtures by pieces of
//! 8, 512 and 4096 bytes, each with every `super` that the directory may name. They are opened when
//! the operation is over. What was durable before is there in each; the key that changes is as it
//! was or as it becomes, and only that once the change is durable.
//!
//! It would catch an order of writes that only works if the disk keeps it, a rename before its
//! sync, and options, flushes, growth or a creation that a cut can halve. It cannot show what two
//! processes do to each other, nor other orders of names in the directory than that of their changes.

use std::cell::RefCell;
use std::collections::HashSet;
use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use holdfast::fault::{self, Step};
use holdfast::{ConfigChange, Options, Store, Stored, Sync, Ttl, Write};
use holdfast_tests::{
    CutDisk, HandClock, Images, Luck, Rng, content, memory_dir, open, seed, size,
};

const KEY: &[u8] = b"the key";
const CROWD: u64 = 12;

/// What a cut leaves of one moment.
struct Cut {
    superblock: Option<Vec<u8>>,
    /// `None`: there is no such file.
    data: Option<Vec<u8>>,
    /// Where in the operation, for messages.
    at: String,
}

/// What `super` says, and whether there is `data`.
type Names = (Option<Vec<u8>>, bool);

/// What is looked at while an operation runs.
struct Watch {
    path: PathBuf,
    disk: Arc<CutDisk>,
    rng: Rng,
    /// The directory as it is durably, and as it was since.
    names: Vec<Names>,
    /// What was found at the last look.
    last: Names,
    moment: u64,
    steps: u64,
    seen: HashSet<u64>,
    cuts: Vec<Cut>,
    plenty: u64,
}

thread_local! {
    static WATCH: RefCell<Option<Watch>> = const { RefCell::new(None) };
}

fn look(step: Step) {
    WATCH.with_borrow_mut(|watch| watch.as_mut().expect("watched").look(step));
}

impl Watch {
    fn names(path: &Path) -> Names {
        (std::fs::read(path.join("super")).ok(), path.join("data").exists())
    }

    fn look(&mut self, step: Step) {
        self.steps += 1;
        let mut changed = false;
        let now = Watch::names(&self.path);
        if step == Step::DirectorySynced {
            self.names.clear();
        }
        if self.last != now || self.names.is_empty() {
            // A file that was renamed before its contents were synced may be empty.
            let renamed = now.0.as_ref().is_some_and(|it| self.last.0.as_ref() != Some(it));
            let lost = renamed && now.0.as_ref().is_some_and(|it| !self.disk.has_synced(it));
            self.names.push(if lost { (Some(Vec::new()), now.1) } else { now.clone() });
            self.last = now;
            changed = true;
        }
        let has_data = self.names.iter().any(|(_, data)| *data);
        if has_data && self.path.join("data").exists() {
            let moment = self.disk.look(&self.path);
            changed |= moment != self.moment;
            self.moment = moment;
        }
        if changed {
            self.cut();
        }
    }

    /// Images of a cut now.
    fn cut(&mut self) {
        // Each word of a value is a boundary: of the later ones some, at random.
        if self.cuts.len() as u64 > self.plenty && !self.rng.one_in(16) {
            return;
        }
        let until = Luck::Until(self.rng.below(self.moment + 1));
        let others = [
            Luck::Nothing,
            Luck::Pieces(8),
            Luck::Pieces(512),
            Luck::Pieces(4096),
            Luck::Some(2),
            until,
        ];
        let lucks = [Luck::Everything, *self.rng.pick(&others), *self.rng.pick(&others)];
        for name in 0..self.names.len() {
            let (superblock, has_data) = self.names[name].clone();
            for luck in &lucks {
                // One that was removed since was empty: nothing was ever stored in it.
                let data = has_data.then(|| match self.path.join("data").exists() {
                    true => self.disk.data(&self.path, &mut self.rng, *luck),
                    false => Vec::new(),
                });
                let hasher = BuildHasherDefault::<DefaultHasher>::default();
                if self.seen.insert(hasher.hash_one((&superblock, &data))) {
                    let at = format!("step {}, {luck:?}, name {name}", self.steps);
                    self.cuts.push(Cut { superblock: superblock.clone(), data, at });
                }
            }
        }
    }
}

/// Boundaries of which each is cut at; asked once, because it is printed.
fn plenty() -> u64 {
    static PLENTY: std::sync::OnceLock<u64> = std::sync::OnceLock::new();
    *PLENTY.get_or_init(|| size("HOLDFAST_CUTS_EACH", 40))
}

/// Does something, and gives what cuts in it can leave, and, as a second part, what a cut right
/// after it can.
fn watched<T>(
    path: &Path,
    disk: &Arc<CutDisk>,
    rng: &mut Rng,
    act: impl FnOnce() -> T,
) -> (T, [Vec<Cut>; 2], u64) {
    let watch = Watch {
        path: path.into(),
        disk: disk.clone(),
        rng: Rng::new(rng.next()),
        names: vec![Watch::names(path)],
        last: Watch::names(path),
        moment: disk.moments(),
        steps: 0,
        seen: HashSet::new(),
        cuts: Vec::new(),
        plenty: plenty(),
    };
    WATCH.set(Some(watch));
    fault::watch(Some(look));
    let done = act();
    fault::watch(None);
    let mut watch = WATCH.take().expect("still there");
    let during = std::mem::take(&mut watch.cuts);
    watch.seen.clear();
    if path.join("data").exists() {
        watch.moment = disk.look(path);
    }
    watch.cut();
    (done, [during, watch.cuts], watch.steps)
}

struct Scene {
    dir: tempfile::TempDir,
    clock: Arc<HandClock>,
    disk: Arc<CutDisk>,
    options: Options,
    store: Store,
}

/// What is seen of a key: its value, and when it ends.
type Seen = Option<(Vec<u8>, u64)>;

fn see(store: &Store, key: &[u8]) -> Seen {
    let mut value = Vec::new();
    let item = store.get(key, &mut value).unwrap_or_else(|e| panic!("{e}"));
    item.map(|item| (value, item.expires_ms))
}

fn short(seen: &Seen) -> Option<(usize, u64)> {
    seen.as_ref().map(|(value, expires_ms)| (value.len(), *expires_ms))
}

fn one_of_the_crowd(i: u64) -> Vec<u8> {
    format!("crowd {i}").into_bytes()
}

fn set(store: &Store, key: &[u8], value: &[u8], ttl: Ttl) {
    assert!(matches!(store.set(key, value, 0, ttl), Ok(Stored::Done(_))));
}

impl Scene {
    fn new(sync: Sync) -> Scene {
        let (dir, clock, disk) = (memory_dir(), HandClock::new(), CutDisk::new());
        let options = Options {
            create: true,
            thread: false,
            sync: Some(sync),
            sync_interval: Some(Duration::from_secs(3600)),
            max_bytes: Some(1 << 20),
            max_value_bytes: Some(100_000),
            max_processes: Some(4),
            clock: Some(clock.clone()),
            disk: Some(disk.clone()),
            ..Options::default()
        };
        let store = open(dir.path(), &options);
        for i in 0..CROWD {
            set(&store, &one_of_the_crowd(i), &content(i, 700), Ttl::Never);
        }
        Scene { dir, clock, disk, options, store }
    }

    /// Opens each image; the key has to be one of these, whatever was durable before is there.
    fn judge(&self, cuts: Vec<Cut>, allowed: &[&Seen], crowd: bool, what: &str) -> u64 {
        let (mut images, many) = (Images::default(), cuts.len() as u64);
        let options = Options { create: false, disk: None, ..self.options.clone() };
        for cut in cuts {
            let at = format!("{what}, {}", cut.at);
            images.hold(&cut.superblock.expect("made long ago"), cut.data.expect("as well"));
            let image =
                Store::open(images.path(), &options).unwrap_or_else(|e| panic!("{at}: {e}"));
            let seen = see(&image, KEY);
            assert!(
                allowed.contains(&&seen),
                "{at}: {:?}, allowed are {:?}",
                short(&seen),
                allowed.iter().map(|seen| short(seen)).collect::<Vec<_>>()
            );
            for i in 0..if crowd { CROWD } else { 0 } {
                let there = see(&image, &one_of_the_crowd(i));
                assert!(there == Some((content(i, 700), 0)), "{at}: {i} of the crowd");
            }
        }
        many
    }
}

/// An operation: what goes before it (made durable), and what it does.
struct Act {
    name: &'static str,
    before: fn(&Scene),
    act: fn(&Store),
    /// It is durable when it returns, whatever the mode.
    is_durable: bool,
}

fn sweep(store: &Store) {
    for _ in 0..3 {
        store.expire(u64::MAX).expect("expire");
        store.sync().expect("sync");
    }
}

fn acts() -> Vec<Act> {
    const LONG: Ttl = Ttl::Millis(500_000_000);
    fn old(scene: &Scene) {
        set(&scene.store, KEY, &content(1, 900), LONG);
    }
    let act = |name, before, act, is_durable| Act { name, before, act, is_durable };
    vec![
        act("a new key", |_| {}, |s| set(s, KEY, &content(2, 1_500), Ttl::Never), false),
        act("an overwrite", old, |s| set(s, KEY, &content(2, 1_500), Ttl::Never), false),
        act("a delete", old, |s| assert!(s.delete(KEY, None, None).is_ok()), false),
        act("a longer life", old, |s| assert!(s.touch(KEY, Ttl::Never, None).is_ok()), false),
        act("a shorter life", old, |s| drop(s.touch(KEY, Ttl::Millis(9_000), None)), false),
        act("a value that fills segments", old, |s| set(s, KEY, &content(2, 90_000), LONG), false),
        act(
            "the end of a value that fills segments",
            |scene| set(&scene.store, KEY, &content(1, 90_000), LONG),
            |s| {
                set(s, KEY, &content(2, 100), LONG);
                sweep(s);
            },
            true,
        ),
        act(
            "a durable write",
            old,
            |s| {
                let how = Write { sync: true, ttl: Ttl::Never, ..Write::default() };
                assert!(s.write(KEY, &content(2, 700), &how).is_ok());
            },
            true,
        ),
        act(
            "a sweep and what is written in its place",
            |scene| {
                old(scene);
                for i in 0..40u64 {
                    set(&scene.store, &i.to_le_bytes(), &content(i, 4_000), Ttl::Millis(1_000));
                }
                scene.clock.pass(70_000);
            },
            |s| {
                sweep(s);
                for i in 0..20u64 {
                    set(s, &i.to_le_bytes(), &content(i, 4_000), Ttl::Millis(1_000));
                }
                set(s, KEY, &content(2, 700), LONG);
            },
            false,
        ),
        act(
            "a compaction",
            |scene| {
                old(scene);
                for i in 0..20u64 {
                    set(&scene.store, b"filler", &content(i, 9_000), Ttl::Never);
                }
            },
            |s| assert!(s.compact().expect("compact") > 0),
            true,
        ),
        act(
            "the end of its owner",
            |scene| {
                let how = Write { owner: Some(b"anna"), ttl: LONG, ..Write::default() };
                assert!(scene.store.write(KEY, &content(1, 300), &how).is_ok());
            },
            |s| assert!(s.end_owner(b"anna").is_ok()),
            true,
        ),
        act(
            "a change of the options",
            old,
            |s| {
                let change = ConfigChange { compress: Some(true), ..ConfigChange::default() };
                assert!(s.set_config(&change).is_ok());
            },
            true,
        ),
        act("a flush", old, |s| s.flush(None).expect("flush"), true),
    ]
}

#[test]
fn a_cut_at_any_boundary_of_an_operation_leaves_the_old_or_the_new() {
    let mut rng = Rng::new(seed("boundaries"));
    let turns = size("HOLDFAST_TURNS", 1);
    let mut total = 0;
    for act in acts() {
        let (mut many, mut boundaries) = (0, 0);
        for sync in (0..turns).flat_map(|_| [Sync::Always, Sync::Periodic, Sync::None]) {
            let scene = Scene::new(sync);
            (act.before)(&scene);
            scene.store.sync().expect("sync");
            let (store, what) = (&scene.store, format!("{}, {sync:?}", act.name));
            let old = see(store, KEY);
            let ((), [during, after], steps) =
                watched(scene.dir.path(), &scene.disk, &mut rng, || (act.act)(store));
            let new = see(store, KEY);
            // A flush takes the crowd along, in the same instant.
            let crowd = act.name != "a flush";
            boundaries += steps;
            many += scene.judge(during, &[&old, &new], crowd, &what);
            let is_durable = act.is_durable || sync == Sync::Always;
            let allowed = if is_durable { vec![&new] } else { vec![&old, &new] };
            many += scene.judge(after, &allowed, crowd, &format!("{what}, after it"));
            if act.name == "a flush" {
                assert!(see(store, &one_of_the_crowd(0)).is_none());
            }
        }
        println!("{}: {boundaries} steps, {many} images", act.name);
        total += many;
    }
    println!("{total} images");
}

/// What a cut in the making of a store leaves, or in an opening that gives it new sizes: a store
/// that opens, with all that was in it, and is used.
#[test]
fn a_cut_in_creation_rebuild_or_growth_leaves_a_store() {
    let mut rng = Rng::new(seed("openings"));
    let mut images = 0;
    for what in ["creation", "rebuild", "growth"] {
        let (dir, disk) = (memory_dir(), CutDisk::new());
        let options = Options {
            create: true,
            thread: false,
            sync: Some(Sync::Always),
            max_bytes: Some(1 << 20),
            max_value_bytes: Some(100_000),
            max_processes: Some(4),
            disk: Some(disk.clone()),
            ..Options::default()
        };
        let is_new = what == "creation";
        if !is_new {
            let store = open(dir.path(), &options);
            set(&store, KEY, &content(1, 2_000), Ttl::Never);
            if what == "growth" {
                let more = ConfigChange { max_bytes: Some(2 << 20), ..ConfigChange::default() };
                store.set_config(&more).expect("planned");
            }
            drop(store);
            if what == "rebuild" {
                std::fs::remove_file(dir.path().join("meta")).expect("meta");
            }
        }
        let (_, [during, after], steps) = watched(dir.path(), &disk, &mut rng, || {
            drop(open(dir.path(), &options));
        });
        let cuts = during.into_iter().chain(after);
        for cut in cuts {
            // A cut while what a cut left is made ready: the directory is as it became then.
            let image = memory_dir();
            lay_out(image.path(), &cut);
            let inner = match cut.data {
                Some(_) => CutDisk::with_data(image.path()),
                None => CutDisk::new(),
            };
            let options = Options { disk: Some(inner.clone()), ..options.clone() };
            let (_, [during, _], _) = watched(image.path(), &inner, &mut rng, || {
                check(image.path(), &options, is_new, &format!("{what}, {}", cut.at));
            });
            images += 1;
            for second in during.iter().step_by(1 + during.len() / 6) {
                let image = memory_dir();
                lay_out(image.path(), second);
                let options = Options { disk: None, ..options.clone() };
                check(
                    image.path(),
                    &options,
                    is_new,
                    &format!("{what}, {}, then {}", cut.at, second.at),
                );
                images += 1;
            }
        }
        println!("{what}: {steps} steps");
    }
    println!("{images} images");
}

fn lay_out(path: &Path, cut: &Cut) {
    use std::os::unix::fs::PermissionsExt;
    for (name, bytes) in [("super", &cut.superblock), ("data", &cut.data)] {
        let Some(bytes) = bytes else { continue };
        std::fs::write(path.join(name), bytes).expect(name);
        let mode = PermissionsExt::from_mode(0o600);
        std::fs::set_permissions(path.join(name), mode).expect("chmod");
    }
}

fn check(path: &Path, options: &Options, is_new: bool, what: &str) {
    let store = Store::open(path, options).unwrap_or_else(|e| panic!("{what}: {e}"));
    let seen = see(&store, KEY);
    let fine = if is_new { seen.is_none() } else { seen == Some((content(1, 2_000), 0)) };
    assert!(fine, "{what}: {:?}", short(&seen));
}
