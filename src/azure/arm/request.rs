//! One request: sent once with a token, or until there is an answer that counts.
//!
//! In: a method, a URL and a body. Out: an [`Answer`], be it a refusal, or the error that no answer is.
//! Deliberately follows nothing.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::Relaxed};
use std::time::Duration;

use azure_core::Bytes;
use azure_core::error::ErrorKind;
use azure_core::http::{Context, Method, PipelineSendOptions, Request, Url};
use serde_json::Value;

use super::ArmClient;
use crate::azure::answer::Answer;
use crate::azure::error::{ArmError, Operation, Refusal};
use crate::azure::hint;
use crate::azure::retry::{self, Bucket};
use crate::azure::transport::{cause, why_no_token};
use crate::wait::{Poll, TimeScale, Wait, WaitError};

/// A request.
pub(in crate::azure) struct ArmRequest {
    pub(in crate::azure) operation: Operation,
    pub(in crate::azure) method: Method,
    pub(in crate::azure) url: Url,
    pub(in crate::azure) body: Bytes,
    /// With `If-None-Match: *`.
    pub(in crate::azure) only_new: bool,
}

/// What there was instead of an answer.
pub(in crate::azure) enum TransportError {
    /// The service was not reached.
    NotSent(String),
    /// It may have been reached.
    Broken(String),
    /// There is no token.
    NoToken(String),
    /// The request could not be made.
    Odd(String),
}

/// An answer that counts.
pub(in crate::azure) struct Received {
    pub(in crate::azure) answer: Answer,
    /// Whether an earlier one was lost, so that the request may already have been done.
    pub(in crate::azure) lost: bool,
}

impl ArmRequest {
    pub(super) fn body(self, body: &Value) -> Self {
        Self {
            body: Bytes::from(body.to_string()),
            ..self
        }
    }

    pub(super) fn malformed(&self, what: &str) -> ArmError {
        ArmError::Malformed {
            operation: self.operation.clone(),
            what: what.to_owned(),
        }
    }

    pub(super) fn refusal(&self, arm: &ArmClient, answer: &Answer) -> Refusal {
        arm.refusal(&self.operation, answer)
    }

    pub(super) fn refused(&self, arm: &ArmClient, answer: &Answer) -> ArmError {
        let mut refusal = self.refusal(arm, answer);
        if let Some(asked) = answer
            .retry_after
            .filter(|asked| *asked > retry::LONGEST_ASKED)
        {
            let more = format!("; the service asks to come back in {} s", asked.as_secs());
            refusal.message.push_str(&more);
        }
        ArmError::Refused(Box::new(refusal))
    }

    fn request(&self) -> Request {
        let mut request = Request::new(self.url.clone(), self.method);
        request.insert_header("accept", "application/json");
        if !self.body.is_empty() {
            request.insert_header("content-type", "application/json");
            request.set_body(self.body.clone());
        }
        if self.only_new {
            request.insert_header("if-none-match", "*");
        }
        request
    }
}

/// How often what was met.
#[derive(Default)]
struct Tally {
    tries: AtomicU32,
    faults: AtomicU32,
    turns: AtomicU32,
    unseen: AtomicU32,
    lost: AtomicBool,
}

impl ArmClient {
    /// Sends `ask` until there is an answer that counts.
    pub(in crate::azure) async fn answered(&self, ask: &ArmRequest) -> Result<Received, ArmError> {
        let tally = &Tally::default();
        let wait = Wait::new(&ask.operation, self.pace().of(PATIENCE));
        let ended = wait.until(&self.events, &self.interrupt, || self.attempt(ask, tally));
        // A sending pipeline is a large thing to be part of everything that asks.
        match Box::pin(ended).await {
            Ok(answer) => Ok(Received {
                answer,
                lost: tally.lost.load(Relaxed),
            }),
            Err(WaitError::Never(error)) => Err(error),
            Err(WaitError::Interrupted(error)) => Err(error.into()),
            Err(WaitError::Deadline { waited_s, last, .. }) => Err(ArmError::Deadline {
                operation: ask.operation.clone(),
                waited_s,
                last,
            }),
        }
    }

    async fn attempt(&self, ask: &ArmRequest, tally: &Tally) -> Poll<Answer, ArmError> {
        let bucket = Bucket::of(ask.method.as_str());
        if let Err(pause) = self.inner.limiter.take(bucket) {
            return Poll::Later(String::from("held back by the limit of requests"), pause);
        }
        tally.tries.fetch_add(1, Relaxed);
        match self.once(ask).await {
            Ok(answer) => self.judge(ask, tally, answer),
            Err(TransportError::NoToken(reason)) => {
                Poll::Never(self.no_token(&ask.operation, reason))
            }
            Err(TransportError::Odd(reason)) => Poll::Never(ask.malformed(&reason)),
            Err(TransportError::Broken(reason)) if ask.method == Method::Post => {
                Poll::Never(unknown(ask, reason))
            }
            Err(fault) => {
                let reason = match fault {
                    TransportError::Broken(reason) => {
                        tally.lost.store(true, Relaxed);
                        reason
                    }
                    TransportError::NotSent(reason)
                    | TransportError::NoToken(reason)
                    | TransportError::Odd(reason) => reason,
                };
                let faults = tally.faults.fetch_add(1, Relaxed) + 1;
                if faults < retry::TRIES {
                    return self.later(reason, retry::jittered(faults));
                }
                Poll::Never(ArmError::Unreachable {
                    operation: ask.operation.clone(),
                    tries: tally.tries.load(Relaxed),
                    reason,
                })
            }
        }
    }

    fn judge(&self, ask: &ArmRequest, tally: &Tally, answer: Answer) -> Poll<Answer, ArmError> {
        if answer.is_success() {
            return Poll::Ready(answer);
        }
        let refusal = ask.refusal(self, &answer);
        let seen = format!("{} {}", answer.status, refusal.leaf);
        let asked = answer.retry_after;
        if asked.is_some_and(|asked| asked > retry::LONGEST_ASKED) {
            return Poll::Ready(answer);
        }
        let asked = asked.unwrap_or(Duration::ZERO);
        // Another operation that holds a lock is told by 429 as well; it has nothing to do with how much is asked.
        if answer.status == 429 || hint::is_busy(&refusal) {
            let turns = tally.turns.fetch_add(1, Relaxed) + 1;
            return match turns < retry::TURNS {
                true if hint::is_busy(&refusal) => self.later(seen, asked.max(retry::busy(turns))),
                true => self.later(seen, asked.max(retry::jittered(turns))),
                false => Poll::Ready(answer),
            };
        }
        if retry::may_pass(answer.status) {
            if ask.method == Method::Post {
                let words = self.inner.tokens.scrubbed(&refusal.message);
                return Poll::Never(unknown(ask, format!("{seen}: {words}")));
            }
            tally.lost.store(true, Relaxed);
            let faults = tally.faults.fetch_add(1, Relaxed) + 1;
            return match faults < retry::TRIES {
                true => self.later(seen, asked.max(retry::jittered(faults))),
                false => Poll::Ready(answer),
            };
        }
        if self.expecting && hint::is_unseen(&refusal) {
            let unseen = tally.unseen.fetch_add(1, Relaxed) + 1;
            if unseen < MOST_UNSEEN {
                return self.later(
                    seen,
                    asked.max(Duration::from_secs(unseen.into()).min(LONGEST_UNSEEN)),
                );
            }
        }
        Poll::Ready(answer)
    }

    fn later(&self, seen: String, pause: Duration) -> Poll<Answer, ArmError> {
        Poll::Later(seen, self.pace().of(pause))
    }

    /// How fast time passes here.
    pub(in crate::azure) fn pace(&self) -> TimeScale {
        self.inner.settings.who.wire.pace
    }

    /// Sends `ask` once; after a 401 once more, with a new token.
    pub(in crate::azure) async fn once(&self, ask: &ArmRequest) -> Result<Answer, TransportError> {
        let answer = self.sent(ask).await?;
        if answer.status != 401 {
            return Ok(answer);
        }
        // The client of the token's source keeps tokens of its own, and would give us the same one.
        self.inner
            .tokens
            .renew()
            .map_err(|error| TransportError::NoToken(error.to_string()))?;
        self.sent(ask).await
    }

    async fn sent(&self, ask: &ArmRequest) -> Result<Answer, TransportError> {
        let (context, mut request) = (Context::default(), ask.request());
        let options = PipelineSendOptions {
            skip_checks: true,
            ..PipelineSendOptions::default()
        };
        let sent = self
            .inner
            .pipeline
            .send(&context, &mut request, Some(options));
        let limit = self.inner.settings.request_timeout;
        let response = match tokio::time::timeout(limit, sent).await {
            Ok(Ok(response)) => response,
            Ok(Err(error)) => {
                let why = |text: &str| self.inner.tokens.scrubbed(text);
                return Err(match error.kind() {
                    ErrorKind::Credential => {
                        TransportError::NoToken(why(&why_no_token(&error.to_string())))
                    }
                    ErrorKind::Connection => TransportError::NotSent(why(&cause(&error))),
                    ErrorKind::Io => TransportError::Broken(why(&cause(&error))),
                    _ => TransportError::Odd(why(&cause(&error))),
                });
            }
            Err(_elapsed) => {
                return Err(TransportError::Broken(format!(
                    "no answer within {} s",
                    limit.as_secs()
                )));
            }
        };
        let answer = Answer::read(&response, (self.inner.settings.who.wire.now)());
        let bucket = Bucket::of(ask.method.as_str());
        if let Some(left) = answer.remaining {
            self.inner.limiter.left(bucket, left);
        }
        if answer.status == 429 && !hint::is_busy(&ask.refusal(self, &answer)) {
            let asked = answer.retry_after.unwrap_or(Duration::from_secs(1));
            self.inner
                .limiter
                .close(bucket, asked.min(retry::LONGEST_ASKED));
        }
        Ok(answer)
    }

    pub(in crate::azure) fn no_token(&self, operation: &Operation, reason: String) -> ArmError {
        ArmError::Credential {
            operation: operation.clone(),
            who: self.inner.settings.who.source.kind().name(),
            reason,
        }
    }
}

fn unknown(ask: &ArmRequest, reason: String) -> ArmError {
    ArmError::Unknown {
        operation: ask.operation.clone(),
        reason,
    }
}

/// All tries of one request together, pauses included.
const PATIENCE: Duration = Duration::from_secs(1800);
/// So often what we have just created may be not found: some two minutes.
const MOST_UNSEEN: u32 = 16;
const LONGEST_UNSEEN: Duration = Duration::from_secs(10);
