//! Finds the containers that a person has labelled to be watched, and keeps the list of them true.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::decide::by_name::serving_name;
use crate::model::{App, ContainerId, label};

use super::Ports;
use super::handle::Shared;
use super::observer::chain;

/// Between two looks when nothing was heard of: an event may have been missed.
const LOOK: Duration = Duration::from_secs(60);

/// Events come in bursts: the least time between two looks.
const BURST: Duration = Duration::from_millis(300);

/// Waits after an engine that did not answer.
const AGAIN: Duration = Duration::from_secs(2);

/// Turns a container's inspect document into an app, given the name of the one that serves and whether we run in it. The
/// errors name the label.
pub type Reader = Arc<dyn Fn(&Value, &str, bool) -> Result<App, Vec<String>> + Send + Sync>;

/// Which containers are adopted, and how their labels are read.
#[derive(Clone)]
pub struct Adoption {
    /// Every container, unless its label says no; otherwise only those whose label says yes.
    pub every: bool,
    /// Only containers with this scope label; empty: only those without one.
    pub scope: String,
    /// The value of our owner label: what carries another's is not ours to adopt.
    pub owner: String,
    /// The container that we run in.
    pub own: Option<ContainerId>,
    /// Reads the labels.
    pub read: Reader,
}

/// What there is to adopt.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Found {
    /// The apps.
    pub apps: Vec<App>,
    /// Containers that can't be adopted, by name, with everything that is wrong.
    pub refused: BTreeMap<String, Vec<String>>,
}

/// Looks for ever; what is found is sent when it has changed.
pub(super) async fn seek(
    ports: Ports,
    shared: Arc<Shared>,
    adoption: Adoption,
    found: watch::Sender<Found>,
    shutdown: CancellationToken,
) {
    loop {
        let wait = match ports.engine.adoptable(adoption.every).await {
            Ok(documents) => {
                let now = adoption.sort(&documents);
                found.send_if_modified(|before| {
                    let news = *before != now;
                    *before = now;
                    news
                });
                LOOK
            }
            Err(error) => {
                tracing::debug!("containers to adopt can't be listed: {}", chain(&error));
                AGAIN
            }
        };
        tokio::select! {
            () = shutdown.cancelled() => return,
            () = tokio::time::sleep(wait) => {}
            () = shared.strangers.notified() => tokio::time::sleep(BURST).await,
        }
    }
}

impl Adoption {
    fn sort(&self, documents: &[Value]) -> Found {
        let mut families: BTreeMap<&str, &Value> = BTreeMap::new();
        for document in documents.iter().filter(|document| self.wants(document)) {
            let name = name_of(document);
            let serving = serving_name(name);
            // The one that has the name speaks for its candidates.
            if name == serving || !families.contains_key(serving) {
                families.insert(serving, document);
            }
        }
        // Of ours there are two while the next one takes over, and the one that speaks for both is the other one.
        let own = self.own.as_ref().map(|own| own.0.as_str());
        let of_ours = |document: &&Value| own.is_some() && document["Id"].as_str() == own;
        let ours = documents.iter().find(of_ours).map(|document| serving_name(name_of(document)));
        let mut found = Found::default();
        for (name, document) in families {
            match (self.read)(document, name, ours == Some(name)) {
                Ok(app) => found.apps.push(app),
                Err(problems) => {
                    found.refused.insert(name.to_owned(), problems);
                }
            }
        }
        found
    }

    fn wants(&self, document: &Value) -> bool {
        let labels = &document["Config"]["Labels"];
        let get = |name: &str| labels[name].as_str();
        let enabled = match get(label::ENABLE) {
            // Any other word is wrong, which the reader says.
            Some(said) => said != "false",
            None => self.every,
        };
        let declared = get(label::APP).is_some() && get(label::ENABLE).is_none() && get(label::RESTART).is_none();
        let ours = get(label::OWNER).is_none_or(|owner| owner == self.owner);
        enabled && ours && !declared && get(label::SCOPE).unwrap_or_default() == self.scope
    }
}

fn name_of(document: &Value) -> &str {
    document["Name"].as_str().unwrap_or_default().trim_start_matches('/')
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decide::fixtures::app;
    use serde_json::json;

    fn adoption(every: bool, scope: &str) -> Adoption {
        let read: Reader = Arc::new(|document: &Value, name: &str, _| match document["bad"].as_str() {
            Some(bad) => Err(vec![bad.to_owned()]),
            None => Ok(app(name)),
        });
        Adoption { every, scope: scope.to_owned(), owner: "me".to_owned(), own: None, read }
    }

    fn container(name: &str, labels: &Value) -> Value {
        json!({"Name": format!("/{name}"), "Config": {"Labels": labels}})
    }

    fn names(adoption: &Adoption, documents: &[Value]) -> Vec<String> {
        adoption.sort(documents).apps.iter().map(|app| app.name.to_string()).collect()
    }

    #[test]
    fn a_container_is_adopted_when_its_label_and_scope_say_so_and_it_is_nobody_elses() {
        let documents = [
            container("yes", &json!({"tagboat.enable": "true"})),
            container("no", &json!({"tagboat.enable": "false"})),
            container("silent", &json!({})),
            container("scoped", &json!({"tagboat.enable": "true", "tagboat.scope": "a"})),
            container("other", &json!({"tagboat.enable": "true", "tagboat.owner": "you"})),
            container("declared.7", &json!({"tagboat.app": "declared", "tagboat.owner": "me"})),
        ];
        assert_eq!(names(&adoption(false, ""), &documents), ["yes"]);
        assert_eq!(names(&adoption(true, ""), &documents), ["silent", "yes"]);
        assert_eq!(names(&adoption(false, "a"), &documents), ["scoped"]);
    }

    #[test]
    fn in_the_middle_of_a_swap_it_is_still_one_app() {
        let labels = json!({"tagboat.enable": "true"});
        let swap = json!({"tagboat.enable": "true", "tagboat.app": "shop", "tagboat.owner": "me"});
        let (old, next) = (container("shop", &labels), container("shop.next-1", &swap));
        let previous = container("shop.prev-1", &labels);
        for documents in [vec![old, next.clone()], vec![previous.clone(), next], vec![previous]] {
            assert_eq!(names(&adoption(false, ""), &documents), ["shop"]);
        }
    }

    #[test]
    fn what_we_run_in_is_known_by_either_of_two_while_the_next_one_takes_over() {
        let labels = json!({"tagboat.enable": "true"});
        let mut old = container("tagboat", &labels);
        let mut next = container("tagboat.next-1", &labels);
        old["Id"] = json!("old");
        next["Id"] = json!("next");
        let other = container("shop", &labels);
        let read: Reader = Arc::new(|_: &Value, name: &str, own| Err(vec![format!("{name} {own}")]));
        for (own, wanted) in [(Some("old"), "true"), (Some("next"), "true"), (None, "false"), (Some("gone"), "false")] {
            let own = own.map(|own| ContainerId(own.to_owned()));
            let adoption = Adoption { own, read: read.clone(), ..adoption(false, "") };
            let refused = adoption.sort(&[old.clone(), next.clone(), other.clone()]).refused;
            assert_eq!(refused["tagboat"], [format!("tagboat {wanted}")]);
            assert_eq!(refused["shop"], ["shop false"]);
        }
    }

    #[test]
    fn a_wrong_label_is_that_containers_problem_alone() {
        let mut bad = container("bad", &json!({"tagboat.enable": "true"}));
        bad["bad"] = json!("label tagboat.evry: unknown");
        let found = adoption(false, "").sort(&[bad, container("good", &json!({"tagboat.enable": "true"}))]);
        assert_eq!((found.apps.len(), found.refused["bad"].len()), (1, 1));
    }
}
