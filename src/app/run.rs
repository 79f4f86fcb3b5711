//! `tagboat run`: the supervisor.

use std::path::Path;

use crate::config::{Config, Errors};
use crate::supervisor::{self, Listeners};

use super::{Error, logging, own_container, own_program, system};

/// Runs the supervisor until it is told to end.
///
/// # Errors
/// When the configuration is wrong or something can't be had.
pub fn run(path: &Path) -> Result<(), Error> {
    let config = Config::load(path).map_err(Error::Config)?;
    logging::start(config.log.json, &config.log.level);
    let exe = own_program()?;
    let path = path.canonicalize().unwrap_or_else(|_| path.to_owned());
    let reloaded = path.clone();
    let reload = move || -> Result<Listeners, String> {
        Config::load(&reloaded).map(|config| wanted(&config)).map_err(|errors: Errors| errors.to_string())
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(system("start the supervisor's thread"))?;
    tracing::info!(
        version = env!("CARGO_PKG_VERSION"),
        config = %path.display(),
        state_dir = %config.state_dir.display(),
        apps = config.apps.len(),
        "tagboat starts"
    );
    runtime.block_on(supervisor::run(supervisor::Config {
        exe,
        config: path,
        state_dir: config.state_dir.clone(),
        listeners: wanted(&config),
        log: (config.log.json, config.log.level.clone()),
        reload: Box::new(reload),
        container: own_container(),
    }))?;
    Ok(())
}

fn wanted(config: &Config) -> Listeners {
    let mut agent = vec![("api".to_owned(), config.api.listen.clone()), ("metrics".to_owned(), config.metrics.clone())];
    agent.extend(config.hooks.as_ref().map(|hooks| ("hooks".to_owned(), hooks.listen.clone())));
    Listeners { proxy: config.proxy_listeners(), agent }
}
