//! Jobs: where they stand in a plan, what is left of them after a crash, and what their containers are made of.
//!
//! A job's container is its record. Created and not started, it is owed; running, it is waited for; ended, its exit
//! code is the result, until somebody has used that and removes it. There is at most one of a kind and a deployment,
//! by its name, so that a job is never run twice at the same time.

use serde_json::{Map, Value, json};

use crate::model::{
    App, ContainerId, ContainerState, Decision, Digest, Generation, Hold, Job, JobContainer, JobKind, Origin, Plan,
    PlanReason, Step, SwapId, Time, label,
};

use super::observation::Observation;

/// The name of a job's container: `shop.pre_deploy-7`.
pub fn job_name(app: &App, kind: JobKind, generation: Generation) -> String {
    let base = match &app.origin {
        Origin::Declared => app.name.as_str(),
        Origin::Adopted { container } => container,
    };
    format!("{base}.{}-{generation}", kind.label())
}

/// The steps of a deployment, from the creation of its candidate on, with the jobs around them.
pub(super) fn around(seen: &Observation<'_>, reason: PlanReason, steps: Vec<Step>) -> Vec<Step> {
    if reason == PlanReason::WatchFailed {
        return back(seen, steps);
    }
    let mut all = vec![Step::Pull];
    all.extend(seen.app.jobs.pre_deploy.is_some().then_some(Step::Job { job: JobKind::PreDeploy }));
    all.extend(framed(seen, steps));
    all
}

/// What comes back has had its own jobs when it was new; what failed gets its own.
fn back(seen: &Observation<'_>, steps: Vec<Step>) -> Vec<Step> {
    let condemned = super::watch::failing(seen).map(|(failing, message)| Step::Condemn {
        container: failing.id.clone(),
        generation: failing.owned.generation,
        swap: failing.owned.swap.clone(),
        digest: failing.owned.digest.clone(),
        message,
    });
    let mut all: Vec<Step> = condemned.into_iter().chain([Step::Pull]).collect();
    all.extend(frame(seen, JobKind::FailedDeploy, steps));
    all
}

/// The steps of a candidate that exists, with the job that comes after them.
pub(super) fn framed(seen: &Observation<'_>, steps: Vec<Step>) -> Vec<Step> {
    frame(seen, JobKind::PostDeploy, steps)
}

/// Its container is made before the commit point, and before anybody has to wait: after that, a crash must not lose it.
fn frame(seen: &Observation<'_>, job: JobKind, mut steps: Vec<Step>) -> Vec<Step> {
    if seen.app.jobs.get(job).is_some() {
        let commit =
            steps.iter().position(|step| matches!(step, Step::Hold { .. } | Step::Switch { .. } | Step::Take { .. }));
        steps.insert(commit.unwrap_or(steps.len()), Step::Prepare { job });
        steps.push(Step::Job { job });
    }
    steps
}

/// What is left to be done for a version that has taken over, if an earlier run has prepared it.
pub(super) fn prepared(seen: &Observation<'_>, serving: &crate::model::Container) -> Option<Step> {
    let is = |job: &&JobContainer| {
        job.kind == JobKind::PostDeploy && job.container.owned.generation == serving.owned.generation
    };
    seen.jobs.iter().find(is).map(|_| Step::Job { job: JobKind::PostDeploy })
}

/// The generation and the swap of a new deployment: those that its first job was run for by an earlier run, or new ones.
pub(super) fn number(seen: &Observation<'_>, digest: &Digest, last: Option<Generation>) -> (Generation, SwapId) {
    let fits = |job: &&JobContainer| {
        let owned = &job.container.owned;
        job.kind == JobKind::PreDeploy
            && owned.digest == *digest
            && owned.spec == seen.spec
            && last.is_none_or(|last| owned.generation > last)
    };
    if let Some(begun) = seen.jobs.iter().filter(fits).max_by_key(|job| job.container.owned.generation) {
        return (begun.container.owned.generation, begun.container.owned.swap.clone());
    }
    // The name of a job that is still in the way is not to be had.
    let jobs = seen.jobs.iter().map(|job| job.container.owned.generation).max();
    (last.max(jobs).map_or(Generation(1), Generation::next), seen.swap.clone())
}

/// A job that an earlier run has left undone and that is still called for.
pub(super) fn owed(seen: &Observation<'_>) -> Option<Plan> {
    let job = seen.jobs.iter().filter(|job| is_owed(seen, job)).min_by_key(|job| job.container.owned.generation)?;
    let serving = seen.serving()?;
    let owned = &job.container.owned;
    Some(Plan {
        swap: owned.swap.clone(),
        reason: PlanReason::JobOwed,
        strategy: seen.app.strategy,
        strategy_reason: seen.app.strategy_reason.clone(),
        digest: owned.digest.clone(),
        tag: None,
        generation: owned.generation,
        serving: vec![serving.id.clone()],
        fallback: Vec::new(),
        previous: None,
        candidates: Vec::new(),
        missing: Vec::new(),
        stay: Vec::new(),
        watched: false,
        steps: vec![Step::Job { job: job.kind }],
    })
}

fn is_owed(seen: &Observation<'_>, job: &JobContainer) -> bool {
    let Some(serving) = seen.serving().filter(|_| seen.app.jobs.get(job.kind).is_some()) else { return false };
    let serves = serving.owned.generation == job.container.owned.generation;
    match job.kind {
        JobKind::PreDeploy => false,
        JobKind::PostDeploy => serves,
        JobKind::FailedDeploy => !serves,
    }
}

/// Which containers of jobs nobody needs any more.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Sweep {
    /// They can be removed now.
    pub remove: Vec<ContainerId>,
    /// One still runs, and may do so until then.
    pub again: Option<Time>,
}

/// What to clear away once `decision` has been made. What runs is never ended before its time: half of a migration is
/// worse than one too many.
pub fn sweep(jobs: &[JobContainer], decision: &Decision, now: Time) -> Sweep {
    let definite = match decision {
        Decision::UpToDate => true,
        Decision::Hold(hold) => matches!(
            hold,
            Hold::Quarantined { .. } | Hold::Pinned { .. } | Hold::Gated { .. } | Hold::NothingMatches { .. }
        ),
        Decision::Act(_) => false,
    };
    let mut sweep = Sweep::default();
    for job in jobs.iter().filter(|_| definite) {
        match deadline(job).filter(|until| is_under_way(job) && now < *until) {
            Some(until) => sweep.again = Some(sweep.again.map_or(until, |again| again.min(until))),
            None => sweep.remove.push(job.container.id.clone()),
        }
    }
    sweep
}

/// When it has to have ended; `None` when it was never started.
pub fn deadline(job: &JobContainer) -> Option<Time> {
    job.container.started.map(|started| started + job.timeout)
}

fn is_under_way(job: &JobContainer) -> bool {
    matches!(job.container.state, ContainerState::Running | ContainerState::Paused | ContainerState::Restarting)
}

/// Exit codes of a process that was ended from outside, by a restart of the engine or of the host.
const ENDED_FROM_OUTSIDE: [i64; 3] = [137, 143, 255];

/// True when a job that ended while nobody looked has probably not ended by itself: it is run again.
pub fn was_cut_off(job: &JobContainer) -> bool {
    let late = deadline(job).is_some_and(|until| job.container.finished.is_some_and(|at| at >= until));
    !job.container.oom_killed && !late && ENDED_FROM_OUTSIDE.contains(&job.container.exit_code)
}

/// What a job is told in its environment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts<'a> {
    /// The app.
    pub app: &'a App,
    /// The job.
    pub kind: JobKind,
    /// The digest that is deployed, or that failed.
    pub digest: &'a Digest,
    /// The digest that served before, or that serves on.
    pub previous: Option<&'a Digest>,
    /// The tag, if it was found by one.
    pub tag: Option<&'a str>,
    /// The generation that it is deployed as.
    pub generation: Generation,
    /// Why it is deployed, or why it failed.
    pub reason: &'a str,
    /// Why it failed, as a sentence.
    pub message: &'a str,
}

impl Facts<'_> {
    /// The variables.
    pub fn variables(&self) -> Vec<(&'static str, String)> {
        let mut all = vec![
            ("TAGBOAT_APP", self.app.name.to_string()),
            ("TAGBOAT_JOB", self.kind.label().to_owned()),
            ("TAGBOAT_DIGEST", self.digest.to_string()),
            ("TAGBOAT_PREVIOUS_DIGEST", self.previous.map(ToString::to_string).unwrap_or_default()),
            ("TAGBOAT_TAG", self.tag.unwrap_or_default().to_owned()),
            ("TAGBOAT_GENERATION", self.generation.to_string()),
            ("TAGBOAT_REASON", self.reason.to_owned()),
        ];
        if self.kind == JobKind::FailedDeploy {
            all.push(("TAGBOAT_FAILED_DIGEST", self.digest.to_string()));
            all.push(("TAGBOAT_MESSAGE", self.message.to_owned()));
        }
        all
    }
}

/// Parts of a container that are for those who serve: reached, watched, restarted, named.
const SERVING: [&str; 5] = ["ExposedPorts", "Healthcheck", "Hostname", "Domainname", "MacAddress"];

/// Makes the body of a version, with our labels, into that of a job: its command, its variables, and nothing by which
/// it could be taken for what serves.
pub fn job_body(version: &Value, job: &Job, facts: &Facts<'_>) -> Value {
    let mut body = version.as_object().cloned().unwrap_or_default();
    for part in SERVING {
        body.remove(part);
    }
    body.insert("Healthcheck".to_owned(), json!({"Test": ["NONE"]}));
    body.insert("Cmd".to_owned(), json!(job.command));
    if let Some(entrypoint) = &job.entrypoint {
        body.insert("Entrypoint".to_owned(), json!(entrypoint));
    }
    let variables = facts.variables();
    let inherited = body.get("Env").and_then(Value::as_array).into_iter().flatten();
    let told = |entry: &&Value| {
        let key = entry.as_str().unwrap_or_default().split('=').next();
        !variables.iter().any(|(name, _)| Some(*name) == key)
    };
    let env: Vec<Value> = inherited.filter(told).cloned().collect();
    let env: Vec<Value> = env.into_iter().chain(variables.iter().map(|(k, v)| json!(format!("{k}={v}")))).collect();
    body.insert("Env".to_owned(), json!(env));
    body.insert("Labels".to_owned(), labels(body.get("Labels"), job, facts.kind));
    let mut host = body.get("HostConfig").and_then(Value::as_object).cloned().unwrap_or_default();
    for part in ["PortBindings", "PublishAllPorts", "AutoRemove"] {
        host.remove(part);
    }
    host.insert("RestartPolicy".to_owned(), json!({"Name": "no", "MaximumRetryCount": 0}));
    body.insert("HostConfig".to_owned(), Value::Object(host));
    if let Some(endpoints) = body.get_mut("NetworkingConfig").and_then(|config| config.get_mut("EndpointsConfig")) {
        endpoints.as_object_mut().into_iter().flatten().for_each(|(_, endpoint)| *endpoint = job_endpoint(endpoint));
    }
    Value::Object(body)
}

/// Only ours: a person's may be a router's, or compose's.
fn labels(all: Option<&Value>, job: &Job, kind: JobKind) -> Value {
    let ours = [label::APP, label::GENERATION, label::SWAP, label::DIGEST, label::SPEC, label::OWNER];
    let mut kept = Map::new();
    for name in ours {
        if let Some(value) = all.and_then(|all| all.get(name)) {
            kept.insert(name.to_owned(), value.clone());
        }
    }
    kept.insert(label::JOB.to_owned(), json!(kind.label()));
    kept.insert(label::JOB_TIMEOUT.to_owned(), json!(job.timeout.as_secs().max(1).to_string()));
    Value::Object(kept)
}

/// A job is in the networks of its app, without the names and addresses by which that is found.
pub fn job_endpoint(endpoint: &Value) -> Value {
    let mut endpoint = endpoint.as_object().cloned().unwrap_or_default();
    for part in ["Aliases", "IPAMConfig", "MacAddress", "DNSNames"] {
        endpoint.remove(part);
    }
    Value::Object(endpoint)
}

#[cfg(test)]
mod tests;
