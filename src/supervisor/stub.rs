//! A shell script in the place of the program, which writes down what it sees.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use tokio::time::{Duration, Instant, sleep};

/// Writes an executable script; `$log` is its log and `$dir` its directory.
pub(super) fn stub(dir: &Path, script: &str) -> PathBuf {
    let (path, new) = (dir.join("stub"), dir.join("stub.new"));
    // A shell can't trap what is ignored when it starts, as SIGHUP is under nohup.
    let text =
        format!("#!/usr/bin/env -S --default-signal=HUP sh\ndir='{0}'\nlog='{0}/log'\n{script}\n", dir.display());
    std::fs::write(&new, text).unwrap();
    std::fs::set_permissions(&new, std::fs::Permissions::from_mode(0o755)).unwrap();
    std::fs::rename(&new, &path).unwrap();
    path
}

/// What the scripts have written so far.
pub(super) fn lines(dir: &Path) -> Vec<String> {
    std::fs::read_to_string(dir.join("log")).unwrap_or_default().lines().map(str::to_owned).collect()
}

/// Waits until there is a value, or fails with what was waited for.
pub(super) async fn wait_for<T>(what: &str, mut check: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        if let Some(value) = check() {
            return value;
        }
        assert!(Instant::now() < deadline, "not in time: {what}");
        sleep(Duration::from_millis(10)).await;
    }
}
