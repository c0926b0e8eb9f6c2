//! The files of a store as they are at one moment, to be had again in place.
//!
//! A death leaves the bytes of the files and nothing else, so each state that a dying process
//! passed through can be put back and looked at as if it had died there. The files stay the same
//! ones: `meta` names their inodes, and who is attached stays attached.

use std::fs::File;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::PathBuf;

use crate::scene::Scene;

pub const NAMES: [&str; 3] = ["data", "index", "meta"];
pub const META: usize = 2;
const PAGE: usize = 4096;

/// The files of a store.
pub struct Files {
    path: PathBuf,
    inodes: Vec<u64>,
}

/// Their bytes.
#[derive(Clone)]
pub struct Image(pub Vec<Vec<u8>>);

impl Files {
    pub fn of(scene: &Scene) -> Files {
        let path = scene.path.clone();
        let inode = |name| std::fs::metadata(path.join(name)).expect("a file").ino();
        Files { inodes: NAMES.map(inode).to_vec(), path }
    }

    pub fn image(&self) -> Image {
        Image(NAMES.map(|name| std::fs::read(self.path.join(name)).expect("a file")).to_vec())
    }

    /// What a file has grown by since reads as zeros.
    pub fn put_back(&self, image: &Image) {
        let now = self.image();
        for (i, name) in NAMES.iter().enumerate() {
            let file = File::options().write(true).open(self.path.join(name)).expect("a file");
            let inode = file.metadata().expect("its inode").ino();
            assert_eq!(inode, self.inodes[i], "{name} was made anew, which only a rebuild does");
            let mut wanted = image.0[i].clone();
            assert!(wanted.len() <= now.0[i].len(), "{name} became shorter");
            wanted.resize(now.0[i].len(), 0);
            for (page, (new, old)) in wanted.chunks(PAGE).zip(now.0[i].chunks(PAGE)).enumerate() {
                if new != old {
                    file.write_all_at(new, (page * PAGE) as u64).expect("written");
                }
            }
        }
    }
}

impl Image {
    pub fn change(&mut self, file: usize, offset: usize, bytes: &[u8]) {
        self.0[file][offset..offset + bytes.len()].copy_from_slice(bytes);
    }

    pub fn word(&self, file: usize, offset: usize) -> u64 {
        u64::from_le_bytes(self.0[file][offset..offset + 8].try_into().expect("8 bytes"))
    }
}
