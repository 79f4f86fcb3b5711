//! Another program takes over, and nobody notices.

use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Output;
use std::time::Duration;

use rustix::process::Signal;

use crate::support::{Image, Load, Program, Setup};

/// A tagboat that runs from a file of its own, with version 1 serving.
async fn installed(app: &'static str) -> (Program, PathBuf) {
    let mut program = Program::prepared(Setup::new(app)).await;
    let exe = program.install();
    Image::sample("v1").push(&program.registry, app, "latest").await;
    program.start();
    program.wait_for_version("v1").await;
    program.settled().await;
    (program, exe)
}

/// The files that the three processes execute.
fn inodes(program: &Program) -> [u64; 3] {
    let pids = [Some(program.supervisor()), program.child("agent"), program.child("proxy")];
    pids.map(|pid| std::fs::metadata(format!("/proc/{}/exe", pid.unwrap())).unwrap().ino())
}

fn upgrade(program: &Program, binary: &Path) -> Output {
    program.cli(&["upgrade", "--binary", binary.to_str().unwrap(), "--config", program.file().to_str().unwrap()])
}

/// A file beside the program.
fn beside(exe: &Path, name: &str, content: &[u8]) -> PathBuf {
    let path = exe.with_file_name(name);
    std::fs::write(&path, content).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    path
}

#[tokio::test(flavor = "multi_thread")]
async fn supervisor_agent_and_proxy_are_replaced_without_a_failed_request() {
    let (program, exe) = installed("upgrade").await;
    let (pid, mut before) = (program.supervisor(), inodes(&program));
    let kept = Load::start(program.port, &["--rps", "300"]);
    let fresh = Load::start(program.port, &["--rps", "200", "--mode", "close", "--slow", "0.1", "--ws", "0.02"]);
    for turn in 0..3 {
        let new = beside(&exe, "candidate", &std::fs::read(env!("CARGO_BIN_EXE_tagboat")).unwrap());
        let output = upgrade(&program, &new);
        let told = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "{turn}: {told}{}", String::from_utf8_lossy(&output.stderr));
        assert!(told.contains("has taken over from"), "{told}");
        let now = inodes(&program);
        assert!(now.iter().all(|inode| *inode == std::fs::metadata(&exe).unwrap().ino()), "{now:?}");
        // The file before is kept beside; older ones are gone, and their numbers may be given again.
        assert!(before.iter().all(|inode| !now.contains(inode)), "{before:?} {now:?}");
        before = now;
        assert_eq!(program.supervisor(), pid);
    }
    Image::sample("v2").push(&program.registry, "upgrade", "latest").await;
    program.wait_for_version("v2").await;
    kept.finish().assert_clean(500);
    fresh.finish().assert_clean(300);
    program.settled().await;
    // The proxies before have been waited for: nothing is left behind when it ends.
    program.signal(Signal::TERM);
    let gone = || async { program.version().await.is_none().then_some(()) };
    program.wait(Duration::from_secs(60), "it ends", gone).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_that_does_not_come_up_changes_nothing_and_the_old_file_is_put_back() {
    let (program, exe) = installed("upgrade-bad").await;
    let before = inodes(&program);
    let load = Load::start(program.port, &["--rps", "200"]);
    let rows: [(&str, &str, &str); 4] = [
        ("none", "not a program", "it can't be executed"),
        ("other", "#!/bin/sh\necho other 1.0", "it is no tagboat"),
        (
            "strict",
            "#!/bin/sh\n[ \"$1\" = --version ] && echo tagboat 9.9.9 && exit\necho 'unknown key apps' >&2; exit 2",
            "it does not accept the configuration: unknown key apps",
        ),
        (
            "broken",
            "#!/bin/sh\n[ \"$1\" = --version ] && echo tagboat 9.9.9\n[ \"$1\" = proxy ] && exit 1\nexit 0",
            "a proxy of the new program did not answer within 10 s",
        ),
    ];
    for (name, script, wanted) in rows {
        let output = upgrade(&program, &beside(&exe, name, script.as_bytes()));
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && told.contains(wanted), "{name}: {told}");
        assert_eq!(inodes(&program), before, "{name}");
        assert_eq!(std::fs::metadata(&exe).unwrap().ino(), before[0], "{name}");
    }
    load.finish().assert_clean(500);
    // It goes on as before.
    Image::sample("v2").push(&program.registry, "upgrade-bad", "latest").await;
    program.wait_for_version("v2").await;
    program.settled().await;
}
