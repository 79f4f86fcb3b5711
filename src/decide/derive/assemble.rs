//! The parts of a derivation, put together.

use serde_json::{Value, json};

use super::derived::{DeriveError, Derived, WantedState};
use super::fit::unfit;
use super::joins::namespace_joins;
use super::json::text;
use super::networks::networks;
use super::options::Sources;
use super::{config, host, mounts, notices};

/// The container that the old one would be, had it been made from the new image.
///
/// # Errors
/// When the document is not a container's, or the container is another orchestrator's.
pub fn derive(sources: &Sources<'_>) -> Result<Derived, DeriveError> {
    let name = text(sources.container, "Name").trim_start_matches('/').to_owned();
    for (part, missing) in [
        ("Id", text(sources.container, "Id").is_empty()),
        ("Config", !sources.config().is_object()),
        ("HostConfig", !sources.host().is_object()),
    ] {
        if missing {
            return Err(DeriveError::NoContainer(part));
        }
    }
    if let Some(reason) = unfit(sources.container) {
        return Err(DeriveError::Unfit { name, reason });
    }
    let mut body = config::config(sources);
    let mut notices = notices::notices(sources, &body);
    let mut host = host::host_config(sources);
    let networks = networks(sources, &mut host);
    notices.extend(networks.notice);
    body.extend(networks.mac.map(|mac| ("MacAddress".to_owned(), json!(mac))));
    body.insert("HostConfig".to_owned(), Value::Object(host));
    if !networks.endpoints.is_empty() {
        body.insert("NetworkingConfig".to_owned(), json!({"EndpointsConfig": networks.endpoints}));
    }
    Ok(Derived {
        body: Value::Object(body),
        name,
        networks: networks.further,
        joins: namespace_joins(sources.container),
        notices,
        state: state(sources.container),
        platform: platform(sources),
        carried: mounts::carried(sources),
    })
}

fn state(container: &Value) -> WantedState {
    let state = &container["State"];
    match text(state, "Status") {
        _ if state["Paused"] == true => WantedState::Paused,
        "paused" => WantedState::Paused,
        // One that crashes all the time is meant to run: the new image may be the cure.
        "running" | "restarting" => WantedState::Running,
        "created" => WantedState::Created,
        _ => WantedState::Exited,
    }
}

/// What the old container ran on.
fn platform(sources: &Sources<'_>) -> Option<String> {
    let of_container = &sources.container["ImageManifestDescriptor"]["platform"];
    let of_image = sources.old_image.unwrap_or(of_container);
    let part = |small: &str, large: &str| {
        let own = text(of_container, small);
        if own.is_empty() { text(of_image, large) } else { own }
    };
    let (os, architecture, variant) =
        (part("os", "Os"), part("architecture", "Architecture"), part("variant", "Variant"));
    let parts: Vec<&str> = [os, architecture, variant].into_iter().filter(|part| !part.is_empty()).collect();
    (!os.is_empty() && !architecture.is_empty()).then(|| parts.join("/"))
}
