//! Follows a long-running operation: takes the first answer, returns the result or the failure.
//!
//! It polls `Azure-AsyncOperation`, else `Location`, else the resource, on the cloud's host only.
//! Pauses are the service's, else 1 s to 10 s. Faults are retried until the deadline.

use std::time::Duration;

use azure_core::Bytes;
use azure_core::http::{Method, Url};
use serde_json::{Value, json};
use tokio::sync::Mutex;

use super::ArmClient;
use super::request::{ArmRequest, TransportError};
use crate::azure::answer::Answer;
use crate::azure::error::{ArmError, Operation, Refusal, hint};
use crate::azure::retry::{self, Bucket};
use crate::wait::{Poll, Wait, WaitError};

/// An operation that the service accepted. It continues if this is dropped.
#[must_use = "the service reports only later whether the operation succeeds"]
pub struct LongRunningOperation {
    arm: ArmClient,
    request: ArmRequest,
    /// The request that reads the resource.
    read_request: ArmRequest,
    first: Answer,
}

/// What is polled to see the end.
enum PollStrategy {
    Asynchronous(Url),
    Location(Url),
    /// The provisioning state of the resource.
    Resource,
    /// The resource, until it is gone.
    Gone,
}

/// The state between two polls.
struct Progress {
    strategy: PollStrategy,
    polls: u32,
    not_found: u32,
    without_token: u32,
}

impl LongRunningOperation {
    pub(super) fn new(
        arm: ArmClient,
        request: ArmRequest,
        read_request: ArmRequest,
        first: Answer,
    ) -> Self {
        Self {
            arm,
            request,
            read_request,
            first,
        }
    }

    /// Returns the requested operation.
    pub fn operation(&self) -> &Operation {
        &self.request.operation
    }

    /// Returns the body of the first answer.
    pub fn body(&self) -> &Value {
        &self.first.body
    }

    /// Works like [`Self::finish`], with a deadline in the time scale of this client.
    pub(crate) async fn finish_in(self, deadline: Duration) -> Result<Value, ArmError> {
        let deadline = self.arm.time_scale().scale(deadline);
        self.finish(deadline).await
    }

    /// Waits for the end, up to `deadline`.
    ///
    /// Returns the resource after a PUT or PATCH, the result of a POST, and `null` after a DELETE.
    pub async fn finish(self, deadline: Duration) -> Result<Value, ArmError> {
        let Some(strategy) = self.strategy()? else {
            return self.ended_at_once();
        };
        let progress = &Mutex::new(Progress {
            strategy,
            polls: 0,
            not_found: 0,
            without_token: 0,
        });
        let this = &self;
        let wait = Wait::new(&self.request.operation, deadline);
        let ended = wait.until(&self.arm.events, &self.arm.interrupt, || async move {
            this.poll(&mut *progress.lock().await).await
        });
        let body = ended.await.map_err(|error| match error {
            WaitError::Never(error) => error,
            WaitError::Interrupted(error) => error.into(),
            WaitError::Deadline { waited_s, last, .. } => ArmError::Deadline {
                operation: self.request.operation.clone(),
                waited_s,
                last,
            },
        })?;
        let by_resource = matches!(progress.lock().await.strategy, PollStrategy::Resource);
        match self.request.method {
            Method::Delete => Ok(Value::Null),
            Method::Post => self.outcome(body).await,
            _ if by_resource => Ok(body),
            _ => self.resource().await,
        }
    }

    /// Returns what to poll, or `None` if the operation has ended.
    fn strategy(&self) -> Result<Option<PollStrategy>, ArmError> {
        let (first, method) = (&self.first, self.request.method);
        let check = |header, link: &str| self.arm.check_link(&self.request.operation, header, link);
        if first.status == 204 {
            return Ok(None);
        }
        if let Some(link) = &first.asynchronous {
            return Ok(Some(PollStrategy::Asynchronous(check(ASYNCHRONOUS, link)?)));
        }
        let in_progress = first.provisioning().is_some_and(|state| !has_ended(state));
        let accepted = first.status == 202 || (first.status == 201 && method == Method::Post);
        if let Some(link) = &first.location
            && (accepted || in_progress)
        {
            return Ok(Some(PollStrategy::Location(check(LOCATION, link)?)));
        }
        Ok(match method {
            Method::Put | Method::Patch if accepted || in_progress => Some(PollStrategy::Resource),
            Method::Delete if accepted => Some(PollStrategy::Gone),
            _ => None,
        })
    }

    fn ended_at_once(self) -> Result<Value, ArmError> {
        match self.first.provisioning() {
            Some(state) if has_failed(state) => Err(self.failure(&self.first, state)),
            _ if self.request.method == Method::Delete => Ok(Value::Null),
            _ => Ok(self.first.body),
        }
    }

    async fn poll(&self, progress: &mut Progress) -> Poll<Value, ArmError> {
        progress.polls += 1;
        if progress.polls == 1 {
            let last_state = self.first.provisioning().unwrap_or("accepted");
            return self.poll_later(progress, last_state.to_owned(), self.first.retry_after);
        }
        if let Err(pause) = self.arm.inner.limiter.acquire(Bucket::Reads) {
            return Poll::Later(String::from("delayed by the request limit"), pause);
        }
        let url = match &progress.strategy {
            PollStrategy::Asynchronous(url) | PollStrategy::Location(url) => url.clone(),
            PollStrategy::Resource | PollStrategy::Gone => self.read_request.url.clone(),
        };
        match self.arm.send_once(&self.read_from(url)).await {
            Ok(answer) => {
                progress.without_token = 0;
                self.evaluate(progress, answer)
            }
            Err(TransportError::NotSent(reason) | TransportError::Broken(reason)) => {
                self.poll_later(progress, reason, None)
            }
            Err(TransportError::NoToken(reason)) => {
                progress.without_token += 1;
                if progress.without_token < MAX_WITHOUT_TOKEN {
                    self.poll_later(progress, format!("no token: {reason}"), None)
                } else {
                    Poll::Never(self.arm.no_token_error(&self.request.operation, reason))
                }
            }
            Err(TransportError::Invalid(what)) => Poll::Never(ArmError::Malformed {
                operation: self.request.operation.clone(),
                what,
            }),
        }
    }

    fn evaluate(&self, progress: &mut Progress, answer: Answer) -> Poll<Value, ArmError> {
        if answer.is_success() {
            progress.not_found = 0;
            return match progress.strategy {
                PollStrategy::Asynchronous(_) => self.evaluate_operation(progress, answer),
                PollStrategy::Location(_) => self.evaluate_location(progress, answer),
                PollStrategy::Resource => self.evaluate_resource(progress, answer),
                PollStrategy::Gone => {
                    let last_state = answer.provisioning().unwrap_or("still there").to_owned();
                    self.poll_later(progress, last_state, answer.retry_after)
                }
            };
        }
        let refusal = self.arm.refusal(&self.request.operation, &answer);
        let absent = hint::is_absent(&refusal);
        if absent && matches!(progress.strategy, PollStrategy::Gone) {
            return Poll::Ready(Value::Null);
        }
        let last_state = format!("{} {}", answer.status, refusal.leaf);
        if retry::is_retryable(answer.status) || hint::is_busy(&refusal) {
            return self.poll_later(progress, last_state, answer.retry_after);
        }
        if absent {
            progress.not_found += 1;
            let limit = match self.request.method {
                // Azure forgets the operation that deleted a group together with the group.
                Method::Delete => 2,
                _ => MAX_NOT_FOUND,
            };
            if progress.not_found < limit {
                return self.poll_later(progress, last_state, answer.retry_after);
            }
            // The operation is forgotten; the resource still shows how it ended.
            let next = match (&progress.strategy, self.request.method) {
                (PollStrategy::Resource, _) => None,
                (_, Method::Put | Method::Patch) => Some(PollStrategy::Resource),
                (_, Method::Delete) => Some(PollStrategy::Gone),
                _ => None,
            };
            if let Some(next) = next {
                (progress.strategy, progress.not_found) = (next, 0);
                return self.poll_later(progress, last_state, answer.retry_after);
            }
        }
        Poll::Never(ArmError::Refused(Box::new(refusal)))
    }

    fn evaluate_operation(&self, progress: &mut Progress, answer: Answer) -> Poll<Value, ArmError> {
        if let Some(link) = &answer.asynchronous {
            match self
                .arm
                .check_link(&self.request.operation, ASYNCHRONOUS, link)
            {
                Ok(url) => progress.strategy = PollStrategy::Asynchronous(url),
                Err(error) => return Poll::Never(error),
            }
        }
        let state = answer.body.get("status").and_then(Value::as_str);
        match state.or(answer.provisioning()) {
            None if answer.status == 204 => Poll::Ready(Value::Null),
            None => self.poll_later(progress, String::from("no status"), answer.retry_after),
            Some(state) if has_succeeded(state) => Poll::Ready(answer.body),
            Some(state) if has_failed(state) => Poll::Never(self.failure(&answer, state)),
            Some(state) => {
                let percent = answer.body.get("percentComplete").and_then(Value::as_f64);
                let percent =
                    percent.map_or_else(String::new, |percent| format!(" {percent:.0} %"));
                self.poll_later(progress, format!("{state}{percent}"), answer.retry_after)
            }
        }
    }

    fn evaluate_location(&self, progress: &mut Progress, answer: Answer) -> Poll<Value, ArmError> {
        if let Some(link) = &answer.location {
            match self.arm.check_link(&self.request.operation, LOCATION, link) {
                Ok(url) => progress.strategy = PollStrategy::Location(url),
                Err(error) => return Poll::Never(error),
            }
        }
        // Some providers answer at `Location` as if it were `Azure-AsyncOperation`.
        let state = answer.body.get("status").and_then(Value::as_str);
        match state {
            Some(state) if has_failed(state) => Poll::Never(self.failure(&answer, state)),
            _ if answer.status == 202 => {
                let last_state = state.unwrap_or("accepted").to_owned();
                self.poll_later(progress, last_state, answer.retry_after)
            }
            _ => Poll::Ready(answer.body),
        }
    }

    fn evaluate_resource(&self, progress: &mut Progress, answer: Answer) -> Poll<Value, ArmError> {
        match answer.provisioning() {
            Some(state) if has_failed(state) => Poll::Never(self.failure(&answer, state)),
            Some(state) if !has_succeeded(state) => {
                self.poll_later(progress, state.to_owned(), answer.retry_after)
            }
            _ => Poll::Ready(answer.body),
        }
    }

    /// Returns the result of a POST: at `Location`, if the first answer has both headers.
    async fn outcome(&self, body: Value) -> Result<Value, ArmError> {
        if self.first.asynchronous.is_none() {
            return Ok(body);
        }
        let Some(link) = &self.first.location else {
            return Ok(body
                .pointer("/properties/output")
                .cloned()
                .unwrap_or(Value::Null));
        };
        let request = self.read_from(self.arm.check_link(
            &self.request.operation,
            LOCATION,
            link,
        )?);
        let answer = self.arm.send(&request).await?.answer;
        match answer.status {
            404 => Ok(Value::Null),
            _ if answer.is_success() => Ok(answer.body),
            _ => Err(self.refusal_error(&answer)),
        }
    }

    /// Returns the resource after a PUT or PATCH.
    async fn resource(&self) -> Result<Value, ArmError> {
        let answer = self
            .arm
            .retrying_not_found()
            .send(&self.read_request)
            .await?
            .answer;
        if answer.is_success() {
            Ok(answer.body)
        } else {
            Err(self.refusal_error(&answer))
        }
    }

    fn read_from(&self, url: Url) -> ArmRequest {
        ArmRequest {
            operation: self.request.operation.clone(),
            method: Method::Get,
            url,
            body: Bytes::new(),
            only_new: false,
        }
    }

    fn refusal_error(&self, answer: &Answer) -> ArmError {
        let refusal = self.arm.refusal(&self.request.operation, answer);
        ArmError::Refused(Box::new(refusal))
    }

    /// Returns the error of an operation that ended as `state`.
    fn failure(&self, answer: &Answer, state: &str) -> ArmError {
        let error = answer.body.get("error").filter(|error| error.is_object());
        let error = error.cloned().unwrap_or_else(|| {
            let code = if was_canceled(state) { "Canceled" } else { state };
            json!({ "code": code, "message": format!("the operation ended as {state}, without details") })
        });
        let mut refusal: Refusal = self.arm.refusal(
            &self.request.operation,
            &Answer {
                status: answer.status,
                body: json!({ "error": error }),
                asynchronous: None,
                location: None,
                retry_after: None,
                correlation: answer.correlation.clone(),
                remaining: None,
            },
        );
        // Azure's support needs the id of the request that started the operation.
        refusal.correlation = self.first.correlation.clone().or(refusal.correlation);
        ArmError::Refused(Box::new(refusal))
    }

    /// Schedules the next poll: as late as the service asks, or else a little later each time.
    fn poll_later(
        &self,
        progress: &Progress,
        last_state: String,
        retry_after: Option<Duration>,
    ) -> Poll<Value, ArmError> {
        let default = Duration::from_secs(progress.polls.into()).min(MAX_PAUSE);
        let pause = retry_after
            .unwrap_or(default)
            .mul_f64(1.0 + retry::random() / 10.0);
        Poll::Later(last_state, self.arm.time_scale().scale(pause))
    }
}

fn has_succeeded(state: &str) -> bool {
    state.eq_ignore_ascii_case("Succeeded")
}

fn was_canceled(state: &str) -> bool {
    state.eq_ignore_ascii_case("Canceled") || state.eq_ignore_ascii_case("Cancelled")
}

fn has_failed(state: &str) -> bool {
    state.eq_ignore_ascii_case("Failed") || was_canceled(state)
}

fn has_ended(state: &str) -> bool {
    has_succeeded(state) || has_failed(state)
}

const ASYNCHRONOUS: &str = "Azure-AsyncOperation";
const LOCATION: &str = "Location";
/// The number of times that the address of a new operation may not be found.
const MAX_NOT_FOUND: u32 = 8;
/// The number of polls in a row without a token after which the operation counts as failed.
const MAX_WITHOUT_TOKEN: u32 = 4;
const MAX_PAUSE: Duration = Duration::from_secs(10);
