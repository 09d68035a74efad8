//! Sends one request, with retries or without.
//!
//! Takes a method, a URL and a body; returns an [`Answer`], which may be a refusal, or an error.
//! The module `long_running` follows operations.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::Relaxed};
use std::time::Duration;

use azure_core::Bytes;
use azure_core::error::ErrorKind;
use azure_core::http::{Context, Method, PipelineSendOptions, Request, Url};
use serde_json::Value;

use super::ArmClient;
use crate::azure::answer::Answer;
use crate::azure::error::{ArmError, Operation, Refusal, hint};
use crate::azure::retry::{self, Bucket};
use crate::azure::transport::{describe_token_error, root_cause};
use crate::wait::{Poll, TimeScale, Wait, WaitError};

/// One request of ARM.
pub(in crate::azure) struct ArmRequest {
    pub(in crate::azure) operation: Operation,
    pub(in crate::azure) method: Method,
    pub(in crate::azure) url: Url,
    pub(in crate::azure) body: Bytes,
    /// Whether the header `If-None-Match: *` is sent.
    pub(in crate::azure) only_new: bool,
}

/// The reason why there is no answer.
pub(in crate::azure) enum TransportError {
    /// The request did not reach the service.
    NotSent(String),
    /// The request may have reached the service.
    Broken(String),
    /// There is no token.
    NoToken(String),
    /// The request could not be built.
    Invalid(String),
}

/// The final answer after all retries.
pub(in crate::azure) struct Received {
    pub(in crate::azure) answer: Answer,
    /// Whether an earlier answer was lost, so that the service may have done the request before.
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

    pub(super) fn refusal_error(&self, arm: &ArmClient, answer: &Answer) -> ArmError {
        let mut refusal = self.refusal(arm, answer);
        if let Some(retry_after) = answer
            .retry_after
            .filter(|retry_after| *retry_after > retry::MAX_RETRY_AFTER)
        {
            let more = format!(
                "; the service allows a retry after {} s",
                retry_after.as_secs()
            );
            refusal.message.push_str(&more);
        }
        ArmError::Refused(Box::new(refusal))
    }

    fn to_http(&self) -> Request {
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

/// Counts of what happened to one request, for the limits of its retries.
#[derive(Default)]
struct RetryCounts {
    tries: AtomicU32,
    faults: AtomicU32,
    refusals: AtomicU32,
    not_found: AtomicU32,
    lost: AtomicBool,
}

impl ArmClient {
    /// Sends `request` and retries it as its answers and its method allow.
    pub(in crate::azure) async fn send(&self, request: &ArmRequest) -> Result<Received, ArmError> {
        let counts = &RetryCounts::default();
        let wait = Wait::new(&request.operation, self.time_scale().scale(MAX_DURATION));
        let ended = wait.until(&self.events, &self.interrupt, || {
            self.attempt(request, counts)
        });
        // Boxed, because the future of a pipeline is large and would be part of every caller's.
        match Box::pin(ended).await {
            Ok(answer) => Ok(Received {
                answer,
                lost: counts.lost.load(Relaxed),
            }),
            Err(WaitError::Never(error)) => Err(error),
            Err(WaitError::Interrupted(error)) => Err(error.into()),
            Err(WaitError::Deadline { waited_s, last, .. }) => Err(ArmError::Deadline {
                operation: request.operation.clone(),
                waited_s,
                last,
            }),
        }
    }

    async fn attempt(&self, request: &ArmRequest, counts: &RetryCounts) -> Poll<Answer, ArmError> {
        let bucket = Bucket::for_method(request.method.as_str());
        if let Err(pause) = self.inner.limiter.acquire(bucket) {
            return Poll::Later(String::from("delayed by the request limit"), pause);
        }
        counts.tries.fetch_add(1, Relaxed);
        match self.send_once(request).await {
            Ok(answer) => self.evaluate(request, counts, answer),
            Err(TransportError::NoToken(reason)) => {
                Poll::Never(self.no_token_error(&request.operation, reason))
            }
            Err(TransportError::Invalid(reason)) => Poll::Never(request.malformed(&reason)),
            Err(TransportError::Broken(reason)) if request.method == Method::Post => {
                Poll::Never(outcome_unknown(request, reason))
            }
            Err(fault) => {
                let reason = match fault {
                    TransportError::Broken(reason) => {
                        counts.lost.store(true, Relaxed);
                        reason
                    }
                    TransportError::NotSent(reason)
                    | TransportError::NoToken(reason)
                    | TransportError::Invalid(reason) => reason,
                };
                let faults = counts.faults.fetch_add(1, Relaxed) + 1;
                if faults < retry::MAX_FAULTS {
                    return self.retry_later(reason, retry::jittered_pause(faults));
                }
                Poll::Never(ArmError::Unreachable {
                    operation: request.operation.clone(),
                    tries: counts.tries.load(Relaxed),
                    reason,
                })
            }
        }
    }

    fn evaluate(
        &self,
        request: &ArmRequest,
        counts: &RetryCounts,
        answer: Answer,
    ) -> Poll<Answer, ArmError> {
        if answer.is_success() {
            return Poll::Ready(answer);
        }
        let refusal = request.refusal(self, &answer);
        let last_answer = format!("{} {}", answer.status, refusal.leaf);
        let retry_after = answer.retry_after;
        if retry_after.is_some_and(|retry_after| retry_after > retry::MAX_RETRY_AFTER) {
            return Poll::Ready(answer);
        }
        let retry_after = retry_after.unwrap_or(Duration::ZERO);
        // 429 may also mean that another operation has a lock; that is no throttling.
        if answer.status == 429 || hint::is_busy(&refusal) {
            let refusals = counts.refusals.fetch_add(1, Relaxed) + 1;
            if refusals >= retry::MAX_REFUSALS {
                return Poll::Ready(answer);
            }
            let pause = if hint::is_busy(&refusal) {
                retry::busy_pause(refusals)
            } else {
                retry::jittered_pause(refusals)
            };
            return self.retry_later(last_answer, retry_after.max(pause));
        }
        if retry::is_retryable(answer.status) {
            if request.method == Method::Post {
                let message = self.inner.tokens.scrub(&refusal.message);
                return Poll::Never(outcome_unknown(
                    request,
                    format!("{last_answer}: {message}"),
                ));
            }
            counts.lost.store(true, Relaxed);
            let faults = counts.faults.fetch_add(1, Relaxed) + 1;
            if faults >= retry::MAX_FAULTS {
                return Poll::Ready(answer);
            }
            return self.retry_later(last_answer, retry_after.max(retry::jittered_pause(faults)));
        }
        if self.retrying_not_found && hint::may_become_visible(&refusal) {
            let not_found = counts.not_found.fetch_add(1, Relaxed) + 1;
            if not_found < MAX_NOT_FOUND {
                return self.retry_later(
                    last_answer,
                    retry_after.max(Duration::from_secs(not_found.into()).min(MAX_NOT_FOUND_PAUSE)),
                );
            }
        }
        Poll::Ready(answer)
    }

    fn retry_later(&self, last_answer: String, pause: Duration) -> Poll<Answer, ArmError> {
        Poll::Later(last_answer, self.time_scale().scale(pause))
    }

    /// Returns the scale of all pauses and deadlines.
    pub(in crate::azure) fn time_scale(&self) -> TimeScale {
        self.inner.options.auth.transport.time_scale
    }

    /// Sends `request` once; after a 401 once more with a new token.
    pub(in crate::azure) async fn send_once(
        &self,
        request: &ArmRequest,
    ) -> Result<Answer, TransportError> {
        let answer = self.transmit(request).await?;
        if answer.status != 401 {
            return Ok(answer);
        }
        // The credential's own client caches tokens and would return the same one.
        self.inner
            .tokens
            .renew()
            .map_err(|error| TransportError::NoToken(error.to_string()))?;
        self.transmit(request).await
    }

    async fn transmit(&self, request: &ArmRequest) -> Result<Answer, TransportError> {
        let (context, mut http_request) = (Context::default(), request.to_http());
        let options = PipelineSendOptions {
            skip_checks: true,
            ..PipelineSendOptions::default()
        };
        let sent = self
            .inner
            .pipeline
            .send(&context, &mut http_request, Some(options));
        let limit = self.inner.options.request_timeout;
        let response = match tokio::time::timeout(limit, sent).await {
            Ok(Ok(response)) => response,
            Ok(Err(error)) => {
                let scrub = |text: &str| self.inner.tokens.scrub(text);
                return Err(match error.kind() {
                    ErrorKind::Credential => {
                        TransportError::NoToken(scrub(&describe_token_error(&error.to_string())))
                    }
                    ErrorKind::Connection => TransportError::NotSent(scrub(&root_cause(&error))),
                    ErrorKind::Io => TransportError::Broken(scrub(&root_cause(&error))),
                    _ => TransportError::Invalid(scrub(&root_cause(&error))),
                });
            }
            Err(_elapsed) => {
                return Err(TransportError::Broken(format!(
                    "no answer within {} s",
                    limit.as_secs()
                )));
            }
        };
        let answer = Answer::read(&response, (self.inner.options.auth.transport.now)());
        let bucket = Bucket::for_method(request.method.as_str());
        if let Some(remaining) = answer.remaining {
            self.inner.limiter.limit_to(bucket, remaining);
        }
        if answer.status == 429 && !hint::is_busy(&request.refusal(self, &answer)) {
            let retry_after = answer.retry_after.unwrap_or(Duration::from_secs(1));
            self.inner
                .limiter
                .close_for(bucket, retry_after.min(retry::MAX_RETRY_AFTER));
        }
        Ok(answer)
    }

    pub(in crate::azure) fn no_token_error(
        &self,
        operation: &Operation,
        reason: String,
    ) -> ArmError {
        ArmError::Credential {
            operation: operation.clone(),
            source_name: self.inner.options.auth.source.kind().name(),
            reason,
        }
    }
}

fn outcome_unknown(request: &ArmRequest, reason: String) -> ArmError {
    ArmError::Unknown {
        operation: request.operation.clone(),
        reason,
    }
}

/// The limit of one request with all retries and pauses.
const MAX_DURATION: Duration = Duration::from_secs(1800);
/// The number of "not found" for a resource that was just created: about two minutes.
const MAX_NOT_FOUND: u32 = 16;
const MAX_NOT_FOUND_PAUSE: Duration = Duration::from_secs(10);

impl ArmClient {
    /// Reads a refusal from `answer` and removes all secrets from it.
    pub(in crate::azure) fn refusal(&self, operation: &Operation, answer: &Answer) -> Refusal {
        let mut refusal = Refusal::read(
            operation.clone(),
            answer.status,
            &answer.body,
            answer.correlation.clone(),
        );
        refusal.message = self.inner.tokens.scrub(&refusal.message);
        refusal
    }
}

/// Returns whether an existing resource carries every tag of the body that was sent.
pub(super) fn has_tags_of(sent: &Value, existing: &Value) -> bool {
    let Some(tags) = sent.get("tags").and_then(Value::as_object) else {
        return false;
    };
    let same = |(name, value): (&String, &Value)| {
        existing.pointer("/tags").and_then(|all| all.get(name)) == Some(value)
    };
    !tags.is_empty() && tags.iter().all(same)
}
