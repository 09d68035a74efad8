//! Connects to an endpoint and retries until a login succeeds or cannot succeed any more.
//! Takes an endpoint, keys and time limits; returns a [`Session`].
//! Each try runs on a thread, and the thread of the successful try serves the session.

use std::sync::mpsc;
use std::time::{Duration, Instant};

use tokio::sync::{Mutex, oneshot};

use super::channel::{Cancel, ConnectionTimeouts};
use super::error::{ConnectStage, SshError};
use super::handshake::{self, FailureKind, LoginFailure, Target};
use super::{Endpoint, Keys, Session, keys, threads};
use crate::event::Events;
use crate::secret::Scrubber;
use crate::wait::{Interrupt, Poll, Wait, WaitError};

/// Opens sessions with one machine.
#[derive(Clone)]
pub struct Connector {
    target: Target,
    scrubber: Scrubber,
}

/// A refused key is final after this many refusals, and after [`MIN_REFUSAL_TIME`].
/// Until then the machine may still be writing its keys.
const MIN_REFUSALS: u32 = 3;
const MIN_REFUSAL_TIME: Duration = Duration::from_secs(2);

/// The interval at which a try checks that the machine still runs.
const LIVENESS_INTERVAL: Duration = Duration::from_millis(200);

/// The state between tries.
struct Tries<D> {
    died: D,
    banner: Duration,
    stage: ConnectStage,
    refusals: u32,
    first_refusal: Option<Instant>,
}

impl Connector {
    /// Prepares sessions with `endpoint`, whose only accepted host key is that of `keys`.
    /// `scrubber` removes secrets from the output.
    pub fn new(endpoint: &Endpoint, keys: &Keys, scrubber: Scrubber) -> Result<Self, SshError> {
        Ok(Self {
            target: Target {
                endpoint: endpoint.clone(),
                host_key: keys::public_bytes(&keys.host_public)?,
                user_private: keys.user_private.clone(),
                user_public: keys.user_public.clone(),
                timeouts: ConnectionTimeouts::default(),
            },
            scrubber,
        })
    }

    /// Replaces the default time limits.
    #[must_use]
    pub fn with_timeouts(mut self, patience: ConnectionTimeouts) -> Self {
        self.target.timeouts = patience;
        self
    }

    pub(super) fn endpoint(&self) -> &Endpoint {
        &self.target.endpoint
    }

    pub(super) fn scrubber(&self) -> &Scrubber {
        &self.scrubber
    }

    /// Opens a session; see [`Session::connect`].
    pub async fn connect(
        &self,
        timeout: Duration,
        died: impl AsyncFnMut() -> Option<String>,
        events: &Events,
        interrupt: &Interrupt,
    ) -> Result<Session, SshError> {
        let tries = Mutex::new(Tries {
            died,
            banner: self.target.timeouts.banner,
            stage: ConnectStage::Tcp,
            refusals: 0,
            first_refusal: None,
        });
        let waited = Wait::new(format!("ssh on {}", self.endpoint()), timeout)
            .pausing(Duration::from_millis(50), Duration::from_millis(500))
            .until(events, interrupt, || async {
                self.attempt(&mut *tries.lock().await).await
            })
            .await;
        waited.map_err(|error| match error {
            WaitError::Never(error) => error,
            WaitError::Interrupted(interrupted) => interrupted.into(),
            WaitError::Deadline { waited_s, last, .. } => SshError::NotUp {
                endpoint: self.endpoint().to_string(),
                waited_s,
                stage: tries.into_inner().stage,
                last,
            },
        })
    }

    /// Makes one try.
    async fn attempt<D: AsyncFnMut() -> Option<String>>(
        &self,
        tries: &mut Tries<D>,
    ) -> Poll<Session, SshError> {
        let cancel = Cancel::default();
        let _ended_when_dropped = cancel.on_drop();
        let mut outcome = match self.start(tries.banner, cancel) {
            Ok(outcome) => outcome,
            Err(error) => return Poll::Never(error),
        };
        loop {
            if let Some(words) = (tries.died)().await {
                return Poll::Never(SshError::Died {
                    endpoint: self.endpoint().to_string(),
                    words,
                });
            }
            match tokio::time::timeout(LIVENESS_INTERVAL, &mut outcome).await {
                Err(_still_trying) => {}
                Ok(Ok(Ok(session))) => return Poll::Ready(session),
                Ok(Ok(Err(failure))) => return self.handle_failure(tries, failure),
                Ok(Err(_gone)) => return Poll::NotYet("the login thread ended".to_owned()),
            }
        }
    }

    /// Starts one try on a new thread. If the login succeeds, the thread serves the session.
    fn start(
        &self,
        banner: Duration,
        cancel: Cancel,
    ) -> Result<oneshot::Receiver<Result<Session, LoginFailure>>, SshError> {
        let (sender, outcome) = oneshot::channel();
        let connector = self.clone();
        let name = format!("ssh {}", self.endpoint().address);
        let serving = move || {
            match handshake::log_in(&connector.target, banner, &cancel) {
                // If the receiver is gone, `jobs` is dropped here and `serve` returns at once.
                Ok(link) => {
                    let (jobs, receiver) = mpsc::channel();
                    let _ = sender.send(Ok(Session { jobs, connector }));
                    link.serve(&receiver);
                }
                Err(failure) => {
                    let _ = sender.send(Err(failure));
                }
            }
        };
        threads::start(name, serving).map_err(SshError::Thread)?;
        Ok(outcome)
    }

    /// Decides after a failed try whether to try again.
    fn handle_failure<D>(
        &self,
        tries: &mut Tries<D>,
        failure: LoginFailure,
    ) -> Poll<Session, SshError> {
        tries.stage = failure.stage;
        match failure.kind {
            FailureKind::TryAgain => {}
            FailureKind::Silent => {
                // Most silent machines do not listen yet, so the first tries are short.
                // Later tries are longer, for a machine that answers slowly.
                let longest = self.target.timeouts.banner * 10;
                tries.banner = (tries.banner * 5 / 4).min(longest);
            }
            FailureKind::OtherHost(found) => {
                return Poll::Never(SshError::HostKey {
                    endpoint: self.endpoint().to_string(),
                    expected: keys::fingerprint(&self.target.host_key),
                    found,
                });
            }
            FailureKind::KeyRefused => {
                tries.refusals += 1;
                let first = *tries.first_refusal.get_or_insert_with(Instant::now);
                if tries.refusals >= MIN_REFUSALS && first.elapsed() >= MIN_REFUSAL_TIME {
                    return Poll::Never(SshError::Refused {
                        endpoint: self.endpoint().to_string(),
                        tries: tries.refusals,
                    });
                }
            }
        }
        Poll::NotYet(failure.reason)
    }
}
