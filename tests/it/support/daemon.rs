//! A dockerd of a test's own, that can be restarted, killed and lose its power.

use std::process::Command;

use rustix::process::Signal;

use super::docker::{Docker, Home, run};
use super::{Owned, signal_pid};

/// What such daemons' bridges are called, before the process id.
const BRIDGE: &str = "tgbd";

/// Ends everything that a daemon in `$1` has started, and forgets what a machine without power forgets: processes,
/// mounts, and what lies in memory.
const CUT: &str = r#"
dir=$1
for round in 1 2 3; do
    for process in /proc/[0-9]*; do
        line=$(tr '\0' ' ' <"$process/cmdline" 2>/dev/null) || continue
        case $line in *"$dir/"*) ;; *) continue ;; esac
        # A container is the child of its shim.
        kill -9 "${process#/proc/}" $(cat "$process"/task/*/children 2>/dev/null)
    done
done 2>/dev/null
grep -o " $dir/[^ ]*" /proc/mounts | sort -r | xargs -r umount -l
rm -rf "$dir/exec" "$dir/pid" "$dir/docker.sock"
"#;

/// Does the same, and leaves nothing behind, once it is told to or the thread that started it has ended.
const REAPER: &str = r#"
dir=$1 bridge=$2 cut=$3
trap : TERM
sleep infinity & wait
kill $!
sh -c "$cut" cut "$dir"
ip link delete "$bridge"
rm -rf "$dir"
"#;

/// The daemon.
pub(crate) struct Daemon {
    pub(crate) docker: &'static Docker,
    home: Home,
    /// Containers go on without it.
    pub(crate) live: bool,
    process: Option<Owned>,
    reaper: Owned,
}

impl Daemon {
    /// Starts one; `suffix`, a letter, tells its bridge from others of this process.
    pub(crate) fn start(suffix: &str, live: bool) -> Self {
        let home = Home::make(BRIDGE, suffix);
        let mut reaper = Command::new("setpriv");
        reaper.args(["--pdeathsig", "TERM", "sh", "-c", REAPER, "reaper"]).arg(&home.dir).arg(&home.bridge).arg(CUT);
        let reaper = Owned::start(&mut reaper, &home.dir.join("reaper"));
        // As long as the program: few of these are made, and everything in a test has it by reference.
        let docker = Box::leak(Box::new(Docker { host: home.host() }));
        let mut daemon = Self { docker, home, live, process: None, reaper };
        daemon.resume();
        daemon
    }

    /// Starts it again, and waits until it answers.
    pub(crate) fn resume(&mut self) {
        assert!(self.process.is_none(), "it runs");
        let mut command = Command::new("setpriv");
        self.home.dockerd(&mut command);
        if self.live {
            command.arg("--live-restore");
        }
        self.process = Some(Owned::start(&mut command, &self.home.dir.join("log")));
        self.home.answers(self.docker);
    }

    /// Asks it to end; `ended` waits for that.
    pub(crate) fn terminate(&self) {
        self.process.as_ref().expect("it runs").signal(Signal::TERM);
    }

    /// Waits for its end.
    pub(crate) fn ended(&mut self) {
        let mut process = self.process.take().expect("it runs");
        process.0.wait().unwrap();
    }

    /// `kill -9` of the daemon; its containers know nothing of it.
    pub(crate) fn kill(&mut self) {
        let process = self.process.take().expect("it runs");
        signal_pid(process.0.id(), Signal::KILL);
        drop(process);
        self.bury();
    }

    /// Its containerd dies with it. The next daemon takes a dead one for a living one as long as nobody has asked for its
    /// exit code, which init does at once and what stands in for it in a container may do late.
    fn bury(&self) {
        let file = self.home.dir.join("exec/containerd/containerd.pid");
        let Ok(pid) = std::fs::read_to_string(&file) else { return };
        for _ in 0..100 {
            let stat = std::fs::read_to_string(format!("/proc/{}/stat", pid.trim())).unwrap_or_default();
            if stat.rsplit_once(')').is_none_or(|(_, rest)| rest.trim_start().starts_with('Z')) {
                std::fs::remove_file(file).unwrap();
                return;
            }
            std::thread::sleep(std::time::Duration::from_millis(50));
        }
        panic!("containerd outlives its daemon");
    }

    /// Everything ends at once: the daemon, its helpers, and every container.
    pub(crate) fn cut(&mut self) {
        self.kill();
        run("sh", &["-c", CUT, "cut", &self.home.dir.display().to_string()]);
    }

    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.home.dir.join("log")).unwrap_or_default()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- log of dockerd\n{}", self.log());
        }
        self.process = None;
        self.reaper.signal(Signal::TERM);
        let _ = self.reaper.0.wait();
    }
}
