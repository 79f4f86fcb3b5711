//! Jobs before and after deployments, and hooks in containers.

use std::time::Duration;

use serde_json::Value;

use crate::support::{Image, Load, Program, Setup};

/// A directory of the host that the app's containers see as `/data`.
struct Notes(tempfile::TempDir);

impl Notes {
    fn new() -> Self {
        Self(tempfile::Builder::new().prefix("tagboat-notes-").tempdir().unwrap())
    }

    fn lines(&self) -> Vec<String> {
        let text = std::fs::read_to_string(self.0.path().join("notes")).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }

    /// The lines that begin so.
    fn count(&self, start: &str) -> usize {
        self.lines().iter().filter(|line| line.starts_with(start)).count()
    }

    /// A setup with this directory mounted, and more lines of the app.
    fn setup(&self, app: &'static str, more: &str) -> Setup {
        let dir = self.0.path().display();
        let text = format!("health: {{http: /healthz}}\n    volumes: ['{dir}:/data']\n    {more}");
        Setup { more: text.leak(), ..Setup::new(app) }
    }
}

/// A job that writes its word to the notes.
fn job(word: &str, more: &str) -> String {
    format!("-job {word} -to /data/notes {more}")
}

/// The history entry of the newest deployment.
async fn newest(program: &Program) -> Option<Value> {
    let list = program.get(&format!("/apps/{}/deployments", program.setup.app)).await?;
    list.as_array()?.first().cloned()
}

fn step<'a>(deployment: &'a Value, stage: &str) -> &'a Value {
    let steps = deployment["steps"].as_array().unwrap();
    steps.iter().find(|step| step["stage"] == stage).unwrap_or_else(|| panic!("no {stage}: {deployment:#}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_migration_runs_once_before_the_new_version_and_what_comes_after_when_it_serves_alone() {
    let notes = Notes::new();
    let jobs = format!(
        "jobs: {{pre_deploy: '{}', post_deploy: {{command: '{}', timeout: 30s}}, failed_deploy: [-job, alert]}}",
        job("migrate", "-ms 1500"),
        job("warm", "")
    );
    let program = Program::serving(notes.setup("job-order", &jobs)).await;
    assert_eq!((notes.count("migrate end v1"), notes.count("warm end v1")), (1, 1), "{:?}", notes.lines());
    let load = Load::start(program.port, &["--rps", "200"]);
    let digest = Image::sample("v2").push(&program.registry, "job-order", "latest").await;
    program
        .wait(Duration::from_secs(30), "the status shows the job", || async {
            program.status().await.filter(|status| status["deploying"][1] == "pre_deploy")
        })
        .await;
    let states = program.docker().states("job-order");
    assert!(!states.iter().any(|state| state.starts_with("job-order.2 ")), "the job runs first: {states:?}");
    program.wait_for_version("v2").await;
    program.settled().await;
    load.finish().assert_clean(100);
    assert_eq!((notes.count("migrate begin v2"), notes.count("warm begin v2")), (1, 1), "{:?}", notes.lines());
    assert_eq!(notes.count("alert"), 0);
    let line = notes.lines().into_iter().find(|line| line.starts_with("migrate begin v2")).unwrap();
    for wanted in [
        "TAGBOAT_APP=job-order",
        "TAGBOAT_JOB=pre_deploy",
        "TAGBOAT_TAG=latest",
        "TAGBOAT_GENERATION=2",
        "TAGBOAT_REASON=tag_moved",
        "TAGBOAT_PREVIOUS_DIGEST=sha256:",
        &format!("TAGBOAT_DIGEST={digest}"),
    ] {
        assert!(line.contains(wanted), "{wanted}: {line}");
    }
    let deployment = newest(&program).await.unwrap();
    assert!(step(&deployment, "pre_deploy")["output"].to_string().contains("migrate end v2"), "{deployment:#}");
    assert!(step(&deployment, "post_deploy")["output"].to_string().contains("warm end v2"), "{deployment:#}");
    assert_eq!(program.docker().states("job-order"), ["job-order.2 running"], "no job is left over");
    let metrics = program.metrics().await;
    for job in ["pre_deploy", "post_deploy"] {
        let counted = format!("tagboat_jobs_total{{app=\"job-order\",job=\"{job}\",result=\"succeeded\"}} 2");
        assert!(metrics.contains(&counted), "{metrics}");
    }
    assert!(program.log().contains("job: migrate end v2"), "its output is in the log");
}

/// Pushes a version that is held back by its job, under load; the hold.
async fn refused(program: &Program, image: Image) -> Value {
    let load = Load::start(program.port, &["--rps", "200"]);
    image.push(&program.registry, program.setup.app, "latest").await;
    program.state_is("held").await;
    let status = program.status().await.unwrap();
    assert_eq!(program.version().await.as_deref(), Some("v1"));
    load.finish().assert_clean(50);
    assert_eq!(status["quarantined"].as_array().map(Vec::len), Some(1), "{status:#}");
    let states = program.docker().states(program.setup.app);
    assert_eq!(states, [format!("{}.1 running", program.setup.app)], "nothing else was made, or is left over");
    status["hold"].clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_migration_that_fails_leaves_the_old_version_alone_and_its_output_is_the_evidence() {
    let notes = Notes::new();
    let jobs = format!("jobs: {{pre_deploy: '{}', failed_deploy: '{}'}}", job("migrate", "-ms 300"), job("alert", ""));
    let program = Program::serving(notes.setup("job-fails", &jobs)).await;
    let before = program.docker().named("job-fails.1").unwrap();
    let hold = refused(&program, Image::sample("v2").env("JOB_CODE", "3")).await;
    let failure = &hold["failure"];
    assert_eq!((&failure["reason"], &failure["stage"]), (&"job_failed".into(), &"pre_deploy".into()), "{hold:#}");
    assert!(failure["message"].as_str().unwrap().contains("exited with code 3"), "{hold:#}");
    assert!(failure["log_tail"].to_string().contains("already exists"), "{hold:#}");
    let after = program.docker().named("job-fails.1").unwrap();
    assert_eq!(after["State"]["StartedAt"], before["State"]["StartedAt"]);
    // The image that serves says so, once, and knows of what.
    assert_eq!(notes.count("alert begin v1"), 1, "{:?}", notes.lines());
    let line = notes.lines().into_iter().find(|line| line.starts_with("alert begin")).unwrap();
    let digest = hold["digest"].as_str().unwrap();
    assert!(
        line.contains(&format!("TAGBOAT_FAILED_DIGEST={digest}")) && line.contains("TAGBOAT_REASON=job_failed"),
        "{line}"
    );
    Image::sample("v3").push(&program.registry, "job-fails", "latest").await;
    program.wait_for_version("v3").await;
    program.settled().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_migration_that_does_not_end_is_ended_at_its_deadline() {
    let notes = Notes::new();
    let jobs =
        format!("stop_timeout: 1s\n    jobs: {{pre_deploy: {{command: '{}', timeout: 3s}}}}", job("migrate", "-ms 10"));
    let program = Program::serving(notes.setup("job-late", &jobs)).await;
    let hold = refused(&program, Image::sample("v2").env("JOB_MS", "60000")).await;
    assert!(hold["failure"]["message"].as_str().unwrap().contains("did not end within 3s"), "{hold:#}");
    assert_eq!((notes.count("migrate begin v2"), notes.count("migrate end v2")), (1, 0), "{:?}", notes.lines());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_that_is_killed_during_a_migration_waits_for_it_and_starts_no_second_one() {
    let notes = Notes::new();
    let jobs =
        format!("jobs: {{pre_deploy: '{}', post_deploy: '{}'}}", job("migrate", "-ms 4000"), job("warm", "-ms 2500"));
    let program = Program::serving(notes.setup("job-kill", &jobs)).await;
    let load = Load::start(program.port, &["--rps", "200"]);
    Image::sample("v2").push(&program.registry, "job-kill", "latest").await;
    for stage in ["migrate", "warm"] {
        let begun = format!("{stage} begin v2");
        program
            .wait(Duration::from_secs(60), &format!("{stage} is under way"), || async {
                (notes.count(&begun) == 1).then_some(())
            })
            .await;
        program.kill("agent");
        // Once it looks, and once more in the middle of that.
        tokio::time::sleep(Duration::from_millis(1200)).await;
        if program.child("agent").is_some() {
            program.kill("agent");
        }
    }
    program.wait_for_version("v2").await;
    program.settled().await;
    program
        .wait(Duration::from_secs(30), "no job is left over", || async {
            (program.docker().states("job-kill") == ["job-kill.2 running"]).then_some(())
        })
        .await;
    load.finish().assert_clean(300);
    for word in ["migrate", "warm"] {
        let (begun, ended) = (notes.count(&format!("{word} begin v2")), notes.count(&format!("{word} end v2")));
        assert_eq!((begun, ended), (1, 1), "{:?}", notes.lines());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_after_the_deployment_that_fails_is_told_and_changes_nothing() {
    let notes = Notes::new();
    let jobs = format!("jobs: {{post_deploy: '{}'}}", job("warm", "-code 4"));
    let program = Program::serving(notes.setup("job-post", &jobs)).await;
    Image::sample("v2").push(&program.registry, "job-post", "latest").await;
    program.wait_for_version("v2").await;
    program.settled().await;
    let deployment = newest(&program).await.unwrap();
    assert_eq!(deployment["result"], "succeeded", "{deployment:#}");
    let step = step(&deployment, "post_deploy");
    assert!(step["note"].as_str().unwrap().contains("it failed: exited with code 4"), "{step:#}");
    assert!(program.log().contains("job failed: it exited with code 4"));
    let counted = "tagboat_jobs_total{app=\"job-post\",job=\"post_deploy\",result=\"failed\"} 2";
    assert!(program.metrics().await.contains(counted));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_jobs_of_an_adopted_container_are_in_its_surroundings_and_no_version_of_it() {
    let notes = Notes::new();
    let app = "job-adopted";
    let mut program = Program::prepared(Setup { declared: false, ..Setup::new(app) }).await;
    Image::sample("v1").push(&program.registry, app, "latest").await;
    let port = crate::support::free_port();
    let (publish, volume) = (format!("127.0.0.1:{port}:8080"), format!("{}:/data", notes.0.path().display()));
    let scope = format!("tagboat.scope={app}");
    let (pre, post) = (job("migrate", "-ms 1000"), job("warm", ""));
    let (pre, post) = (format!("tagboat.jobs.pre_deploy={pre}"), format!("tagboat.jobs.post_deploy.command={post}"));
    let image = format!("{}/{app}:latest", program.registry.host());
    let labels = ["--label", "tagboat.enable=true", "--label", &scope, "--label", &pre, "--label", &post];
    let args = ["run", "-d", "--name", app, "-p", &publish, "-v", &volume, "-e", "COLOR=blue"];
    program.docker().must(&[args.as_slice(), &labels, &[&image]].concat());
    program.start();
    program.state_is("up_to_date").await;
    Image::sample("v2").push(&program.registry, app, "latest").await;
    program
        .wait(Duration::from_secs(60), "version 2 has its name, and its jobs have run", || async {
            let container = program.docker().named(app)?;
            let new = container["Config"]["Env"].to_string().contains("VERSION=v2");
            (new && notes.count("warm end v2") == 1).then_some(())
        })
        .await;
    program.state_is("up_to_date").await;
    assert_eq!((notes.count("migrate end v2"), notes.count("migrate begin v1")), (1, 0), "{:?}", notes.lines());
    assert_eq!(program.docker().states(app), [format!("{app} running")], "no job is left over");
    assert_eq!(program.get("/apps").await.unwrap().as_array().map(Vec::len), Some(1), "no job is adopted");
}

#[tokio::test(flavor = "multi_thread")]
async fn hooks_are_run_in_the_new_container_and_in_the_old_one() {
    let notes = Notes::new();
    let hooks = "hooks: {post_start: {http: 'POST /warm'}, pre_stop: {exec: [/app, -job, goodbye, -to, /data/notes]}}";
    let program = Program::serving(notes.setup("hook-both", hooks)).await;
    let load = Load::start(program.port, &["--rps", "100"]);
    Image::sample("v2").push(&program.registry, "hook-both", "latest").await;
    program.wait_for_version("v2").await;
    program.settled().await;
    load.finish().assert_clean(50);
    assert_eq!((notes.count("goodbye end v1"), notes.count("goodbye end v2")), (1, 0), "{:?}", notes.lines());
    let deployment = newest(&program).await.unwrap();
    assert!(step(&deployment, "gate")["note"].as_str().unwrap().contains("post_start had the answer HTTP 200"));
    assert!(step(&deployment, "stop")["note"].as_str().unwrap().contains("pre_stop ended with exit code 0"));
    let output = program.docker().must(&["logs", "hook-both.2"]);
    assert!(output.contains("warmed"), "{output}");
    // A hook at the start that fails is the version's failure.
    Image::sample("v3").env("NEVER_WARM", "1").push(&program.registry, "hook-both", "latest").await;
    program.state_is("held").await;
    let status = program.status().await.unwrap();
    assert_eq!(status["hold"]["failure"]["reason"], "hook_failed", "{status:#}");
    assert_eq!(program.version().await.as_deref(), Some("v2"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hook_before_the_stop_that_hangs_or_is_missing_is_told_and_the_stop_goes_on() {
    let notes = Notes::new();
    let hooks = "hooks: {pre_stop: {exec: [/app, -job, hang, -ms, '60000'], timeout: 1s}}";
    let program = Program::serving(notes.setup("hook-hangs", hooks)).await;
    Image::sample("v2").push(&program.registry, "hook-hangs", "latest").await;
    program.wait_for_version("v2").await;
    program.settled().await;
    assert!(
        program.log().contains("the pre_stop hook failed, and it is stopped all the same: did not end within 1s"),
        "it is told"
    );
    let counted = "tagboat_hooks_total{app=\"hook-hangs\",hook=\"pre_stop\",result=\"failed\"} 1";
    assert!(program.metrics().await.contains(counted));
}
