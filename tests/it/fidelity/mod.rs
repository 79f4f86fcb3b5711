//! Over a hundred containers, recreated on a new image, each beside what `docker create` with the same arguments gives
//! on that image.
//!
//! The expectation is independent: it is made by the docker client (or, where that can't say it, by the same body
//! sent raw), never by the code under test. What may differ is written in `normal` and nowhere else.

mod case;
mod judge;
mod normal;
mod record;
mod stage;
mod table;

use stage::Stage;

#[tokio::test(flavor = "multi_thread")]
async fn every_container_is_recreated_as_docker_would_make_it_from_the_new_image() {
    let stage = Stage::set().await;
    let cases = table::cases(&stage.world);
    assert!(cases.len() >= 100, "only {} configurations", cases.len());
    let verdicts = stage.judge(cases).await;
    let failed: Vec<String> = verdicts.iter().flat_map(|verdict| verdict.problems.clone()).collect();
    let (total, skipped) = (verdicts.len(), verdicts.iter().filter(|verdict| verdict.skipped.is_some()).count());
    for verdict in verdicts.iter().filter(|verdict| verdict.skipped.is_some()) {
        eprintln!("skipped: {}: {}", verdict.label, verdict.skipped.as_deref().unwrap_or_default());
    }
    let tampered: usize = verdicts.iter().map(|verdict| verdict.tampered).sum();
    eprintln!(
        "{} of {total} configurations compared on API {}.{}, {skipped} not known to it; {tampered} tampered bodies",
        total - skipped,
        stage.world.api.0,
        stage.world.api.1
    );
    record::write(&verdicts, &stage.world);
    assert!(failed.is_empty(), "{} problems:\n{}", failed.len(), failed.join("\n"));
}
