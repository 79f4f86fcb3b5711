//! What is there: images, containers, the proxy's table, the memory; and what happens by itself.

mod container;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard};

use chrono::TimeDelta;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde_json::{Value, json};
use tokio::sync::mpsc;

use crate::engine::clock::Utc;
use crate::model::{
    Container, ContainerId, ContainerState, Digest, ImageDetails, ImageRef, JobKind, Repository, Strategy, Table, Time,
    label,
};
use crate::ports::EngineEvent;

pub(super) use container::{Image, Made};

use super::memory::Memory;

/// The app of every scenario, and the name of the container that serves it where the name says so.
pub(super) const APP: &str = "shop";

/// The repository that it follows.
pub(super) const REPOSITORY: &str = "registry.test/acme/shop";

/// How an image behaves when it runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Nature {
    Good,
    /// The engine can't run its command.
    CannotStart,
    /// Its process ends so long after each start, in milliseconds.
    Ends(i64),
    /// It runs and never answers.
    Deaf,
    /// It would be good, but its job before the deployment fails.
    Unmigrated,
    /// All is well but for the second of several containers, which ends so long after each start.
    Partly(i64),
}

/// Where the process dies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Crash {
    Before(usize),
    After(usize),
}

/// Everything.
pub(super) struct World {
    pub(super) strategy: Strategy,
    /// The time at which the next run begins.
    pub(super) time: Time,
    pub(super) images: Vec<Image>,
    pub(super) containers: Vec<Made>,
    pub(super) table: Table,
    /// Requests that a container still answers, until then.
    pub(super) busy: BTreeMap<ContainerId, Time>,
    /// The proxy has requests wait until then.
    pub(super) held: Option<Time>,
    /// The proxy follows the name.
    pub(super) routed: bool,
    pub(super) memory: Memory,
    pub(super) tag: Digest,
    pub(super) registry_down: bool,
    /// The engine does not answer until then.
    pub(super) away: Option<Time>,
    /// How often a call fails, before or after it had its effect.
    pub(super) flaws: f64,
    pub(super) random: StdRng,
    pub(super) crash: Option<Crash>,
    pub(super) steps: usize,
    pub(super) dead: bool,
    /// A person interfered: what serves may be what they made of it.
    pub(super) touched: bool,
    /// The app has jobs.
    pub(super) jobs: bool,
    /// So many containers serve at rest.
    pub(super) replicas: usize,
    /// Jobs that have ended well, by the digest that they were about.
    pub(super) done: BTreeSet<(JobKind, String)>,
    /// Containers that a person laid hands on.
    pub(super) hands: BTreeSet<ContainerId>,
    pub(super) trace: Vec<String>,
    pub(super) broken: Vec<String>,
    pub(super) changed: Option<Time>,
    pub(super) down: Option<Time>,
    pub(super) gap: TimeDelta,
    /// Since when requests fail because nobody answers and nobody has them wait, and the longest time of that.
    pub(super) failing: Option<Time>,
    pub(super) failed: TimeDelta,
    pub(super) listeners: Vec<mpsc::UnboundedSender<EngineEvent>>,
    pub(super) made: u8,
}

pub(super) type Shared = Arc<Mutex<World>>;

/// As the ports see it.
#[derive(Clone)]
pub(super) struct Sim(pub(super) Shared);

impl Sim {
    pub(super) fn world(&self) -> MutexGuard<'_, World> {
        self.0.lock().expect("no holder panics")
    }
}

impl World {
    pub(super) fn new(strategy: Strategy, seed: u64) -> Self {
        let time = "2026-01-01T00:00:00Z".parse().expect("a time");
        let first = Image { digest: Digest::of(b"v1"), nature: Nature::Good, names: Vec::new() };
        Self {
            strategy,
            time,
            tag: first.digest.clone(),
            images: vec![first],
            containers: Vec::new(),
            table: Table::default(),
            busy: BTreeMap::new(),
            held: None,
            memory: Memory::default(),
            registry_down: false,
            away: None,
            flaws: 0.0,
            random: StdRng::seed_from_u64(seed),
            crash: None,
            steps: 0,
            dead: false,
            touched: false,
            routed: false,
            jobs: false,
            replicas: 1,
            done: BTreeSet::new(),
            hands: BTreeSet::new(),
            trace: Vec::new(),
            broken: Vec::new(),
            changed: None,
            down: None,
            gap: TimeDelta::zero(),
            failing: None,
            failed: TimeDelta::zero(),
            listeners: Vec::new(),
            made: 1,
        }
    }

    /// A new image under the tag.
    pub(super) fn push(&mut self, nature: Nature) -> Digest {
        let digest = Digest::of(format!("v{}", self.images.len() + 1).as_bytes());
        self.images.push(Image { digest: digest.clone(), nature, names: Vec::new() });
        self.tag = digest.clone();
        digest
    }

    pub(super) fn image(&self, digest: &Digest) -> &Image {
        self.images.iter().find(|image| image.digest == *digest).expect("containers are made of known images")
    }

    pub(super) fn find(&mut self, id: &ContainerId) -> Option<&mut Made> {
        self.containers.iter_mut().find(|made| made.id == *id)
    }

    pub(super) fn named(&self, name: &str) -> Option<&Made> {
        self.containers.iter().find(|made| made.name == name)
    }

    pub(super) fn document(&self, made: &Made) -> Value {
        made.document(self.image(&made.image))
    }

    pub(super) fn container(&self, made: &Made) -> Container {
        let document = self.document(made);
        let mut container = crate::docker::understood(&document).expect("what is made here can be understood");
        if made.label(label::APP).is_none() {
            let written = document["Config"]["Image"].as_str().unwrap_or_default();
            if let Some(digest) = crate::docker::digest_of(&self.image(&made.image).details(), written) {
                container.owned.digest = digest;
            }
        }
        container
    }

    /// The digest behind a reference, an id or `repository@digest`, as far as the engine has it.
    pub(super) fn present(&self, reference: &str) -> Option<&Image> {
        self.images.iter().find(|image| {
            !image.names.is_empty() && (image.id() == reference || image.names.iter().any(|name| name == reference))
        })
    }

    pub(super) fn name_image(&mut self, id: &str, name: &str) -> bool {
        if !self.images.iter().any(|image| image.id() == id && !image.names.is_empty()) {
            return false;
        }
        for image in &mut self.images {
            image.names.retain(|known| known != name);
            if image.id() == id {
                image.names.push(name.to_owned());
            }
        }
        true
    }

    pub(super) fn pull(&mut self, digest: &Digest) {
        let repository: Repository = REPOSITORY.parse().expect("a repository");
        let name = ImageRef::by_digest(&repository, digest).to_string();
        let image = self.images.iter_mut().find(|image| image.digest == *digest).expect("only known ones are pulled");
        if !image.names.contains(&name) {
            image.names.push(name);
        }
    }

    /// Makes a container of an image that is present.
    pub(super) fn make(&mut self, name: &str, body: Value, image: &Digest) -> ContainerId {
        self.made = self.made.checked_add(1).unwrap_or(2);
        let id =
            ContainerId(Digest::of(&self.random.random::<[u8; 8]>()).as_str().trim_start_matches("sha256:").to_owned());
        let policy = body["HostConfig"]["RestartPolicy"].clone();
        let own = self.image(image).nature;
        let job = body["Labels"][label::JOB].as_str().and_then(JobKind::named);
        let fails = own == Nature::Unmigrated && job == Some(JobKind::PreDeploy);
        let (nature, own_code) = match job {
            Some(_) => (Nature::Ends(1500), if fails { 3 } else { 0 }),
            None => match own {
                Nature::Partly(after) if body["Labels"][label::REPLICA] == "2" => (Nature::Ends(after), 1),
                Nature::Partly(_) => (Nature::Good, 1),
                own => (own, 1),
            },
        };
        self.containers.push(Made {
            id: id.clone(),
            name: name.to_owned(),
            image: image.clone(),
            nature,
            own_code,
            code: 0,
            body,
            state: ContainerState::Created,
            policy: if policy.is_object() { policy } else { json!({"Name": "no", "MaximumRetryCount": 0}) },
            restarts: 0,
            created: Utc::now(),
            started: None,
            finished: None,
            again: None,
            booting: false,
            address: self.made,
            answered: 0,
            inspected: false,
        });
        self.tell(&id, "create");
        id
    }

    /// Starts a container, or says why it can't be.
    pub(super) fn start(&mut self, id: &ContainerId) -> Result<(), String> {
        let Some(made) = self.find(id).cloned() else { return Err("no such container".to_owned()) };
        if made.runs() {
            return Ok(());
        }
        let taken =
            |other: &&Made| other.id != *id && other.runs() && other.port().is_some() && other.port() == made.port();
        if let Some(other) = self.containers.iter().find(taken) {
            return Err(format!("port is already allocated by {}", other.name));
        }
        if made.nature == Nature::CannotStart {
            return Err("exec: no such file".to_owned());
        }
        let now = Utc::now();
        if let Some(made) = self.find(id) {
            (made.state, made.started, made.restarts, made.answered) = (ContainerState::Running, Some(now), 0, 0);
        }
        self.tell(id, "start");
        self.run_once();
        Ok(())
    }

    /// Stops it as a person or we do: no policy starts it again.
    pub(super) fn halt(&mut self, id: &ContainerId) {
        if let Some(made) = self.find(id)
            && matches!(made.state, ContainerState::Running | ContainerState::Restarting | ContainerState::Paused)
        {
            (made.state, made.finished, made.again) = (ContainerState::Exited, Some(Utc::now()), None);
            made.code = 143;
            self.tell(id, "die");
        }
    }

    pub(super) fn tell(&mut self, id: &ContainerId, action: &str) {
        let app = self.find(id).and_then(|made| made.label(label::APP)?.parse().ok());
        let event = EngineEvent { app, container: id.clone(), names: Vec::new(), action: action.to_owned() };
        self.listeners.retain(|listener| listener.send(event.clone()).is_ok());
    }

    /// What has happened by itself until now.
    pub(super) fn tick(&mut self) {
        let now = Utc::now();
        for index in 0..self.containers.len() {
            while let Some(action) = self.containers.get_mut(index).and_then(|made| happens(made, now)) {
                let id = self.containers[index].id.clone();
                self.note_job(index);
                self.tell(&id, action);
                self.run_once();
            }
        }
        if self.held.is_some_and(|until| until <= now) {
            self.held = None;
        }
        self.measure(now);
    }
}

/// The next thing that happens to a container before `now`.
fn happens(made: &mut Made, now: Time) -> Option<&'static str> {
    if let (Nature::Ends(after), Some(started), true) = (made.nature, made.started, made.runs()) {
        let end = started + TimeDelta::milliseconds(after);
        if end > now {
            return None;
        }
        (made.finished, made.code) = (Some(end), made.own_code);
        let wait = TimeDelta::milliseconds(100 << made.restarts.min(9));
        let limit = made.policy["MaximumRetryCount"].as_u64().unwrap_or_default();
        let restarts = match made.policy_name() {
            "always" | "unless-stopped" => true,
            "on-failure" => limit == 0 || made.restarts < limit,
            _ => false,
        };
        (made.state, made.again) =
            if restarts { (ContainerState::Restarting, Some(end + wait)) } else { (ContainerState::Exited, None) };
        return Some("die");
    }
    let again = made.again.filter(|again| *again <= now && made.state == ContainerState::Restarting)?;
    (made.state, made.started, made.again) = (ContainerState::Running, Some(again), None);
    made.restarts = if std::mem::take(&mut made.booting) { 0 } else { made.restarts + 1 };
    Some("start")
}
