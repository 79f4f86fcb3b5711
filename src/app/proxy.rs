//! `tagboat proxy`: the data plane.

use std::path::PathBuf;
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};

use crate::config::Config;
use crate::listeners;
use crate::model::ListenAddr;
use crate::proxy::{self, End};

use super::{Error, logging, orphaned, system};

/// Requests under way when the proxy ends may take so long.
const REQUEST_GRACE: Duration = Duration::from_secs(30);

/// Streams under way when the proxy ends may take so long.
const STREAM_GRACE: Duration = Duration::from_secs(300);

/// What the proxy is started with.
#[derive(Debug, Clone)]
pub struct ProxyArgs {
    /// Where the route table is kept.
    pub state_dir: PathBuf,
    /// Its control socket.
    pub control: PathBuf,
    /// Where to take listeners from when none are inherited.
    pub config: Option<PathBuf>,
}

/// Runs the proxy until it is told to end.
///
/// # Errors
/// When it can't start.
pub fn proxy(args: ProxyArgs) -> Result<(), Error> {
    // Before any thread: taking the sockets over changes the environment.
    let passed = listeners::inherited();
    let level = std::env::var("TAGBOAT_LOG_LEVEL").unwrap_or_else(|_| "info".to_owned());
    logging::start(std::env::var("TAGBOAT_LOG_FORMAT").as_deref() == Ok("json"), &level);
    let listeners = taken(passed, args.config.as_deref())?;
    for dir in [Some(args.state_dir.as_path()), args.control.parent()].into_iter().flatten() {
        std::fs::create_dir_all(dir).map_err(system(format!("make the directory {}", dir.display())))?;
    }
    let runtime = runtime()?;
    runtime.block_on(async {
        let config = proxy::Config {
            state_dir: args.state_dir,
            control: args.control,
            listeners,
            request_grace: REQUEST_GRACE,
            stream_grace: STREAM_GRACE,
        };
        let mut stop = signal(SignalKind::terminate()).map_err(system("receive SIGTERM"))?;
        let mut interrupt = signal(SignalKind::interrupt()).map_err(system("receive SIGINT"))?;
        let mut retire = signal(SignalKind::user_defined2()).map_err(system("receive SIGUSR2"))?;
        let end = async {
            // A terminal sends SIGINT to the whole group; under a supervisor the order of ending is its business.
            let supervised = std::env::var_os("TAGBOAT_LIFELINE").is_some();
            loop {
                tokio::select! {
                    _ = stop.recv() => return End::Stop,
                    _ = interrupt.recv() => if !supervised { return End::Stop },
                    _ = retire.recv() => return End::Retire,
                    // Another supervisor takes the sockets over, if there is one: whoever is still connected here is
                    // given the time to leave.
                    () = orphaned() => return End::Retire,
                }
            }
        };
        proxy::run(config, end).await.map_err(Error::from)
    })
}

fn taken(
    passed: Vec<(String, std::net::TcpListener)>,
    config: Option<&std::path::Path>,
) -> Result<Vec<(ListenAddr, std::net::TcpListener)>, Error> {
    let Some(path) = config else {
        return Ok(passed.into_iter().filter_map(|(name, socket)| Some((name.parse().ok()?, socket))).collect());
    };
    let config = Config::load(path).map_err(Error::Config)?;
    let mut passed = passed;
    let bound = config.proxy_listeners().into_iter().map(|address| {
        let socket = listeners::take(&mut passed, &address).map_or_else(|| listeners::bind(&address), Ok);
        socket.map(|socket| (address, socket)).map_err(crate::supervisor::Error::from).map_err(Error::from)
    });
    bound.collect()
}

/// One thread up to two cores: without hand-overs between threads a request costs least. Half of the cores beyond.
fn runtime() -> Result<tokio::runtime::Runtime, Error> {
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let mut builder = if cores <= 2 {
        tokio::runtime::Builder::new_current_thread()
    } else {
        let mut builder = tokio::runtime::Builder::new_multi_thread();
        builder.worker_threads((cores / 2).min(8));
        builder
    };
    builder.enable_all().build().map_err(system("start the proxy's threads"))
}
