//! TLS on a loop's sockets: rustls only changes bytes, the loop moves them. Also the certificates:
//! read from files, checked, and exchanged while connections go on with the old ones. Used by
//! `wire`; [`Tls`] is made by `server` and tests.

use std::fs;
use std::io::{self, IoSlice, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arc_swap::ArcSwap;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use rustls::{RootCertStore, ServerConfig, ServerConnection, SupportedProtocolVersion};
use thiserror::Error;

use super::socket::{Moved, Socket};
use super::wire::Filled;
use crate::limits::{CERTIFICATES_MAX, PEM_BYTES_MAX};

/// Are clients asked who they are?
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ClientCertificates {
    /// No.
    #[default]
    NotAsked,
    /// They are asked, and what they show has to be good; they may show nothing.
    Checked,
    /// Without a good one nobody gets in.
    Required,
}

/// Where the certificates are, and what is asked of clients.
#[derive(Debug, Clone, Default)]
pub struct Files {
    /// PEM: the server's certificate and those between it and a root.
    pub chain: PathBuf,
    /// PEM: the key, not encrypted.
    pub key: PathBuf,
    /// PEM: who signs clients' certificates.
    pub authorities: Option<PathBuf>,
    /// Are clients asked?
    pub clients: ClientCertificates,
    /// Only TLS 1.3, not 1.2.
    pub only_1_3: bool,
}

/// What is wrong with certificates.
#[derive(Debug, Error)]
pub enum TlsError {
    /// A file cannot be read.
    #[error("{0}: {1}")]
    Unreadable(PathBuf, io::Error),
    /// A file is not what it should be.
    #[error("{0}: {1}")]
    Wrong(PathBuf, String),
    /// The parts do not fit together.
    #[error("certificate {chain} with key {key}: {error}")]
    Mismatch {
        /// The chain's file.
        chain: PathBuf,
        /// The key's file.
        key: PathBuf,
        /// What does not fit.
        error: rustls::Error,
    },
    /// Clients are to be checked, and nothing says against what.
    #[error("clients' certificates are to be checked, but there is no file of authorities")]
    NoAuthorities,
}

/// What TLS listeners show, exchangeable.
#[derive(Debug)]
pub struct Tls {
    files: Files,
    current: ArcSwap<ServerConfig>,
}

impl Tls {
    /// Reads the files.
    pub fn load(files: Files) -> Result<Tls, TlsError> {
        let current = ArcSwap::new(read(&files)?);
        Ok(Tls { files, current })
    }

    /// Reads the files again, for the connections to come. If something is wrong with them, what was
    /// read before stays.
    pub fn reload(&self) -> Result<(), TlsError> {
        self.current.store(read(&self.files)?);
        Ok(())
    }
}

fn read(files: &Files) -> Result<Arc<ServerConfig>, TlsError> {
    let chain = certificates(&files.chain)?;
    let key = key(&files.key)?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let versions: &[&SupportedProtocolVersion] = match files.only_1_3 {
        true => &[&rustls::version::TLS13],
        false => &[&rustls::version::TLS13, &rustls::version::TLS12],
    };
    let mismatch =
        |error| TlsError::Mismatch { chain: files.chain.clone(), key: files.key.clone(), error };
    let builder = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(versions)
        .map_err(mismatch)?;
    let builder = match verifier(files)? {
        Some(verifier) => builder.with_client_cert_verifier(verifier),
        None => builder.with_no_client_auth(),
    };
    Ok(Arc::new(builder.with_single_cert(chain, key).map_err(mismatch)?))
}

fn verifier(files: &Files) -> Result<Option<Arc<dyn ClientCertVerifier>>, TlsError> {
    if files.clients == ClientCertificates::NotAsked {
        return Ok(None);
    }
    let path = files.authorities.as_ref().ok_or(TlsError::NoAuthorities)?;
    let mut roots = RootCertStore::empty();
    for certificate in certificates(path)? {
        roots.add(certificate).map_err(|error| wrong(path, error.to_string()))?;
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut builder = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
    if files.clients == ClientCertificates::Checked {
        builder = builder.allow_unauthenticated();
    }
    builder.build().map(Some).map_err(|error| wrong(path, error.to_string()))
}

fn wrong(path: &Path, what: impl Into<String>) -> TlsError {
    TlsError::Wrong(path.to_path_buf(), what.into())
}

fn contents(path: &Path) -> Result<Vec<u8>, TlsError> {
    let unreadable = |error| TlsError::Unreadable(path.to_path_buf(), error);
    let file = fs::File::open(path).map_err(unreadable)?;
    let mut bytes = Vec::new();
    let length = file.take(PEM_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    match length as u64 > PEM_BYTES_MAX {
        true => Err(wrong(path, format!("longer than {PEM_BYTES_MAX} bytes"))),
        false => Ok(bytes),
    }
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let bytes = contents(path)?;
    let mut all = Vec::new();
    for certificate in CertificateDer::pem_slice_iter(&bytes) {
        all.push(certificate.map_err(|error| wrong(path, format!("not PEM: {error}")))?);
        if all.len() > CERTIFICATES_MAX {
            return Err(wrong(path, format!("more than {CERTIFICATES_MAX} certificates")));
        }
    }
    match all.is_empty() {
        true => Err(wrong(path, "there is no certificate in it")),
        false => Ok(all),
    }
}

fn key(path: &Path) -> Result<PrivateKeyDer<'static>, TlsError> {
    let bytes = contents(path)?;
    PrivateKeyDer::from_pem_slice(&bytes).map_err(|error| {
        // An encrypted PKCS #8 key has a section of its own (RFC 7468, 11), a traditional one a
        // header inside the section (RFC 1421, 4.6.1.1).
        let is_in = |what: &[u8]| memchr::memmem::find(&bytes, what).is_some();
        let what = if is_in(b"BEGIN ENCRYPTED PRIVATE KEY") || is_in(b"Proc-Type: 4,ENCRYPTED") {
            "the key is encrypted; keep it decrypted in a file that only this server can read"
                .to_string()
        } else if is_in(b"PRIVATE KEY-----") {
            format!("not a key in PEM: {error}")
        } else {
            "there is no private key in it".to_string()
        };
        wrong(path, what)
    })
}

/// A socket with TLS.
#[derive(Debug)]
pub(super) struct Secured {
    socket: Socket,
    session: ServerConnection,
}

impl Secured {
    /// A connection that shows what is current now.
    pub fn new(socket: Socket, tls: &Tls) -> Option<Secured> {
        let session = ServerConnection::new(tls.current.load_full()).ok()?;
        Some(Secured { socket, session })
    }

    pub fn socket(&self) -> &Socket {
        &self.socket
    }

    /// As [`super::wire::Wire::fill`]. One read of the socket is a record or so; it reads until the
    /// room is filled or the socket is empty.
    pub fn fill(&mut self, into: &mut Vec<u8>) -> io::Result<Filled> {
        // Each round takes bytes off the socket or ends; a handshake's rounds give no plain text,
        // so they are counted too.
        const ROUNDS: usize = 64;
        for _ in 0..ROUNDS {
            if self.take_plain(into)? {
                return Ok(Filled { more: false, ended: true });
            }
            if into.len() == into.capacity() {
                return Ok(Filled { more: true, ended: false });
            }
            match self.session.read_tls(&mut Through(&self.socket)) {
                Ok(0) => {
                    // An end without goodbye: requests are framed, so none can be cut unseen.
                    return Ok(Filled { more: false, ended: true });
                }
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    return Ok(Filled::default());
                }
                Err(error) => return Err(error),
            }
            let processed = self.session.process_new_packets();
            // The handshake's answers, and the alert that says what was wrong.
            let flushed = self.flush();
            processed.map_err(io::Error::other)?;
            flushed?;
        }
        Ok(Filled { more: true, ended: false })
    }

    /// Appends decrypted bytes as far as there is room; true at the peer's goodbye.
    fn take_plain(&mut self, into: &mut Vec<u8>) -> io::Result<bool> {
        loop {
            let room = into.capacity() - into.len();
            if room == 0 {
                return Ok(false);
            }
            let mut reader = self.session.reader();
            let taken = match io::BufRead::fill_buf(&mut reader) {
                Ok([]) => return Ok(true),
                Ok(plain) => {
                    let taken = plain.len().min(room);
                    into.extend_from_slice(plain.get(..taken).unwrap_or_default());
                    taken
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(true),
                Err(error) => return Err(error),
            };
            io::BufRead::consume(&mut reader, taken);
        }
    }

    /// As [`super::wire::Wire::send`]: encrypts as much as rustls buffers (64 KiB), sends it, and so
    /// on until everything is taken over or the socket is full.
    pub fn send(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut taken = 0;
        loop {
            self.flush()?;
            let left = bytes.get(taken..).unwrap_or_default();
            if self.is_full() || left.is_empty() {
                return Ok(taken);
            }
            match self.session.writer().write(left)? {
                0 => return Ok(taken),
                written => taken += written,
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        while self.session.wants_write() {
            match self.session.write_tls(&mut Through(&self.socket)) {
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    pub fn is_full(&self) -> bool {
        self.session.wants_write()
    }

    pub fn is_open(&self) -> bool {
        !self.session.is_handshaking()
    }

    pub fn say_goodbye(&mut self) {
        self.session.send_close_notify();
        // Who is gone already or takes nothing misses nothing.
        let _ = self.flush();
    }
}

/// The socket as rustls wants it.
struct Through<'a>(&'a Socket);

fn count(moved: Moved) -> io::Result<usize> {
    match moved {
        Moved::Bytes(bytes) => Ok(bytes),
        Moved::Blocked => Err(io::ErrorKind::WouldBlock.into()),
    }
}

impl Read for Through<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        self.0.receive_into(into).and_then(count)
    }
}

impl Write for Through<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.send(bytes).and_then(count)
    }

    fn write_vectored(&mut self, pieces: &[IoSlice<'_>]) -> io::Result<usize> {
        self.0.send_pieces(pieces).and_then(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
