//! The file `super`: what the store is. Two equal copies, each with a checksum, replaced by rename.
//!
//! ```text
//!  0x000 magic "holdfast"      0x040 max_bytes          0x078 lanes
//!  0x008 store id 16 bytes     0x048 max_value_bytes    0x080 0
//!  0x018 major 16 minor 16     0x050 default_ttl_ms     0x088 secret 16 bytes
//!  0x020 compat 32             0x058 max_ttl_ms         0x098 seq_base
//!  0x024 ro_compat 32          0x060 sync_interval_ms   0x0a0 newest time seen, ms
//!  0x028 incompat 32           0x068 segment_bytes      0x0a8 flags: 1 = data was made
//!  0x030 sync 8 hash 8 lz4 8   0x070 segments           0x0b0 pending max_bytes
//!  0x038 max_processes 32                               0x0b8 pending max_processes
//!  0x0c0 flush seq             0x0c8 flush at, ms       0x1f8 CRC of the bytes before
//! ```
//!
//! The second copy starts at 4096.

use std::io::{Read, Write};

use crate::arena::Geometry;
use crate::error::{Error, Result};
use crate::key::HashKind;
use crate::options::{Config, Sync};
use crate::sys::dir::Dir;
use crate::sys::disk::{Disk, FileKind};
use crate::sys::fault;

const MAGIC: u64 = u64::from_le_bytes(*b"holdfast");
/// A higher major number is another format.
pub(crate) const MAJOR: u16 = 1;
/// A higher minor number is one that this library can still use, flags permitting.
pub(crate) const MINOR: u16 = 1;
const COPY: usize = 4096;
const NEW: &str = "super.new";
const CRC_AT: usize = 0x1f8;
/// Bytes of a copy that have a meaning, or will have.
const USED: usize = 512;

/// Everything in `super`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Superblock {
    pub(crate) id: [u64; 2],
    pub(crate) config: Config,
    pub(crate) geometry: Geometry,
    pub(crate) secret: [u64; 2],
    pub(crate) seq_base: u64,
    pub(crate) newest_ms: u64,
    pub(crate) made: bool,
    /// What has this number or an older one was flushed.
    pub(crate) flush_seq: u64,
    /// When everything is to be flushed, unix ms of store time; 0 = it is not.
    pub(crate) flush_at_ms: u64,
    /// The bytes that it was read from. What is not known here goes back as it was: another minor
    /// version may mean something by it.
    pub(crate) read: [u8; USED],
}

/// Of this machine.
pub(crate) fn cores() -> u64 {
    std::thread::available_parallelism().map_or(1, |n| n.get() as u64)
}

fn put(bytes: &mut [u8], at: usize, value: u64) {
    bytes[at..at + 8].copy_from_slice(&value.to_le_bytes());
}

fn get(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap_or_default())
}

impl Superblock {
    /// A new store's.
    pub(crate) fn new(config: Config) -> Result<Superblock> {
        let mut random = [0; 32];
        getrandom::fill(&mut random)
            .map_err(|e| Error::io("reading random bytes", std::io::Error::other(e.to_string())))?;
        Ok(Superblock {
            id: [get(&random, 0), get(&random, 8)],
            config,
            geometry: Geometry::new(&config, cores()),
            secret: [get(&random, 16), get(&random, 24)],
            seq_base: 0,
            newest_ms: 0,
            made: false,
            flush_seq: 0,
            flush_at_ms: 0,
            read: [0; USED],
        })
    }

    fn encode(&self) -> Vec<u8> {
        let mut b = vec![0; COPY];
        b[..USED].copy_from_slice(&self.read);
        // The newest of those who ever wrote it.
        let minor = fault::minor(MINOR).max((get(&b, 0x018) >> 16) as u16);
        let (c, g) = (&self.config, &self.geometry);
        put(&mut b, 0x000, MAGIC);
        put(&mut b, 0x008, self.id[0]);
        put(&mut b, 0x010, self.id[1]);
        b[0x018..0x01a].copy_from_slice(&MAJOR.to_le_bytes());
        b[0x01a..0x01c].copy_from_slice(&minor.to_le_bytes());
        b[0x030..0x034].copy_from_slice(&[
            c.sync as u8,
            c.hash as u8,
            c.compress as u8,
            c.evict as u8,
        ]);
        put(&mut b, 0x038, c.max_processes as u64);
        put(&mut b, 0x040, c.max_bytes);
        put(&mut b, 0x048, c.max_value_bytes);
        put(&mut b, 0x050, c.default_ttl_ms);
        put(&mut b, 0x058, c.max_ttl_ms);
        put(&mut b, 0x060, c.sync_interval_ms);
        put(&mut b, 0x068, g.segment_bytes);
        put(&mut b, 0x070, g.segments);
        put(&mut b, 0x078, g.lanes);
        put(&mut b, 0x088, self.secret[0]);
        put(&mut b, 0x090, self.secret[1]);
        put(&mut b, 0x098, self.seq_base);
        put(&mut b, 0x0a0, self.newest_ms);
        put(&mut b, 0x0a8, self.made as u64);
        put(&mut b, 0x0b0, c.pending_max_bytes);
        put(&mut b, 0x0b8, c.pending_max_processes as u64);
        put(&mut b, 0x0c0, self.flush_seq);
        put(&mut b, 0x0c8, self.flush_at_ms);
        let crc = crc_fast::crc32_iscsi(&b[..CRC_AT]);
        put(&mut b, CRC_AT, crc as u64);
        b
    }

    fn decode(dir: &Dir, b: &[u8]) -> Result<Superblock> {
        let wrong = |why: String| Error::Format { path: dir.join("super"), why };
        if b.len() < COPY || get(b, 0) != MAGIC {
            return Err(wrong("is not a Holdfast store".into()));
        }
        if get(b, CRC_AT) != crc_fast::crc32_iscsi(&b[..CRC_AT]) as u64 {
            return Err(wrong("is damaged".into()));
        }
        let (major, minor) = (get(b, 0x18) as u16, (get(b, 0x18) >> 16) as u16);
        // `compat`, the lower half of the first of these words, may say what it likes.
        let (ro_compat, incompat) = ((get(b, 0x20) >> 32) as u32, get(b, 0x28) as u32);
        if major != MAJOR || incompat != 0 || ro_compat != 0 {
            return Err(wrong(format!(
                "has format {major}.{minor} (features {incompat:#x}/{ro_compat:#x}); this library \
                 ({}) knows format {MAJOR}.{MINOR}: use a newer one",
                env!("CARGO_PKG_VERSION")
            )));
        }
        let sync = get(b, 0x30) as u8;
        let sync = Sync::from_number(sync as u64)
            .ok_or_else(|| wrong(format!("has an unknown sync mode {sync}")))?;
        let hash = match (get(b, 0x30) >> 8) as u8 {
            0 => HashKind::Rapid,
            1 => HashKind::Sip13,
            other => return Err(wrong(format!("has an unknown hash {other}"))),
        };
        let switch = |at: usize, what: &str| match b[at] {
            0 => Ok(false),
            1 => Ok(true),
            other => Err(wrong(format!("has an unknown {what} {other}"))),
        };
        let (compress, evict) = (switch(0x32, "compression")?, switch(0x33, "eviction")?);
        let config = Config {
            sync,
            hash,
            compress,
            evict,
            max_processes: get(b, 0x38) as u32,
            max_bytes: get(b, 0x40),
            max_value_bytes: get(b, 0x48),
            default_ttl_ms: get(b, 0x50),
            max_ttl_ms: get(b, 0x58),
            sync_interval_ms: get(b, 0x60),
            pending_max_bytes: get(b, 0xb0),
            pending_max_processes: get(b, 0xb8) as u32,
        };
        let geometry = Geometry {
            segment_bytes: get(b, 0x68),
            segments: get(b, 0x70),
            lanes: get(b, 0x78),
            slots: config.max_processes as u64,
        };
        let grown = config.settled().map(|new| (geometry.grown(&new, 1), new));
        let sane = geometry.is_sane(&config) && grown.is_none_or(|(g, new)| g.is_sane(&new));
        if !sane {
            return Err(wrong("has sizes that contradict each other".into()));
        }
        Ok(Superblock {
            id: [get(b, 0x08), get(b, 0x10)],
            config,
            geometry,
            secret: [get(b, 0x88), get(b, 0x90)],
            seq_base: get(b, 0x98),
            newest_ms: get(b, 0xa0),
            made: get(b, 0xa8) == 1,
            flush_seq: get(b, 0xc0),
            flush_at_ms: get(b, 0xc8),
            read: std::array::from_fn(|i| b[i]),
        })
    }

    /// Both copies, each as it is found; none if there is no such file.
    pub(crate) fn copies(dir: &Dir) -> Result<Vec<Result<Superblock>>> {
        let Some(mut file) = dir.open_to_read("super")? else { return Ok(Vec::new()) };
        let mut bytes = Vec::new();
        Read::by_ref(&mut file)
            .take(4 * COPY as u64)
            .read_to_end(&mut bytes)
            .map_err(|e| Error::io(format!("reading {}", dir.join("super").display()), e))?;
        let second = bytes.get(COPY..).unwrap_or_default();
        Ok(vec![Superblock::decode(dir, &bytes), Superblock::decode(dir, second)])
    }

    /// Reads it; `None` if there is no such file. One whole copy is enough.
    pub(crate) fn read(dir: &Dir) -> Result<Option<Superblock>> {
        let mut first_failure = None;
        for copy in Superblock::copies(dir)? {
            match copy {
                Ok(it) => return Ok(Some(it)),
                Err(e) => first_failure = first_failure.or(Some(e)),
            }
        }
        match first_failure {
            None => Ok(None),
            Some(Error::Format { path, why }) if why == "is damaged" => Err(Error::Format {
                path,
                why: "is damaged in both copies; put back a copy of this one file from a backup \
                      of the same store (the other files are as they were)"
                    .into(),
            }),
            Some(other) => Err(other),
        }
    }

    /// Replaces the file, durably. A failure before the rename leaves the old one as it was.
    pub(crate) fn write(&self, dir: &Dir, disk: &dyn Disk) -> Result<()> {
        self.write_new(dir, disk).inspect_err(|_| drop(dir.remove(NEW)))?;
        dir.rename(NEW, "super")?;
        dir.sync()
    }

    fn write_new(&self, dir: &Dir, disk: &dyn Disk) -> Result<()> {
        let failed = |e| Error::io(format!("writing {}", dir.join(NEW).display()), e);
        dir.remove(NEW)?;
        let mut file = dir.create(NEW)?;
        let copy = self.encode();
        disk.may_grow(FileKind::Super, 2 * COPY as u64).map_err(failed)?;
        file.write_all(&[&copy[..], &copy[..]].concat()).map_err(failed)?;
        disk.sync(FileKind::Super, &file).map_err(failed)
    }
}
