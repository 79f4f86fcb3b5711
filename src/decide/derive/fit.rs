//! What another orchestrator made is not recreated by hand.

use serde_json::Value;

use super::json::{entries, text};

/// Why a container must not be recreated; `None` when it may.
pub fn unfit(inspect: &Value) -> Option<&'static str> {
    let labels = &inspect["Config"]["Labels"];
    let has = |wanted: &str| entries(labels).any(|(label, _)| label.starts_with(wanted));
    if text(&inspect["State"], "Status") == "removing" {
        Some("it is being removed")
    } else if has("com.docker.swarm.task") {
        Some("it is a task of a Swarm service, which Swarm makes itself")
    } else if has("io.kubernetes.") {
        Some("it is part of a Kubernetes pod")
    } else if text(labels, "com.docker.compose.oneoff").eq_ignore_ascii_case("true") {
        Some("it is a one-off container of docker compose run")
    } else if inspect["IsInfra"] == true || !text(inspect, "Pod").is_empty() {
        Some("it is part of a pod")
    } else if text(inspect, "Name").trim_start_matches('/').starts_with("buildx_buildkit_") {
        Some("it is a builder, which buildx makes itself")
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_others_make_is_left_alone() {
        for (label, value, fit) in [
            ("com.docker.swarm.task.id", "x", false),
            ("io.kubernetes.pod.name", "x", false),
            ("com.docker.compose.oneoff", "True", false),
            ("com.docker.compose.oneoff", "False", true),
            ("com.docker.swarmish", "x", true),
        ] {
            let inspect = json!({"Config": {"Labels": {label: value}}});
            assert_eq!(unfit(&inspect).is_none(), fit, "{label}={value}");
        }
        assert!(unfit(&json!({"State": {"Status": "removing"}})).is_some());
        assert!(unfit(&json!({"IsInfra": true})).is_some() && unfit(&json!({"Config": {}})).is_none());
    }
}
