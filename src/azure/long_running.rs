//! What the service goes on with after it answered.
//!
//! In: the first answer. Out: what came of it, or why nothing did. It is followed by `Azure-AsyncOperation`, else by `Location`, else
//! by the resource itself; never looked at earlier than the service asks, and otherwise after 1 s, 2 s, 3 s up to 10 s. Faults
//! on the way do not end it, the deadline does. Deliberately follows nothing to another host.

use std::time::Duration;

use azure_core::Bytes;
use azure_core::http::{Method, Url};
use serde_json::{Value, json};
use tokio::sync::Mutex;

use super::answer::Answer;
use super::arm::{ArmClient, ArmRequest, TransportError};
use super::error::{ArmError, Operation, Refusal};
use super::hint;
use super::retry::{self, Bucket};
use crate::wait::{Poll, Wait, WaitError};

/// An operation that the service took on. It goes on whether or not it is waited for.
#[must_use = "the service has taken it on, and says only later whether it succeeds"]
pub struct LongRunningOperation {
    arm: ArmClient,
    ask: ArmRequest,
    /// Reads the resource that it is about.
    look: ArmRequest,
    first: Answer,
}

/// By what the end is seen.
enum PollStrategy {
    Asynchronous(Url),
    Location(Url),
    /// The resource's own state.
    Resource,
    /// That the resource is gone.
    Gone,
}

/// What is kept between two looks.
struct PollState {
    track: PollStrategy,
    looks: u32,
    unseen: u32,
    tokenless: u32,
}

impl LongRunningOperation {
    pub(super) fn new(arm: ArmClient, ask: ArmRequest, look: ArmRequest, first: Answer) -> Self {
        Self {
            arm,
            ask,
            look,
            first,
        }
    }

    /// What was asked for.
    pub fn operation(&self) -> &Operation {
        &self.ask.operation
    }

    /// What the service said at once.
    pub fn body(&self) -> &Value {
        &self.first.body
    }

    /// The same, where the deadline is one of Azure's own time: it passes as fast as pauses do at this door.
    pub async fn finish_in(self, deadline: Duration) -> Result<Value, ArmError> {
        let deadline = self.arm.pace().of(deadline);
        self.finish(deadline).await
    }

    /// Waits for the end, at most `deadline`. Out: the resource after a PUT or PATCH, the result of a POST, nothing (`null`)
    /// after a DELETE.
    pub async fn finish(self, deadline: Duration) -> Result<Value, ArmError> {
        let Some(track) = self.track()? else {
            return self.ended_at_once();
        };
        let watch = &Mutex::new(PollState {
            track,
            looks: 0,
            unseen: 0,
            tokenless: 0,
        });
        let this = &self;
        let wait = Wait::new(&self.ask.operation, deadline);
        let ended = wait.until(&self.arm.events, &self.arm.interrupt, || async move {
            this.poll(&mut *watch.lock().await).await
        });
        let body = ended.await.map_err(|error| match error {
            WaitError::Never(error) => error,
            WaitError::Interrupted(error) => error.into(),
            WaitError::Deadline { waited_s, last, .. } => ArmError::Deadline {
                operation: self.ask.operation.clone(),
                waited_s,
                last,
            },
        })?;
        let by_resource = matches!(watch.lock().await.track, PollStrategy::Resource);
        match self.ask.method {
            Method::Delete => Ok(Value::Null),
            Method::Post => self.outcome(body).await,
            _ if by_resource => Ok(body),
            _ => self.resource().await,
        }
    }

    /// By what the end will be seen; `None` where it is there already.
    fn track(&self) -> Result<Option<PollStrategy>, ArmError> {
        let (first, method) = (&self.first, self.ask.method);
        let own = |header, link: &str| self.arm.own(&self.ask.operation, header, link);
        if first.status == 204 {
            return Ok(None);
        }
        if let Some(link) = &first.asynchronous {
            return Ok(Some(PollStrategy::Asynchronous(own(ASYNCHRONOUS, link)?)));
        }
        let goes_on = first.provisioning().is_some_and(|state| !is_end(state));
        let accepted = first.status == 202 || (first.status == 201 && method == Method::Post);
        if let Some(link) = &first.location
            && (accepted || goes_on)
        {
            return Ok(Some(PollStrategy::Location(own(LOCATION, link)?)));
        }
        Ok(match method {
            Method::Put | Method::Patch if accepted || goes_on => Some(PollStrategy::Resource),
            Method::Delete if accepted => Some(PollStrategy::Gone),
            _ => None,
        })
    }

    fn ended_at_once(self) -> Result<Value, ArmError> {
        match self.first.provisioning() {
            Some(state) if is_bad(state) => Err(self.failed(&self.first, state)),
            _ if self.ask.method == Method::Delete => Ok(Value::Null),
            _ => Ok(self.first.body),
        }
    }

    async fn poll(&self, watch: &mut PollState) -> Poll<Value, ArmError> {
        watch.looks += 1;
        if watch.looks == 1 {
            let seen = self.first.provisioning().unwrap_or("accepted");
            return self.later(watch, seen.to_owned(), self.first.retry_after);
        }
        if let Err(pause) = self.arm.inner.limiter.take(Bucket::Reads) {
            return Poll::Later(String::from("held back by the limit of requests"), pause);
        }
        let url = match &watch.track {
            PollStrategy::Asynchronous(url) | PollStrategy::Location(url) => url.clone(),
            PollStrategy::Resource | PollStrategy::Gone => self.look.url.clone(),
        };
        match self.arm.once(&self.reading(url)).await {
            Ok(answer) => {
                watch.tokenless = 0;
                self.evaluate(watch, answer)
            }
            Err(TransportError::NotSent(reason) | TransportError::Broken(reason)) => {
                self.later(watch, reason, None)
            }
            Err(TransportError::NoToken(reason)) => {
                watch.tokenless += 1;
                match watch.tokenless < MOST_TOKENLESS {
                    true => self.later(watch, format!("no token: {reason}"), None),
                    false => Poll::Never(self.arm.no_token(&self.ask.operation, reason)),
                }
            }
            Err(TransportError::Odd(what)) => Poll::Never(ArmError::Malformed {
                operation: self.ask.operation.clone(),
                what,
            }),
        }
    }

    fn evaluate(&self, watch: &mut PollState, answer: Answer) -> Poll<Value, ArmError> {
        if answer.is_success() {
            watch.unseen = 0;
            return match watch.track {
                PollStrategy::Asynchronous(_) => self.asynchronous(watch, answer),
                PollStrategy::Location(_) => self.location(watch, answer),
                PollStrategy::Resource => self.by_resource(watch, answer),
                PollStrategy::Gone => {
                    let seen = answer.provisioning().unwrap_or("still there").to_owned();
                    self.later(watch, seen, answer.retry_after)
                }
            };
        }
        let refusal = self.arm.refusal(&self.ask.operation, &answer);
        let absent = hint::is_absent(&refusal);
        if absent && matches!(watch.track, PollStrategy::Gone) {
            return Poll::Ready(Value::Null);
        }
        let seen = format!("{} {}", answer.status, refusal.leaf);
        if retry::may_pass(answer.status) || hint::is_busy(&refusal) {
            return self.later(watch, seen, answer.retry_after);
        }
        if absent {
            watch.unseen += 1;
            let most = match self.ask.method {
                // Operations that removed a group are forgotten with it; the group itself tells as well.
                Method::Delete => 2,
                _ => MOST_UNSEEN,
            };
            if watch.unseen < most {
                return self.later(watch, seen, answer.retry_after);
            }
            // Its own address is gone for good; what it was about still tells how it ended.
            let other = match (&watch.track, self.ask.method) {
                (PollStrategy::Resource, _) => None,
                (_, Method::Put | Method::Patch) => Some(PollStrategy::Resource),
                (_, Method::Delete) => Some(PollStrategy::Gone),
                _ => None,
            };
            if let Some(other) = other {
                (watch.track, watch.unseen) = (other, 0);
                return self.later(watch, seen, answer.retry_after);
            }
        }
        Poll::Never(ArmError::Refused(Box::new(refusal)))
    }

    fn asynchronous(&self, watch: &mut PollState, answer: Answer) -> Poll<Value, ArmError> {
        if let Some(link) = &answer.asynchronous {
            match self.arm.own(&self.ask.operation, ASYNCHRONOUS, link) {
                Ok(url) => watch.track = PollStrategy::Asynchronous(url),
                Err(error) => return Poll::Never(error),
            }
        }
        let state = answer.body.get("status").and_then(Value::as_str);
        match state.or(answer.provisioning()) {
            None if answer.status == 204 => Poll::Ready(Value::Null),
            None => self.later(watch, String::from("no status"), answer.retry_after),
            Some(state) if is_good(state) => Poll::Ready(answer.body),
            Some(state) if is_bad(state) => Poll::Never(self.failed(&answer, state)),
            Some(state) => {
                let done = answer.body.get("percentComplete").and_then(Value::as_f64);
                let done = done.map_or_else(String::new, |done| format!(" {done:.0} %"));
                self.later(watch, format!("{state}{done}"), answer.retry_after)
            }
        }
    }

    fn location(&self, watch: &mut PollState, answer: Answer) -> Poll<Value, ArmError> {
        if let Some(link) = &answer.location {
            match self.arm.own(&self.ask.operation, LOCATION, link) {
                Ok(url) => watch.track = PollStrategy::Location(url),
                Err(error) => return Poll::Never(error),
            }
        }
        // Some providers say at this address what belongs to the other one.
        let state = answer.body.get("status").and_then(Value::as_str);
        match state {
            Some(state) if is_bad(state) => Poll::Never(self.failed(&answer, state)),
            _ if answer.status == 202 => {
                let seen = state.unwrap_or("accepted").to_owned();
                self.later(watch, seen, answer.retry_after)
            }
            _ => Poll::Ready(answer.body),
        }
    }

    fn by_resource(&self, watch: &mut PollState, answer: Answer) -> Poll<Value, ArmError> {
        match answer.provisioning() {
            Some(state) if is_bad(state) => Poll::Never(self.failed(&answer, state)),
            Some(state) if !is_good(state) => {
                self.later(watch, state.to_owned(), answer.retry_after)
            }
            _ => Poll::Ready(answer.body),
        }
    }

    /// What a POST made: at its `Location`, where it has one beside the operation's own address.
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
        let ask = self.reading(self.arm.own(&self.ask.operation, LOCATION, link)?);
        let answer = self.arm.answered(&ask).await?.answer;
        match answer.status {
            404 => Ok(Value::Null),
            _ if answer.is_success() => Ok(answer.body),
            _ => Err(self.refused(&answer)),
        }
    }

    /// What a PUT or PATCH made.
    async fn resource(&self) -> Result<Value, ArmError> {
        let answer = self.arm.expecting().answered(&self.look).await?.answer;
        match answer.is_success() {
            true => Ok(answer.body),
            false => Err(self.refused(&answer)),
        }
    }

    fn reading(&self, url: Url) -> ArmRequest {
        ArmRequest {
            operation: self.ask.operation.clone(),
            method: Method::Get,
            url,
            body: Bytes::new(),
            only_new: false,
        }
    }

    fn refused(&self, answer: &Answer) -> ArmError {
        let refusal = self.arm.refusal(&self.ask.operation, answer);
        ArmError::Refused(Box::new(refusal))
    }

    /// The error of an operation that ended as `state`.
    fn failed(&self, answer: &Answer, state: &str) -> ArmError {
        let told = answer.body.get("error").filter(|error| error.is_object());
        let told = told.cloned().unwrap_or_else(|| {
            let code = if is_canceled(state) { "Canceled" } else { state };
            json!({ "code": code, "message": format!("the operation ended as {state}, and says no more") })
        });
        let mut refusal: Refusal = self.arm.refusal(
            &self.ask.operation,
            &Answer {
                status: answer.status,
                body: json!({ "error": told }),
                asynchronous: None,
                location: None,
                retry_after: None,
                correlation: answer.correlation.clone(),
                remaining: None,
            },
        );
        // Support looks for the request that began it.
        refusal.correlation = self.first.correlation.clone().or(refusal.correlation);
        ArmError::Refused(Box::new(refusal))
    }

    /// Not yet: look again as late as the service asks, or else a little later each time.
    fn later(
        &self,
        watch: &PollState,
        seen: String,
        asked: Option<Duration>,
    ) -> Poll<Value, ArmError> {
        let own = Duration::from_secs(watch.looks.into()).min(LONGEST_PAUSE);
        let pause = asked.unwrap_or(own).mul_f64(1.0 + retry::random() / 10.0);
        Poll::Later(seen, self.arm.pace().of(pause))
    }
}

fn is_good(state: &str) -> bool {
    state.eq_ignore_ascii_case("Succeeded")
}

fn is_canceled(state: &str) -> bool {
    state.eq_ignore_ascii_case("Canceled") || state.eq_ignore_ascii_case("Cancelled")
}

fn is_bad(state: &str) -> bool {
    state.eq_ignore_ascii_case("Failed") || is_canceled(state)
}

fn is_end(state: &str) -> bool {
    is_good(state) || is_bad(state)
}

const ASYNCHRONOUS: &str = "Azure-AsyncOperation";
const LOCATION: &str = "Location";
/// So often the address of a new operation may not be found.
const MOST_UNSEEN: u32 = 8;
/// So often in a row there may be no token while an operation goes on.
const MOST_TOKENLESS: u32 = 4;
const LONGEST_PAUSE: Duration = Duration::from_secs(10);
