//! TLS on the loops, with real clients: both versions, certificates that change, clients that are
//! asked who they are, and peers that do not talk TLS at all.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]
#![allow(clippy::cast_possible_truncation, reason = "the numbers of a test are its own")]
#![cfg(feature = "tls")]

mod toys;

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use holdfastd::net::tls::{ClientCertificates, Files, Tls};
use holdfastd::net::{Config, Listener, State};
use rcgen::{CertificateParams, Issuer, KeyPair};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{
    ClientConfig, ClientConnection, RootCertStore, StreamOwned, SupportedProtocolVersion,
};
use toys::{Server, Toy, ask, big, config, connect, local, read_answer, request, serve_on, until};

/// An authority, and what it signed for "localhost", in files.
struct Papers {
    directory: tempfile::TempDir,
    authority: CertificateParams,
    key: KeyPair,
}

impl Papers {
    fn new() -> Papers {
        let mut authority = CertificateParams::new(Vec::<String>::new()).unwrap();
        authority.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let papers = Papers { directory: tempfile::tempdir().unwrap(), authority, key };
        let root = papers.authority.self_signed(&papers.key).unwrap();
        fs::write(papers.path("authority"), root.pem()).unwrap();
        papers.sign("server");
        papers
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// A new certificate under this name, in place of the one that may be there.
    fn sign(&self, name: &str) {
        let key = KeyPair::generate().unwrap();
        let issuer = Issuer::from_params(&self.authority, &self.key);
        let params = CertificateParams::new(vec!["localhost".to_string()]).unwrap();
        let certificate = params.signed_by(&key, &issuer).unwrap();
        fs::write(self.path(name), certificate.pem()).unwrap();
        fs::write(self.path(&format!("{name}.key")), key.serialize_pem()).unwrap();
    }

    fn files(&self) -> Files {
        Files {
            chain: self.path("server"),
            key: self.path("server.key"),
            authorities: Some(self.path("authority")),
            ..Files::default()
        }
    }

    fn client(
        &self,
        version: &'static SupportedProtocolVersion,
        shows: Option<&str>,
    ) -> Arc<ClientConfig> {
        let mut roots = RootCertStore::empty();
        roots.add(certificate(&self.path("authority"))).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[version])
            .unwrap()
            .with_root_certificates(roots);
        Arc::new(match shows {
            None => builder.with_no_client_auth(),
            Some(name) => {
                let key = PrivateKeyDer::from_pem_file(self.path(&format!("{name}.key"))).unwrap();
                builder.with_client_auth_cert(vec![certificate(&self.path(name))], key).unwrap()
            }
        })
    }
}

fn certificate(path: &Path) -> CertificateDer<'static> {
    CertificateDer::from_pem_file(path).unwrap()
}

type Client = StreamOwned<ClientConnection, TcpStream>;

fn secured(address: SocketAddr, config: &Arc<ClientConfig>) -> Client {
    let name = ServerName::try_from("localhost").unwrap();
    StreamOwned::new(ClientConnection::new(config.clone(), name).unwrap(), connect(address))
}

fn serve(config: Config, files: Files) -> (Server, Arc<Tls>) {
    let tls = Arc::new(Tls::load(files).unwrap());
    let listener = Listener::tcp(local(), 128).unwrap().secured();
    assert!(listener.is_tls());
    let address = listener.bound().unwrap();
    let config = Config { tls: Some(tls.clone()), ..config };
    (serve_on(config, Toy::default(), vec![listener], address), tls)
}

const VERSIONS: [&SupportedProtocolVersion; 2] = [&rustls::version::TLS12, &rustls::version::TLS13];

#[test]
fn both_versions_are_served_with_requests_of_any_size() {
    let papers = Papers::new();
    let (server, _) = serve(config(2), papers.files());
    for version in VERSIONS {
        let client_config = papers.client(version, None);
        let mut client = secured(server.address, &client_config);
        assert_eq!(ask(&mut client, b'e', b"secret"), b"secret");
        assert_eq!(client.conn.protocol_version(), Some(version.version));
        for size in [0, 16 << 10, 64 << 10, 100_000, 3_000_000] {
            let body: Vec<u8> = (0..size).map(|at: usize| (at % 251) as u8).collect();
            assert!(ask(&mut client, b'e', &body) == body, "{size} bytes");
        }
        let mut pipeline = Vec::new();
        for number in 0..5000u32 {
            pipeline.extend(request(b'e', &number.to_be_bytes()));
        }
        client.write_all(&pipeline).unwrap();
        client.flush().unwrap();
        for number in 0..5000u32 {
            assert_eq!(read_answer(&mut client), number.to_be_bytes());
        }
        // The answer waits for the disk here too, and the end has its goodbye.
        assert_eq!(ask(&mut client, b'c', b""), b"ok");
        assert_eq!(ask(&mut client, b'q', b""), b"bye");
        assert_eq!(client.read(&mut [0; 10]).unwrap(), 0, "an end without goodbye is an error");
    }
    until("all are gone", || server.running.stats().current == 0);
    server.end();
}

#[test]
fn a_pipeline_is_answered_with_one_write_here_too() {
    let papers = Papers::new();
    let (server, _) = serve(config(1), papers.files());
    let mut client = secured(server.address, &papers.client(&rustls::version::TLS13, None));
    ask(&mut client, b'e', b"here");
    until("it is counted", || server.running.stats().sent == 8);
    let before = server.running.stats().writes;
    let mut bytes = Vec::new();
    for _ in 0..100 {
        bytes.extend(request(b'e', b"1234"));
    }
    client.write_all(&bytes).unwrap();
    for _ in 0..100 {
        read_answer(&mut client);
    }
    until("it is counted", || server.running.stats().sent == 808);
    assert_eq!(server.running.stats().writes - before, 1);
    server.end();
}

#[test]
fn a_peer_that_does_not_read_is_held_and_served_when_it_does() {
    let papers = Papers::new();
    let (server, _) = serve(config(1), papers.files());
    let mut client = secured(server.address, &papers.client(&rustls::version::TLS13, None));
    for _ in 0..30 {
        client.write_all(&big(1 << 20)).unwrap();
    }
    until("it is stuck", || {
        let facts = server.running.watch().connections(1);
        facts.first().is_some_and(|one| one.state == State::Writing)
    });
    std::thread::sleep(Duration::from_millis(50));
    assert!(server.running.stats().sent < 25 << 20);
    for _ in 0..30 {
        assert_eq!(read_answer(&mut client).len(), 1 << 20);
    }
    assert_eq!(ask(&mut client, b'e', b"well"), b"well");
    server.end();
}

#[test]
fn certificates_can_be_exchanged_while_connections_go_on() {
    let papers = Papers::new();
    let (server, tls) = serve(config(2), papers.files());
    let client_config = papers.client(&rustls::version::TLS13, None);
    let shown = |client: &Client| client.conn.peer_certificates().unwrap()[0].clone().into_owned();
    let mut old = secured(server.address, &client_config);
    ask(&mut old, b'e', b"old");
    let first = certificate(&papers.path("server"));
    assert_eq!(shown(&old), first);

    papers.sign("server");
    let mut before_reload = secured(server.address, &client_config);
    ask(&mut before_reload, b'e', b"not yet");
    assert_eq!(shown(&before_reload), first);
    tls.reload().unwrap();
    let mut new = secured(server.address, &client_config);
    ask(&mut new, b'e', b"new");
    assert_eq!(shown(&new), certificate(&papers.path("server")));
    assert_ne!(shown(&new), first);
    assert_eq!(ask(&mut old, b'e', b"goes on"), b"goes on");

    // What cannot be used leaves what was.
    let second = shown(&new);
    fs::write(papers.path("server"), "nonsense").unwrap();
    assert!(tls.reload().is_err());
    let mut still = secured(server.address, &client_config);
    ask(&mut still, b'e', b"still");
    assert_eq!(shown(&still), second);
    server.end();
}

#[test]
fn clients_can_be_asked_who_they_are() {
    let papers = Papers::new();
    papers.sign("friend");
    let strangers = Papers::new();
    strangers.sign("stranger");
    fs::copy(strangers.path("stranger"), papers.path("stranger")).unwrap();
    fs::copy(strangers.path("stranger.key"), papers.path("stranger.key")).unwrap();
    let gets_in = |server: &Server, version, shows| {
        let mut client = secured(server.address, &papers.client(version, shows));
        client.write_all(&request(b'e', b"in")).is_ok()
            && client.flush().is_ok()
            && client.read_exact(&mut [0; 6]).is_ok()
    };
    for (clients, anonymous) in
        [(ClientCertificates::Required, false), (ClientCertificates::Checked, true)]
    {
        let (server, _) = serve(config(1), Files { clients, ..papers.files() });
        for version in VERSIONS {
            assert!(gets_in(&server, version, Some("friend")));
            assert!(!gets_in(&server, version, Some("stranger")));
            assert_eq!(gets_in(&server, version, None), anonymous);
        }
        server.end();
    }
}

#[test]
fn an_older_version_can_be_refused() {
    let papers = Papers::new();
    let (server, _) = serve(config(1), Files { only_1_3: true, ..papers.files() });
    let mut old = secured(server.address, &papers.client(&rustls::version::TLS12, None));
    assert!(old.write_all(b"x").is_err() || old.flush().is_err());
    let mut new = secured(server.address, &papers.client(&rustls::version::TLS13, None));
    assert_eq!(ask(&mut new, b'e', b"new"), b"new");
    server.end();
}

#[test]
fn plain_text_and_silence_on_a_tls_port_end() {
    let papers = Papers::new();
    let handshake = Duration::from_millis(500);
    let (server, _) = serve(Config { handshake, ..config(1) }, papers.files());
    for plain in [&b"get secret\r\n"[..], b"\x80\0\0\0\0\0\0\0\0\0\0\0", &request(b'e', b"plain")] {
        let mut client = connect(server.address);
        client.write_all(plain).unwrap();
        let begun = Instant::now();
        let mut answer = Vec::new();
        let _ = client.read_to_end(&mut answer);
        assert!(begun.elapsed() < Duration::from_millis(400), "closed at once");
        assert!(!answer.windows(5).any(|some| some == b"plain"));
    }
    assert_eq!(server.toy.advances.load(std::sync::atomic::Ordering::SeqCst), 0);
    // A handshake that is begun and not gone on with.
    let begun = Instant::now();
    let mut stalled = connect(server.address);
    stalled.write_all(&[0x16, 3, 1, 2, 0, 1]).unwrap();
    let mut silent = connect(server.address);
    until("it is seen", || {
        let facts = server.running.watch().connections(10);
        facts.iter().filter(|one| one.state == State::Handshake).count() == 2
    });
    assert_eq!(stalled.read(&mut [0; 10]).unwrap_or(0), 0);
    assert_eq!(silent.read(&mut [0; 10]).unwrap_or(0), 0);
    let took = begun.elapsed();
    assert!(took >= handshake && took < 3 * handshake, "{took:?}");
    assert_eq!(server.running.stats().panicked, 0);
    server.end();
}

#[test]
fn a_request_may_come_in_any_pieces_of_records() {
    let papers = Papers::new();
    let (server, _) = serve(config(1), papers.files());
    let client_config = papers.client(&rustls::version::TLS13, None);
    let mut session =
        ClientConnection::new(client_config, ServerName::try_from("localhost").unwrap()).unwrap();
    let mut socket = connect(server.address);
    while session.is_handshaking() {
        session.complete_io(&mut socket).unwrap();
    }
    // The bytes of the records, one at a time: every cut of a record's head, body and tag.
    session.writer().write_all(&request(b'e', b"pieces")).unwrap();
    session.writer().write_all(&request(b'e', b"more")).unwrap();
    let mut bytes = Vec::new();
    while session.wants_write() {
        session.write_tls(&mut bytes).unwrap();
    }
    for byte in bytes {
        socket.write_all(&[byte]).unwrap();
    }
    let mut client = StreamOwned::new(session, socket);
    assert_eq!(read_answer(&mut client), b"pieces");
    assert_eq!(read_answer(&mut client), b"more");
    // An end without goodbye is an end.
    client.sock.shutdown(std::net::Shutdown::Write).unwrap();
    until("it is gone", || server.running.stats().current == 0);
    server.end();
}

#[test]
fn draining_says_goodbye() {
    let papers = Papers::new();
    let (server, _) = serve(config(2), papers.files());
    let mut client = secured(server.address, &papers.client(&rustls::version::TLS13, None));
    ask(&mut client, b'e', b"here");
    assert!(server.running.drain(Duration::from_secs(5)));
    assert_eq!(client.read(&mut [0; 10]).unwrap(), 0);
    server.end();
}

#[test]
fn what_is_wrong_with_the_files_is_said_with_their_names() {
    let papers = Papers::new();
    let said = |files: Files| Tls::load(files).unwrap_err().to_string();
    let with = |name: &str, contents: &str| {
        let path = papers.path(name);
        fs::write(&path, contents).unwrap();
        path
    };
    let nowhere = papers.path("nowhere");
    let error = said(Files { chain: nowhere.clone(), ..papers.files() });
    assert!(
        error.starts_with(nowhere.to_str().unwrap()) && error.contains("No such file"),
        "{error}"
    );

    let empty = with("empty", "");
    let error = said(Files { chain: empty.clone(), ..papers.files() });
    assert_eq!(error, format!("{}: there is no certificate in it", empty.display()));
    let error = said(Files { key: empty.clone(), ..papers.files() });
    assert_eq!(error, format!("{}: there is no private key in it", empty.display()));

    let broken = with("broken", "-----BEGIN CERTIFICATE-----\n!!!!\n-----END CERTIFICATE-----\n");
    let error = said(Files { chain: broken.clone(), ..papers.files() });
    assert!(error.starts_with(&format!("{}: not PEM: ", broken.display())), "{error}");

    let endless = with("endless", &"x".repeat((4 << 20) + 1));
    let error = said(Files { chain: endless.clone(), ..papers.files() });
    assert_eq!(error, format!("{}: longer than 4194304 bytes", endless.display()));

    for encrypted in [
        "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n",
        "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-128-CBC,00\n\nAAAA\n\
         -----END RSA PRIVATE KEY-----\n",
    ] {
        let key = with("encrypted", encrypted);
        let error = said(Files { key: key.clone(), ..papers.files() });
        let expected = format!("{}: the key is encrypted", key.display());
        assert!(error.starts_with(&expected), "{error}");
    }

    papers.sign("other");
    let error = said(Files { key: papers.path("other.key"), ..papers.files() });
    assert!(error.contains("with key") && error.contains("other.key"), "{error}");

    let clients = ClientCertificates::Required;
    let error = said(Files { clients, authorities: None, ..papers.files() });
    assert!(error.contains("no file of authorities"), "{error}");
    let error = said(Files { clients, authorities: Some(empty.clone()), ..papers.files() });
    assert_eq!(error, format!("{}: there is no certificate in it", empty.display()));
}
