//! `tagboat agent`: engine, API, webhooks and metrics.

use std::collections::BTreeMap;
use std::fs::{File, TryLockError};
use std::net::TcpListener;
use std::path::Path;
use std::sync::Arc;

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::config::{self, Config};
use crate::docker::Docker;
use crate::engine::{Adoption, Fleet, Found, Handle, Own, Ports, Settings, did_not_take_over};
use crate::http::webhooks::{self, HookWorker, HooksState, HttpsFetch};
use crate::http::{self, Access, ApiState, MetricsState};
use crate::listeners;
use crate::metrics::Metrics;
use crate::model::{ContainerId, ListenAddr};
use crate::ports::Store;
use crate::registry::RegistryConfig;
use crate::store::SledStore;
use crate::supervisor::NotTaken;
use crate::verify::Verifier;
use crate::{docker, proxy, registry};

use super::{Error, logging, orphaned, own_container, run_dir, system};

/// How the agent ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// It was told to.
    Stopped,
    /// It wants to be started anew, for a configuration that it can't take over while it runs.
    Restart,
    /// The container that it runs in is not to take the place of the one before it.
    GaveUp,
}

/// Runs the agent until it is told to end.
///
/// # Errors
/// When the configuration is wrong or something can't be had.
pub fn agent(path: &Path) -> Result<Ended, Error> {
    // Before any thread: taking the sockets over changes the environment.
    let passed = listeners::inherited();
    let config = Config::load(path).map_err(Error::Config)?;
    logging::start(config.log.json, &config.log.level);
    warn(&config, path);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(system("start the agent's threads"))?;
    runtime.block_on(work(path, config, passed))
}

/// What is allowed and yet risky is told at each start and reload.
fn warn(config: &Config, path: &Path) {
    for warning in &config.warnings {
        tracing::warn!("{}", warning.told(&path.display().to_string()));
    }
}

async fn work(path: &Path, config: Config, mut passed: Vec<(String, TcpListener)>) -> Result<Ended, Error> {
    let _lock = lock(&config.state_dir)?;
    let shutdown = CancellationToken::new();
    let metrics = Metrics::new();
    metrics.build_info.with_label_values(&[env!("CARGO_PKG_VERSION"), "agent"]).set(1);
    let ports = ports(&config, &metrics)?;
    #[cfg(debug_assertions)]
    let ports = crate::engine::failpoint::around(ports);
    let store = Arc::clone(&ports.store);
    let settings = Settings {
        owner: config.state_dir.display().to_string(),
        parallel_swaps: config.parallel_swaps,
        ties: Arc::default(),
        pulls: Arc::default(),
        own: ourselves(&config),
        adopts: config.adopt.enabled,
    };
    if let Some(NotTaken { container, why }) = NotTaken::take(&config.state_dir) {
        did_not_take_over(&ports, &ContainerId(container), &why).await;
    }
    let give_up = settings.own.as_ref().map(|own| own.give_up.clone()).unwrap_or_default();
    let mut fleet = Fleet::start(ports, settings, config.apps.clone(), shutdown.clone());
    let doors = doors(&config, &fleet.handle(), &store, &metrics, &mut passed, &shutdown)?;
    let found = config.adopt.enabled.then(|| fleet.seek(adoption(&config)));
    let ended = tokio::select! {
        ended = attend(path, &config, &mut fleet, found) => ended?,
        () = give_up.cancelled() => Ended::GaveUp,
    };
    tracing::info!("agent ends at the next safe point");
    shutdown.cancel();
    fleet.join().await;
    for door in doors {
        if door.await.is_err() {
            tracing::error!("a server task had panicked");
        }
    }
    Ok(ended)
}

fn adoption(config: &Config) -> Adoption {
    let adopt = config.adopt.clone();
    Adoption {
        every: adopt.every,
        scope: adopt.scope.clone(),
        owner: config.state_dir.display().to_string(),
        own: own_container().map(ContainerId),
        read: Arc::new(move |inspected, name, own| adopt.read(inspected, name, own)),
    }
}

/// What the engine has to know to swap the container that we run in.
fn ourselves(config: &Config) -> Option<Own> {
    let id = ContainerId(own_container()?);
    let file = crate::supervisor::successor_file(&config.state_dir);
    let announce = move |next: &ContainerId| std::fs::write(&file, &next.0);
    Some(Own { id, announce: Arc::new(announce), give_up: CancellationToken::new() })
}

/// One agent a state directory: two would undo each other's work.
fn lock(dir: &Path) -> Result<File, Error> {
    let failed = |source| system(format!("use the state directory {}", dir.display()))(source);
    std::fs::create_dir_all(run_dir(dir)).map_err(failed)?;
    let file = File::options().write(true).create(true).truncate(false).open(dir.join("agent.lock")).map_err(failed)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(failed(std::io::Error::other("another agent uses it"))),
        Err(TryLockError::Error(error)) => Err(failed(error)),
    }
}

fn ports(config: &Config, metrics: &Metrics) -> Result<Ports, Error> {
    let store = SledStore::open(&config.state_dir)
        .map_err(|error| Error::System { operation: "open the memory".to_owned(), source: Box::new(error) })?;
    let store: Arc<SledStore> = Arc::new(store);
    let registries = config.registries.clone();
    let registry = Arc::new(registry::Client::new(
        registry::Config { registries, ..registry::Config::default() },
        metrics.clone(),
        store.clone(),
    ));
    let docker_config = docker::Config { host: config.docker.host.clone(), cert_path: config.docker.cert_path.clone() };
    let owner = config.state_dir.display().to_string();
    let docker = Docker::new(docker_config, owner)
        .map_err(|error| Error::System { operation: "use the container engine".to_owned(), source: Box::new(error) })?;
    let traffic = proxy::Client::new(run_dir(&config.state_dir));
    Ok(Ports {
        gatekeeper: Arc::new(Verifier::new(registry.clone(), metrics.clone())),
        registry,
        engine: Arc::new(docker),
        traffic: Arc::new(traffic),
        store,
        metrics: metrics.clone(),
    })
}

/// Opens the API (TCP and Unix), the metrics and, if there are receivers, the webhooks.
fn doors(
    config: &Config,
    handle: &Handle,
    store: &Arc<dyn Store>,
    metrics: &Metrics,
    passed: &mut Vec<(String, TcpListener)>,
    shutdown: &CancellationToken,
) -> Result<Vec<JoinHandle<()>>, Error> {
    let mut doors = Vec::new();
    let mut open = |listener: http::Listener, router| {
        doors.push(tokio::spawn(http::serve(listener, router, shutdown.clone())));
    };
    let empty = |error: http::EmptySecret| Error::System { operation: "use api.token".into(), source: Box::new(error) };
    let guarded = Access::guarded(config.api.token.as_ref(), []).map_err(empty)?;
    let hooks =
        config.hooks.as_ref().map(|hooks| webhooks(hooks, &config.registries, handle, store, metrics)).transpose()?;
    let board = hooks.as_ref().map(|(_, state, _)| state.board());
    let api =
        |access| http::api_router(ApiState::new(handle.clone(), access, shutdown.clone()).with_hooks(board.clone()));
    let socket = run_dir(&config.state_dir).join("agent.sock");
    let unix = http::bind_unix(&socket).map_err(system(format!("make the socket {}", socket.display())))?;
    open(unix, api(Access::Full));
    open(tcp(passed, "api", &config.api.listen)?, api(guarded));
    let page = http::metrics_router(MetricsState::new(handle.clone(), metrics.clone()));
    open(tcp(passed, "metrics", &config.metrics)?, page);
    if let Some((listen, state, worker)) = hooks {
        open(tcp(passed, "hooks", listen)?, http::hooks_router(state));
        doors.push(tokio::spawn(worker.run(shutdown.clone())));
    }
    Ok(doors)
}

/// What registries are called by besides their own names.
fn other_names(registries: &BTreeMap<String, RegistryConfig>) -> impl Iterator<Item = (String, String)> {
    registries.iter().flat_map(|(name, one)| one.aliases.iter().map(move |alias| (alias.clone(), name.clone())))
}

/// The receivers' state and their worker.
fn webhooks<'a>(
    hooks: &'a config::Hooks,
    registries: &BTreeMap<String, RegistryConfig>,
    handle: &Handle,
    store: &Arc<dyn Store>,
    metrics: &Metrics,
) -> Result<(&'a ListenAddr, HooksState, HookWorker), Error> {
    let (store, mut receivers) = (Arc::clone(store), hooks.receivers.clone());
    for receiver in &mut receivers {
        // What the receiver itself says goes before.
        let own = std::mem::take(&mut receiver.aliases);
        receiver.aliases = other_names(registries).chain(own).collect();
    }
    let built = webhooks::build(receivers, handle.hinter(), store, Arc::new(HttpsFetch::default()), metrics.clone());
    let (state, worker) = built
        .map_err(|(id, error)| Error::System { operation: format!("use receiver {id}"), source: Box::new(error) })?;
    Ok((&hooks.listen, state, worker))
}

/// A passed socket by name, or a fresh one.
fn tcp(passed: &mut Vec<(String, TcpListener)>, name: &str, address: &ListenAddr) -> Result<http::Listener, Error> {
    let named = passed.iter().position(|(passed, _)| passed == name).map(|index| passed.swap_remove(index).1);
    let socket = match named.or_else(|| listeners::take(passed, address)) {
        Some(socket) => socket,
        None => listeners::bind(address).map_err(crate::supervisor::Error::from)?,
    };
    http::Listener::try_from(socket).map_err(system(format!("listen on {address}")))
}

/// Waits for signals: SIGHUP takes over new apps, SIGTERM and SIGINT end.
async fn attend(
    path: &Path,
    config: &Config,
    fleet: &mut Fleet,
    mut found: Option<watch::Receiver<Found>>,
) -> Result<Ended, Error> {
    let mut term = signal(SignalKind::terminate()).map_err(system("receive SIGTERM"))?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(system("receive SIGINT"))?;
    let mut hangup = signal(SignalKind::hangup()).map_err(system("receive SIGHUP"))?;
    // A terminal sends SIGINT to the whole group; under a supervisor the order of ending is its business.
    let supervised = std::env::var_os("TAGBOAT_LIFELINE").is_some();
    let mut orphaned = std::pin::pin!(orphaned());
    loop {
        let news = async {
            let Some(found) = &mut found else { return std::future::pending().await };
            match found.changed().await {
                Ok(()) => found.borrow_and_update().clone(),
                Err(_) => std::future::pending().await,
            }
        };
        tokio::select! {
            found = news => fleet.adopt(found).await,
            _ = term.recv() => return Ok(Ended::Stopped),
            _ = interrupt.recv() => if !supervised { return Ok(Ended::Stopped) },
            () = &mut orphaned => return Ok(Ended::Stopped),
            _ = hangup.recv() => match Config::load(path) {
                Err(errors) => tracing::error!("the new configuration is refused, the old one stays in force:\n{errors}"),
                Ok(new) if new.fingerprint != config.fingerprint => return Ok(Ended::Restart),
                Ok(new) => {
                    tracing::info!(apps = new.apps.len(), "apps reloaded");
                    warn(&new, path);
                    fleet.apply(new.apps).await;
                }
            },
        }
    }
}
