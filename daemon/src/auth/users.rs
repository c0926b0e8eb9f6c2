//! The users of a password file: memcached's own, a line `name:password` for each (`-Y`). Once read
//! it holds no password, and it never says whether a name is one of a user.

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};
use sha2::{Digest, Sha256};
use subtle::{Choice, ConstantTimeEq};

use crate::limits::{PASSWORD_FILE_MAX, PASSWORD_LINE_MAX, USERS_MAX};

/// Why a password file is of no use. Nothing of what is in it is in the text.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the messages say it")]
pub enum AuthError {
    #[error("the password file {path} cannot be read: {source}")]
    Unreadable { path: PathBuf, source: std::io::Error },
    #[error("the password file {path} is not a regular file")]
    NotAFile { path: PathBuf },
    #[error(
        "the password file {path} is open to all users of the machine (mode {mode:04o}); \
         mend it with: chmod o= {path}"
    )]
    Exposed { path: PathBuf, mode: u32 },
    #[error("the password file {path} is longer than {PASSWORD_FILE_MAX} bytes")]
    TooLong { path: PathBuf },
    #[error("the password file {path} is of no use: {fault}")]
    Fault { path: PathBuf, fault: Fault },
}

/// What is wrong inside a password file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs, reason = "the messages say it")]
pub enum Fault {
    #[error("line {0} has no colon between name and password")]
    NoColon(usize),
    #[error("line {0} has no name before the colon")]
    NoName(usize),
    #[error("line {0} has no password behind the colon")]
    NoPassword(usize),
    #[error("line {0} is longer than {PASSWORD_LINE_MAX} bytes")]
    LongLine(usize),
    #[error("line {0} has a NUL or a carriage return in it")]
    StrayByte(usize),
    #[error("it has more than {USERS_MAX} users")]
    TooMany,
    #[error("it has no user, so nobody could connect")]
    Nobody,
}

/// SHA-256 of a name and its password.
type Proof = [u8; 32];

/// Who may talk.
///
/// Only a digest of each name with its password is kept, so that all are of one length, and a check
/// compares what it is given with every one of them to the last byte. There is no step at which a
/// name alone is looked for: an unknown name and a wrong password cost the same because they are
/// the same to it (CVE-2026-47783 was a lookup of the name that came first).
pub struct Users {
    proofs: Vec<Proof>,
}

/// Says how many there are.
impl std::fmt::Debug for Users {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        write!(f, "Users({})", self.proofs.len())
    }
}

impl Users {
    /// Reads a password file. It may be a link, as secrets that are mounted often are; what is
    /// judged is the file that was opened.
    pub fn load(path: &Path) -> Result<Users, AuthError> {
        let path = path.to_owned();
        let bytes = match read(&path) {
            Ok(Ok(bytes)) => bytes,
            Ok(Err(refusal)) => return Err(refusal),
            Err(source) => return Err(AuthError::Unreadable { path, source }),
        };
        Users::parse(&bytes).map_err(|fault| AuthError::Fault { path, fault })
    }

    /// Reads the bytes of a password file: lines end with LF or CR LF, the first colon ends the name,
    /// an empty line is nothing.
    pub fn parse(bytes: &[u8]) -> Result<Users, Fault> {
        let mut proofs = Vec::new();
        for (number, line) in (1..).zip(bytes.split(|byte| *byte == b'\n')) {
            let line = line.strip_suffix(b"\r").unwrap_or(line);
            if line.is_empty() {
                continue;
            }
            let (user, password) = entry(line, number)?;
            if proofs.len() == USERS_MAX {
                return Err(Fault::TooMany);
            }
            proofs.push(proof(user, password));
        }
        if proofs.is_empty() { Err(Fault::Nobody) } else { Ok(Users { proofs }) }
    }

    /// Is this a user with this password? The time it takes depends on how long the two are and on
    /// how many users there are, on nothing else.
    pub fn check(&self, user: &[u8], password: &[u8]) -> bool {
        let given = proof(user, password);
        let same = |known: &Proof| known.as_slice().ct_eq(given.as_slice());
        self.proofs.iter().map(same).fold(Choice::from(0), |any, this| any | this).into()
    }
}

/// Reads the whole file, if it is one that may be believed.
fn read(path: &Path) -> std::io::Result<Result<Vec<u8>, AuthError>> {
    // Without NONBLOCK the opening of a pipe would wait for its other end.
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
    let file = File::from(rustix::fs::open(path, flags, Mode::empty())?);
    let meta = file.metadata()?;
    let path = path.to_owned();
    let mode = meta.mode() & 0o7777;
    if !meta.is_file() {
        return Ok(Err(AuthError::NotAFile { path }));
    }
    if mode & 0o007 != 0 {
        return Ok(Err(AuthError::Exposed { path, mode }));
    }
    let mut bytes = Vec::new();
    let read = file.take(PASSWORD_FILE_MAX + 1).read_to_end(&mut bytes)?;
    Ok(match read as u64 > PASSWORD_FILE_MAX {
        true => Err(AuthError::TooLong { path }),
        false => Ok(bytes),
    })
}

fn entry(line: &[u8], number: usize) -> Result<(&[u8], &[u8]), Fault> {
    if line.len() > PASSWORD_LINE_MAX {
        return Err(Fault::LongLine(number));
    }
    // NUL ends names and passwords in SASL, CR ends passwords in memcached's reading of the file.
    if line.iter().any(|byte| matches!(byte, 0 | b'\r')) {
        return Err(Fault::StrayByte(number));
    }
    let mut parts = line.splitn(2, |byte| *byte == b':');
    let user = parts.next().unwrap_or_default();
    match parts.next() {
        None => Err(Fault::NoColon(number)),
        Some(_) if user.is_empty() => Err(Fault::NoName(number)),
        Some([]) => Err(Fault::NoPassword(number)),
        Some(password) => Ok((user, password)),
    }
}

/// The name's length goes first, so that no other pair has the same bytes.
fn proof(user: &[u8], password: &[u8]) -> Proof {
    let length = (user.len() as u64).to_be_bytes();
    Sha256::new().chain_update(length).chain_update(user).chain_update(password).finalize().into()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn names_and_passwords_are_taken_as_memcached_takes_them() {
        let users = Users::parse(b"ada:one\r\nbob:t:wo \n\nada:other\n\xff:\xfe").unwrap();
        for (user, password) in
            [(&b"ada"[..], &b"one"[..]), (b"ada", b"other"), (b"bob", b"t:wo "), (b"\xff", b"\xfe")]
        {
            assert!(users.check(user, password));
        }
        for (user, password) in [
            (&b"ada"[..], &b""[..]),
            (b"ada", b"one\r"),
            (b"ada", b"One"),
            (b"ada", b"on"),
            (b"bob", b"one"),
            (b"ad", b"aone"),
            (b"adao", b"ne"),
            (b"", b""),
            (b"", b"ada:one"),
        ] {
            assert!(!users.check(user, password));
        }
    }

    #[test]
    fn a_faulty_file_is_refused_with_its_line() {
        let long = [b"a:".as_slice(), &[b'x'; PASSWORD_LINE_MAX - 1]].concat();
        for (bytes, fault) in [
            (&b""[..], Fault::Nobody),
            (b"\n\r\n", Fault::Nobody),
            (b"ada:one\nbob", Fault::NoColon(2)),
            (b"\n:one\n", Fault::NoName(2)),
            (b"ada:\n", Fault::NoPassword(1)),
            (b"ada:o\0ne\n", Fault::StrayByte(1)),
            (b"ada:one\rbob:two\r", Fault::StrayByte(1)),
            (&long, Fault::LongLine(1)),
        ] {
            assert_eq!(Users::parse(bytes).unwrap_err(), fault);
        }
        let longest = &long[..PASSWORD_LINE_MAX];
        assert!(Users::parse(longest).unwrap().check(b"a", &longest[2..]));
        let full = b"a:b\n".repeat(USERS_MAX);
        assert!(Users::parse(&full).is_ok());
        let more = b"a:b\n".repeat(USERS_MAX + 1);
        assert_eq!(Users::parse(&more).unwrap_err(), Fault::TooMany);
    }

    #[test]
    fn any_bytes_are_read_or_refused() {
        let (mut seed, mut taken) = (0x5eed_u64, 0);
        for _ in 0..2000 {
            let mut bytes = Vec::new();
            for _ in 0..seed >> 59 {
                seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                let pick = usize::try_from(seed >> 60).unwrap();
                bytes.push(b"abcdef::::\n\n\r\0 \xff"[pick]);
            }
            let read = Users::parse(&bytes);
            let empty: [&[u8]; 2] = [b"", b"\r"];
            let lines = bytes.split(|b| *b == b'\n').filter(|line| !empty.contains(line));
            match read {
                Ok(users) => {
                    assert_eq!(users.proofs.len(), lines.count());
                    taken += 1;
                }
                Err(Fault::Nobody) => assert_eq!(lines.count(), 0),
                Err(_) => assert!(lines.count() > 0),
            }
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        }
        assert!((20..1900).contains(&taken), "{taken}");
    }

    #[test]
    fn a_file_that_others_can_touch_is_refused_with_the_remedy() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("passwords");
        std::fs::write(&path, "ada:one\n").unwrap();
        for (mode, taken) in [(0o600, true), (0o640, true), (0o644, false), (0o602, false)] {
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
            match Users::load(&path) {
                Ok(users) => assert!(taken && users.check(b"ada", b"one")),
                Err(error) => {
                    assert!(!taken, "{error}");
                    let remedy = format!("chmod o= {}", path.display());
                    assert!(error.to_string().ends_with(&remedy), "{error}");
                    assert!(!error.to_string().contains("one"), "{error}");
                }
            }
        }
    }

    #[test]
    fn what_is_not_a_file_of_bearable_length_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("passwords");
        assert!(matches!(Users::load(&path), Err(AuthError::Unreadable { .. })));
        assert!(matches!(Users::load(dir.path()), Err(AuthError::NotAFile { .. })));
        rustix::fs::mkfifoat(rustix::fs::CWD, &path, Mode::RUSR | Mode::WUSR).unwrap();
        assert!(matches!(Users::load(&path), Err(AuthError::NotAFile { .. })));
        std::fs::remove_file(&path).unwrap();
        let file = File::create(&path).unwrap();
        file.set_permissions(std::fs::Permissions::from_mode(0o600)).unwrap();
        file.set_len(PASSWORD_FILE_MAX + 1).unwrap();
        assert!(matches!(Users::load(&path), Err(AuthError::TooLong { .. })));
        file.set_len(PASSWORD_FILE_MAX).unwrap();
        let fault = Users::load(&path).unwrap_err();
        assert!(matches!(fault, AuthError::Fault { fault: Fault::LongLine(1), .. }), "{fault}");
    }
}
