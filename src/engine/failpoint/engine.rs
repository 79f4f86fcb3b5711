//! Around the container engine.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::stream::BoxStream;
use serde_json::Value;

use crate::model::{
    AppName, Container, ContainerId, Credentials, ExecOutcome, ImageDetails, ImageRef, JobContainer, PullProgress,
    StoredImage,
};
use crate::ports::{CreateContainer, Engine, EngineError, EngineEvent, EngineInfo};

use super::Points;

pub(super) struct Watched {
    pub(super) inner: Arc<dyn Engine>,
    pub(super) points: Arc<Points>,
}

impl Watched {
    async fn act<T>(&self, name: &str, call: impl Future<Output = T>) -> T {
        let count = self.points.before(name);
        let done = call.await;
        self.points.after(name, count);
        done
    }
}

#[async_trait]
impl Engine for Watched {
    async fn info(&self) -> Result<EngineInfo, EngineError> {
        self.inner.info().await
    }
    async fn accepts(&self) -> Result<(), EngineError> {
        self.inner.accepts().await
    }
    async fn containers(&self, app: Option<&AppName>) -> Result<Vec<Container>, EngineError> {
        self.inner.containers(app).await
    }
    async fn family(&self, name: &str) -> Result<Vec<Container>, EngineError> {
        self.inner.family(name).await
    }
    async fn adoptable(&self, every: bool) -> Result<Vec<Value>, EngineError> {
        self.inner.adoptable(every).await
    }
    async fn inspect(&self, id: &ContainerId) -> Result<(Container, Value), EngineError> {
        self.inner.inspect(id).await
    }
    async fn document(&self, reference: &str) -> Result<Option<Value>, EngineError> {
        self.inner.document(reference).await
    }
    async fn image(&self, reference: &str) -> Result<Option<ImageDetails>, EngineError> {
        self.inner.image(reference).await
    }
    async fn pull(
        &self,
        image: &ImageRef,
        auth: Option<&Credentials>,
        progress: &(dyn Fn(PullProgress) + Send + Sync),
    ) -> Result<ImageDetails, EngineError> {
        self.act("engine.pull", self.inner.pull(image, auth, progress)).await
    }
    async fn tag(&self, image_id: &str, repository: &str, tag: &str) -> Result<(), EngineError> {
        self.act("engine.tag", self.inner.tag(image_id, repository, tag)).await
    }
    async fn tagged(&self, repository: &str) -> Result<Vec<(String, ImageDetails)>, EngineError> {
        self.inner.tagged(repository).await
    }
    async fn images(&self) -> Result<Vec<StoredImage>, EngineError> {
        self.inner.images().await
    }
    async fn remove_image(&self, reference: &str) -> Result<(), EngineError> {
        self.act("engine.remove_image", self.inner.remove_image(reference)).await
    }
    async fn create(&self, container: &CreateContainer) -> Result<ContainerId, EngineError> {
        self.act("engine.create", self.inner.create(container)).await
    }
    async fn start(&self, id: &ContainerId) -> Result<(), EngineError> {
        self.act("engine.start", self.inner.start(id)).await
    }
    async fn stop(&self, id: &ContainerId) -> Result<(), EngineError> {
        self.act("engine.stop", self.inner.stop(id)).await
    }
    async fn remove(&self, id: &ContainerId) -> Result<(), EngineError> {
        self.act("engine.remove", self.inner.remove(id)).await
    }
    async fn rename(&self, id: &ContainerId, name: &str) -> Result<(), EngineError> {
        self.act("engine.rename", self.inner.rename(id, name)).await
    }
    async fn set_restart_policy(&self, id: &ContainerId, policy: &Value) -> Result<(), EngineError> {
        self.act("engine.set_restart_policy", self.inner.set_restart_policy(id, policy)).await
    }
    async fn logs(&self, id: &ContainerId, lines: usize) -> Result<Vec<String>, EngineError> {
        self.inner.logs(id, lines).await
    }
    async fn jobs(&self, app: &AppName) -> Result<Vec<JobContainer>, EngineError> {
        self.inner.jobs(app).await
    }
    async fn output(&self, id: &ContainerId) -> Result<BoxStream<'static, String>, EngineError> {
        self.inner.output(id).await
    }
    async fn exec(&self, id: &ContainerId, command: &[String], limit: Duration) -> Result<ExecOutcome, EngineError> {
        self.act("engine.exec", self.inner.exec(id, command, limit)).await
    }
    async fn events(&self) -> Result<BoxStream<'static, EngineEvent>, EngineError> {
        self.inner.events().await
    }
}
