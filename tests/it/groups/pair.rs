//! Two apps of one group, and a witness that asks both.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::Value;

use crate::support::{Image, Program, Setup, client, free_port};

/// Two apps of one group: `NAME` and `NAME-api`.
pub(super) struct Pair {
    pub(super) program: Program,
    /// The second app, and where it is reached.
    pub(super) api: &'static str,
    pub(super) port: u16,
}

/// How the second app's image is called.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Images {
    /// Each has one of its own.
    Apart,
    /// Both are processes of one image.
    Shared,
}

pub(super) const SWAP: &str =
    "probe_interval: 50ms, min_healthy: 300ms, healthy_deadline: 6s, bake: 1s, drain: 5s, drain_streams: 5s";

impl Pair {
    pub(super) async fn serving(app: &'static str, api: &'static str, images: Images, failpoints: bool) -> Self {
        Self::timed(app, api, images, failpoints, SWAP).await
    }

    pub(super) async fn timed(
        app: &'static str,
        api: &'static str,
        images: Images,
        failpoints: bool,
        swap: &'static str,
    ) -> Self {
        let more: &'static str = format!("health: {{http: /healthz}}\n    group: {app}-group").leak();
        let setup = Setup { more, swap, failpoints, ..Setup::new(app) };
        let mut program = Program::prepared(setup).await;
        program.docker().remove_all(api);
        Image::sample("v1").push(&program.registry, app, "latest").await;
        let image = if images == Images::Apart { api } else { app };
        if images == Images::Apart {
            Image::sample("v1").push(&program.registry, api, "latest").await;
        }
        let (registry, port) = (program.registry.host(), free_port());
        program.write_config(&format!(
            "  {api}:\n    image: {registry}/{image}\n    listen: '127.0.0.1:{port}'\n    {more}\n    \
             env: {{ROLE: api}}\n"
        ));
        program.start();
        let pair = Self { program, api, port };
        pair.serve("v1").await;
        pair
    }

    pub(super) async fn version(&self, port: u16) -> Option<String> {
        version(port).await
    }

    /// Waits until both answer with this version and are up to date.
    pub(super) async fn serve(&self, wanted: &str) {
        for (app, port) in [(self.program.setup.app, self.program.port), (self.api, self.port)] {
            self.program
                .wait(Duration::from_secs(60), &format!("{app} is at {wanted}"), || async {
                    let status = self.status(app).await?;
                    (self.version(port).await? == wanted && status["state"] == "up_to_date").then_some(())
                })
                .await;
        }
    }

    pub(super) async fn status(&self, app: &str) -> Option<Value> {
        self.program.get(&format!("/apps/{app}")).await
    }

    /// Waits until an app is held for this reason.
    pub(super) async fn held(&self, app: &str, hold: &str) -> Value {
        self.program
            .wait(Duration::from_secs(60), &format!("{app} is held: {hold}"), || async {
                self.status(app).await.filter(|status| status["hold"]["hold"] == hold)
            })
            .await
    }

    /// The group's history.
    pub(super) async fn history(&self) -> Vec<Value> {
        let path = format!("/groups/{}-group/deployments", self.program.setup.app);
        self.program.get(&path).await.and_then(|all| all.as_array().cloned()).unwrap_or_default()
    }

    pub(super) async fn ended(&self, result: &str) -> Value {
        self.program
            .wait(Duration::from_secs(30), &format!("the group's deployment has {result}"), || async {
                let newest = self.history().await.first().cloned()?;
                (newest["result"] == result).then_some(newest)
            })
            .await
    }

    pub(super) async fn push(&self, app: &str, image: Image) -> String {
        image.push(&self.program.registry, app, "latest").await.to_string()
    }

    pub(super) fn running(&self) -> Vec<String> {
        let states = [self.program.setup.app, self.api].map(|app| self.program.docker().states(app));
        states.into_iter().flatten().filter(|state| state.ends_with(" running")).collect()
    }
}

impl Drop for Pair {
    fn drop(&mut self) {
        self.program.signal(rustix::process::Signal::TERM);
        self.program.docker().remove_all(self.api);
    }
}

async fn version(port: u16) -> Option<String> {
    let url = format!("http://127.0.0.1:{port}/id?x=0");
    let answer = client().get(url).timeout(Duration::from_secs(2)).send().await.ok()?;
    let body: Value = serde_json::from_slice(&answer.bytes().await.ok()?).ok()?;
    body["version"].as_str().map(str::to_owned)
}

/// Asks the one and then the other, in both orders, again and again: whoever has seen a new version of the one must not
/// see an old one of the other after that.
pub(super) struct Witness {
    over: Arc<AtomicBool>,
    task: tokio::task::JoinHandle<(usize, Vec<String>)>,
}

impl Witness {
    pub(super) fn start(ports: [u16; 2]) -> Self {
        let over = Arc::new(AtomicBool::new(false));
        let told = over.clone();
        let number = |version: Option<String>| version.and_then(|v| v.trim_start_matches('v').parse::<u32>().ok());
        let task = tokio::spawn(async move {
            let (mut asked, mut mixed) = (0, Vec::new());
            while !told.load(Ordering::SeqCst) {
                for [first, second] in [ports, [ports[1], ports[0]]] {
                    let (before, after) = (number(version(first).await), number(version(second).await));
                    asked += 1;
                    if before.is_none() || after.is_none() || before > after {
                        mixed.push(format!("{first} was at {before:?}, then {second} at {after:?}"));
                    }
                }
            }
            (asked, mixed)
        });
        Self { over, task }
    }

    pub(super) async fn saw_one_world(self) {
        self.over.store(true, Ordering::SeqCst);
        let (asked, mixed) = self.task.await.unwrap();
        assert!(asked > 20 && mixed.is_empty(), "{asked} looks: {mixed:#?}");
    }
}
