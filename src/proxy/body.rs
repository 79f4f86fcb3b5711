//! The answer's body on its way to the client, and the claim that lives as long as it does.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};
use hyper::body::Incoming;

use super::pool::Sender;
use super::stats::TargetStats;
use super::target::Claim;

/// What the proxy answers with.
pub(super) enum Body {
    /// A page of our own.
    Own(Option<Bytes>),
    /// What the target sends.
    Passed(Passed),
}

/// A target's answer. Nothing of it is buffered: a frame is asked for when the client takes one.
pub(super) struct Passed {
    inner: Incoming,
    /// Both are there until the last frame, trailers included.
    held: Option<(Claim, Option<Sender>)>,
    cut: Option<Pin<Box<dyn Future<Output = ()> + Send + Sync>>>,
}

impl Body {
    pub(super) fn empty() -> Self {
        Self::Own(None)
    }

    /// Passes an answer on. An event stream is counted as a stream and can be cut.
    pub(super) fn passed(inner: Incoming, mut claim: Claim, sender: Sender, events: bool) -> Self {
        let mut cut: Option<Pin<Box<dyn Future<Output = ()> + Send + Sync>>> = None;
        if events {
            claim.become_stream();
            cut = Some(Box::pin(claim.cut()));
        }
        let mut passed = Passed { inner, held: Some((claim, Some(sender))), cut };
        if passed.inner.is_end_stream() {
            passed.finish(true);
        }
        Self::Passed(passed)
    }
}

impl Passed {
    /// The last frame has gone by; a connection that ended well can be used again.
    fn finish(&mut self, well: bool) {
        let Some((claim, sender)) = self.held.take() else { return };
        if !well {
            TargetStats::add(&claim.upstream().stats.transport_errors);
        } else if let Some(sender) = sender {
            claim.upstream().pool.give_back(sender);
        }
    }
}

impl HttpBody for Body {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        match &mut *self {
            Self::Own(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Self::Passed(passed) => {
                if let Some(cut) = &mut passed.cut
                    && cut.as_mut().poll(cx).is_ready()
                {
                    passed.held = None;
                    return Poll::Ready(None);
                }
                let frame = ready!(Pin::new(&mut passed.inner).poll_frame(cx));
                match &frame {
                    None => passed.finish(true),
                    Some(Err(_)) => passed.finish(false),
                    Some(Ok(_)) if passed.inner.is_end_stream() => passed.finish(true),
                    Some(Ok(_)) => {}
                }
                Poll::Ready(frame)
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Own(bytes) => bytes.is_none(),
            Self::Passed(passed) => passed.inner.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Own(bytes) => SizeHint::with_exact(bytes.as_ref().map_or(0, |b| b.len() as u64)),
            Self::Passed(passed) => passed.inner.size_hint(),
        }
    }
}
