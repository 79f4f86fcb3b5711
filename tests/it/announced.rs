//! What a registry announces, deployed without a poll.

use crate::support::{Image, Program, Setup};

/// Manifests and indexes, of Docker's media types and of OCI's.
#[tokio::test(flavor = "multi_thread")]
async fn every_kind_of_image_is_announced_and_deployed() {
    let app = "announced";
    let program = Program::serving(Setup::new(app)).await;
    let registry = &program.registry;
    for (version, docker, index) in [("v2", true, false), ("v3", false, true), ("v4", true, true), ("v5", false, false)]
    {
        let image = Image::sample(version);
        let image = if docker { image.docker() } else { image };
        let digest = match index {
            true => image.push_index(registry, app, "latest").await,
            false => image.push(registry, app, "latest").await,
        };
        program.wait_for_version(version).await;
        program.settled().await;
        let status = program.status().await.unwrap();
        assert_eq!(status["deployed"]["digest"], digest.as_str(), "{version}: {status:#}");
    }
    let receivers = program.get("/hooks").await.unwrap();
    assert!(receivers[0]["last_accepted"].is_string(), "{receivers:#}");
}
