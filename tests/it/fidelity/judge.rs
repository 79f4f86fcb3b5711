//! One configuration from its old container to the verdict.

use reqwest::Method;
use serde_json::{Value, json};
use tagboat::decide::derive::{Derived, Options, Sources, WantedState, compare, derive};
use tagboat::ports::{CreateContainer, Engine};

use super::case::{Case, Old};
use super::normal::{differences, expected, found};
use super::stage::World;

/// What became of a configuration.
#[derive(Debug)]
pub(super) struct Verdict {
    pub(super) group: &'static str,
    pub(super) label: String,
    pub(super) problems: Vec<String>,
    pub(super) skipped: Option<String>,
    /// Bodies that were tampered with and found out.
    pub(super) tampered: usize,
}

/// Recreates the container and compares it with what docker makes.
pub(super) async fn judge(world: &World, index: usize, case: Case) -> Verdict {
    let label = format!("{} [{}]", case.label, case.family);
    let mut verdict =
        Verdict { group: case.group, label: label.clone(), problems: Vec::new(), skipped: None, tampered: 0 };
    let (least, most) = case.api;
    if world.api < least || world.api > most {
        verdict.skipped = Some(format!("for API {}.{} to {}.{}", least.0, least.1, most.0, most.1));
        return verdict;
    }
    if let Err(problem) = attempt(world, index, &case, &mut verdict).await {
        verdict.problems.push(problem);
    }
    verdict.problems.iter_mut().for_each(|problem| *problem = format!("{label}: {problem}"));
    verdict
}

async fn attempt(world: &World, index: usize, case: &Case, verdict: &mut Verdict) -> Result<(), String> {
    let name = |kind: &str| world.name(&format!("{index}_{kind}"));
    let (old, want, new) = (name("old"), name("want"), name("new"));
    let (old_tag, new_tag) = (format!("{}:v1", case.family), format!("{}:v2", case.family));
    let (old_image, new_image) = (world.image(&old_tag).await?, world.image(&new_tag).await?);
    make(world, case, &old, &old_tag, &old_image).await.map_err(|error| format!("the old one: {error}"))?;
    bring(world, case.old, &old).await?;
    make(world, case, &want, &new_tag, &new_image).await.map_err(|error| format!("the expected one: {error}"))?;
    let before = world.inspect(&old).await?;
    let options = Options {
        keep: case.keep.parse()?,
        daemon: world.daemon.clone(),
        peers: world.peers.clone(),
        image: Some(new_tag),
    };
    let sources = Sources {
        container: &before,
        old_image: Some(&old_image),
        new_image: &new_image,
        api: world.api,
        options: &options,
    };
    let derived = derive(&sources).map_err(|error| error.to_string())?;
    let create = CreateContainer { name: new.clone(), body: derived.body.clone(), networks: derived.networks.clone() };
    world.engine.create(&create).await.map_err(|error| format!("the candidate: {error}"))?;
    let (made, wanted) = (world.inspect(&new).await?, world.inspect(&want).await?);
    let expectation = expected(world, &wanted);
    verdict.problems.extend(differences(&expectation, &found(world, &made, &before, &derived)?));
    state(case.old, derived.state)?;
    let report = compare(&derived.body, &derived.networks, &made, &new_image);
    verdict.problems.extend(report.iter().map(|difference| format!("compare: {difference}")));
    tamper(&derived, &made, &new_image, verdict);
    lose(&derived, &made, &new_image, verdict);
    again(world, &derived, &made, &new_image, &options, verdict);
    if case.starts {
        start(world, &old, &new).await?;
    }
    Ok(())
}

/// Makes a container by the docker client, or by a raw body.
async fn make(world: &World, case: &Case, name: &str, tag: &str, image: &Value) -> Result<(), String> {
    let id = image["Id"].as_str().unwrap_or_default();
    match &case.raw {
        Some(body) => {
            let text = world.fill(&body.to_string());
            let mut body: Value = serde_json::from_str(&text).map_err(|error| error.to_string())?;
            body["Image"] = json!(tag);
            // Without one, old engines leave out their own defaults too.
            if body["HostConfig"].is_null() {
                body["HostConfig"] = json!({});
            }
            world.call(Method::POST, &format!("/containers/create?name={name}"), Some(&body)).await?;
        }
        None => {
            let args = world.fill(&case.args).replace("{image}", id);
            let mut all = vec!["create".to_owned(), "--name".to_owned(), name.to_owned()];
            all.extend(shlex::split(&args).ok_or("quotes")?);
            all.push(tag.to_owned());
            all.extend(shlex::split(case.command).ok_or("quotes")?);
            world.cli(all).await?;
        }
    }
    for connect in &case.connects {
        let mut all = vec!["network".to_owned(), "connect".to_owned()];
        all.extend(shlex::split(&world.fill(connect)).ok_or("quotes")?);
        all.push(name.to_owned());
        world.cli(all).await?;
    }
    Ok(())
}

async fn bring(world: &World, state: Old, name: &str) -> Result<(), String> {
    let steps: &[&str] = match state {
        Old::Created => &[],
        Old::Running => &["start"],
        Old::Paused => &["start", "pause"],
        Old::Exited => &["start", "kill", "wait?condition=not-running"],
    };
    for step in steps {
        let what = format!("{step} the old one");
        let call = world.call(Method::POST, &format!("/containers/{name}/{step}"), None).await;
        call.map_err(|error| format!("{what}: {error}"))?;
    }
    Ok(())
}

fn state(old: Old, wanted: WantedState) -> Result<(), String> {
    let same = match old {
        Old::Created => wanted == WantedState::Created,
        Old::Running => wanted == WantedState::Running,
        Old::Paused => wanted == WantedState::Paused,
        Old::Exited => wanted == WantedState::Exited,
    };
    if same { Ok(()) } else { Err(format!("it was {old:?} and shall be {wanted:?}")) }
}

/// The candidate starts in the old one's place.
async fn start(world: &World, old: &str, new: &str) -> Result<(), String> {
    world.call(Method::DELETE, &format!("/containers/{old}?force=true"), None).await?;
    world
        .call(Method::POST, &format!("/containers/{new}/start"), None)
        .await
        .map_err(|error| format!("start: {error}"))?;
    let started = world.inspect(new).await?;
    if started["State"]["Running"] == true { Ok(()) } else { Err(format!("it does not run: {}", started["State"])) }
}

/// What is tampered with, and how.
type Tamper = (&'static str, fn(&mut Value));

/// Tamperings of each body.
pub(super) const TAMPERS: usize = 12;

/// A body that is not what was made must be found out, whatever the field.
fn tamper(derived: &Derived, made: &Value, image: &Value, verdict: &mut Verdict) {
    let tampers: [Tamper; TAMPERS] = [
        ("a variable", |body| push(&mut body["Env"], "TAMPERED=1")),
        ("a label", |body| body["Labels"]["tampered"] = json!("1")),
        ("the command", |body| body["Cmd"] = json!(["tampered"])),
        ("the entrypoint", |body| body["Entrypoint"] = json!(["/tampered"])),
        ("the user", |body| body["User"] = json!("tampered")),
        ("a port", |body| body["HostConfig"]["PortBindings"]["1/tcp"] = json!([{"HostPort": "1"}])),
        ("memory", |body| body["HostConfig"]["Memory"] = json!(12_345_678)),
        ("a bind", |body| push(&mut body["HostConfig"]["Binds"], "/tampered:/tampered")),
        ("a capability", |body| push(&mut body["HostConfig"]["CapAdd"], "TAMPERED")),
        ("the restart policy", |body| {
            body["HostConfig"]["RestartPolicy"] = json!({"Name": "on-failure", "MaximumRetryCount": 99})
        }),
        ("a device", |body| push(&mut body["HostConfig"]["Devices"], "tampered")),
        ("privileges", |body| body["HostConfig"]["Privileged"] = json!(body["HostConfig"]["Privileged"] != true)),
    ];
    for (what, tamper) in tampers {
        let mut body = derived.body.clone();
        tamper(&mut body);
        let networks = &derived.networks;
        if compare(&body, networks, made, image).is_empty() {
            verdict.problems.push(format!("{what} was tampered with and compare says nothing"));
        } else {
            verdict.tampered += 1;
        }
    }
    let mut elsewhere = derived.networks.clone();
    elsewhere.push(("tampered".to_owned(), json!({})));
    if compare(&derived.body, &elsewhere, made, image).is_empty() {
        verdict.problems.push("a network is missing and compare says nothing".to_owned());
    }
}

/// A field that was asked for and is not there must be found out.
fn lose(derived: &Derived, made: &Value, image: &Value, verdict: &mut Verdict) {
    // Shown elsewhere, or not there on cgroup v2 and newer engines, or absent is the same.
    let unseen =
        ["Links", "ConsoleSize", "Mounts", "KernelMemory", "KernelMemoryTCP", "OomKillDisable", "MemorySwappiness"];
    let same =
        [json!("default"), json!("bridge"), json!({"Name": "no", "MaximumRetryCount": 0}), json!(false), json!(0)];
    let empty = [json!(null), json!(""), json!([]), json!({}), json!([0, 0])];
    for (field, value) in derived.body["HostConfig"].as_object().into_iter().flatten() {
        if unseen.contains(&field.as_str()) || same.contains(value) || empty.contains(value) {
            continue;
        }
        if field == "RestartPolicy" && value["Name"] == "" {
            continue;
        }
        let mut without = made.clone();
        without["HostConfig"].as_object_mut().unwrap().remove(field);
        if compare(&derived.body, &derived.networks, &without, image).is_empty() {
            verdict.problems.push(format!("HostConfig.{field} is lost and compare says nothing"));
        }
    }
}

fn push(list: &mut Value, item: &str) {
    match list.as_array_mut() {
        Some(list) => list.push(json!(item)),
        None => *list = json!([item]),
    }
}

/// Derived again from what was made, on an image that does not change, it is the same container.
fn again(world: &World, first: &Derived, made: &Value, image: &Value, options: &Options, verdict: &mut Verdict) {
    let sources = Sources { container: made, old_image: Some(image), new_image: image, api: world.api, options };
    match derive(&sources) {
        Ok(second) => {
            let differences = differences(&explicit(first), &explicit(&second));
            let lost = first.carried.iter().filter(|volume| !second.carried.contains(volume));
            verdict.problems.extend(lost.map(|volume| format!("the second time {volume:?} is lost")));
            verdict.problems.extend(differences.iter().map(|difference| format!("the second time: {difference}")));
        }
        Err(error) => verdict.problems.push(format!("the second time: {error}")),
    }
}

/// What a derivation asks for; an empty field asks for nothing. Volumes that moved along are looked at apart: the
/// second time those that the new image brought are among them.
fn explicit(derived: &Derived) -> Value {
    let mut all = json!({"body": derived.body, "networks": derived.networks});
    if let Some(mounts) = all["body"]["HostConfig"]["Mounts"].as_array_mut() {
        mounts.retain(|mount| mount["VolumeOptions"]["Labels"].get("tagboat.anonymous").is_none());
    }
    prune(&mut all);
    all
}

fn prune(value: &mut Value) {
    if let Some(fields) = value.as_object_mut() {
        fields.values_mut().for_each(prune);
        fields.retain(|_, value| {
            !matches!(value, Value::Null) && *value != json!({}) && *value != json!([]) && *value != json!("")
        });
    }
}
