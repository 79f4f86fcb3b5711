//! Signatures that are announced to an app that waits for one, on a paused clock.

use super::*;
use crate::engine::SignatureHint;

/// An app whose next version is unsigned, after it has waited for so long that it looks seldom.
async fn waiting(world: &Arc<World>) -> (Running, Digest) {
    let rule = SignatureRule { keys: Vec::new(), annotations: Default::default(), deadline: Duration::from_secs(3600) };
    let gates = Gates { signatures: Some(rule), ..Gates::default() };
    let app = App { gates, ..world.app("shop", "registry.test/acme/shop", "old") };
    world.push(&app, &index("old", &[("amd64", "old")]));
    let running = Running::start(world, world.clone(), vec![app.clone()]);
    running.until("it runs", |all| all[0].state == AppState::UpToDate).await;
    let new = index("new", &[("amd64", "new")]);
    world.push(&app, &new);
    running.handle.check("shop").unwrap();
    running.until("it waits for a signature", |all| all[0].hold.as_ref().is_some_and(is_pending)).await;
    tokio::time::sleep(Duration::from_secs(900)).await;
    assert!(world.pulls.lock().unwrap().is_empty(), "it is not signed");
    (running, new.digest)
}

fn is_pending(hold: &Hold) -> bool {
    matches!(hold, Hold::Gated { gate: Gate::SignaturePending, .. })
}

fn hint(repository: &str, tag: Option<&str>) -> SignatureHint {
    SignatureHint { repository: repository.parse().unwrap(), tag: tag.map(|tag| tag.parse().unwrap()) }
}

/// How long it took until the version was pulled.
async fn pulled(world: &World, limit: Duration) -> Option<Duration> {
    let begun = Instant::now();
    while world.pulls.lock().unwrap().is_empty() {
        if begun.elapsed() > limit {
            return None;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    Some(begun.elapsed())
}

#[tokio::test(start_paused = true)]
async fn a_signature_that_is_announced_is_looked_for_at_once_by_those_who_wait_for_it() {
    let hex = Digest::of(b"new").as_str().replace(':', "-");
    let other = Digest::of(b"other").as_str().replace(':', "-");
    let (here, there) = ("registry.test/acme/shop", "registry.test/acme/blog");
    for (label, repository, tag, wakes) in [
        ("cosign's tag", here, Some(format!("{hex}.sig")), true),
        ("the tag in the referrers' stead", here, Some(hex.clone()), true),
        ("in large letters", here, Some(format!("{}.SIG", hex.to_uppercase())), true),
        ("without a tag", here, None, true),
        ("of another version", here, Some(format!("{other}.sig")), false),
        ("an attestation", here, Some(format!("{hex}.att")), false),
        ("in another repository", there, Some(format!("{hex}.sig")), false),
    ] {
        let world = Arc::new(World::default());
        let (running, digest) = waiting(&world).await;
        world.signed.lock().unwrap().insert(digest, Instant::now());
        let hinter = running.handle.hinter();
        assert_eq!(hinter.signed(&hint(repository, tag.as_deref())), usize::from(wakes), "{label}");
        assert_eq!(pulled(&world, Duration::from_secs(2)).await.is_some(), wakes, "{label}");
        if wakes {
            running.until("it has gone on", |all| !all[0].hold.as_ref().is_some_and(is_pending)).await;
            assert_eq!(hinter.signed(&hint(repository, tag.as_deref())), 0, "{label}: nobody waits any more");
        }
        running.end().await;
    }
}

/// Registries announce what can't be read yet; and what was announced may have been something else.
#[tokio::test(start_paused = true)]
async fn a_registry_that_lags_behind_is_asked_again_and_an_announcement_of_nothing_costs_a_few_looks() {
    let world = Arc::new(World::default());
    let (running, digest) = waiting(&world).await;
    let looks = || std::mem::take(&mut *world.signature_looks.lock().unwrap()).len();
    looks();
    // An image for twenty architectures, each of which is a manifest without a tag.
    for _ in 0..20 {
        running.handle.signed(&hint("registry.test/acme/shop", None));
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    tokio::time::sleep(Duration::from_secs(30)).await;
    let had = looks();
    assert!((7..=12).contains(&had), "{had} looks");
    assert_eq!(world.pulls.lock().unwrap().len(), 0);
    tokio::time::sleep(Duration::from_secs(600)).await;
    assert!(looks() < 10, "it is patient again");

    world.signed.lock().unwrap().insert(digest, Instant::now() + Duration::from_millis(1_500));
    running.handle.signed(&hint("registry.test/acme/shop", None));
    let took = pulled(&world, Duration::from_secs(5)).await.expect("the signature is found");
    assert!(took >= Duration::from_millis(1_500), "{took:?}");
    running.end().await;
}

/// A signature may be announced while somebody looks for it who has seen already that there is none.
#[tokio::test(start_paused = true)]
async fn what_is_announced_during_a_look_is_looked_for_again() {
    let world = Arc::new(World::default());
    let (running, digest) = waiting(&world).await;
    world.signature_looks.lock().unwrap().clear();
    running.handle.check("shop").unwrap();
    while world.signature_looks.lock().unwrap().is_empty() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    world.signed.lock().unwrap().insert(digest, Instant::now());
    running.handle.check("shop").unwrap();
    assert!(pulled(&world, Duration::from_secs(2)).await.is_some());
    running.end().await;
}
