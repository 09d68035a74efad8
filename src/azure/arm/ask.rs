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

use super::Arm;
use crate::azure::answer::Answer;
use crate::azure::error::{ArmError, Operation, Refusal};
use crate::azure::hint;
use crate::azure::retry::{self, Bucket};
use crate::azure::wire::{cause, why_no_token};
use crate::wait::{Pace, Seen, Wait, WaitError};

/// A request.
pub(in crate::azure) struct Ask {
    pub(in crate::azure) operation: Operation,
    pub(in crate::azure) method: Method,
    pub(in crate::azure) url: Url,
    pub(in crate::azure) body: Bytes,
    /// With `If-None-Match: *`.
    pub(in crate::azure) only_new: bool,
}

/// What there was instead of an answer.
pub(in crate::azure) enum Fault {
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
pub(in crate::azure) struct Got {
    pub(in crate::azure) answer: Answer,
    /// Whether an earlier one was lost, so that the request may already have been done.
    pub(in crate::azure) lost: bool,
}

impl Ask {
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

    pub(super) fn refusal(&self, arm: &Arm, answer: &Answer) -> Refusal {
        arm.refusal(&self.operation, answer)
    }

    pub(super) fn refused(&self, arm: &Arm, answer: &Answer) -> ArmError {
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

impl Arm {
    /// Sends `ask` until there is an answer that counts.
    pub(in crate::azure) async fn answered(&self, ask: &Ask) -> Result<Got, ArmError> {
        let tally = &Tally::default();
        let wait = Wait::new(&ask.operation, self.pace().of(PATIENCE));
        let ended = wait.until(&self.events, &self.interrupt, || self.attempt(ask, tally));
        // A sending pipeline is a large thing to be part of everything that asks.
        match Box::pin(ended).await {
            Ok(answer) => Ok(Got {
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

    async fn attempt(&self, ask: &Ask, tally: &Tally) -> Seen<Answer, ArmError> {
        let bucket = Bucket::of(ask.method.as_str());
        if let Err(pause) = self.inner.limiter.take(bucket) {
            return Seen::Later(String::from("held back by the limit of requests"), pause);
        }
        tally.tries.fetch_add(1, Relaxed);
        match self.once(ask).await {
            Ok(answer) => self.judge(ask, tally, answer),
            Err(Fault::NoToken(reason)) => Seen::Never(self.no_token(&ask.operation, reason)),
            Err(Fault::Odd(reason)) => Seen::Never(ask.malformed(&reason)),
            Err(Fault::Broken(reason)) if ask.method == Method::Post => {
                Seen::Never(unknown(ask, reason))
            }
            Err(fault) => {
                let reason = match fault {
                    Fault::Broken(reason) => {
                        tally.lost.store(true, Relaxed);
                        reason
                    }
                    Fault::NotSent(reason) | Fault::NoToken(reason) | Fault::Odd(reason) => reason,
                };
                let faults = tally.faults.fetch_add(1, Relaxed) + 1;
                if faults < retry::TRIES {
                    return self.later(reason, retry::jittered(faults));
                }
                Seen::Never(ArmError::Unreachable {
                    operation: ask.operation.clone(),
                    tries: tally.tries.load(Relaxed),
                    reason,
                })
            }
        }
    }

    fn judge(&self, ask: &Ask, tally: &Tally, answer: Answer) -> Seen<Answer, ArmError> {
        if answer.is_success() {
            return Seen::Ready(answer);
        }
        let refusal = ask.refusal(self, &answer);
        let seen = format!("{} {}", answer.status, refusal.leaf);
        let asked = answer.retry_after;
        if asked.is_some_and(|asked| asked > retry::LONGEST_ASKED) {
            return Seen::Ready(answer);
        }
        let asked = asked.unwrap_or(Duration::ZERO);
        // Another operation that holds a lock is told by 429 as well; it has nothing to do with how much is asked.
        if answer.status == 429 || hint::is_busy(&refusal) {
            let turns = tally.turns.fetch_add(1, Relaxed) + 1;
            return match turns < retry::TURNS {
                true if hint::is_busy(&refusal) => self.later(seen, asked.max(retry::busy(turns))),
                true => self.later(seen, asked.max(retry::jittered(turns))),
                false => Seen::Ready(answer),
            };
        }
        if retry::may_pass(answer.status) {
            if ask.method == Method::Post {
                let words = self.inner.tokens.scrubbed(&refusal.message);
                return Seen::Never(unknown(ask, format!("{seen}: {words}")));
            }
            tally.lost.store(true, Relaxed);
            let faults = tally.faults.fetch_add(1, Relaxed) + 1;
            return match faults < retry::TRIES {
                true => self.later(seen, asked.max(retry::jittered(faults))),
                false => Seen::Ready(answer),
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
        Seen::Ready(answer)
    }

    fn later(&self, seen: String, pause: Duration) -> Seen<Answer, ArmError> {
        Seen::Later(seen, self.pace().of(pause))
    }

    /// How fast time passes here.
    pub(in crate::azure) fn pace(&self) -> Pace {
        self.inner.settings.who.wire.pace
    }

    /// Sends `ask` once; after a 401 once more, with a new token.
    pub(in crate::azure) async fn once(&self, ask: &Ask) -> Result<Answer, Fault> {
        let answer = self.sent(ask).await?;
        if answer.status != 401 {
            return Ok(answer);
        }
        // The client of the token's source keeps tokens of its own, and would give us the same one.
        self.inner
            .tokens
            .renew()
            .map_err(|error| Fault::NoToken(error.to_string()))?;
        self.sent(ask).await
    }

    async fn sent(&self, ask: &Ask) -> Result<Answer, Fault> {
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
                    ErrorKind::Credential => Fault::NoToken(why(&why_no_token(&error.to_string()))),
                    ErrorKind::Connection => Fault::NotSent(why(&cause(&error))),
                    ErrorKind::Io => Fault::Broken(why(&cause(&error))),
                    _ => Fault::Odd(why(&cause(&error))),
                });
            }
            Err(_elapsed) => {
                return Err(Fault::Broken(format!(
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

fn unknown(ask: &Ask, reason: String) -> ArmError {
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
