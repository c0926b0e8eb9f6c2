//! `holdfastd`: the steps of a start and of an end, one after the other. What each does is in the
//! library.

use std::fs::DirBuilder;
use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use crossbeam_channel::{Receiver, Sender, bounded, select};
use holdfastd::config::{Asked, Config, Format, Protocol, Sources};
use holdfastd::limits::BEAT;
use holdfastd::log;
use holdfastd::net::Listener;
use holdfastd::server::{self, Order as Asks, Server};
use holdfastd::service::files::{PidFile, write_ports};
use holdfastd::service::signals::{self, Order};
use holdfastd::service::systemd::{self, Inherited};
use holdfastd::service::{Role, background, identity, limits};

/// Connections may take so long to finish what they asked when the server ends.
const DRAIN: Duration = Duration::from_secs(5);
/// Signals that wait to be obeyed at most; more of them say the same again.
const SIGNALS_MAX: usize = 16;

fn main() -> ExitCode {
    match run() {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            // There may be no log yet, and a terminal wants to read it too.
            eprintln!("holdfastd: {}", sentence(&error));
            ExitCode::FAILURE
        }
    }
}

/// An error and what led to it, each said once: some say their cause themselves.
fn sentence(error: &anyhow::Error) -> String {
    error.chain().skip(1).map(ToString::to_string).fold(error.to_string(), |text, cause| {
        if text.ends_with(&cause) { text } else { format!("{text}: {cause}") }
    })
}

fn run() -> anyhow::Result<u8> {
    let config = match Config::from_sources(&Sources::of_process())? {
        Asked::Serve(config) => config,
        Asked::Print(text) => {
            print!("{text}");
            return Ok(0);
        }
    };
    let announcer = match background::enter(config.process.daemon)? {
        Role::Server(announcer) => announcer,
        Role::Starter(code) => return Ok(code),
    };
    let sockets = systemd::inherited()?;
    let levels = log::start(&config.log)?;
    log::tell_panics();
    log::tell(&config.notes);
    let pid_file = config.process.pidfile.as_deref().map(PidFile::write).transpose()?;
    limits::descriptors(config.serving.connections, config.serving.threads)?;
    let (mut listeners, admin_socket) = match config.inherits {
        true => of_manager(&config, sockets)?,
        false => (server::tcp_listeners(&config)?, None),
    };
    become_user(&config)?;
    if !config.inherits {
        listeners.extend(server::unix_listeners(&config)?);
    }
    let opened = server::open(&config)?;
    let mut server = Server::start(&config, opened, listeners, admin_socket, Some(levels.clone()))?;
    if let Some(path) = &config.process.port_file {
        write_ports(path, server.bound())?;
    }
    let (sender, signals) = bounded(SIGNALS_MAX);
    let _listening = signals::listen(obeying(sender))?;
    let _watchdog = systemd::watchdog(server.health());
    announcer.serving(config.log.format != Format::Pretty)?;
    let told = told(&config, &server);
    systemd::ready(&told);
    tracing::info!("{told}");

    let well = serve(&config, &mut server, &signals, levels);
    drop(server);
    drop(pid_file);
    tracing::info!("ended");
    Ok(u8::from(!well))
}

/// Gives up being root before anything is read from a socket.
fn become_user(config: &Config) -> anyhow::Result<()> {
    let store = &config.store.dir;
    let identity = identity::choose(config.process.user.as_deref(), store)?;
    make_store_directory(store, identity.as_ref())?;
    if let Some(identity) = identity {
        identity.assume()?;
    }
    limits::core_files(config.process.core_files);
    limits::no_new_privileges();
    if config.process.lock_memory {
        limits::lock_memory()?;
    }
    Ok(())
}

/// The store's directory, if only it itself is missing: closed to everybody else, as the store wants
/// it, and the server's own.
fn make_store_directory(store: &Path, identity: Option<&identity::Identity>) -> anyhow::Result<()> {
    if store.exists() || !store.parent().is_some_and(Path::is_dir) {
        return Ok(());
    }
    let failed = || format!("the store's directory {} cannot be made", store.display());
    DirBuilder::new().mode(0o700).create(store).with_context(failed)?;
    if let Some(identity) = identity {
        identity.take_over(store).with_context(failed)?;
    }
    tracing::info!(directory = %store.display(), "made the store's directory");
    Ok(())
}

/// What listens: sockets with the dialects that are spoken there.
type Listeners = Vec<(Listener, Protocol)>;

/// Listeners of the sockets that the service manager opened; one with the name `http` is for the
/// admin port.
fn of_manager(
    config: &Config,
    sockets: Vec<Inherited>,
) -> anyhow::Result<(Listeners, Option<TcpListener>)> {
    let (mut listeners, mut admin) = (Vec::new(), None);
    for socket in sockets {
        let (name, fd, secured) = match socket {
            Inherited::Tcp(name, socket) if name == "http" => {
                admin = Some(socket);
                continue;
            }
            Inherited::Tcp(name, socket) => (name, OwnedFd::from(socket), config.tls.is_some()),
            Inherited::Unix(name, socket) => (name, OwnedFd::from(socket), false),
        };
        let listener = Listener::inherited(fd)?.named(name);
        if let Some(address) = listener.bound()
            && !config.may_listen_on(address)
        {
            anyhow::bail!(
                "the service manager's socket listens on {address}, which other machines can reach: \
                 say with --auth-file who may talk, or --allow-public"
            );
        }
        let listener = if secured { listener.secured() } else { listener };
        listeners.push((listener, Protocol::Auto));
    }
    Ok((listeners, admin))
}

/// Puts signals where the main thread waits.
fn obeying(sender: Sender<Order>) -> impl FnMut(Order) + Send + 'static {
    move |order| {
        // A full queue says the same already.
        let _ = sender.try_send(order);
    }
}

fn told(config: &Config, server: &Server) -> String {
    let addresses: Vec<_> = server.bound().iter().map(ToString::to_string).collect();
    let admin = server.admin().map(|admin| format!(", admin on {admin}")).unwrap_or_default();
    match (addresses.is_empty(), config.endpoints.is_empty() && !config.inherits) {
        (true, true) => format!("serving numbers only{admin}"),
        (true, false) => format!("serving on unix sockets{admin}"),
        (false, _) => format!("serving on {}{admin}", addresses.join(" ")),
    }
}

/// Until somebody wants the end: a signal, or a client that may. False if it came without that: the
/// connections of a loop that has failed hang, and what is written to a store that is gone is lost; so
/// whoever started us had better do it again.
fn serve(
    config: &Config,
    server: &mut Server,
    signals: &Receiver<Order>,
    mut levels: log::Levels,
) -> bool {
    let (asked, is_well) = (server.orders().clone(), server.health());
    loop {
        let order = select! {
            recv(signals) -> order => order.unwrap_or(Order::StopNow),
            recv(asked) -> order => match order {
                Ok(Asks::Stop) => Order::Stop,
                Ok(Asks::StopNow) | Err(_) => Order::StopNow,
            },
            default(BEAT) => match is_well() {
                true => continue,
                false => {
                    tracing::error!("ending: a thread has failed, or the store is gone");
                    return false;
                }
            },
        };
        match order {
            Order::StopNow => return true,
            Order::Reload => reload(config, server, &mut levels),
            Order::Stop => {
                systemd::stopping("letting connections finish");
                tracing::info!("ending: connections may finish what they asked");
                end(server, signals);
                return true;
            }
        }
    }
}

/// Drains, unless a second signal says that there is no time for that.
fn end(server: &mut Server, signals: &Receiver<Order>) {
    let (done, drained) = bounded(1);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let in_time = server.drain(DRAIN);
            let _ = done.send(in_time);
        });
        loop {
            select! {
                recv(drained) -> in_time => {
                    if in_time == Ok(false) {
                        tracing::warn!("some connections had not finished");
                    }
                    return;
                }
                recv(signals) -> order => if order != Ok(Order::Reload) {
                    // What is acknowledged is in the store, whatever ends this process.
                    std::process::exit(1);
                },
            }
        }
    });
}

/// What can change without a restart: passwords, certificates, the log's level.
fn reload(config: &Config, server: &Server, levels: &mut log::Levels) {
    systemd::reloading();
    let read = server.reload();
    match Config::from_sources(&Sources::of_process()) {
        Ok(Asked::Serve(new)) => {
            if let Err(error) = levels.reload(&new.log) {
                tracing::error!(%error, "the log stays as it was");
            }
            for name in config.differing(&new).into_iter().filter(|name| *name != "log-level") {
                tracing::warn!(option = name, "was changed; that needs a restart");
            }
        }
        Ok(Asked::Print(_)) => {}
        Err(problems) => tracing::error!(%problems, "the configuration stays as it was"),
    }
    tracing::info!(well = read, "read again: passwords, certificates, log level");
    systemd::ready("serving");
}
