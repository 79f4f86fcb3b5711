//! What two supervisors say to each other when tagboat's own container is replaced: the next one's takes over from the
//! one that runs, over a Unix socket in the state directory that both have.
//!
//! One JSON document a line; the listening sockets go with the answer that names them (`SCM_RIGHTS`, unix(7)). The one that
//! runs gives its agent's place away first, and keeps its own program ready until it is stopped: when the connection ends
//! without that, it takes back what it gave.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::net::TcpListener;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags,
    recvmsg, sendmsg,
};
use serde::{Deserialize, Serialize};
use tokio::io::Interest;
use tokio::net::{UnixListener, UnixStream};

use crate::model::FailureReason;

/// Another version is refused: what would be understood of it is not known.
pub(super) const VERSION: u32 = 1;

/// More descriptors than the system passes at once (`SCM_MAX_FD` is 253).
const MOST: usize = 250;

/// No message is longer.
const LONGEST: usize = 64 << 10;

/// What is said.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "say")]
pub(super) enum Message {
    /// The next one's first word: who it is, and where its sockets would be.
    TakeOver { version: u32, container: String, network: u64 },
    /// The sockets that come with this, by name; none when the next one has a network of its own.
    Sockets { names: Vec<String> },
    /// No, and why.
    Refused { why: String },
    /// The agent has ended and the state directory is free.
    Yours,
    /// The next one's proxy and agent answer.
    Ready,
    /// It took too long: the next one is to end.
    Back,
}

/// A connection between the two.
#[derive(Debug)]
pub(super) struct Link {
    stream: UnixStream,
    read: Vec<u8>,
    passed: Vec<OwnedFd>,
}

impl Link {
    pub(super) fn new(stream: UnixStream) -> Self {
        Self { stream, read: Vec::new(), passed: Vec::new() }
    }

    /// # Errors
    /// When nobody listens there.
    pub(super) async fn to(state_dir: &Path) -> io::Result<Self> {
        UnixStream::connect(place(state_dir)).await.map(Self::new)
    }

    pub(super) async fn say(&self, message: &Message) -> io::Result<()> {
        self.say_with(message, &[]).await
    }

    /// Says something, and hands sockets over with it.
    pub(super) async fn say_with(&self, message: &Message, sockets: &[&TcpListener]) -> io::Result<()> {
        if sockets.len() > MOST {
            return Err(io::Error::other(format!("{} listeners are more than {MOST}", sockets.len())));
        }
        let mut line = serde_json::to_vec(message).expect("a message can be written as JSON");
        line.push(b'\n');
        let descriptors: Vec<_> = sockets.iter().map(|socket| socket.as_fd()).collect();
        let mut sent = 0;
        while sent < line.len() {
            self.stream.writable().await?;
            let tried = self.stream.try_io(Interest::WRITABLE, || {
                let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST))];
                let mut control = SendAncillaryBuffer::new(&mut space);
                if sent == 0 && !descriptors.is_empty() {
                    control.push(SendAncillaryMessage::ScmRights(&descriptors));
                }
                let rest = [IoSlice::new(&line[sent..])];
                Ok(sendmsg(&self.stream, &rest, &mut control, SendFlags::NOSIGNAL)?)
            });
            match tried {
                Ok(bytes) => sent += bytes,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// The next thing that is said; `None` when the other one is gone. Nothing is lost when this is not waited for.
    pub(super) async fn hear(&mut self) -> io::Result<Option<Message>> {
        loop {
            if let Some(end) = self.read.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.read.drain(..=end).collect();
                return serde_json::from_slice(&line).map(Some).map_err(io::Error::other);
            }
            if self.read.len() > LONGEST {
                return Err(io::Error::other("a message without an end"));
            }
            self.stream.readable().await?;
            let (stream, passed) = (&self.stream, &mut self.passed);
            let mut bytes = [0; 4096];
            let tried = stream.try_io(Interest::READABLE, || {
                let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST))];
                let mut control = RecvAncillaryBuffer::new(&mut space);
                let mut into = [IoSliceMut::new(&mut bytes)];
                let heard = recvmsg(stream, &mut into, &mut control, RecvFlags::CMSG_CLOEXEC)?;
                for message in control.drain() {
                    if let RecvAncillaryMessage::ScmRights(descriptors) = message {
                        passed.extend(descriptors);
                    }
                }
                Ok(heard.bytes)
            });
            match tried {
                Ok(0) => return Ok(None),
                Ok(count) => self.read.extend(bytes.iter().take(count)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// The sockets that came with what was heard.
    pub(super) fn sockets(&mut self) -> Vec<TcpListener> {
        self.passed.drain(..).map(TcpListener::from).collect()
    }
}

fn place(state_dir: &Path) -> PathBuf {
    state_dir.join("run").join("supervisor.sock")
}

/// Listens for the next one; what another supervisor listened on there is forgotten.
///
/// # Errors
/// When there can be no socket.
pub(super) fn door(state_dir: &Path) -> io::Result<UnixListener> {
    let path = place(state_dir);
    match std::fs::remove_file(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let door = UnixListener::bind(&path)?;
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600))?;
    Ok(door)
}

/// Whether the other end runs as the same user.
pub(super) fn is_one_of_us(stream: &UnixStream) -> bool {
    stream.peer_cred().is_ok_and(|peer| peer.uid() == rustix::process::geteuid().as_raw())
}

/// Where the agent writes down which container is to take over, before it starts it.
pub fn successor_file(state_dir: &Path) -> PathBuf {
    state_dir.join("run").join("successor")
}

/// Whether a container is the one that is to take over.
pub fn is_successor(state_dir: &Path, container: &str) -> bool {
    std::fs::read_to_string(successor_file(state_dir)).is_ok_and(|written| written.trim() == container)
}

/// That a container was to take over and did not; the agent reads it when it is started again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NotTaken {
    /// Its id.
    pub container: String,
    /// What went wrong.
    pub why: String,
    /// The kind; a version that did not know it yet did not write it.
    #[serde(default = "unhealthy")]
    pub reason: FailureReason,
}

fn unhealthy() -> FailureReason {
    FailureReason::Unhealthy
}

impl NotTaken {
    /// Reads what was written last.
    pub fn read(state_dir: &Path) -> Option<Self> {
        let read = std::fs::read(Self::file(state_dir)).ok()?;
        serde_json::from_slice(&read).ok()
    }

    /// Reads what was written last, and forgets it.
    pub fn take(state_dir: &Path) -> Option<Self> {
        let read = Self::read(state_dir);
        let _ = std::fs::remove_file(Self::file(state_dir));
        read
    }

    /// Written for the agent. Without it the same version is tried once more.
    pub fn write(&self, state_dir: &Path) {
        let text = serde_json::to_vec(self).expect("texts can be written as JSON");
        if let Err(error) = std::fs::write(Self::file(state_dir), text) {
            tracing::warn!(%error, "that the next container did not take over is not written down");
        }
    }

    fn file(state_dir: &Path) -> PathBuf {
        state_dir.join("run").join("not-taken")
    }
}

/// The network that this process is in.
///
/// # Errors
/// When the system does not say.
pub(super) fn network() -> io::Result<u64> {
    std::fs::metadata("/proc/self/ns/net").map(|meta| meta.ino())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;

    fn pair() -> (Link, Link) {
        let (one, other) = UnixStream::pair().unwrap();
        (Link::new(one), Link::new(other))
    }

    #[tokio::test]
    async fn sockets_go_with_the_message_that_names_them() {
        let (one, mut other) = pair();
        let socket = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = socket.local_addr().unwrap();
        let said = Message::Sockets { names: vec![":80".to_owned()] };
        one.say_with(&said, &[&socket]).await.unwrap();
        one.say(&Message::Yours).await.unwrap();
        drop((one, socket));
        assert_eq!(other.hear().await.unwrap(), Some(said));
        let passed = other.sockets();
        assert_eq!(passed.iter().map(|socket| socket.local_addr().unwrap()).collect::<Vec<_>>(), [address]);
        assert_eq!(other.hear().await.unwrap(), Some(Message::Yours));
        assert_eq!(other.hear().await.unwrap(), None);
        // It still takes connections.
        let mut client = std::net::TcpStream::connect(address).unwrap();
        drop(passed[0].accept().unwrap());
        assert_eq!(client.read(&mut [0]).unwrap(), 0);
    }

    #[tokio::test]
    async fn what_is_not_understood_is_an_error() {
        for bytes in [&b"nonsense\n"[..], b"{\"say\":\"dance\"}\n", &[b'x'; LONGEST + 5000]] {
            let (one, other) = UnixStream::pair().unwrap();
            let mut link = Link::new(other);
            let bytes = bytes.to_vec();
            let written = tokio::spawn(async move {
                let _ = tokio::io::AsyncWriteExt::write_all(&mut { one }, &bytes).await;
            });
            assert!(link.hear().await.is_err());
            drop(link);
            written.await.unwrap();
        }
    }

    #[test]
    fn only_the_container_that_is_written_down_may_take_over() {
        let dir = tempfile::tempdir().unwrap();
        assert!(!is_successor(dir.path(), "abc"));
        std::fs::create_dir(dir.path().join("run")).unwrap();
        std::fs::write(successor_file(dir.path()), "abc\n").unwrap();
        assert!(is_successor(dir.path(), "abc") && !is_successor(dir.path(), "abd"));
    }

    #[test]
    fn what_was_not_taken_is_read_once() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("run")).unwrap();
        let reason = FailureReason::Exited;
        let note = NotTaken { container: "abc".to_owned(), why: "it ended".to_owned(), reason };
        note.write(dir.path());
        assert_eq!(NotTaken::take(dir.path()), Some(note.clone()));
        std::fs::write(dir.path().join("run/not-taken"), br#"{"container": "abc", "why": "it ended"}"#).unwrap();
        assert_eq!(NotTaken::take(dir.path()), Some(NotTaken { reason: unhealthy(), ..note }));
        assert_eq!(NotTaken::take(dir.path()), None);
    }
}
