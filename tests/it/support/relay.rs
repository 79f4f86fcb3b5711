//! A wire between the registry and everybody else, that can be made slow and be cut.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// What is read at once from the registry.
const PIECE: usize = 16 << 10;

/// The wire.
pub(crate) struct Relay {
    pub(crate) port: u16,
    bytes_per_second: Arc<AtomicU64>,
    cut: watch::Sender<bool>,
    task: tokio::task::JoinHandle<()>,
}

impl Relay {
    /// As fast as it goes, towards a port of this machine.
    pub(crate) async fn to(port: u16) -> Self {
        Self::at("127.0.0.1", port).await
    }

    /// The same, reached at another of this machine's addresses.
    pub(crate) async fn at(address: &str, port: u16) -> Self {
        let listener = TcpListener::bind((address, 0)).await.unwrap();
        let relay_port = listener.local_addr().unwrap().port();
        let bytes_per_second = Arc::new(AtomicU64::new(0));
        let (cut, is_cut) = watch::channel(false);
        let rate = bytes_per_second.clone();
        let task = tokio::spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            loop {
                let (client, _) = listener.accept().await.unwrap();
                let (rate, mut is_cut) = (rate.clone(), is_cut.clone());
                connections.spawn(async move {
                    tokio::select! {
                        _ = is_cut.wait_for(|cut| *cut) => {}
                        _ = carry(client, port, &rate) => {}
                    }
                });
            }
        });
        Self { port: relay_port, bytes_per_second, cut, task }
    }

    /// What comes from the registry comes no faster than this; 0: as fast as it goes.
    pub(crate) fn slow(&self, bytes_per_second: u64) {
        self.bytes_per_second.store(bytes_per_second, Ordering::SeqCst);
    }

    /// Breaks every connection off, those that are to come as well; or no longer.
    pub(crate) fn cut(&self, cut: bool) {
        self.cut.send_replace(cut);
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn carry(mut client: TcpStream, port: u16, rate: &AtomicU64) -> std::io::Result<()> {
    let mut registry = TcpStream::connect(("127.0.0.1", port)).await?;
    let (mut from_registry, mut to_registry) = registry.split();
    let (mut from_client, mut to_client) = client.split();
    let up = async {
        tokio::io::copy(&mut from_client, &mut to_registry).await?;
        to_registry.shutdown().await
    };
    let down = async {
        let mut piece = vec![0; PIECE];
        loop {
            let length = from_registry.read(&mut piece).await?;
            if length == 0 {
                return to_client.shutdown().await;
            }
            to_client.write_all(&piece[..length]).await?;
            let rate = rate.load(Ordering::SeqCst);
            if rate > 0 {
                tokio::time::sleep(Duration::from_secs_f64(length as f64 / rate as f64)).await;
            }
        }
    };
    tokio::try_join!(up, down).map(|_| ())
}
