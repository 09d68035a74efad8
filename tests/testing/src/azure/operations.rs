//! Long-running operations: they start with a request, are polled in one of Azure's styles, and take
//! effect after their latency and the work of a VM.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::answer::{Answer, Refusal, Reply};
use super::call::Call;
use super::faults::FaultKind;
use super::kinds::{GROUP, Style};
use super::world::{CloudState, now};
use super::{latency, rules};

/// The result of a VM's work, filled when it is done.
pub type Work = Arc<Mutex<Option<Result<Value, String>>>>;

/// The effect of an operation at its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// The resource is provisioned.
    Put,
    Delete,
    /// An action of this name.
    Action(String),
}

/// The status of an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    InProgress,
    Succeeded,
    Failed,
    /// Another operation replaced it.
    Canceled,
}

#[derive(Clone)]
pub struct Operation {
    pub id: String,
    /// The request that started it, as the log names it.
    pub name: String,
    /// The id of the resource in lower case.
    pub resource: String,
    pub effect: Effect,
    /// The body of the request that started it.
    pub body: Value,
    /// The time of its end; `None` if it never ends.
    pub due: Option<Instant>,
    pub fail: Option<Refusal>,
    pub status: Status,
    pub style: Style,
    pub work: Option<Work>,
    /// The modelled latency after scaling.
    pub latency: Duration,
    pub began: Instant,
    began_text: String,
    /// The time before which clients should not poll.
    patience: Instant,
    version: String,
    location: String,
}

impl CloudState {
    /// Starts an operation and returns its first answer. Cancels a running one on the resource.
    pub fn begin(
        &mut self,
        call: &Call,
        effect: Effect,
        reply: Reply,
        work: Option<Work>,
    ) -> Reply {
        for other in self.operations.values_mut() {
            if other.resource == call.id && other.status == Status::InProgress {
                other.status = Status::Canceled;
            }
        }
        let id = self.uuid();
        let latency = self.latency_s(&call.name) * self.config.scale;
        let latency = Duration::from_secs_f64(latency.max(0.0));
        let stuck = call.fault == Some(FaultKind::Stuck);
        let fail = match &call.fault {
            Some(FaultKind::Fails(code)) => {
                let text = format!("{} failed by an injected fault.", call.name);
                Some(Refusal::new(409, code, text))
            }
            _ => None,
        };
        let location = self
            .find(&call.id)
            .map(|resource| resource.location().to_owned());
        let location = location
            .filter(|location| !location.is_empty())
            .unwrap_or_else(|| self.config.locations[0].clone());
        let retry_after = self.retry_after_s(latency);
        let operation = Operation {
            id: id.clone(),
            name: call.name.clone(),
            resource: call.id.clone(),
            body: call.body.clone(),
            due: (!stuck).then_some(call.now + latency),
            fail,
            status: Status::InProgress,
            style: self.style(call, &effect),
            effect,
            work,
            latency,
            began: call.now,
            began_text: now(),
            patience: call.now + Duration::from_secs(retry_after),
            version: call.version.clone(),
            location,
        };
        let reply = self.announced(&operation, reply, retry_after);
        self.operations.insert(id, operation);
        reply
    }

    /// Returns the latency of an operation in seconds, before scaling.
    pub fn latency_s(&self, name: &str) -> f64 {
        let own = self.config.latencies.get(name);
        own.copied().unwrap_or_else(|| latency::of(name))
    }

    fn retry_after_s(&self, latency: Duration) -> u64 {
        let fitting = latency.as_secs().min(10);
        self.config.retry_after_s.unwrap_or(fitting)
    }

    fn style(&self, call: &Call, effect: &Effect) -> Style {
        let kind = call.kind.unwrap_or(&GROUP);
        let own = match effect {
            Effect::Put => kind.put,
            Effect::Delete | Effect::Action(_) => kind.delete,
        };
        let named = self.config.styles.get(&call.name);
        let style = named.copied().or(self.config.style).unwrap_or(own);
        // An action has no resource with a state to poll.
        match (style, effect) {
            (Style::StateOnly, Effect::Action(_)) => Style::Location,
            (style, _) => style,
        }
    }

    fn announced(&self, operation: &Operation, mut reply: Reply, retry_after: u64) -> Reply {
        let Operation { id, version, .. } = operation;
        let (asynchronous, result) = self.addresses(operation);
        if matches!(operation.style, Style::AsyncOperation | Style::Both) {
            let address = format!("{asynchronous}/{id}?api-version={version}");
            reply = reply.header("Azure-AsyncOperation", address);
        }
        if matches!(operation.style, Style::Location | Style::Both) {
            let address = format!("{result}/{id}?api-version={version}");
            reply = reply.header("Location", address);
        }
        if operation.style != Style::StateOnly {
            reply = reply.header("Retry-After", retry_after.to_string());
        }
        reply
    }

    fn addresses(&self, operation: &Operation) -> (String, String) {
        let subscription = format!("{}/subscriptions/{}", self.url, self.config.subscription);
        let provider = self.find(&operation.resource).map_or_else(
            || operation.name.split([' ', '/']).nth(1).unwrap_or_default(),
            |resource| resource.kind.namespace(),
        );
        let base = format!(
            "{subscription}/providers/{provider}/locations/{}",
            operation.location
        );
        let result = if provider == "Microsoft.Resources" {
            format!("{subscription}/operationresults")
        } else {
            format!("{base}/operationResults")
        };
        (format!("{base}/operations"), result)
    }

    /// Completes all operations whose end has come.
    pub fn advance(&mut self, now: Instant) {
        let mut due: Vec<(Instant, String)> = self
            .operations
            .values()
            .filter(|operation| operation.status == Status::InProgress)
            .filter_map(|operation| Some((operation.due?, operation.id.clone())))
            .filter(|(due, _)| *due <= now)
            .collect();
        due.sort();
        for (_, id) in due {
            let Some(operation) = self.operations.get(&id).cloned() else {
                continue;
            };
            let worked = match &operation.work {
                None => Ok(Value::Null),
                Some(work) => match work.lock().expect("a machine's result").clone() {
                    None => continue,
                    Some(result) => result,
                },
            };
            let failed = operation.fail.clone().or_else(|| {
                let error = worked.as_ref().err()?;
                Some(Refusal::new(409, "OSProvisioningInternalError", error))
            });
            rules::finish(
                self,
                &operation,
                failed.is_none(),
                &worked.unwrap_or_default(),
            );
            if let Some(operation) = self.operations.get_mut(&id) {
                operation.status = match failed {
                    None => Status::Succeeded,
                    Some(_) => Status::Failed,
                };
                operation.fail = failed;
            }
        }
    }

    /// Answers a poll of an operation.
    pub fn follow(&mut self, call: &Call, id: &str, result: bool) -> Answer {
        let Some(operation) = self.operations.get(id).cloned() else {
            let text = format!("The operation '{id}' was not found.");
            return Err(Refusal::new(404, "OperationNotFound", text));
        };
        let retry_after = self.retry_after_s(operation.latency);
        // Both sides use one clock, but a timer may fire slightly early.
        let early = operation.patience.saturating_duration_since(call.now);
        if early > Duration::from_millis(20) {
            let text = format!(
                "{} was followed {early:?} before Retry-After",
                operation.name
            );
            self.violation(text);
        }
        let running = operation.status == Status::InProgress;
        if running && let Some(operation) = self.operations.get_mut(id) {
            operation.patience = call.now + Duration::from_secs(retry_after);
        }
        if result {
            return self.located(call, &operation, retry_after);
        }
        let mut body = json!({
            "name": id,
            "status": format!("{:?}", operation.status),
            "startTime": operation.began_text,
        });
        if !running {
            body["endTime"] = json!(now());
        }
        if let (Some(fail), false) = (&operation.fail, running) {
            body["error"] = fail.error();
        }
        let reply = Reply::of(200, body);
        Ok(if running {
            reply.header("Retry-After", retry_after.to_string())
        } else {
            reply
        })
    }

    /// Answers a poll of `Location`: 202 while it runs, then the result of the request.
    fn located(&self, call: &Call, operation: &Operation, retry_after: u64) -> Answer {
        match operation.status {
            Status::InProgress => Ok(self.announced(operation, Reply::empty(202), retry_after)),
            Status::Canceled => Err(Refusal::new(
                409,
                "OperationPreempted",
                "The operation was preempted by a more recent operation.",
            )),
            Status::Failed => Err(operation
                .fail
                .clone()
                .unwrap_or_else(|| Refusal::new(409, "OperationFailed", "It failed."))),
            Status::Succeeded => Ok(match (&operation.effect, self.find(&operation.resource)) {
                (Effect::Put, Some(resource)) => {
                    Reply::of(200, rules::view(self, resource, &call.version, ""))
                }
                (Effect::Delete, _) if !operation.name.ends_with("/resourceGroups") => {
                    Reply::empty(204)
                }
                _ => Reply::empty(200),
            }),
        }
    }
}
