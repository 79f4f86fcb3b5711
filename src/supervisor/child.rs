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
        match spawn(&spec) {
            Ok(mut process) => {
                let pid = process.id().unwrap_or_default();
                // Waiting for a process closes its standard input first, unless somebody else holds it.
                let _lifeline = process.stdin.take();
                tracing::info!(role = spec.role, pid, "started");
                if follow(&spec, &mut process, pid, &mut orders).await {
                    return;
                }
            }
            Err(error) => tracing::error!(role = spec.role, exe = %spec.exe.display(), %error, "could not be started"),
        }
        failures = if started.elapsed() > HEALED { 0 } else { failures };
        let wait = if failures == 0 {
            Duration::ZERO
        } else {
            FIRST.saturating_mul(2_u32.saturating_pow(failures - 1)).min(LONGEST)
        };
        failures += 1;
        tokio::select! {
            () = sleep(wait) => {}
            order = stopping(&mut orders) => return order,
        }
    }
}

/// Waits for an order to stop; a signal to nobody is dropped.
async fn stopping(orders: &mut mpsc::UnboundedReceiver<Order>) {
    while let Some(Order::Signal(_)) = orders.recv().await {}
}

/// Follows a child until it ends. True: it was told to.
async fn follow(spec: &Spec, process: &mut Process, pid: u32, orders: &mut mpsc::UnboundedReceiver<Order>) -> bool {
    loop {
        let order = tokio::select! {
            status = process.wait() => {
                if status.as_ref().is_ok_and(|status| status.code() == Some(RESTART)) {
                    tracing::info!(role = spec.role, pid, "starts anew for the new configuration");
                    return false;
                }
                let status = status.map_or_else(|error| error.to_string(), |status| status.to_string());
                tracing::error!(role = spec.role, pid, status, "died; it is started again");
                return false;
            }
            order = orders.recv() => order.unwrap_or(Order::Kill),
        };
        match order {
            Order::Signal(signal) => send(pid, signal),
            Order::Kill => {
                end(process).await;
                return true;
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
                return true;
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
