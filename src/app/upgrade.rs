//! `tagboat upgrade`: another program takes the place of the one that runs.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Output;

use rustix::process::{Pid, Signal, kill_process};
use tokio::process::Command;
use tokio::time::{Duration, Instant, sleep, timeout};

use crate::config::Config;
use crate::supervisor::Upgrade;

/// The new program must answer a question about itself within this time.
const QUESTION: Duration = Duration::from_secs(20);

/// The whole of it: a swap under way comes to its safe point, proxy, agent and supervisor start.
const PATIENCE: Duration = Duration::from_secs(150);

/// Between two looks at how far it is.
const LOOK: Duration = Duration::from_millis(100);

/// How an upgrade failed. What ran before runs on, unless the message says otherwise.
#[derive(Debug, thiserror::Error)]
pub enum UpgradeError {
    /// The configuration is wrong.
    #[error("{0}")]
    Config(crate::config::Errors),
    /// There is nothing to upgrade.
    #[error("no tagboat runs on {state_dir}: start it with the new program instead")]
    NotRunning {
        /// Its state directory.
        state_dir: String,
    },
    /// The new program is none, or not for this configuration.
    #[error("{path} is not taken: {problem}")]
    Unfit {
        /// It.
        path: String,
        /// What is wrong with it.
        problem: String,
    },
    /// A file can't be read or written.
    #[error("failed to {operation}")]
    Io {
        /// What was tried.
        operation: String,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The new program was installed, did not come up, and the old file is back in its place.
    #[error("the upgrade failed, and the old program is back at {exe}: {problem}")]
    Failed {
        /// The program's place.
        exe: String,
        /// What went wrong.
        problem: String,
    },
}

/// An upgrade that has succeeded.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Upgraded {
    /// The version before.
    pub from: String,
    /// The version now.
    pub to: String,
    /// The program's place.
    pub exe: PathBuf,
    /// Where the program before is kept.
    pub kept: PathBuf,
}

fn failed(operation: impl Into<String>) -> impl FnOnce(io::Error) -> UpgradeError {
    let operation = operation.into();
    move |source| UpgradeError::Io { operation, source }
}

/// Puts `binary` in the place of the program that runs with this configuration, and has it take over. `tell` is told
/// what is being done.
///
/// # Errors
/// When something is wrong with the program, or it does not take over; the old one is put back then.
pub async fn upgrade(config: &Path, binary: &Path, tell: &mut dyn FnMut(&str)) -> Result<Upgraded, UpgradeError> {
    let state_dir = Config::load(config).map_err(UpgradeError::Config)?.state_dir;
    let (pid, exe) = running(&state_dir)?;
    let version = fits(binary, config).await?;
    tell(&format!("{} is tagboat {version} and accepts the configuration", binary.display()));
    Upgrade::forget(&state_dir).map_err(failed("clear the result of the last upgrade"))?;
    let kept = install(binary, &exe)?;
    tell(&format!("installed as {}; the one before is kept as {}", exe.display(), kept.display()));
    kill_process(pid, Signal::USR2).map_err(|error| failed("signal the supervisor")(error.into()))?;
    let begun = Instant::now();
    let problem = loop {
        match Upgrade::read(&state_dir) {
            Some(Upgrade::Done { from, to }) => return Ok(Upgraded { from, to, exe, kept }),
            Some(Upgrade::Failed { problem }) => break problem,
            None if rustix::process::test_kill_process(pid).is_err() => break "the supervisor has ended".to_owned(),
            None if begun.elapsed() > PATIENCE => break format!("it was not done within {} s", PATIENCE.as_secs()),
            None => sleep(LOOK).await,
        }
    };
    fs::rename(&kept, &exe).map_err(failed(format!("put {} back to {}", kept.display(), exe.display())))?;
    Err(UpgradeError::Failed { exe: exe.display().to_string(), problem })
}

/// The supervisor of a state directory, and its program's place.
fn running(state_dir: &Path) -> Result<(Pid, PathBuf), UpgradeError> {
    let none = || UpgradeError::NotRunning { state_dir: state_dir.display().to_string() };
    let text = fs::read_to_string(state_dir.join("lock")).map_err(|_| none())?;
    let pid = text.trim().parse().ok().and_then(Pid::from_raw).ok_or_else(none)?;
    let file = fs::File::open(state_dir.join("lock")).map_err(failed("open the lock of the state directory"))?;
    if file.try_lock().is_ok() {
        return Err(none());
    }
    let exe = fs::read_link(format!("/proc/{text}/exe", text = text.trim()));
    let exe = exe.map_err(failed(format!("find the program of process {}", text.trim())))?;
    Ok((pid, PathBuf::from(exe.display().to_string().trim_end_matches(" (deleted)"))))
}

/// Asks the new program for its version, and to read the configuration.
async fn fits(binary: &Path, config: &Path) -> Result<String, UpgradeError> {
    let unfit = |problem: String| UpgradeError::Unfit { path: binary.display().to_string(), problem };
    let said = ask(binary, &["--version".as_ref()]).await.map_err(unfit)?;
    let text = String::from_utf8_lossy(&said.stdout).into_owned();
    let version = text.trim().strip_prefix("tagboat ").map(str::to_owned);
    let version = version.filter(|_| said.status.success()).ok_or_else(|| unfit("it is no tagboat".to_owned()))?;
    let check = ["config".as_ref(), "check".as_ref(), "--config".as_ref(), config.as_os_str()];
    let checked = ask(binary, &check).await.map_err(unfit)?;
    if !checked.status.success() {
        let said = String::from_utf8_lossy(&checked.stderr).trim().to_owned();
        return Err(unfit(format!("it does not accept the configuration: {said}")));
    }
    Ok(version)
}

async fn ask(binary: &Path, args: &[&std::ffi::OsStr]) -> Result<Output, String> {
    // Without a directory in it a name would be looked for in PATH.
    let binary = binary.canonicalize().map_err(|error| error.to_string())?;
    let output = Command::new(binary).args(args).kill_on_drop(true).output();
    match timeout(QUESTION, output).await {
        Ok(output) => output.map_err(|error| format!("it can't be executed ({error})")),
        Err(_) => Err(format!("it did not answer within {} s", QUESTION.as_secs())),
    }
}

/// Puts the new program in the old one's place in one step, and keeps the old one beside it.
fn install(binary: &Path, exe: &Path) -> Result<PathBuf, UpgradeError> {
    let beside = |end: &str| {
        let mut name = exe.file_name().unwrap_or_default().to_owned();
        name.push(end);
        exe.with_file_name(name)
    };
    let (new, kept) = (beside(".new"), beside(".old"));
    let copy = || -> io::Result<()> {
        fs::copy(binary, &new)?;
        fs::set_permissions(&new, fs::Permissions::from_mode(0o755))?;
        fs::File::open(&new)?.sync_all()
    };
    copy().map_err(failed(format!("copy {} to {}", binary.display(), new.display())))?;
    match fs::remove_file(&kept) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(failed(format!("remove {}", kept.display()))(error));
        }
        _ => {}
    }
    fs::hard_link(exe, &kept).map_err(failed(format!("keep {} as {}", exe.display(), kept.display())))?;
    fs::rename(&new, exe).map_err(failed(format!("rename {} to {}", new.display(), exe.display())))?;
    Ok(kept)
}
