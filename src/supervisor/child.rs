//! One child process, kept alive.

use std::net::TcpListener;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::Arc;

use command_fds::{CommandFdExt, FdMapping};
use rustix::process::{Pid, Signal, kill_process};
use tokio::process::{Child as Process, Command};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::{Duration, Instant, sleep, timeout};

use crate::listeners;

/// The first wait after a child has died; doubles. The very first restart is immediate.
const FIRST: Duration = Duration::from_millis(100);

/// The longest wait between restarts.
const LONGEST: Duration = Duration::from_secs(10);

/// A child that lived so long has not died of what killed it before.
const HEALED: Duration = Duration::from_secs(60);

/// The exit code of a child that wants to be started anew.
pub const RESTART: i32 = 75;

/// The first descriptor that is passed.
const FIRST_FD: i32 = 3;

/// How a child is started.
#[derive(Debug, Clone)]
pub(super) struct Spec {
    /// `agent` or `proxy`.
    pub(super) role: &'static str,
    pub(super) exe: PathBuf,
    pub(super) args: Vec<String>,
    pub(super) env: Vec<(&'static str, String)>,
    /// Named sockets that it inherits.
    pub(super) sockets: Arc<Vec<(String, TcpListener)>>,
}

/// How a child's process ended.
enum End {
    /// As it was told to.
    Told,
    /// It wants to be started anew.
    Anew,
    /// By itself.
    Died,
}

enum Order {
    Signal(Signal),
    Stop(Signal, Duration),
    Kill,
}

/// A child that is started again when it dies, until it is told to stop.
#[derive(Debug)]
pub(super) struct Child {
    orders: mpsc::UnboundedSender<Order>,
    keeper: JoinHandle<()>,
}

impl Child {
    pub(super) fn start(spec: Spec) -> Self {
        let (orders, inbox) = mpsc::unbounded_channel();
        Self { orders, keeper: tokio::spawn(keep(spec, inbox)) }
    }

    /// Passes a signal on.
    pub(super) fn signal(&self, signal: Signal) {
        // A child that has stopped needs no signal.
        let _ = self.orders.send(Order::Signal(signal));
    }

    /// Asks it to end, and kills it after the grace.
    pub(super) fn stop(&self, signal: Signal, grace: Duration) {
        let _ = self.orders.send(Order::Stop(signal, grace));
    }

    pub(super) fn kill(&self) {
        let _ = self.orders.send(Order::Kill);
    }

    /// Waits until it has ended after a `stop`.
    pub(super) async fn ended(&mut self) {
        let _ = (&mut self.keeper).await;
    }

    pub(super) fn has_ended(&self) -> bool {
        self.keeper.is_finished()
    }
}

async fn keep(spec: Spec, mut orders: mpsc::UnboundedReceiver<Order>) {
    let mut failures = 0_u32;
    loop {
        let started = Instant::now();
        let mut wanted = false;
        match spawn(&spec) {
            Ok(mut process) => {
                let pid = process.id().unwrap_or_default();
                // Waiting for a process closes its standard input first, unless somebody else holds it.
                let _lifeline = process.stdin.take();
                tracing::info!(role = spec.role, pid, "started");
                match follow(&spec, &mut process, pid, &mut orders).await {
                    End::Told => return,
                    End::Anew => wanted = true,
                    End::Died => {}
                }
            }
            Err(error) => tracing::error!(role = spec.role, exe = %spec.exe.display(), %error, "could not be started"),
        }
        failures = if wanted || started.elapsed() > HEALED { 0 } else { failures };
        let wait = back_off(failures);
        failures += u32::from(!wanted);
        tokio::select! {
            () = sleep(wait) => {}
            () = stopping(&mut orders) => return,
        }
    }
}

/// The wait after so many failures in a row before this one.
fn back_off(failures: u32) -> Duration {
    match failures {
        0 => Duration::ZERO,
        more => FIRST.saturating_mul(2_u32.saturating_pow(more - 1)).min(LONGEST),
    }
}

/// Waits for an order to stop; a signal to nobody is dropped.
async fn stopping(orders: &mut mpsc::UnboundedReceiver<Order>) {
    while let Some(Order::Signal(_)) = orders.recv().await {}
}

/// Follows a child until it ends.
async fn follow(spec: &Spec, process: &mut Process, pid: u32, orders: &mut mpsc::UnboundedReceiver<Order>) -> End {
    loop {
        let order = tokio::select! {
            status = process.wait() => {
                if status.as_ref().is_ok_and(|status| status.code() == Some(RESTART)) {
                    tracing::info!(role = spec.role, pid, "starts anew for the new configuration");
                    return End::Anew;
                }
                let status = status.map_or_else(|error| error.to_string(), |status| status.to_string());
                tracing::error!(role = spec.role, pid, status, "died; it is started again");
                return End::Died;
            }
            order = orders.recv() => order.unwrap_or(Order::Kill),
        };
        match order {
            Order::Signal(signal) => send(pid, signal),
            Order::Kill => {
                end(process).await;
                return End::Told;
            }
            Order::Stop(signal, grace) => {
                send(pid, signal);
                tokio::select! {
                    ended = timeout(grace, process.wait()) => match ended {
                        Ok(_) => tracing::info!(role = spec.role, pid, "ended"),
                        Err(_) => {
                            tracing::warn!(role = spec.role, pid, "did not end in time and is killed");
                            end(process).await;
                        }
                    },
                    () = killing(orders) => end(process).await,
                }
                return End::Told;
            }
        }
    }
}

async fn killing(orders: &mut mpsc::UnboundedReceiver<Order>) {
    loop {
        match orders.recv().await {
            Some(Order::Kill) => return,
            Some(_) => {}
            // Nobody can order anything any more: the grace decides.
            None => std::future::pending().await,
        }
    }
}

async fn end(process: &mut Process) {
    if let Err(error) = process.kill().await {
        tracing::warn!(%error, "a child could not be killed");
    }
}

fn send(pid: u32, signal: Signal) {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
    if let Some(pid) = pid
        && let Err(error) = kill_process(pid, signal)
    {
        tracing::warn!(?signal, %error, "a signal could not be sent");
    }
}

fn spawn(spec: &Spec) -> std::io::Result<Process> {
    let mut command = std::process::Command::new(&spec.exe);
    command.args(&spec.args).envs(spec.env.iter().map(|(key, value)| (key, value)));
    let mut mappings = Vec::new();
    let mut names = Vec::new();
    for (child_fd, (name, socket)) in (FIRST_FD..).zip(spec.sockets.iter()) {
        let parent_fd: OwnedFd = socket.as_fd().try_clone_to_owned()?;
        mappings.push(FdMapping { parent_fd, child_fd });
        names.push(listeners::encoded(name));
    }
    command.env(listeners::COUNT, mappings.len().to_string()).env(listeners::NAMES, names.join(":"));
    command.env_remove("LISTEN_PID").env("TAGBOAT_LIFELINE", "stdin").stdin(Stdio::piped());
    command.fd_mappings(mappings).map_err(std::io::Error::other)?;
    Command::from(command).kill_on_drop(false).spawn()
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsRawFd;
    use std::path::Path;

    use crate::supervisor::stub::{lines, stub, wait_for};

    use super::*;

    fn child(dir: &Path, script: &str, sockets: Vec<(String, TcpListener)>) -> Child {
        let exe = stub(dir, script);
        Child::start(Spec { role: "agent", exe, args: vec!["agent".into()], env: vec![], sockets: Arc::new(sockets) })
    }

    #[test]
    fn the_first_restart_is_immediate_and_the_waits_double_to_ten_seconds() {
        let millis = |failures| back_off(failures).as_millis();
        assert_eq!([0, 1, 2, 3, 7, 8, 60].map(millis), [0, 100, 200, 400, 6_400, 10_000, 10_000]);
    }

    #[tokio::test]
    async fn a_child_inherits_each_socket_by_name_and_no_other() {
        let dir = tempfile::tempdir().unwrap();
        let listen = || TcpListener::bind("127.0.0.1:0").unwrap();
        let (shop, api, private) = (listen(), listen(), listen());
        let inode = |socket: &TcpListener| {
            std::fs::read_link(format!("/proc/self/fd/{}", socket.as_raw_fd())).unwrap().display().to_string()
        };
        let expected = format!("2 %3A80:api {} {}", inode(&shop), inode(&api));
        let script = r#"echo "$LISTEN_FDS $LISTEN_FDNAMES $(readlink /proc/$$/fd/3) $(readlink /proc/$$/fd/4)" >> "$log"
            ls -l /proc/$$/fd >> "$log"; exec sleep 20"#;
        let sockets = vec![(":80".to_owned(), shop), ("api".to_owned(), api)];
        let mut child = child(dir.path(), script, sockets);
        let seen = wait_for("the child tells its sockets", || Some(lines(dir.path())).filter(|l| l.len() > 5)).await;
        assert_eq!(seen[0], expected);
        assert!(!seen.iter().any(|line| line.contains(&inode(&private))), "{seen:#?}");
        child.kill();
        child.ended().await;
    }

    #[tokio::test]
    async fn a_child_that_is_killed_is_started_again_and_nobody_is_refused_meanwhile() {
        let dir = tempfile::tempdir().unwrap();
        let socket = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = socket.local_addr().unwrap();
        let sockets = vec![("api".to_owned(), socket)];
        let mut child = child(dir.path(), r#"echo $$ >> "$log"; exec sleep 20"#, sockets);
        for started in 1..=3 {
            let pids = wait_for("it runs", || Some(lines(dir.path())).filter(|l| l.len() == started)).await;
            send(pids[started - 1].parse().unwrap(), Signal::KILL);
            std::net::TcpStream::connect(address).unwrap();
        }
        wait_for("it runs once more", || (lines(dir.path()).len() == 4).then_some(())).await;
        child.kill();
        child.ended().await;
    }

    #[tokio::test]
    async fn a_child_that_wants_to_start_anew_does_not_wait_for_it() {
        let dir = tempfile::tempdir().unwrap();
        let begun = Instant::now();
        let script = format!(r#"echo x >> "$log"; [ $(wc -l < "$log") -lt 12 ] && exit {RESTART}; exec sleep 20"#);
        let mut child = child(dir.path(), &script, vec![]);
        wait_for("the twelfth runs", || (lines(dir.path()).len() == 12).then_some(())).await;
        // Eleven failures would have cost 0.1 + 0.2 + … + 10 + 10 s.
        assert!(begun.elapsed() < Duration::from_secs(15), "{:?}", begun.elapsed());
        child.kill();
        child.ended().await;
    }

    #[tokio::test]
    async fn a_child_that_ignores_being_stopped_is_killed_after_its_grace() {
        let dir = tempfile::tempdir().unwrap();
        let mut child = child(
            dir.path(),
            r#"trap '' TERM; echo $$ >> "$log"; while kill -0 "$PPID" 2>/dev/null; do sleep 0.1; done"#,
            vec![],
        );
        let pid = wait_for("it runs", || lines(dir.path()).pop()).await;
        child.stop(Signal::TERM, Duration::from_millis(100));
        child.ended().await;
        assert!(!Path::new(&format!("/proc/{pid}")).exists());
    }

    #[tokio::test]
    async fn a_child_can_be_stopped_while_it_waits_to_be_started_again() {
        let dir = tempfile::tempdir().unwrap();
        let mut child = child(dir.path(), r#"echo x >> "$log"; exit 1"#, vec![]);
        wait_for("it failed five times", || (lines(dir.path()).len() == 5).then_some(())).await;
        child.stop(Signal::TERM, Duration::from_secs(60));
        child.ended().await;
    }

    #[tokio::test]
    async fn a_child_whose_owner_is_gone_sees_the_end_of_its_input() {
        let dir = tempfile::tempdir().unwrap();
        let spec = Spec {
            role: "agent",
            exe: stub(dir.path(), r#"[ "$TAGBOAT_LIFELINE" = stdin ] && cat >/dev/null; echo eof >> "$log""#),
            args: vec!["agent".into()],
            env: vec![],
            sockets: Arc::default(),
        };
        let mut process = spawn(&spec).unwrap();
        assert!(lines(dir.path()).is_empty());
        drop(process.stdin.take());
        assert!(process.wait().await.unwrap().success());
        assert_eq!(lines(dir.path()), ["eof"]);
    }
}
