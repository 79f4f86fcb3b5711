//! Around the proxy.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;

use crate::model::{
    AppHold, AppName, AppSwitch, ContainerId, InFlight, Probe, ProbeOutcome, RouteSet, SwitchAck, Table, TrafficStats,
};
use crate::ports::{Traffic, TrafficError};

use super::Points;

pub(super) struct Watched {
    pub(super) inner: Arc<dyn Traffic>,
    pub(super) points: Arc<Points>,
    /// The hold that was set last: that it is prolonged all the time is no further side effect.
    pub(super) held: Mutex<Option<(AppName, u64)>>,
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
    async fn hold(&self, hold: &AppHold) -> Result<(), TrafficError> {
        let this = Some((hold.app.clone(), hold.expect));
        let again = *self.held.lock().expect("no holder panics") == this;
        if again {
            return self.inner.hold(hold).await;
        }
        let done = self.act("traffic.hold", self.inner.hold(hold)).await;
        if done.is_ok() {
            *self.held.lock().expect("no holder panics") = this;
        }
        done
    }
    async fn release(&self, app: &AppName, expect: u64) -> Result<(), TrafficError> {
        self.held.lock().expect("no holder panics").take();
        self.act("traffic.release", self.inner.release(app, expect)).await
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
