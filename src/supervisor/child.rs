//! One child process, kept alive.

use std::net::TcpListener;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use command_fds::{CommandFdExt, FdMapping};
use rustix::process::{Pid, Signal, WaitOptions, kill_process, waitpid};
use tokio::process::{Child as Process, Command};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::{Duration, Instant, sleep, timeout};

use super::run::UPGRADED;
use crate::listeners;

/// The first wait after a child has died; doubles. The very first restart is immediate.
const FIRST: Duration = Duration::from_millis(100);

/// The longest wait between restarts.
const LONGEST: Duration = Duration::from_secs(10);

/// A child that lived so long has not died of what killed it before.
const HEALED: Duration = Duration::from_secs(60);

/// The exit code of a child that wants to be started anew.
pub const RESTART: i32 = 75;

/// The exit code of an agent that is not content with the container that it runs in: it is not started again.
pub const GAVE_UP: i32 = 76;

/// The first descriptor that is passed.
pub(super) const FIRST_FD: i32 = 3;

/// Between two looks whether a process has ended that the program before this one started.
const LOOK: Duration = Duration::from_millis(200);

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
    /// Of its process; 0 while it has none.
    pid: Arc<AtomicU32>,
    stopped: AtomicBool,
}

impl Child {
    pub(super) fn start(spec: Spec) -> Self {
        let (orders, inbox) = mpsc::unbounded_channel();
        let pid = Arc::new(AtomicU32::new(0));
        Self { orders, keeper: tokio::spawn(keep(spec, inbox, pid.clone())), pid, stopped: AtomicBool::new(false) }
    }

    /// A child that the program before this one started in our place; it ends by itself and is not started again.
    pub(super) fn adopt(role: &'static str, pid: u32) -> Self {
        let (orders, inbox) = mpsc::unbounded_channel();
        let keeper = tokio::spawn(outlive(role, pid, inbox));
        Self { orders, keeper, pid: Arc::new(AtomicU32::new(pid)), stopped: AtomicBool::new(false) }
    }

    /// The number of its process, if it has one now.
    pub(super) fn pid(&self) -> Option<u32> {
        Some(self.pid.load(Ordering::Relaxed)).filter(|pid| *pid != 0 && !self.has_ended())
    }

    /// Passes a signal on.
    pub(super) fn signal(&self, signal: Signal) {
        // A child that has stopped needs no signal.
        let _ = self.orders.send(Order::Signal(signal));
    }

    /// Asks it to end, and kills it after the grace.
    pub(super) fn stop(&self, signal: Signal, grace: Duration) {
        self.stopped.store(true, Ordering::Relaxed);
        let _ = self.orders.send(Order::Stop(signal, grace));
    }

    pub(super) fn kill(&self) {
        let _ = self.orders.send(Order::Kill);
    }

    /// Whether it was told to end.
    pub(super) fn was_stopped(&self) -> bool {
        self.stopped.load(Ordering::Relaxed)
    }

    /// Waits until it has ended after a `stop`.
    pub(super) async fn ended(&mut self) {
        if !self.has_ended() {
            let _ = (&mut self.keeper).await;
        }
    }

    pub(super) fn has_ended(&self) -> bool {
        self.keeper.is_finished()
    }
}

/// Waits for the end of a process that is ours but was started by the program before.
async fn outlive(role: &'static str, pid: u32, mut orders: mpsc::UnboundedReceiver<Order>) {
    let Some(process) = i32::try_from(pid).ok().and_then(Pid::from_raw) else { return };
    let mut deadline = None;
    loop {
        // An error says that it is no child of ours, or no more.
        if !matches!(waitpid(Some(process), WaitOptions::NOHANG), Ok(None)) {
            tracing::info!(role, pid, "ended");
            return;
        }
        if deadline.is_some_and(|at| Instant::now() >= at) {
            tracing::warn!(role, pid, "did not end in time and is killed");
            send(pid, Signal::KILL);
            deadline = None;
        }
        tokio::select! {
            () = sleep(LOOK) => {}
            Some(order) = orders.recv() => match order {
                Order::Signal(signal) => send(pid, signal),
                Order::Kill => send(pid, Signal::KILL),
                Order::Stop(signal, grace) => {
                    send(pid, signal);
                    deadline = Some(Instant::now() + grace);
                }
            },
        }
    }
}

async fn keep(spec: Spec, mut orders: mpsc::UnboundedReceiver<Order>, number: Arc<AtomicU32>) {
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
                number.store(pid, Ordering::Relaxed);
                let ended = follow(&spec, &mut process, pid, &mut orders).await;
                number.store(0, Ordering::Relaxed);
                match ended {
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
                if status.as_ref().is_ok_and(|status| status.code() == Some(GAVE_UP)) {
                    tracing::error!(role = spec.role, pid, "gave up");
                    return End::Told;
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
    command.env_remove("LISTEN_PID").env_remove(UPGRADED).env("TAGBOAT_LIFELINE", "stdin").stdin(Stdio::piped());
    command.fd_mappings(mappings).map_err(std::io::Error::other)?;
    Command::from(command).kill_on_drop(false).spawn()
}

#[cfg(test)]
mod tests;
