//! Watches what changes without being asked: containers, and whether the proxy has the routes it should have.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures_util::StreamExt;
use tokio_util::sync::CancellationToken;

use crate::decide::by_name::serving_name;
use crate::model::{AppName, Origin, RouteSet};

use super::Ports;
use super::handle::Shared;
use super::observer::chain;

/// Between two looks at the proxy's routes; a new proxy has its table from disk, so this only mends.
const ROUTES: Duration = Duration::from_secs(2);

/// Waits before the event stream is opened again.
const RECONNECT: Duration = Duration::from_secs(1);

/// Follows the engine's events for ever. After a gap every app looks at its containers, because what happened
/// meanwhile was not heard.
pub(super) async fn containers(ports: Ports, shared: Arc<Shared>, shutdown: CancellationToken) {
    let mut silent = false;
    loop {
        let opened = tokio::select! {
            opened = ports.engine.events() => opened,
            () = shutdown.cancelled() => return,
        };
        match opened {
            Ok(mut events) => {
                if silent {
                    tracing::info!("the container engine answers again");
                }
                silent = false;
                nudge_all(&shared);
                shared.strangers.notify_one();
                loop {
                    let event = tokio::select! {
                        event = events.next() => event,
                        () = shutdown.cancelled() => return,
                    };
                    let Some(event) = event else { break };
                    let slots = shared.slots.read().expect("no holder panics");
                    match &event.app {
                        Some(app) => slots.get(app).into_iter().for_each(|slot| slot.nudge.notify_one()),
                        None => {
                            shared.strangers.notify_one();
                            let of_it = slots.values().filter(|slot| is_of(&slot.app.origin, &event.names));
                            of_it.for_each(|slot| slot.nudge.notify_one());
                        }
                    }
                }
            }
            Err(error) if !silent => {
                silent = true;
                tracing::error!("the container engine can't be watched: {}", chain(&error));
            }
            Err(_) => {}
        }
        tokio::select! {
            () = tokio::time::sleep(RECONNECT) => {}
            () = shutdown.cancelled() => return,
        }
    }
}

/// Whether a container that a person made, and that is or was called so, is one of this app's. A hundred apps must not look
/// because something happened to one.
fn is_of(origin: &Origin, names: &[String]) -> bool {
    match origin {
        Origin::Declared => false,
        Origin::Adopted { container } => names.is_empty() || names.iter().any(|name| serving_name(name) == container),
    }
}

/// Keeps the proxy's routes as configured, over restarts and new generations of it.
pub(super) async fn routes(ports: Ports, shared: Arc<Shared>, shutdown: CancellationToken) {
    let mut silent = false;
    loop {
        match mend(&ports, &shared).await {
            Ok(changed) => {
                if silent || changed {
                    nudge_all(&shared);
                }
                silent = false;
            }
            Err(error) if !silent => {
                silent = true;
                tracing::warn!("the routes can't be set: {}", chain(&error));
            }
            Err(_) => {}
        }
        ports.metrics.proxy_up.with_label_values(&[] as &[&str]).set(i64::from(!silent));
        tokio::select! {
            () = tokio::time::sleep(if silent { RECONNECT / 4 } else { ROUTES }) => {}
            () = shared.rerouted.notified() => {}
            () = shutdown.cancelled() => return,
        }
    }
}

/// Returns whether anything had to be changed.
async fn mend(ports: &Ports, shared: &Shared) -> Result<bool, crate::ports::TrafficError> {
    let table = ports.traffic.table().await?;
    // Asked before the slots are read: what is found meanwhile is in them by then.
    let unknown = shared.seeking.load(Ordering::SeqCst);
    let mut wanted: Vec<RouteSet> = {
        let slots = shared.slots.read().expect("no holder panics");
        let set = |slot: &super::handle::Slot| RouteSet { app: slot.app.name.clone(), routes: slot.app.routes.clone() };
        let of_proxy = |slot: &&super::handle::Slot| slot.app.origin == Origin::Declared || !slot.app.routes.is_empty();
        slots.values().filter(of_proxy).map(set).collect()
    };
    if unknown {
        // What is not declared may be of a container that is about to be found.
        let known: BTreeSet<AppName> = wanted.iter().map(|set| set.app.clone()).collect();
        let others = table.apps.iter().filter(|(app, _)| !known.contains(*app));
        wanted.extend(others.map(|(app, entry)| RouteSet { app: app.clone(), routes: entry.routes.clone() }));
    }
    let same = table.apps.len() == wanted.len()
        && wanted.iter().all(|set| table.apps.get(&set.app).is_some_and(|entry| entry.routes == set.routes));
    if same {
        return Ok(false);
    }
    ports.traffic.set_routes(&wanted).await?;
    tracing::info!(apps = wanted.len(), "routes set");
    Ok(true)
}

fn nudge_all(shared: &Shared) {
    let slots = shared.slots.read().expect("no holder panics");
    slots.values().for_each(|slot| slot.nudge.notify_one());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_concerns_the_app_whose_container_has_or_had_the_name() {
        let shop = Origin::Adopted { container: "shop".to_owned() };
        for (names, concerned) in [
            (vec!["shop"], true),
            (vec!["elsewhere", "shop"], true),
            (vec!["shop.prev-7"], true),
            (vec!["shop-2"], false),
            (vec![], true),
        ] {
            let names: Vec<String> = names.into_iter().map(str::to_owned).collect();
            assert_eq!(is_of(&shop, &names), concerned, "{names:?}");
            assert!(!is_of(&Origin::Declared, &names));
        }
    }
}
