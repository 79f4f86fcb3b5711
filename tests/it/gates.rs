//! The gates before a deployment, on a real registry and a real engine: what is held back, why, and until when.

use std::time::Duration;

use serde_json::Value;
use tagboat::model::Digest;

use crate::support::{Image, Program, Setup, Signer};

/// An app with a policy.
fn with_policy(app: &'static str, policy: &str) -> Setup {
    // A test's settings live as long as the test run.
    let more = Box::leak(format!("health: {{http: /healthz}}\n    policy: {policy}").into_boxed_str());
    Setup { more, ..Setup::new(app) }
}

async fn push(program: &Program, version: &str) -> Digest {
    Image::sample(version).push(&program.registry, program.setup.app, "latest").await
}

/// Waits until the app is held back for this reason, about this version.
async fn held(program: &Program, gate: &str, digest: &Digest) -> Value {
    program
        .wait(Duration::from_secs(60), &format!("{} is held back by {gate}", digest.short()), || async {
            let hold = program.status().await?["hold"].clone();
            (hold["gate"] == gate && hold["digest"] == digest.as_str()).then_some(hold)
        })
        .await
}

#[tokio::test(flavor = "multi_thread")]
async fn only_what_is_signed_by_a_known_key_is_deployed() {
    let (signer, stranger, place) = (Signer::new(), Signer::new(), tempfile::tempdir().unwrap());
    let key = place.path().join("ci.pub");
    std::fs::write(&key, signer.pem()).unwrap();
    let app = "gates-signed";
    let mut program =
        Program::prepared(with_policy(app, &format!("{{verify: {{cosign: [{}]}}}}", key.display()))).await;
    let first = push(&program, "v1").await;
    signer.simple(&program.registry, app, &first, &first, false).await;
    program.start();
    program.wait_for_version("v1").await;
    program.settled().await;

    // Pending, then signed in the other form.
    let second = push(&program, "v2").await;
    let hold = held(&program, "signature_pending", &second).await;
    assert!(hold["until"].is_string() || hold["until"].is_null(), "{hold:#}");
    assert_eq!(program.version().await.as_deref(), Some("v1"));
    signer.bundle(&program.registry, app, &second).await;
    program.wait_for_version("v2").await;
    program.settled().await;

    // Wrong in three ways, and no force helps.
    for (label, claims, by, tampered) in [
        ("another key", None, &stranger, false),
        ("another digest", Some(second.clone()), &signer, false),
        ("tampered with", None, &signer, true),
    ] {
        let third = push(&program, label).await;
        held(&program, "signature_pending", &third).await;
        by.simple(&program.registry, app, &third, claims.as_ref().unwrap_or(&third), tampered).await;
        program.cli(&["check", app]);
        held(&program, "signature_invalid", &third).await;
        let forced = program.cli(&["deploy", app, "--force"]);
        assert_eq!(forced.status.code(), Some(5), "{label}: {forced:?}");
        assert_eq!(program.version().await.as_deref(), Some("v2"), "{label}");
    }
    let metrics = program.metrics().await;
    assert!(metrics.contains("tagboat_held{app=\"gates-signed\",hold=\"signature_invalid\"} 1"), "{metrics}");
    assert!(program.log().contains("ERROR"), "an invalid signature is told loudly");

    // No answer is neither: and the version that had none is deployed once it is signed.
    let last = push(&program, "v4").await;
    held(&program, "signature_pending", &last).await;
    program.registry.stop();
    held(&program, "signature_unreachable", &last).await;
    program.registry.resume().await;
    signer.simple(&program.registry, app, &last, &last, false).await;
    program.wait_for_version("v4").await;
    program.settled().await;
}

/// The registry announces signatures as it does images; what is not announced is found by looking ever more seldom.
#[tokio::test(flavor = "multi_thread")]
async fn a_signature_that_is_announced_is_not_waited_for() {
    let (signer, place) = (Signer::new(), tempfile::tempdir().unwrap());
    let key = place.path().join("ci.pub");
    std::fs::write(&key, signer.pem()).unwrap();
    let app = "gates-announced";
    let policy = format!("{{verify: {{cosign: [{}]}}}}", key.display());
    let mut program = Program::prepared(with_policy(app, &policy)).await;
    let first = push(&program, "v1").await;
    signer.simple(&program.registry, app, &first, &first, false).await;
    program.start();
    program.wait_for_version("v1").await;
    program.settled().await;
    for version in ["v2", "v3"] {
        let digest = push(&program, version).await;
        program
            .wait(Duration::from_secs(90), "the next look is far away", || async {
                let hold = program.status().await?["hold"].clone();
                let until: chrono::DateTime<chrono::Utc> = hold["until"].as_str()?.parse().ok()?;
                let is_it = hold["gate"] == "signature_pending" && hold["digest"] == digest.as_str();
                (is_it && until - chrono::Utc::now() > chrono::TimeDelta::seconds(15)).then_some(())
            })
            .await;
        match version {
            "v2" => signer.simple(&program.registry, app, &digest, &digest, false).await,
            _ => signer.bundle(&program.registry, app, &digest).await,
        }
        program
            .wait(Duration::from_secs(10), &format!("{version} answers"), || async {
                program.version().await.filter(|answering| answering == version)
            })
            .await;
        program.settled().await;
    }
    assert!(program.metrics().await.contains("result=\"accepted\""));
}

#[tokio::test(flavor = "multi_thread")]
async fn age_and_approval_are_waited_for_and_force_skips_them() {
    let app = "gates-patient";
    let mut program = Program::prepared(with_policy(app, "{soak: 3s, approve: true}")).await;
    let first = push(&program, "v1").await;
    program.start();
    held(&program, "approval", &first).await;
    let approved = program.cli(&["approve", app, "--by", "ada"]);
    assert!(approved.status.success(), "{approved:?}");
    // Nothing but the end of the hold wakes it: the next look at the registry is in an hour.
    program.wait_for_version("v1").await;
    program.settled().await;
    let status = program.status().await.unwrap();
    assert_eq!((&status["approval"]["by"], &status["approval"]["digest"]), (&"ada".into(), &first.as_str().into()));

    let second = push(&program, "v2").await;
    held(&program, "approval", &second).await;
    let forced = program.cli(&["deploy", app, "--force", "--wait"]);
    assert!(forced.status.success(), "{forced:?}");
    program.wait_for_version("v2").await;
    program.settled().await;

    // Back to what has served, without anybody's word; and the tag's next version waits again.
    let back = program.cli(&["rollback", app, "--wait"]);
    assert!(back.status.success(), "{back:?}");
    program.wait_for_version("v1").await;
    let third = push(&program, "v3").await;
    held(&program, "approval", &third).await;
    assert!(program.cli(&["approve", app, "--digest", third.short()]).status.success());
    program.wait_for_version("v3").await;
    program.settled().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_scanner_s_no_keeps_the_old_version_and_a_lost_container_comes_back_meanwhile() {
    let place = tempfile::tempdir().unwrap();
    let (script, verdict) = (place.path().join("scan"), place.path().join("verdict"));
    std::fs::write(
        &script,
        format!("echo \"$1 $2\" > {d}/asked; cat {d}/verdict; exit $(cat {d}/code)", d = place.path().display()),
    )
    .unwrap();
    let say = |words: &str, code: &str| {
        std::fs::write(&verdict, words).unwrap();
        std::fs::write(place.path().join("code"), code).unwrap();
    };
    say("", "0");
    let app = "gates-scanned";
    let policy = format!(
        "{{scan: {{exec: {{command: [sh, {}, '{{reference}}', '{{platform}}'], deny: [3]}}}}}}",
        script.display()
    );
    let mut program = Program::prepared(with_policy(app, &policy)).await;
    push(&program, "v1").await;
    program.start();
    program.wait_for_version("v1").await;
    program.settled().await;
    say("CVE-2026-1", "3");
    let second = push(&program, "v2").await;
    let hold = held(&program, "scan_denied", &second).await;
    assert!(hold["message"].as_str().unwrap().contains("CVE-2026-1"), "{hold:#}");
    let asked = std::fs::read_to_string(place.path().join("asked")).unwrap();
    let reference = format!("{}/{app}@{second} linux/", program.registry.host());
    assert!(asked.starts_with(&reference), "{asked}");

    program.docker().remove_all(app);
    program.wait_for_version("v1").await;
    held(&program, "scan_denied", &second).await;
    say("", "0");
    program.cli(&["check", app]);
    program.wait_for_version("v2").await;
    program.settled().await;
}
