//! The `Engine` port.

use async_trait::async_trait;
use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use reqwest::Method;
use serde_json::{Value, json};
use tokio::time::Duration;

use crate::model::{
    AppName, Container, ContainerId, Credentials, ExecOutcome, ImageDetails, ImageRef, JobContainer, Platform,
    PullProgress, StoredImage, Version, label,
};
use crate::ports::{CreateContainer, Engine, EngineError, EngineErrorKind, EngineEvent, EngineInfo};

use super::calls::Calls;
use super::error::of_answer;
use super::{CALL, Config, convert, streams};

/// Containers that are inspected at once.
const INSPECTS: usize = 8;

/// A Docker daemon.
#[derive(Debug)]
pub struct Docker {
    calls: Calls,
    config: Config,
    owner: String,
}

impl Docker {
    /// Prepares the way to a daemon, which need not be there yet. Only containers with the owner label `owner` are
    /// ours.
    ///
    /// # Errors
    /// When the address or the certificates can't be used.
    pub fn new(config: Config, owner: String) -> Result<Self, EngineError> {
        Ok(Self { calls: Calls::new(&config)?, config, owner })
    }

    async fn streams(&self) -> Result<bollard::Docker, EngineError> {
        streams::connect(&self.config, &self.calls.host, self.calls.version().await?)
    }

    async fn own_document(&self, id: &ContainerId) -> Result<Value, EngineError> {
        let what = format!("inspect container {}", id.short());
        Ok(self.calls.call(&what, Method::GET, &format!("/containers/{id}/json"), None, &[]).await?.body)
    }

    /// The inspect documents of the containers that a filter finds, in any state.
    async fn listed(&self, filters: &Value) -> Result<Vec<Value>, EngineError> {
        let path = format!("/containers/json?all=true&filters={}", encoded(&filters.to_string()));
        let list = self.calls.call("list containers", Method::GET, &path, None, &[]).await?.body;
        let ids = list.as_array().into_iter().flatten().filter_map(|c| c["Id"].as_str());
        let ids: Vec<ContainerId> = ids.map(|id| ContainerId(id.to_owned())).collect();
        let inspected = futures_util::stream::iter(ids).map(|id| async move { self.own_document(&id).await });
        let mut inspected = inspected.buffered(INSPECTS);
        let mut documents = Vec::new();
        while let Some(document) = inspected.next().await {
            match document {
                Ok(document) => documents.push(document),
                // It went away between the two calls.
                Err(error) if error.kind == EngineErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        Ok(documents)
    }

    /// As `listed`, without what is no version of anything: the containers of jobs, and the relief of ours.
    async fn versions(&self, filters: &Value) -> Result<Vec<Value>, EngineError> {
        let mut documents = self.listed(filters).await?;
        documents.retain(|document| !convert::is_no_version(document));
        Ok(documents)
    }

    async fn understood(&self, documents: Vec<Value>) -> Vec<Container> {
        let mut containers = Vec::new();
        for document in documents {
            match self.understand(&document).await {
                Ok(container) => containers.push(container),
                Err(problem) => {
                    let id = document["Id"].as_str().unwrap_or_default();
                    let id = id.get(..12).unwrap_or(id);
                    tracing::warn!(container = id, "a container with our labels is left alone: {problem}");
                }
            }
        }
        containers
    }

    /// Of a container that a person made, the digest is looked up in its image.
    async fn understand(&self, document: &Value) -> Result<Container, String> {
        let mut container = convert::container(document)?;
        if document.pointer(&format!("/Config/Labels/{}", label::APP)).is_none() {
            let image = self.image(&container.image_id).await.map_err(|error| error.to_string())?;
            let written = document.pointer("/Config/Image").and_then(Value::as_str).unwrap_or_default();
            if let Some(digest) = image.and_then(|image| convert::digest_of(&image, written)) {
                container.owned.digest = digest;
            }
        }
        Ok(container)
    }

    /// The container that has the candidate's name already, if it is the same candidate: the call was made before and
    /// its answer was lost.
    async fn made_before(&self, wanted: &CreateContainer) -> Result<Option<ContainerId>, EngineError> {
        let path = format!("/containers/{}/json", wanted.name);
        let found = self.calls.call("inspect its namesake", Method::GET, &path, None, &[404]).await?.body;
        let swap = format!("/Labels/{}", label::SWAP);
        let same = found.pointer(&format!("/Config{swap}")).is_some()
            && found.pointer(&format!("/Config{swap}")) == wanted.body.pointer(&swap);
        Ok(found["Id"].as_str().filter(|_| same).map(|id| ContainerId(id.to_owned())))
    }

    async fn connect(&self, id: &ContainerId, network: &str, endpoint: &Value) -> Result<(), EngineError> {
        let what = format!("connect container {} to network {network}", id.short());
        let body = json!({"Container": id.0, "EndpointConfig": endpoint});
        let path = format!("/networks/{}/connect", encoded(network));
        self.calls.call(&what, Method::POST, &path, Some(&body), &[]).await.map(|_| ())
    }
}

#[async_trait]
impl Engine for Docker {
    async fn info(&self) -> Result<EngineInfo, EngineError> {
        let api_version = self.calls.version().await?;
        let info = self.calls.call("ask about the engine", Method::GET, "/version", None, &[]).await?.body;
        let text = |key: &str| info[key].as_str().unwrap_or_default().to_owned();
        Ok(EngineInfo {
            version: text("Version"),
            api_version,
            platform: Platform { os: text("Os"), architecture: text("Arch"), variant: None },
            about: self.calls.call("ask about the engine", Method::GET, "/info", None, &[]).await?.body,
        })
    }

    async fn accepts(&self) -> Result<(), EngineError> {
        self.calls.ping().await
    }

    async fn containers(&self, app: Option<&AppName>) -> Result<Vec<Container>, EngineError> {
        let mut labels = vec![format!("{}={}", label::OWNER, self.owner)];
        labels.extend(app.map(|app| format!("{}={app}", label::APP)));
        let documents = self.versions(&json!({"label": labels})).await?;
        Ok(self.understood(documents).await)
    }

    async fn family(&self, name: &str) -> Result<Vec<Container>, EngineError> {
        let exact = format!("^/?{}(\\.(next|prev|failed)-[0-9]+)?$", name.replace('.', "\\."));
        let documents = self.versions(&json!({"name": [exact]})).await?;
        let ours = |document: &Value| {
            let label = |name: &str| document.pointer(&format!("/Config/Labels/{name}")).and_then(Value::as_str);
            label(label::OWNER).map_or(label(label::ENABLE) != Some("false"), |owner| owner == self.owner)
        };
        Ok(self.understood(documents.into_iter().filter(ours).collect()).await)
    }

    async fn adoptable(&self, every: bool) -> Result<Vec<Value>, EngineError> {
        let filters = if every { json!({}) } else { json!({"label": [label::ENABLE]}) };
        self.versions(&filters).await
    }

    async fn inspect(&self, id: &ContainerId) -> Result<(Container, Value), EngineError> {
        let document = self.own_document(id).await?;
        match self.understand(&document).await {
            Ok(container) => Ok((container, document)),
            Err(problem) => Err(of_answer(&format!("inspect container {}", id.short()), 500, &problem)),
        }
    }

    async fn document(&self, reference: &str) -> Result<Option<Value>, EngineError> {
        let what = format!("inspect container {reference}");
        let path = format!("/containers/{}/json", encoded(reference));
        let answer = self.calls.call(&what, Method::GET, &path, None, &[404]).await?;
        Ok((answer.status != 404).then_some(answer.body))
    }

    async fn image(&self, reference: &str) -> Result<Option<ImageDetails>, EngineError> {
        let path = format!("/images/{reference}/json");
        let what = format!("inspect image {reference}");
        let answer = self.calls.call(&what, Method::GET, &path, None, &[404]).await?;
        Ok((answer.status != 404).then(|| convert::image(answer.body)))
    }

    async fn pull(
        &self,
        image: &ImageRef,
        auth: Option<&Credentials>,
        progress: &(dyn Fn(PullProgress) + Send + Sync),
    ) -> Result<ImageDetails, EngineError> {
        let docker = self.streams().await?;
        streams::pull(&docker, &self.calls.host, image, auth, progress).await?;
        let pulled = self.image(&image.to_string()).await?;
        let missing = |words: &str| EngineError {
            kind: EngineErrorKind::Pull,
            message: format!("failed to pull {image}: {words}"),
            source: None,
        };
        let pulled = pulled.ok_or_else(|| missing("the engine says that it did, but does not have it"))?;
        if let Version::Digest(digest) = &image.version
            && !pulled.repo_digests.iter().any(|name| name.ends_with(digest.as_str()))
        {
            return Err(missing("what the engine has under that name has another digest"));
        }
        Ok(pulled)
    }

    async fn tag(&self, image_id: &str, repository: &str, tag: &str) -> Result<(), EngineError> {
        let path = format!("/images/{image_id}/tag?repo={}&tag={}", encoded(repository), encoded(tag));
        let what = format!("tag image {image_id} as {repository}:{tag}");
        self.calls.call(&what, Method::POST, &path, None, &[]).await.map(|_| ())
    }

    async fn tagged(&self, repository: &str) -> Result<Vec<(String, ImageDetails)>, EngineError> {
        let filters = json!({"reference": [format!("{repository}:*")]}).to_string();
        let path = format!("/images/json?filters={}", encoded(&filters));
        let list = self.calls.call("list images", Method::GET, &path, None, &[]).await?.body;
        let mut tagged = Vec::new();
        for entry in list.as_array().into_iter().flatten() {
            let Some(image) = self.image(entry["Id"].as_str().unwrap_or_default()).await? else { continue };
            let ours = image.repo_tags.iter().filter_map(|name| name.strip_prefix(repository)?.strip_prefix(':'));
            tagged.extend(ours.map(|tag| (tag.to_owned(), image.clone())));
        }
        Ok(tagged)
    }

    async fn images(&self) -> Result<Vec<StoredImage>, EngineError> {
        let list = self.calls.call("list images", Method::GET, "/images/json", None, &[]).await?.body;
        Ok(list.as_array().into_iter().flatten().map(convert::stored_image).collect())
    }

    async fn remove_image(&self, reference: &str) -> Result<(), EngineError> {
        let what = format!("remove image {reference}");
        self.calls.call(&what, Method::DELETE, &format!("/images/{reference}"), None, &[404]).await.map(|_| ())
    }

    async fn create(&self, container: &CreateContainer) -> Result<ContainerId, EngineError> {
        let what = format!("create container {}", container.name);
        let path = format!("/containers/create?name={}", encoded(&container.name));
        let created = self.calls.call(&what, Method::POST, &path, Some(&container.body), &[]).await;
        let id = match created {
            Ok(answer) => ContainerId(answer.body["Id"].as_str().unwrap_or_default().to_owned()),
            Err(error) if error.kind == EngineErrorKind::Conflict => {
                return self.made_before(container).await?.ok_or(error);
            }
            Err(error) => return Err(error),
        };
        for (network, endpoint) in &container.networks {
            if let Err(error) = self.connect(&id, network, endpoint).await {
                // A candidate that lacks a network is no candidate; what can't be removed now is found later by its
                // labels.
                let _ = self.remove(&id).await;
                return Err(error);
            }
        }
        Ok(id)
    }

    async fn start(&self, id: &ContainerId) -> Result<(), EngineError> {
        let what = format!("start container {}", id.short());
        self.calls.call(&what, Method::POST, &format!("/containers/{id}/start"), None, &[304]).await.map(|_| ())
    }

    async fn stop(&self, id: &ContainerId) -> Result<(), EngineError> {
        // Its own time-out is the engine's business; ours must only be longer.
        let document = match self.own_document(id).await {
            Err(error) if error.kind == EngineErrorKind::NotFound => return Ok(()),
            other => other?,
        };
        let own = document.pointer("/Config/StopTimeout").and_then(Value::as_u64).unwrap_or(10);
        let what = format!("stop container {}", id.short());
        let path = format!("/containers/{id}/stop");
        let limit = CALL + Duration::from_secs(own);
        self.calls.timed(&what, Method::POST, &path, None, &[304, 404], limit).await.map(|_| ())
    }

    async fn remove(&self, id: &ContainerId) -> Result<(), EngineError> {
        let what = format!("remove container {}", id.short());
        // 409: somebody else is removing it already.
        let path = format!("/containers/{id}?force=true&v=false");
        self.calls.call(&what, Method::DELETE, &path, None, &[404, 409]).await.map(|_| ())
    }

    async fn rename(&self, id: &ContainerId, name: &str) -> Result<(), EngineError> {
        let what = format!("rename container {} to {name}", id.short());
        let path = format!("/containers/{id}/rename?name={}", encoded(name));
        self.calls.call(&what, Method::POST, &path, None, &[]).await.map(|_| ())
    }

    async fn set_restart_policy(&self, id: &ContainerId, policy: &Value) -> Result<(), EngineError> {
        let what = format!("set the restart policy of container {}", id.short());
        let body = json!({"RestartPolicy": policy});
        self.calls.call(&what, Method::POST, &format!("/containers/{id}/update"), Some(&body), &[]).await.map(|_| ())
    }

    async fn logs(&self, id: &ContainerId, lines: usize) -> Result<Vec<String>, EngineError> {
        streams::logs(&self.streams().await?, &self.calls.host, id, lines).await
    }

    async fn jobs(&self, app: &AppName) -> Result<Vec<JobContainer>, EngineError> {
        let labels =
            [format!("{}={}", label::OWNER, self.owner), format!("{}={app}", label::APP), label::JOB.to_owned()];
        let documents = self.listed(&json!({"label": labels})).await?;
        let understood = documents.iter().filter_map(|document| {
            convert::job(document)
                .inspect_err(|problem| {
                    tracing::warn!(app = app.as_str(), "the container of a job is left alone: {problem}");
                })
                .ok()
        });
        Ok(understood.collect())
    }

    async fn output(&self, id: &ContainerId) -> Result<BoxStream<'static, String>, EngineError> {
        Ok(streams::output(&self.streams().await?, id))
    }

    async fn exec(&self, id: &ContainerId, command: &[String], limit: Duration) -> Result<ExecOutcome, EngineError> {
        let what = format!("run {} in container {}", command.first().map_or("", String::as_str), id.short());
        let body = json!({"Cmd": command, "AttachStdout": true, "AttachStderr": true});
        let made =
            self.calls.call(&what, Method::POST, &format!("/containers/{id}/exec"), Some(&body), &[]).await?.body;
        let exec = made["Id"].as_str().unwrap_or_default();
        let ran = streams::exec(&self.streams().await?, &self.calls.host, &what, exec, limit).await?;
        let Some(output) = ran else { return Ok(ExecOutcome::default()) };
        let ended = self.calls.call(&what, Method::GET, &format!("/exec/{exec}/json"), None, &[]).await?.body;
        Ok(ExecOutcome { exit_code: ended["ExitCode"].as_i64(), output })
    }

    async fn events(&self) -> Result<BoxStream<'static, EngineEvent>, EngineError> {
        // Bollard tells a daemon that is not there only in the stream: ask first.
        self.calls.call("watch containers", Method::GET, "/_ping", None, &[]).await?;
        Ok(streams::events(&self.streams().await?, &self.owner))
    }
}

/// A query value.
fn encoded(text: &str) -> String {
    url::form_urlencoded::byte_serialize(text.as_bytes()).collect()
}
