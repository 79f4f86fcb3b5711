//! Bodies on their way through, and the claim that lives as long as an answer does. Nothing is buffered: a frame is
//! asked for when the other side takes one.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};
use hyper::body::Incoming;

use super::pool::Link;
use super::stats::TargetStats;
use super::target::Claim;

/// What a request carries to its target.
#[derive(Debug)]
pub(super) enum Upload {
    /// Nothing: the request can be repeated.
    Nothing,
    /// What the client sends.
    Client(Incoming),
}

impl From<Incoming> for Upload {
    fn from(body: Incoming) -> Self {
        if body.is_end_stream() { Self::Nothing } else { Self::Client(body) }
    }
}

impl HttpBody for Upload {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        match &mut *self {
            Self::Nothing => Poll::Ready(None),
            Self::Client(body) => Pin::new(body).poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Nothing => true,
            Self::Client(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Nothing => SizeHint::with_exact(0),
            Self::Client(body) => body.size_hint(),
        }
    }
}

/// An answer that did not come to its end. The client's connection is closed, so that it does not take it for whole.
#[derive(Debug, thiserror::Error)]
pub(super) enum Broken {
    /// The target's connection.
    #[error("the target's answer broke off")]
    Target(#[source] hyper::Error),
    /// We did it, because the target is being stopped.
    #[error("the request was ended because its target is being stopped")]
    Cut,
}

/// What the proxy answers with.
pub(super) enum Body {
    /// A page of our own.
    Own(Option<Bytes>),
    /// What the target sends.
    Passed(Passed),
}

/// A target's answer.
pub(super) struct Passed {
    inner: Incoming,
    /// Both are there until the last frame, trailers included.
    held: Option<(Claim, Box<Link>)>,
    /// Made when the answer is first waited for: most are whole at once.
    cut: Option<Pin<Box<dyn Future<Output = ()> + Send + Sync>>>,
}

impl Body {
    pub(super) fn empty() -> Self {
        Self::Own(None)
    }

    /// Passes an answer on.
    pub(super) fn passed(inner: Incoming, claim: Claim, link: Box<Link>) -> Self {
        let mut passed = Passed { inner, held: Some((claim, link)), cut: None };
        if passed.inner.is_end_stream() {
            passed.finish();
        }
        Self::Passed(passed)
    }
}

impl Passed {
    /// The last frame has gone by; a connection that is ready again is kept. An upload that has not ended ends with
    /// its connection: nothing is under way on the target without a claim.
    fn finish(&mut self) {
        if let Some((claim, link)) = self.held.take() {
            claim.upstream().pool.give_back(link);
        }
    }

    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        let mut frame = Pin::new(&mut self.inner).poll_frame(cx);
        if frame.is_pending()
            && let Some((_, link)) = &mut self.held
        {
            link.drive(cx);
            frame = Pin::new(&mut self.inner).poll_frame(cx);
        }
        match frame {
            Poll::Pending => self.poll_cut(cx),
            Poll::Ready(Some(Err(error))) => {
                if let Some((claim, link)) = self.held.take()
                    && !link.was_left_by_client()
                {
                    TargetStats::add(&claim.upstream().stats.transport_errors);
                }
                Poll::Ready(Some(Err(Broken::Target(error))))
            }
            Poll::Ready(Some(Ok(frame))) => {
                if self.inner.is_end_stream() {
                    self.finish();
                }
                Poll::Ready(Some(Ok(frame)))
            }
            Poll::Ready(None) => {
                self.finish();
                Poll::Ready(None)
            }
        }
    }

    /// An event stream is ended in good order, its client comes back by itself; anything else is broken off.
    fn poll_cut(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        let Some((claim, _)) = &self.held else { return Poll::Pending };
        let stream = claim.is_stream();
        let cut = self.cut.get_or_insert_with(|| Box::pin(claim.cut()));
        if cut.as_mut().poll(cx).is_pending() {
            return Poll::Pending;
        }
        self.held = None;
        Poll::Ready(if stream { None } else { Some(Err(Broken::Cut)) })
    }
}

impl HttpBody for Body {
    type Data = Bytes;
    type Error = Broken;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        match &mut *self {
            Self::Own(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Self::Passed(passed) => passed.poll_frame(cx),
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
