use super::*;
use crate::decide::admission::Admission;
use crate::decide::fixtures::app;
use crate::decide::observation::Wanted;
use crate::model::{Failure, FailureReason, Stage, SwapId};
use std::time::Duration;

fn at(seconds: i64) -> Time {
    Time::from_timestamp(1_800_000_000 + seconds, 0).unwrap()
}

fn digest(version: u8) -> Digest {
    Digest::of(&[version])
}

fn shop() -> App {
    let job =
        |word: &str| Some(Job { command: vec![word.to_owned()], entrypoint: None, timeout: Duration::from_secs(60) });
    let mut shop = app("shop");
    shop.origin = Origin::Adopted { container: "shop".to_owned() };
    shop.routes.clear();
    shop.jobs.pre_deploy = job("migrate");
    shop.jobs.post_deploy = job("warm");
    shop.jobs.failed_deploy = job("alert");
    shop
}

fn container(name: &str, generation: u64, version: u8, state: ContainerState) -> crate::model::Container {
    crate::decide::fixtures::running(name, generation, &digest(version), state, at(0))
}

fn job(kind: JobKind, generation: u64, version: u8, state: ContainerState) -> JobContainer {
    let name = format!("shop.{}-{generation}", kind.label());
    let mut container = container(&name, generation, version, state);
    container.owned.swap = SwapId(format!("swap-of-{generation}"));
    JobContainer { kind, timeout: Duration::from_secs(60), container }
}

fn decide(app: &App, serving: &crate::model::Container, wanted: u8, jobs: &[JobContainer]) -> Decision {
    let wanted = Wanted { digest: Some(digest(wanted)), ..Wanted::default() };
    crate::decide::reconcile::decide(&Observation {
        app,
        spec: "spec",
        wanted: &wanted,
        containers: std::slice::from_ref(serving),
        jobs,
        kept: &[],
        entry: None,
        quarantine: &[],
        attempts: None,
        parked: None,
        admission: &Admission::default(),
        forced: false,
        now: at(10),
        swap: &SwapId("new".into()),
    })
}

fn plan(decision: Decision) -> Plan {
    match decision {
        Decision::Act(plan) => *plan,
        other => panic!("no plan: {other:?}"),
    }
}

#[test]
fn jobs_stand_before_everything_and_after_everything_and_the_last_is_made_before_the_commit_point() {
    let serving = container("shop", 1, 1, ContainerState::Running);
    let plan = plan(decide(&shop(), &serving, 2, &[]));
    let stages: Vec<&str> = plan.steps.iter().map(|step| step.stage().label()).collect();
    assert_eq!(stages[..3], ["pull", "pre_deploy", "create"]);
    assert_eq!(stages.last(), Some(&"post_deploy"));
    let place = |stage: &str| stages.iter().position(|known| *known == stage).unwrap();
    assert_eq!(place("prepare") + 1, place("take"));
    let without = App { jobs: Default::default(), ..shop() };
    let decided = decide(&without, &serving, 2, &[]);
    let Decision::Act(bare) = decided else { panic!() };
    assert!(bare.steps.iter().all(|step| !matches!(step, Step::Job { .. } | Step::Prepare { .. })));
}

#[test]
fn a_deployment_whose_first_job_was_begun_goes_on_under_its_number_and_swap() {
    use ContainerState::{Created, Exited, Running};
    let serving = container("shop", 1, 1, Running);
    for state in [Created, Running, Exited] {
        let plan = plan(decide(&shop(), &serving, 2, &[job(JobKind::PreDeploy, 5, 2, state)]));
        assert_eq!((plan.generation, plan.swap.0.as_str()), (Generation(5), "swap-of-5"), "{state:?}");
    }
    for (label, other) in [
        ("another version's", job(JobKind::PreDeploy, 5, 3, Running)),
        ("another kind", job(JobKind::FailedDeploy, 5, 2, Running)),
    ] {
        let plan = plan(decide(&shop(), &serving, 2, &[other]));
        assert_eq!((plan.generation, plan.swap.0.as_str()), (Generation(6), "new"), "{label}: its number is taken");
    }
}

#[test]
fn what_is_owed_is_run_and_what_is_not_is_swept() {
    use ContainerState::{Created, Exited, Running};
    use JobKind::{FailedDeploy, PostDeploy, PreDeploy};
    let serving = container("shop", 4, 1, Running);
    for (label, one, owed) in [
        ("after the version that serves", job(PostDeploy, 4, 1, Created), true),
        ("the same, under way", job(PostDeploy, 4, 1, Running), true),
        ("the same, ended", job(PostDeploy, 4, 1, Exited), true),
        ("after another version", job(PostDeploy, 3, 2, Exited), false),
        ("after a version that failed", job(FailedDeploy, 5, 2, Created), true),
        ("after one that serves after all", job(FailedDeploy, 4, 1, Created), false),
        ("before what is not deployed any more", job(PreDeploy, 5, 2, Exited), false),
    ] {
        let decision = decide(&shop(), &serving, 1, std::slice::from_ref(&one));
        if owed {
            let plan = plan(decision);
            assert_eq!((plan.reason, plan.steps), (PlanReason::JobOwed, vec![Step::Job { job: one.kind }]), "{label}");
        } else {
            assert_eq!(decision, Decision::UpToDate, "{label}");
            let swept = sweep(std::slice::from_ref(&one), &decision, at(10)).remove;
            assert_eq!(swept, vec![one.container.id], "{label}");
        }
    }
}

#[test]
fn what_runs_is_not_ended_before_its_time_and_in_doubt_nothing_is_swept() {
    let mut running = job(JobKind::PreDeploy, 5, 2, ContainerState::Running);
    running.container.started = Some(at(0));
    let jobs = [running];
    assert_eq!(sweep(&jobs, &Decision::UpToDate, at(59)), Sweep { remove: Vec::new(), again: Some(at(60)) });
    assert_eq!(sweep(&jobs, &Decision::UpToDate, at(60)).remove.len(), 1);
    let unknown = Decision::Hold(Hold::RegistryUnknown { message: String::new() });
    let failure =
        Failure { stage: Stage::Pull, reason: FailureReason::Pull, message: String::new(), log_tail: Vec::new() };
    let later = Decision::Hold(Hold::BackingOff { digest: digest(2), until: at(99), failure });
    for decision in [unknown, later] {
        assert_eq!(sweep(&jobs, &decision, at(1000)), Sweep::default(), "{decision:?}");
    }
}

#[test]
fn only_what_was_ended_from_outside_while_nobody_looked_is_run_again() {
    for (label, code, killed, finished, cut_off) in [
        ("it succeeded", 0, false, 5, false),
        ("it failed", 3, false, 5, false),
        ("the engine was restarted", 137, false, 5, true),
        ("the host went down", 255, false, 5, true),
        ("its memory limit", 137, true, 5, false),
        ("its deadline", 137, false, 60, false),
    ] {
        let mut one = job(JobKind::PreDeploy, 1, 1, ContainerState::Exited);
        let container = &mut one.container;
        (container.started, container.finished) = (Some(at(0)), Some(at(finished)));
        (container.exit_code, container.oom_killed) = (code, killed);
        assert_eq!(was_cut_off(&one), cut_off, "{label}");
    }
}

#[test]
fn a_job_has_its_apps_surroundings_and_nothing_by_which_it_could_serve() {
    let version = json!({
        "Image": "shop@sha256:1", "Env": ["SECRET=hunter2", "TAGBOAT_APP=liar"], "User": "1000", "Cmd": ["serve"],
        "Entrypoint": ["/entry"], "ExposedPorts": {"80/tcp": {}}, "Healthcheck": {"Test": ["CMD", "x"]},
        "MacAddress": "02:00:00:00:00:01", "Hostname": "shop",
        "Labels": {"traefik.enable": "true", "com.docker.compose.project": "p", "tagboat.enable": "true",
            "tagboat.app": "shop", "tagboat.owner": "me", "tagboat.restart": "{}"},
        "HostConfig": {"Binds": ["data:/data"], "NetworkMode": "front", "AutoRemove": true,
            "PortBindings": {"80/tcp": [{"HostPort": "80"}]}, "RestartPolicy": {"Name": "always"}},
        "NetworkingConfig": {"EndpointsConfig": {"front": {"Aliases": ["web"], "IPAMConfig": {"IPv4Address": "10.0.0.9"},
            "DriverOpts": {"a": "b"}}}},
    });
    let shop = shop();
    let facts = Facts {
        app: &shop,
        kind: JobKind::PreDeploy,
        digest: &digest(2),
        previous: Some(&digest(1)),
        tag: Some("latest"),
        generation: Generation(7),
        reason: "tag_moved",
        message: "",
    };
    let body = job_body(&version, shop.jobs.pre_deploy.as_ref().unwrap(), &facts);
    assert_eq!((&body["Cmd"], &body["Entrypoint"]), (&json!(["migrate"]), &json!(["/entry"])));
    assert_eq!(
        (&body["User"], &body["HostConfig"]["Binds"], &body["HostConfig"]["NetworkMode"]),
        (&json!("1000"), &json!(["data:/data"]), &json!("front"))
    );
    let env = body["Env"].to_string();
    for wanted in ["SECRET=hunter2", "TAGBOAT_APP=shop", "TAGBOAT_JOB=pre_deploy", "TAGBOAT_TAG=latest"] {
        assert!(env.contains(wanted), "{wanted}: {env}");
    }
    assert!(!env.contains("liar") && !env.contains("TAGBOAT_FAILED_DIGEST"), "{env}");
    for gone in ["ExposedPorts", "MacAddress", "Hostname"] {
        assert!(body.get(gone).is_none(), "{gone}");
    }
    let host = &body["HostConfig"];
    assert!(host.get("PortBindings").is_none() && host.get("AutoRemove").is_none(), "{host}");
    assert_eq!((&host["RestartPolicy"]["Name"], &body["Healthcheck"]["Test"]), (&json!("no"), &json!(["NONE"])));
    let labels = json!({"tagboat.app": "shop", "tagboat.owner": "me", "tagboat.job": "pre_deploy",
        "tagboat.job_timeout": "60"});
    assert_eq!(body["Labels"], labels);
    assert_eq!(body["NetworkingConfig"]["EndpointsConfig"]["front"], json!({"DriverOpts": {"a": "b"}}));
}
