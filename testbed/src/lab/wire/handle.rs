//! The way to talk to the carrying thread: a request is a closure over all that the thread owns.

use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Sender, sync_channel};

use crate::kernel::poller::Waker;
use crate::lab::wire::core::{Core, EngineRequest};

/// Why a wire did not do as it was told.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WireError {
    /// The carrying thread could not be started.
    #[error("cannot start the wire engine: {0}")]
    Start(io::Error),
    /// A socket could not be taken on.
    #[error("cannot watch the socket of {name}: {why}")]
    Add {
        /// What the socket is for.
        name: String,
        /// Why.
        why: io::Error,
    },
    /// The carrying thread has ended.
    #[error("the wire engine has ended")]
    EngineGone,
    /// What was waited for cannot happen any more.
    #[error("the wire was reset or removed while a frame was awaited on it")]
    Reset,
}

/// The way to the carrying thread.
#[derive(Debug, Clone)]
pub(super) struct Handle(Arc<RequestSender>);

/// Tells the thread to end when the last handle is dropped.
#[derive(Debug)]
struct RequestSender {
    sender: Sender<EngineRequest>,
    waker: Waker,
}

impl Handle {
    pub(super) fn new(sender: Sender<EngineRequest>, waker: Waker) -> Self {
        Self(Arc::new(RequestSender { sender, waker }))
    }

    /// Has something done, and does not wait for it.
    pub(super) fn tell(&self, request: impl FnOnce(&mut Core) + Send + 'static) {
        self.0.tell(Box::new(request));
    }

    /// Has something done, and waits for the answer.
    pub(super) fn ask<T: Send + 'static>(
        &self,
        request: impl FnOnce(&mut Core) -> T + Send + 'static,
    ) -> Result<T, WireError> {
        let (reply, answer) = sync_channel(1);
        self.tell(move |core| {
            // Who asked waits for the answer below, so this cannot fail.
            let _ = reply.send(request(core));
        });
        answer.recv().map_err(|_| WireError::EngineGone)
    }
}

impl RequestSender {
    fn tell(&self, request: EngineRequest) {
        // If the thread is gone there is nothing to tell; a caller finds out by getting no answer.
        let _ = self.sender.send(request);
        self.waker.wake();
    }
}

impl Drop for RequestSender {
    fn drop(&mut self) {
        self.tell(Box::new(Core::stop));
    }
}
