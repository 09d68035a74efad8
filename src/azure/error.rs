//! What failed, on what, why, and what to do: the errors of the management interface.
//!
//! In: an answer's body, or what happened to a connection. Out: an [`ArmError`] in one line. Deliberately carries no URL:
//! a query may hold a signature.

use std::fmt;

use serde_json::Value;

use super::hint;
use super::id::kind_and_name;
use crate::wait::Interrupted;

/// What was asked for: a verb, a type of resource and its name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Operation {
    /// `GET`, `PUT`, `PATCH`, `DELETE`, `POST`, or `POST deallocate`.
    pub verb: Box<str>,
    /// `Microsoft.Compute/virtualMachines`.
    pub kind: Box<str>,
    /// The name; of a child with that of its parent.
    pub name: Box<str>,
}

impl Operation {
    pub(super) fn new(verb: &str, path: &str) -> Self {
        let (kind, name) = kind_and_name(path);
        Self {
            verb: verb.into(),
            kind: kind.into(),
            name: name.into(),
        }
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.verb, self.kind)?;
        match &*self.name {
            "" => Ok(()),
            name => write!(f, " {name}"),
        }
    }
}

/// What kind of thing went wrong: who decides what to do asks for this.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// Asking again changes nothing: a person has to.
    Fatal,
    /// There is none of it left there now: another size, zone or region may do.
    Capacity,
    /// The subscription may not have more.
    Quota,
    /// It may pass, and went on for longer than we were ready to wait.
    Transient,
    /// It is not there.
    Absent,
    /// Something else is there, or in the way.
    Conflict,
    /// It may have happened or not: look before asking again.
    Unknown,
    /// We were asked to stop.
    Interrupted,
}

/// What the service said when it refused, or when an operation ended badly.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// What was asked for.
    pub operation: Operation,
    /// The HTTP status; of an operation that failed later, that of the look that said so.
    pub status: u16,
    /// The outermost code, `HTTP409` where there was none.
    pub code: String,
    /// The innermost code: often the only one that says anything.
    pub leaf: String,
    /// What it says in words, all levels.
    pub message: String,
    /// What of the request it is about.
    pub target: Option<String>,
    /// The policies that refuse.
    pub policies: Vec<String>,
    /// What Azure's support asks for: `x-ms-correlation-request-id`.
    pub correlation: Option<String>,
}

/// A request or an operation that failed.
#[derive(Debug, thiserror::Error)]
pub enum ArmError {
    /// The service said no.
    #[error(transparent)]
    Refused(Box<Refusal>),
    /// The service was not reached, or its answer broke off, and went on doing so.
    #[error("{operation}: could not be reached, or broke off, {tries} times: {reason}")]
    Unreachable {
        /// What was asked for.
        operation: Operation,
        /// How often it was tried.
        tries: u32,
        /// Why.
        reason: String,
    },
    /// The request may have reached the service, its answer did not reach us, and it cannot be asked for again blindly.
    #[error("{operation}: it may have happened or not: {reason}; look before asking again")]
    Unknown {
        /// What was asked for.
        operation: Operation,
        /// What was seen instead of an answer.
        reason: String,
    },
    /// There is no token for it.
    #[error("{operation}: no token from {who}: {reason}")]
    Credential {
        /// What was asked for.
        operation: Operation,
        /// The source of tokens, by its name.
        who: &'static str,
        /// Why there is none.
        reason: String,
    },
    /// It did not end in time.
    #[error("{operation}: not done after {waited_s} s; last seen: {last}")]
    Deadline {
        /// What was asked for.
        operation: Operation,
        /// For how long it was waited, in seconds.
        waited_s: u64,
        /// What was seen last.
        last: String,
    },
    /// An answer would lead our token to another host.
    #[error(
        "{operation}: {header} of the answer leads to {host}, which is not {expected}; not followed, a token would go there"
    )]
    Foreign {
        /// What was asked for.
        operation: Operation,
        /// Which header or field.
        header: &'static str,
        /// Where it leads.
        host: String,
        /// The cloud's own host.
        expected: String,
    },
    /// An answer that makes no sense, or a path that is none.
    #[error("{operation}: {what}")]
    Malformed {
        /// What was asked for.
        operation: Operation,
        /// What is wrong with it.
        what: String,
    },
    /// The door could not be built.
    #[error("the client for {host} could not be made: {reason}")]
    Client {
        /// The cloud's host.
        host: String,
        /// Why.
        reason: String,
    },
    /// We were asked to stop.
    #[error(transparent)]
    Interrupted(#[from] Interrupted),
}

impl ArmError {
    /// What kind of thing went wrong.
    pub fn class(&self) -> Class {
        match self {
            Self::Refused(refusal) => refusal.class(),
            Self::Unreachable { .. } | Self::Deadline { .. } => Class::Transient,
            Self::Unknown { .. } => Class::Unknown,
            Self::Credential { .. }
            | Self::Foreign { .. }
            | Self::Malformed { .. }
            | Self::Client { .. } => Class::Fatal,
            Self::Interrupted(_) => Class::Interrupted,
        }
    }

    /// The innermost code that the service gave.
    pub fn code(&self) -> Option<&str> {
        self.refusal().map(|refusal| refusal.leaf.as_str())
    }

    /// What to do about it, where we know.
    pub fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::Refused(refusal) => hint::of(refusal).1,
            Self::Credential { .. } => Some(
                "a configured source is the only one asked: repair it, or configure another one",
            ),
            Self::Foreign { .. } => Some("check the cloud's management endpoint"),
            _ => None,
        };
        hint.map(str::to_owned)
    }

    /// The service's refusal, where it was one.
    pub fn refusal(&self) -> Option<&Refusal> {
        match self {
            Self::Refused(refusal) => Some(refusal),
            _ => None,
        }
    }

    /// What Azure's support asks for.
    pub fn correlation(&self) -> Option<&str> {
        self.refusal()?.correlation.as_deref()
    }
}

impl Refusal {
    /// What kind of refusal it is.
    pub fn class(&self) -> Class {
        hint::of(self).0
    }

    /// Whether the code is this one, at any level.
    pub fn is(&self, code: &str) -> bool {
        self.leaf.eq_ignore_ascii_case(code) || self.code.eq_ignore_ascii_case(code)
    }

    /// Reads `{"error": {…}}`, or what stands in its place.
    pub(super) fn read(
        operation: Operation,
        status: u16,
        body: &Value,
        correlation: Option<String>,
    ) -> Self {
        let error = body.get("error").unwrap_or(body);
        let code = text(error, "code").unwrap_or_else(|| format!("HTTP{status}"));
        let mut read = Self {
            operation,
            status,
            leaf: code.clone(),
            code,
            message: String::new(),
            target: None,
            policies: Vec::new(),
            correlation,
        };
        let mut said = Vec::new();
        read.descend(error, &mut said, 0);
        if let Some(words) = error.as_str().map(one_line) {
            said.push(words);
        }
        if said.is_empty() {
            said.push(String::from("the answer has no words"));
        }
        read.message = said.join("; ");
        read
    }

    /// One level and those below: the deepest code counts, and every sentence is said once.
    fn descend(&mut self, error: &Value, said: &mut Vec<String>, depth: usize) {
        if depth > DEEPEST {
            return;
        }
        // Some providers put the JSON of another error into their message.
        let message = text(error, "message").unwrap_or_default();
        if let Ok(inner) = serde_json::from_str::<Value>(&message)
            && inner.is_object()
        {
            self.level(error);
            self.descend(inner.get("error").unwrap_or(&inner), said, depth + 1);
        } else {
            let message = one_line(&message);
            if !message.is_empty() && !said.iter().any(|known| known.contains(&message)) {
                said.push(message);
            }
            self.level(error);
        }
        let lists = ["details", "innererror", "innerError"];
        for below in lists.iter().filter_map(|name| error.get(name)) {
            match below {
                Value::Array(all) => {
                    for one in all {
                        self.descend(one, said, depth + 1);
                    }
                }
                Value::Object(_) => self.descend(below, said, depth + 1),
                _ => {}
            }
        }
    }

    fn level(&mut self, error: &Value) {
        if let Some(code) = text(error, "code") {
            self.leaf = code;
        }
        self.target = text(error, "target").or(self.target.take());
        let more = error.get("additionalInfo").and_then(Value::as_array);
        for info in more.into_iter().flatten().filter_map(|one| one.get("info")) {
            let names = ["policyAssignmentDisplayName", "policyAssignmentName"];
            let name = names.iter().find_map(|name| text(info, name));
            if let Some(name) = name.filter(|name| !self.policies.contains(name)) {
                self.policies.push(name);
            }
        }
    }
}

impl std::error::Error for Refusal {}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.operation, self.leaf)?;
        if self.leaf != self.code {
            write!(f, " (in {})", self.code)?;
        }
        if let Some(target) = &self.target {
            write!(f, " at {target}")?;
        }
        write!(f, ": {}", self.message.trim_end_matches('.'))?;
        if !self.policies.is_empty() {
            write!(f, "; refused by policy {}", self.policies.join(", "))?;
        }
        write!(f, " (status {}", self.status)?;
        match &self.correlation {
            Some(id) => write!(f, ", correlation {id})"),
            None => f.write_str(")"),
        }
    }
}

fn text(value: &Value, name: &str) -> Option<String> {
    let text = value.get(name)?.as_str()?.trim();
    (!text.is_empty()).then(|| text.to_owned())
}

fn one_line(text: &str) -> String {
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    lines.collect::<Vec<_>>().join(" ")
}

/// Errors within errors deeper than this are not read.
const DEEPEST: usize = 8;
