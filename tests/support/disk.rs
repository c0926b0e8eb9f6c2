//! A disk that remembers what was synced, and makes the images that a power cut can leave.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use holdfast::{Disk, FileKind};

use crate::Rng;

const SECTOR: usize = 512;

/// Words of `meta` that an image needs for a file that was copied to look like the same one after
/// a reboot (see arena.rs): the boot id, and the inodes of its siblings.
const BOOT_ID: usize = 0x10;
const DATA_INODE: usize = 0x30;
const INDEX_INODE: usize = 0x38;

/// The seam's test double.
#[derive(Default)]
pub struct CutDisk {
    synced: Mutex<HashMap<FileKind, Vec<u8>>>,
    syncs: AtomicU64,
    fail_next: AtomicBool,
}

fn read(file: &File) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; file.metadata()?.len() as usize];
    file.read_exact_at(&mut bytes, 0)?;
    Ok(bytes)
}

impl Disk for CutDisk {
    fn sync(&self, kind: FileKind, file: &File) -> io::Result<()> {
        if self.fail_next.swap(false, Ordering::SeqCst) {
            return Err(io::Error::from_raw_os_error(libc::EIO));
        }
        let bytes = read(file)?;
        self.synced.lock().expect("no panic under it").insert(kind, bytes);
        // What says what the store is covers nothing that is in it.
        if kind == FileKind::Super {
            return Ok(());
        }
        self.syncs.fetch_add(1, Ordering::SeqCst);
        Ok(())
    }
}

/// How much of what was not synced reached the disk.
#[derive(Debug, Clone, Copy)]
pub enum Luck {
    Nothing,
    Everything,
    /// Each sector for itself: old, new, or torn within; new once in so many.
    Some(u64),
}

impl CutDisk {
    pub fn new() -> Arc<CutDisk> {
        Arc::default()
    }

    /// On which the files of a directory are as they were written.
    pub fn with_data(path: &Path) -> Arc<CutDisk> {
        let disk = CutDisk::new();
        let bytes = std::fs::read(path.join("data")).expect("data");
        disk.synced.lock().expect("as above").insert(FileKind::Data, bytes);
        disk
    }

    /// How many syncs have ended, of whatever file but `super`.
    pub fn syncs(&self) -> u64 {
        self.syncs.load(Ordering::SeqCst)
    }

    /// The next sync fails, and only that.
    pub fn fail_once(&self) {
        self.fail_next.store(true, Ordering::SeqCst);
    }

    fn file(&self, kind: FileKind, from: &Path, rng: &mut Rng, luck: Luck) -> Vec<u8> {
        let old = self.synced.lock().expect("as above").get(&kind).cloned().unwrap_or_default();
        let mut new = std::fs::read(from.join(kind.name())).expect("the file");
        let keep = match luck {
            Luck::Everything => return new,
            Luck::Nothing => return old,
            Luck::Some(_) if rng.one_in(4) => old.len().min(new.len()),
            Luck::Some(_) => new.len(),
        };
        new.truncate(keep);
        let Luck::Some(one_in) = luck else { return new };
        for (i, sector) in new.chunks_mut(SECTOR).enumerate() {
            let mut before = [0; SECTOR];
            if let Some(old) = old.get(i * SECTOR..) {
                let len = old.len().min(SECTOR);
                before[..len].copy_from_slice(&old[..len]);
            }
            let before = &before[..sector.len()];
            if sector == before || rng.one_in(one_in) {
                continue;
            }
            let written = if rng.one_in(3) { rng.below(SECTOR as u64 / 8) as usize * 8 } else { 0 };
            let written = written.min(sector.len());
            sector[written..].copy_from_slice(&before[written..]);
        }
        new
    }

    /// Writes what a cut leaves of the store at `from` to the directory `to`: with its derived files
    /// (as after a reboot) or without.
    pub fn cut(&self, from: &Path, to: &Path, rng: &mut Rng, luck: Luck, derived: bool) {
        std::fs::copy(from.join("super"), to.join("super")).expect("super");
        std::fs::write(to.join("data"), self.file(FileKind::Data, from, rng, luck)).expect("data");
        let names =
            if derived { &["super", "data", "index", "meta"][..] } else { &["super", "data"] };
        if derived {
            let index = self.file(FileKind::Index, from, rng, luck);
            std::fs::write(to.join("index"), index).expect("index");
            let mut meta = self.file(FileKind::Meta, from, rng, luck);
            if meta.len() > INDEX_INODE + 8 {
                meta[BOOT_ID] ^= 1;
                for (at, name) in [(DATA_INODE, "data"), (INDEX_INODE, "index")] {
                    let inode = std::fs::metadata(to.join(name)).expect("just written").ino();
                    meta[at..at + 8].copy_from_slice(&inode.to_le_bytes());
                }
            }
            std::fs::write(to.join("meta"), meta).expect("meta");
        }
        for name in names {
            use std::os::unix::fs::PermissionsExt;
            let mode = std::fs::Permissions::from_mode(0o600);
            std::fs::set_permissions(to.join(name), mode).expect("chmod");
        }
    }
}
