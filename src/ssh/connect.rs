//! Tries to log in until it works, or until it is known that it never will.
//!
//! In: endpoint, keys, patience. Out: a [`Session`]. Readiness is a finished login, nothing less; there is no fixed
//! sleep. Every try is a thread of its own, and the one that gets in goes on as the session's.

use std::sync::mpsc;
use std::time::{Duration, Instant};

use tokio::sync::{Mutex, oneshot};

use super::channel::{Cancel, Patience};
use super::error::{ConnectStage, SshError};
use super::handshake::{self, Missed, MissedKind, Target};
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

/// A refused key is tried again this often at the least, and this long: the machine may still be writing its keys.
const REFUSALS: (u32, Duration) = (3, Duration::from_secs(2));

/// How often the machine's life is looked at while a try goes on.
const LOOK_AFTER: Duration = Duration::from_millis(200);

/// What is known between tries.
struct Tries<D> {
    died: D,
    banner: Duration,
    stage: ConnectStage,
    refusals: u32,
    first_refusal: Option<Instant>,
}

impl Connector {
    /// Leads to `endpoint`, accepts its host key of `keys` alone, and scrubs what comes back.
    pub fn new(endpoint: &Endpoint, keys: &Keys, scrubber: Scrubber) -> Result<Self, SshError> {
        Ok(Self {
            target: Target {
                endpoint: endpoint.clone(),
                host_key: keys::public_bytes(&keys.host_public)?,
                user_private: keys.user_private.clone(),
                user_public: keys.user_public.clone(),
                patience: Patience::default(),
            },
            scrubber,
        })
    }

    /// Has this patience instead of the default one.
    #[must_use]
    pub fn patience(mut self, patience: Patience) -> Self {
        self.target.patience = patience;
        self
    }

    /// Where it leads.
    pub(super) fn endpoint(&self) -> &Endpoint {
        &self.target.endpoint
    }

    pub(super) fn scrubber(&self) -> &Scrubber {
        &self.scrubber
    }

    /// Tries until the machine answers; see [`Session::connect`].
    pub async fn connect(
        &self,
        timeout: Duration,
        died: impl AsyncFnMut() -> Option<String>,
        events: &Events,
        interrupt: &Interrupt,
    ) -> Result<Session, SshError> {
        let tries = Mutex::new(Tries {
            died,
            banner: self.target.patience.banner,
            stage: ConnectStage::Tcp,
            refusals: 0,
            first_refusal: None,
        });
        let waited = Wait::new(format!("ssh on {}", self.endpoint()), timeout)
            .pausing(Duration::from_millis(50), Duration::from_millis(500))
            .until(events, interrupt, || async {
                self.look(&mut *tries.lock().await).await
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

    /// One try, judged.
    async fn look<D: AsyncFnMut() -> Option<String>>(
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
            match tokio::time::timeout(LOOK_AFTER, &mut outcome).await {
                Err(_still_trying) => {}
                Ok(Ok(Ok(session))) => return Poll::Ready(session),
                Ok(Ok(Err(missed))) => return self.judge(tries, missed),
                Ok(Err(_gone)) => return Poll::NotYet("the try ended without a word".to_owned()),
            }
        }
    }

    /// Starts one try on a thread of its own. Where it gets in, the thread serves the session.
    fn start(
        &self,
        banner: Duration,
        cancel: Cancel,
    ) -> Result<oneshot::Receiver<Result<Session, Missed>>, SshError> {
        let (tell, outcome) = oneshot::channel();
        let connector = self.clone();
        let name = format!("ssh {}", self.endpoint().address);
        let serving = move || {
            match handshake::log_in(&connector.target, banner, &cancel) {
                // Where nobody waits any more, the sender of jobs is dropped here and serving ends at once.
                Ok(link) => {
                    let (jobs, todo) = mpsc::channel();
                    let _ = tell.send(Ok(Session { jobs, connector }));
                    link.serve(&todo);
                }
                Err(missed) => {
                    let _ = tell.send(Err(missed));
                }
            }
        };
        threads::start(name, serving).map_err(SshError::Thread)?;
        Ok(outcome)
    }

    fn judge<D>(&self, tries: &mut Tries<D>, missed: Missed) -> Poll<Session, SshError> {
        tries.stage = missed.stage;
        match missed.kind {
            MissedKind::TryAgain => {}
            MissedKind::Silent => {
                // A machine that does not listen yet does not answer late either, so the first tries are short; one that is
                // slow to answer is waited for in later ones.
                let most = self.target.patience.banner * 10;
                tries.banner = (tries.banner * 5 / 4).min(most);
            }
            MissedKind::OtherHost(found) => {
                return Poll::Never(SshError::HostKey {
                    endpoint: self.endpoint().to_string(),
                    expected: keys::fingerprint(&self.target.host_key),
                    found,
                });
            }
            MissedKind::KeyRefused => {
                tries.refusals += 1;
                let first = *tries.first_refusal.get_or_insert_with(Instant::now);
                if tries.refusals >= REFUSALS.0 && first.elapsed() >= REFUSALS.1 {
                    return Poll::Never(SshError::Refused {
                        endpoint: self.endpoint().to_string(),
                        tries: tries.refusals,
                    });
                }
            }
        }
        Poll::NotYet(missed.seen)
    }
}
