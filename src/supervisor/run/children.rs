//! How the children are started, and where they answer.

use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use tokio::time::{Duration, Instant, sleep};

use super::super::child::Spec;
use super::Config;
use super::sockets::{Bound, shared};

/// A new proxy must answer within this time, or the old one stays.
pub(super) const PROXY_START: Duration = Duration::from_secs(10);

pub(super) fn control(config: &Config, generation: u64) -> PathBuf {
    config.state_dir.join("run").join(format!("proxy-{generation}.sock"))
}

pub(super) fn proxy_spec(config: &Config, generation: u64, sockets: &[Bound]) -> Spec {
    let text = |path: PathBuf| path.display().to_string();
    let args = vec![
        "proxy".to_owned(),
        "--state-dir".to_owned(),
        text(config.state_dir.clone()),
        "--control".to_owned(),
        text(control(config, generation)),
    ];
    let format = if config.log.0 { "json" } else { "text" };
    let env = vec![("TAGBOAT_LOG_FORMAT", format.to_owned()), ("TAGBOAT_LOG_LEVEL", config.log.1.clone())];
    Spec { role: "proxy", exe: config.exe.clone(), args, env, sockets: shared(sockets) }
}

pub(super) fn agent_spec(config: &Config, sockets: &[Bound]) -> Spec {
    let args = vec!["agent".to_owned(), "--config".to_owned(), config.config.display().to_string()];
    Spec { role: "agent", exe: config.exe.clone(), args, env: Vec::new(), sockets: shared(sockets) }
}

/// Above every socket that is there; those of proxies that are gone are cleared away.
pub(super) fn next_generation(run: &Path) -> u64 {
    let mut highest = 0;
    for entry in std::fs::read_dir(run).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let number = name.to_str().and_then(|n| n.strip_prefix("proxy-")?.strip_suffix(".sock")?.parse::<u64>().ok());
        let Some(number) = number else { continue };
        if UnixStream::connect(entry.path()).is_ok() {
            highest = highest.max(number);
        } else {
            // Left behind by a proxy that was killed.
            let _ = std::fs::remove_file(entry.path());
        }
    }
    highest + 1
}

pub(super) async fn answers(control: &Path) -> bool {
    let begun = Instant::now();
    while begun.elapsed() < PROXY_START {
        if UnixStream::connect(control).is_ok() {
            return true;
        }
        sleep(Duration::from_millis(20)).await;
    }
    false
}
