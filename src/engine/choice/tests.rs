//! What is picked, kept, and remembered, against a registry that lists what a test says.

use std::sync::Mutex;

use async_trait::async_trait;

use super::*;
use crate::decide::fixtures;
use crate::decide::policy::{Wishes, settle};
use crate::metrics::Metrics;
use crate::model::{Cached, Credentials, Digest, ManifestDetails, RegistryStatus, Resolved};
use crate::ports::{RegistryError, RegistryErrorKind};
use crate::store::SledStore;

/// Lists these tags under this ETag; no tags: it is down.
#[derive(Default)]
struct Lists {
    tags: Mutex<Vec<&'static str>>,
    etag: Mutex<Option<&'static str>>,
    asked: Mutex<Vec<Option<String>>>,
}

#[async_trait]
impl Registry for Lists {
    async fn tags(&self, _: &Repository, last: Option<&CachedTags>) -> Result<TagList, RegistryError> {
        self.asked.lock().unwrap().push(last.map(|last| last.etag.clone()));
        let cached = self.etag.lock().unwrap().map(|etag| CachedTags { etag: etag.to_owned() });
        if last.is_some() && last == cached.as_ref() {
            return Ok(TagList::Unchanged);
        }
        let tags: Vec<Tag> = self.tags.lock().unwrap().iter().map(|tag| tag.parse().unwrap()).collect();
        if tags.is_empty() {
            let message = "registry.test is down".to_owned();
            return Err(RegistryError { kind: RegistryErrorKind::Server, message, retry_after: None, source: None });
        }
        Ok(TagList::Listed { tags, cached })
    }
    async fn resolve(&self, _: &Repository, _: &Tag, _: Option<&Cached>) -> Result<Resolved, RegistryError> {
        unreachable!("picking asks for no digest")
    }
    async fn manifest(&self, _: &Repository, _: &Digest) -> Result<ManifestDetails, RegistryError> {
        unreachable!("picking asks for no manifest")
    }
    async fn pull_auth(&self, _: &Repository) -> Result<Option<Credentials>, RegistryError> {
        Ok(None)
    }
    fn status(&self) -> Vec<RegistryStatus> {
        Vec::new()
    }
}

struct Stage {
    registry: Lists,
    store: SledStore,
    bus: Bus,
    events: tokio::sync::broadcast::Receiver<std::sync::Arc<crate::model::Event>>,
    app: App,
    view: TagView,
    _dir: tempfile::TempDir,
}

impl Stage {
    fn new(semver: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (sender, events) = tokio::sync::broadcast::channel(64);
        let bus = Bus { events: sender, metrics: Metrics::new() };
        let store = SledStore::open(dir.path()).unwrap();
        let mut app = fixtures::app("shop");
        app.follow = settle(&Wishes { semver: Some(semver), ..Wishes::default() }).unwrap();
        Self { registry: Lists::default(), store, bus, events, app, view: TagView::default(), _dir: dir }
    }

    fn list(&self, tags: &[&'static str], etag: Option<&'static str>) {
        *self.registry.tags.lock().unwrap() = tags.to_vec();
        *self.registry.etag.lock().unwrap() = etag;
    }

    fn policy(&self) -> TagPolicy {
        let Follow::Policy(policy) = &self.app.follow else { panic!() };
        policy.clone()
    }

    async fn look(&mut self, source: SeenSource) -> Result<String, String> {
        let policy = self.policy();
        match pick(&mut self.view, &self.app, &policy, &self.registry, source).await {
            Ok(picked) => {
                let tag = picked.tag.to_string();
                keep(&mut self.view, &self.app, &self.store, &self.bus, picked);
                self.view.digest = Some(Digest::of(tag.as_bytes()));
                Ok(tag)
            }
            Err(Unpicked::Unknown(words)) => Err(format!("unknown: {words}")),
            Err(Unpicked::Unmatched(words)) => Err(format!("unmatched: {words}")),
        }
    }

    /// A look after which the tag comes to serve.
    async fn deploy(&mut self) -> Result<String, String> {
        let tag = self.look(SeenSource::Poll).await?;
        served(&mut self.view, &self.app, &self.store, Some(&Digest::of(tag.as_bytes())));
        Ok(tag)
    }

    /// The agent starts again.
    fn restart(&mut self) {
        self.view = recall(&self.app, &self.store);
    }

    fn chosen(&mut self) -> Vec<String> {
        let mut chosen = Vec::new();
        while let Ok(event) = self.events.try_recv() {
            if let EventKind::TagChosen { to, .. } = &event.kind {
                chosen.push(to.to_string());
            }
        }
        chosen
    }
}

#[tokio::test]
async fn the_best_tag_is_followed_and_never_an_older_one_even_after_a_restart() {
    let mut stage = Stage::new("^1");
    stage.list(&["1.0.0", "2.0.0"], None);
    assert_eq!(stage.deploy().await.unwrap(), "1.0.0");
    stage.list(&["1.0.0", "1.1.0", "1.0.5", "2.0.0"], None);
    assert_eq!(stage.deploy().await.unwrap(), "1.1.0");
    assert_eq!(stage.deploy().await.unwrap(), "1.1.0");
    assert_eq!(stage.chosen(), ["1.0.0", "1.1.0"], "each choice is told once");
    stage.restart();
    stage.list(&["1.0.0", "1.0.5", "2.0.0"], None);
    let words = stage.look(SeenSource::Poll).await.unwrap_err();
    assert!(words.starts_with("unmatched: none of the 3 tags"), "{words}");
    assert!(words.contains("1.0.5 (below 1.1.0"), "{words}");
    assert_eq!(stage.view.tag.as_ref().map(Tag::as_str), Some("1.1.0"), "what was followed stays");
}

#[tokio::test]
async fn a_tag_that_never_came_to_serve_binds_nobody() {
    let mut stage = Stage::new("^1");
    stage.list(&["1.0.0", "1.1.0"], None);
    assert_eq!(stage.deploy().await.unwrap(), "1.1.0");
    stage.list(&["1.0.0", "1.1.0", "1.2.0"], None);
    assert_eq!(stage.look(SeenSource::Poll).await.unwrap(), "1.2.0");
    served(&mut stage.view, &stage.app, &stage.store, Some(&Digest::of(b"1.1.0")));
    stage.restart();
    stage.list(&["1.0.0", "1.1.0"], None);
    assert_eq!(stage.look(SeenSource::Poll).await.unwrap(), "1.1.0", "a bad release was taken back");
}

#[tokio::test]
async fn another_policy_or_repository_begins_afresh() {
    let mut stage = Stage::new("*");
    stage.list(&["1.0.0", "2.0.0"], None);
    assert_eq!(stage.deploy().await.unwrap(), "2.0.0");
    stage.app.follow = settle(&Wishes { semver: Some("^1"), ..Wishes::default() }).unwrap();
    stage.restart();
    assert_eq!(stage.look(SeenSource::Poll).await.unwrap(), "1.0.0", "whoever changes the range may go down");
    stage.app.image = "registry.test/acme/other".parse().unwrap();
    stage.restart();
    assert_eq!(stage.view.tag, None);
}

#[tokio::test]
async fn an_unchanged_list_keeps_the_choice_and_is_asked_for_by_its_etag() {
    let mut stage = Stage::new("^1");
    stage.list(&["1.0.0"], Some("\"e1\""));
    for _ in 0..2 {
        assert_eq!(stage.look(SeenSource::Poll).await.unwrap(), "1.0.0");
    }
    stage.restart();
    assert_eq!(stage.look(SeenSource::Poll).await.unwrap(), "1.0.0");
    stage.list(&["1.0.0", "1.2.0"], Some("\"e2\""));
    assert_eq!(stage.look(SeenSource::Poll).await.unwrap(), "1.2.0");
    let asked = stage.registry.asked.lock().unwrap().clone();
    let e1 = || Some("\"e1\"".to_owned());
    assert_eq!(asked, [None, e1(), e1(), e1()]);
}

#[tokio::test]
async fn an_announced_tag_is_looked_for_in_a_whole_list() {
    let mut stage = Stage::new("^1");
    stage.list(&["1.0.0"], Some("\"e1\""));
    stage.look(SeenSource::Poll).await.unwrap();
    stage.view.awaited = Some("1.1.0".parse().unwrap());
    assert_eq!(stage.look(SeenSource::Webhook).await.unwrap(), "1.0.0");
    assert!(!stage.view.arrived, "the registry announced it before it lists it");
    stage.list(&["1.0.0", "1.1.0"], Some("\"e1\""));
    assert_eq!(stage.look(SeenSource::Webhook).await.unwrap(), "1.1.0");
    assert!(stage.view.arrived);
    assert_eq!(*stage.registry.asked.lock().unwrap(), [None, None, None]);
}

#[tokio::test]
async fn a_list_that_can_t_be_had_is_unknown_and_the_choice_stays() {
    let mut stage = Stage::new("^1");
    let words = stage.look(SeenSource::Poll).await.unwrap_err();
    assert_eq!(words, "unknown: registry.test is down");
    stage.list(&["1.0.0"], None);
    stage.look(SeenSource::Poll).await.unwrap();
    stage.list(&[], None);
    assert!(stage.look(SeenSource::Poll).await.unwrap_err().starts_with("unknown"));
    assert_eq!(stage.view.tag.as_ref().map(Tag::as_str), Some("1.0.0"));
}

#[tokio::test]
async fn the_report_names_the_winner_and_why_not_the_others() {
    let mut stage = Stage::new("^1");
    stage.list(&["1.0.0", "1.1.0", "2.0.0", "latest", "v9.sig"], None);
    let report = super::report(&stage.registry, &stage.store, &stage.app).await.unwrap();
    assert_eq!((report.winner.as_ref().map(Tag::as_str), report.listed, report.artifacts), (Some("1.1.0"), 5, 1));
    let verdicts: Vec<String> =
        report.candidates.iter().map(|c| format!("{} {}: {}", c.tag, c.verdict, c.why)).collect();
    assert_eq!(
        verdicts,
        [
            "1.1.0 winner: the best by semver ^1",
            "1.0.0 older: below 1.1.0",
            "2.0.0 out_of_range: outside ^1",
            "latest no_version: no version"
        ]
    );
    stage.app.follow = Follow::Pinned(Digest::of(b"x"));
    let report = super::report(&stage.registry, &stage.store, &stage.app).await.unwrap();
    assert!(report.message.unwrap().contains("no tag is followed"));
}
