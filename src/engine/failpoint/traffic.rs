//! Around the proxy.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use crate::model::{
    AppName, AppSwitch, ContainerId, InFlight, Probe, ProbeOutcome, RouteSet, SwitchAck, Table, TrafficStats,
};
use crate::ports::{Traffic, TrafficError};

use super::Points;

pub(super) struct Watched {
    pub(super) inner: Arc<dyn Traffic>,
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
impl Traffic for Watched {
    async fn table(&self) -> Result<Table, TrafficError> {
        self.inner.table().await
    }
    async fn set_routes(&self, apps: &[RouteSet]) -> Result<(), TrafficError> {
        self.act("traffic.set_routes", self.inner.set_routes(apps)).await
    }
    async fn switch(&self, changes: &[AppSwitch]) -> Result<SwitchAck, TrafficError> {
        self.act("traffic.switch", self.inner.switch(changes)).await
    }
    async fn readdress(
        &self,
        app: &AppName,
        container: &ContainerId,
        addr: std::net::SocketAddr,
    ) -> Result<(), TrafficError> {
        self.act("traffic.readdress", self.inner.readdress(app, container, addr)).await
    }
    async fn probe(
        &self,
        addr: std::net::SocketAddr,
        probe: &Probe,
        timeout: Duration,
    ) -> Result<ProbeOutcome, TrafficError> {
        self.inner.probe(addr, probe, timeout).await
    }
    async fn in_flight(&self, container: &ContainerId) -> Result<InFlight, TrafficError> {
        self.inner.in_flight(container).await
    }
    async fn cut(&self, container: &ContainerId, over: Duration) -> Result<(), TrafficError> {
        self.act("traffic.cut", self.inner.cut(container, over)).await
    }
    async fn stats(&self) -> Result<Vec<TrafficStats>, TrafficError> {
        self.inner.stats().await
    }
}
