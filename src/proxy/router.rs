//! Listener, host and path → app.

use std::collections::HashMap;
use std::sync::Arc;

use crate::model::{ListenAddr, Route};

/// Routes made ready for look-ups; `T` is what a route leads to.
#[derive(Debug)]
pub(super) struct Router<T> {
    listeners: HashMap<ListenAddr, Hosts<T>>,
}

/// Of one listener.
#[derive(Debug)]
struct Hosts<T> {
    named: HashMap<String, Vec<(String, Arc<T>)>>,
    any: Vec<(String, Arc<T>)>,
}

impl<T> Default for Router<T> {
    fn default() -> Self {
        Self { listeners: HashMap::new() }
    }
}

impl<T> Router<T> {
    /// Takes the routes of every app.
    pub(super) fn new(apps: impl IntoIterator<Item = (Vec<Route>, Arc<T>)>) -> Self {
        let mut router = Self::default();
        for (routes, app) in apps {
            for route in routes {
                let hosts = router
                    .listeners
                    .entry(route.listen)
                    .or_insert_with(|| Hosts { named: HashMap::new(), any: Vec::new() });
                let paths = match route.host {
                    Some(host) => hosts.named.entry(host.to_ascii_lowercase()).or_default(),
                    None => &mut hosts.any,
                };
                paths.push((route.path, app.clone()));
            }
        }
        for hosts in router.listeners.values_mut() {
            let longest_first =
                |paths: &mut Vec<(String, Arc<T>)>| paths.sort_by_key(|(p, _)| std::cmp::Reverse(p.len()));
            hosts.named.values_mut().for_each(longest_first);
            longest_first(&mut hosts.any);
        }
        router
    }

    /// The app of a request: a route that names its host goes before one that names none, a longer path before a
    /// shorter one.
    pub(super) fn find(&self, listener: &ListenAddr, host: Option<&str>, path: &str) -> Option<&Arc<T>> {
        let hosts = self.listeners.get(listener)?;
        let named = host.filter(|_| !hosts.named.is_empty()).and_then(|host| {
            let host = without_port(host);
            hosts.named.get(host).or_else(|| hosts.named.get(&host.to_ascii_lowercase()))
        });
        named.and_then(|paths| longest(paths, path)).or_else(|| longest(&hosts.any, path))
    }
}

fn longest<'a, T>(paths: &'a [(String, Arc<T>)], path: &str) -> Option<&'a Arc<T>> {
    paths.iter().find(|(prefix, _)| covers(prefix, path)).map(|(_, app)| app)
}

/// Whole segments: `/a` covers `/a` and `/a/b`, not `/ab`.
fn covers(prefix: &str, path: &str) -> bool {
    let prefix = prefix.strip_suffix('/').unwrap_or(prefix);
    path.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|b| b.is_ascii_digit()) => name,
        _ => host,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn route(host: Option<&str>, path: &str) -> Route {
        Route { listen: ":80".parse().unwrap(), host: host.map(str::to_owned), path: path.to_owned() }
    }

    #[test]
    fn the_most_specific_route_wins() {
        let router = Router::new([
            (vec![route(None, "/")], Arc::new("any")),
            (vec![route(None, "/api")], Arc::new("any-api")),
            (vec![route(Some("shop.example"), "/")], Arc::new("shop")),
            (vec![route(Some("shop.example"), "/api/v2")], Arc::new("shop-v2")),
            (vec![route(Some("only.example"), "/x")], Arc::new("only")),
        ]);
        let listener: ListenAddr = ":80".parse().unwrap();
        for (host, path, wanted) in [
            (Some("shop.example"), "/", Some("shop")),
            (Some("SHOP.example:8080"), "/api", Some("shop")),
            (Some("shop.example"), "/api/v2/x", Some("shop-v2")),
            (Some("shop.example"), "/api/v20", Some("shop")),
            (Some("other.example"), "/api/", Some("any-api")),
            (Some("other.example"), "/apifoo", Some("any")),
            (Some("only.example"), "/y", Some("any")),
            (None, "/", Some("any")),
        ] {
            assert_eq!(router.find(&listener, host, path).map(|app| **app), wanted, "{host:?} {path}");
        }
        assert!(router.find(&":81".parse().unwrap(), None, "/").is_none());
    }

    #[test]
    fn without_a_route_for_every_host_a_strange_host_is_nobodys() {
        let router = Router::new([(vec![route(Some("shop.example"), "/")], Arc::new(()))]);
        assert!(router.find(&":80".parse().unwrap(), Some("evil.example"), "/").is_none());
        assert!(router.find(&":80".parse().unwrap(), None, "/").is_none());
    }
}
