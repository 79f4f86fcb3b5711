//! Which containers live in another's namespaces, and in what order they have to be made again.
//!
//! The engine keeps such a reference by id. When the other container is recreated the id is dead, and a restart does
//! not help: the one that joins has to be recreated too, after the other.

use serde_json::Value;

use super::derived::DeriveError;
use super::json::{text, texts};
use super::options::names;

/// In what way a container joins another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum JoinKind {
    /// It has its network.
    Network,
    /// It has its shared memory.
    Ipc,
    /// It sees its processes.
    Pid,
    /// It has its volumes.
    Volumes,
    /// It knows its address, by an old link in the default network.
    Link,
}

/// A reference to another container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Join {
    /// In what way.
    pub kind: JoinKind,
    /// The other container, by the id or name that the engine has kept.
    pub container: String,
}

/// Every container that this one refers to.
pub fn namespace_joins(inspect: &Value) -> Vec<Join> {
    let host = &inspect["HostConfig"];
    let modes = [("NetworkMode", JoinKind::Network), ("IpcMode", JoinKind::Ipc), ("PidMode", JoinKind::Pid)];
    let modes = modes.into_iter().filter_map(|(mode, kind)| Some((kind, text(host, mode).strip_prefix("container:")?)));
    let volumes = texts(&host["VolumesFrom"]).map(|from| (JoinKind::Volumes, from));
    let links = texts(&host["Links"]).map(|link| (JoinKind::Link, link));
    let all = modes.chain(volumes).chain(links);
    let container = |text: &str| text.split(':').next().unwrap_or(text).trim_start_matches('/').to_owned();
    all.map(|(kind, text)| Join { kind, container: container(text) }).collect()
}

/// The ids of these containers in an order in which each comes after those that it joins; otherwise as given.
///
/// # Errors
/// When they join each other in a circle.
pub fn recreate_order(containers: &[&Value]) -> Result<Vec<String>, DeriveError> {
    let mut left: Vec<&Value> = containers.to_vec();
    let mut order = Vec::with_capacity(left.len());
    while !left.is_empty() {
        let free = left.iter().position(|one| !left.iter().any(|other| joins(one, other)));
        let Some(free) = free else {
            let name = |one: &&Value| text(one, "Name").trim_start_matches('/').to_owned();
            return Err(DeriveError::Circle(left.iter().map(name).collect()));
        };
        order.push(text(left.remove(free), "Id").to_owned());
    }
    Ok(order)
}

/// The ids of the containers that have to be recreated after the one with this id, directly or through another, in
/// their order; it is not among them.
///
/// # Errors
/// When they join each other in a circle.
pub fn dependents(id: &str, containers: &[&Value]) -> Result<Vec<String>, DeriveError> {
    let mut found: Vec<&Value> = containers.iter().copied().filter(|one| text(one, "Id") == id).collect();
    let mut seen = 0;
    while let Some(provider) = found.get(seen).copied() {
        seen += 1;
        let further = containers.iter().copied().filter(|one| joins(one, provider));
        let new: Vec<&Value> = further.filter(|one| !found.iter().any(|known| same(known, one))).collect();
        found.extend(new);
    }
    let order = recreate_order(&found)?;
    Ok(order.into_iter().filter(|other| other != id).collect())
}

fn joins(one: &Value, other: &Value) -> bool {
    let (id, name) = (text(other, "Id"), text(other, "Name").trim_start_matches('/'));
    namespace_joins(one).iter().any(|join| names(&join.container, id, name))
}

fn same(one: &Value, other: &Value) -> bool {
    text(one, "Id") == text(other, "Id")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn one(id: &str, host: Value) -> Value {
        json!({"Id": id.repeat(64), "Name": format!("/c{id}"), "HostConfig": host})
    }

    #[test]
    fn those_that_join_come_after_those_that_they_join() {
        let all = [
            one("a", json!({"NetworkMode": format!("container:{}", "b".repeat(64))})),
            one("b", json!({"VolumesFrom": ["cd:ro"]})),
            one("c", json!({"IpcMode": "container:cb"})),
            one("d", json!({"NetworkMode": "bridge"})),
            one("e", json!({"Links": ["/ca:/ce/db"], "PidMode": "host"})),
        ];
        let all: Vec<&Value> = all.iter().collect();
        let first = |ids: Vec<String>| ids.iter().map(|id| id[..1].to_owned()).collect::<String>();
        assert_eq!(first(recreate_order(&all).unwrap()), "dbace");
        assert_eq!(first(dependents(&"b".repeat(64), &all).unwrap()), "ace");
        assert_eq!(first(dependents(&"c".repeat(64), &all).unwrap()), "");
    }

    #[test]
    fn a_circle_is_an_error_that_names_it() {
        let (a, b) = (one("a", json!({"IpcMode": "container:cb"})), one("b", json!({"PidMode": "container:ca"})));
        let error = recreate_order(&[&a, &b]).unwrap_err();
        assert_eq!(error.to_string(), "containers join each other in a circle: ca → cb");
    }
}
