//! The stage: everything real that a test needs, set up in a line and gone when it ends.

mod daemon;
mod docker;
mod document;
mod image;
mod load;
mod make;
mod program;
mod registry;
mod relay;
mod signer;

use std::collections::BTreeSet;
use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::time::Duration;

pub(crate) use daemon::Daemon;
pub(crate) use docker::{Docker, docker};
pub(crate) use document::written;
pub(crate) use image::{Image, blob as put_blob};
pub(crate) use load::Load;
pub(crate) use make::{ISSUER, SERVICE, Terms, Tokens};
pub(crate) use program::{Program, Setup};
pub(crate) use registry::{Registry, client};
pub(crate) use relay::Relay;
pub(crate) use signer::Signer;

/// A port that is free now, given once. None that the system gives to clients: one of those would have it before long.
pub(crate) fn free_port() -> u16 {
    static GIVEN: Mutex<BTreeSet<u16>> = Mutex::new(BTreeSet::new());
    loop {
        let port = rand::random_range(10_000..32_000);
        if TcpListener::bind(("127.0.0.1", port)).is_ok() && GIVEN.lock().unwrap().insert(port) {
            return port;
        }
    }
}

/// Waits until `check` gives a value, or fails with what was waited for.
pub(crate) async fn wait_for<T, F: Future<Output = Option<T>>>(
    limit: Duration,
    what: &str,
    mut check: impl FnMut() -> F,
) -> T {
    let deadline = tokio::time::Instant::now() + limit;
    loop {
        if let Some(value) = check().await {
            return value;
        }
        assert!(tokio::time::Instant::now() < deadline, "not within {limit:?}: {what}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// A process that ends with its value.
#[derive(Debug)]
pub(crate) struct Owned(pub(crate) Child);

impl Owned {
    /// Starts a program whose output goes to a file.
    pub(crate) fn start(command: &mut Command, log: &std::path::Path) -> Self {
        let file = std::fs::File::options().create(true).append(true).open(log).unwrap();
        command.stdin(Stdio::null()).stdout(file.try_clone().unwrap()).stderr(file);
        Self(command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}")))
    }

    pub(crate) fn signal(&self, signal: rustix::process::Signal) {
        signal_pid(self.0.id(), signal);
    }
}

impl Drop for Owned {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

pub(crate) fn signal_pid(pid: u32, signal: rustix::process::Signal) {
    let pid = rustix::process::Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
    let _ = rustix::process::kill_process(pid, signal);
}

/// The sample programs, built once.
pub(crate) fn sample(name: &str) -> std::path::PathBuf {
    use std::sync::OnceLock;
    static BUILT: OnceLock<std::path::PathBuf> = OnceLock::new();
    let dir = BUILT.get_or_init(|| {
        let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/sample");
        let target = format!("{}-unknown-linux-musl", std::env::consts::ARCH);
        let mut build = Command::new(env!("CARGO"));
        build.args(["build", "--release", "--quiet", "--target", &target]).current_dir(&root);
        assert!(build.status().unwrap().success(), "the sample programs can't be built");
        root.join("target").join(target).join("release")
    });
    dir.join(name)
}
