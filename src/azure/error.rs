//! The errors of ARM: the operation, the resource, the reason, and a hint.
//!
//! Takes the body of an answer, or a connection error; returns an [`ArmError`] that prints on one
//! line. Errors contain no URL, because a query may contain a signature.

pub(super) mod hint;

use std::fmt;

use serde_json::Value;

use super::credential::{CredentialError, CredentialKind};
use super::id::kind_and_name;
use crate::wait::Interrupted;

/// A requested operation: a verb, a resource type and a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Operation {
    /// The HTTP method, with the action of a POST: `GET`, `POST deallocate`.
    pub verb: Box<str>,
    /// The resource type, such as `Microsoft.Compute/virtualMachines`.
    pub kind: Box<str>,
    /// The name; that of a child begins with its parent's.
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

/// The kind of a failure, for callers that decide what to do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorClass {
    /// A repetition fails as well: the user must change something.
    Fatal,
    /// Azure has no capacity now: another size, zone or region may work.
    Capacity,
    /// A quota of the subscription is used up.
    Quota,
    /// The failure may be temporary, but lasted longer than the client waits.
    Transient,
    /// The resource does not exist.
    Absent,
    /// Another resource or operation prevents it.
    Conflict,
    /// It is unknown whether the request took effect.
    Unknown,
    /// The user interrupted the run.
    Interrupted,
}

/// The service's answer to a refused request or a failed operation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The requested operation.
    pub operation: Operation,
    /// The HTTP status; for a long-running operation, that of the poll that reported the failure.
    pub status: u16,
    /// The outermost code, or `HTTP409` and the like if there is none.
    pub code: String,
    /// The innermost code, often the only specific one.
    pub leaf: String,
    /// The messages of all levels.
    pub message: String,
    /// The part of the request that caused the refusal.
    pub target: Option<String>,
    /// The names of the policies that deny the request.
    pub policies: Vec<String>,
    /// The id for Azure's support: `x-ms-correlation-request-id`.
    pub correlation: Option<String>,
}

/// A request or a long-running operation failed.
#[derive(Debug, thiserror::Error)]
pub enum ArmError {
    /// The service refused the request.
    #[error(transparent)]
    Refused(Box<Refusal>),
    /// No attempt reached the service and returned a whole answer.
    #[error("cannot {operation}: no answer after {tries} attempts: {reason}")]
    Unreachable {
        /// The requested operation.
        operation: Operation,
        /// The number of attempts.
        tries: u32,
        /// The reason of the last failure.
        reason: String,
    },
    /// The answer was lost, and a repetition might do the work twice.
    #[error("cannot tell whether {operation} took effect: {reason}")]
    Unknown {
        /// The requested operation.
        operation: Operation,
        /// The reason why there is no answer.
        reason: String,
    },
    /// The credential source returned no token.
    #[error("cannot {operation}: no token from {source_name}: {reason}")]
    Credential {
        /// The requested operation.
        operation: Operation,
        /// The name of the credential source.
        source_name: &'static str,
        /// The reason that the source gives.
        reason: String,
    },
    /// The operation did not end before its deadline.
    #[error("cannot {operation}: not done after {waited_s} s; last state: {last}")]
    Deadline {
        /// The requested operation.
        operation: Operation,
        /// The time waited, in seconds.
        waited_s: u64,
        /// The last state of the operation.
        last: String,
    },
    /// An answer links to another host, which would receive the token.
    #[error("cannot {operation}: {header} of the answer links to {host}, expected {expected}")]
    Foreign {
        /// The requested operation.
        operation: Operation,
        /// The header or field with the link.
        header: &'static str,
        /// The host that the link names.
        host: String,
        /// The cloud's own host.
        expected: String,
    },
    /// The answer is malformed, or the path is not a resource path.
    #[error("cannot {operation}: {what}")]
    Malformed {
        /// The requested operation.
        operation: Operation,
        /// The defect.
        what: String,
    },
    /// The HTTP client cannot be created.
    #[error("cannot create the client for {host}: {reason}")]
    Client {
        /// The cloud's host.
        host: String,
        /// The reason.
        reason: String,
    },
    /// The credential source cannot be used.
    #[error("cannot create the client for {host}: {error}")]
    Source {
        /// The cloud's host.
        host: String,
        /// The error of the source.
        error: CredentialError,
    },
    /// The user interrupted the run.
    #[error(transparent)]
    Interrupted(#[from] Interrupted),
}

impl ArmError {
    /// Returns the kind of the failure.
    pub fn class(&self) -> ErrorClass {
        match self {
            Self::Refused(refusal) => refusal.class(),
            Self::Unreachable { .. } | Self::Deadline { .. } => ErrorClass::Transient,
            Self::Unknown { .. } => ErrorClass::Unknown,
            Self::Credential { .. }
            | Self::Foreign { .. }
            | Self::Malformed { .. }
            | Self::Client { .. }
            | Self::Source { .. } => ErrorClass::Fatal,
            Self::Interrupted(_) => ErrorClass::Interrupted,
        }
    }

    /// Returns the innermost code of a refusal.
    pub fn code(&self) -> Option<&str> {
        self.refusal().map(|refusal| refusal.leaf.as_str())
    }

    /// Returns what to do about it, as an imperative, if the client knows.
    pub fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::Refused(refusal) => return hint::classify(refusal).1.map(str::to_owned),
            Self::Unknown { .. } => {
                "Check the state of the resource before you repeat the request."
            }
            Self::Credential { source_name, .. }
                if *source_name == CredentialKind::GitHub.name() =>
            {
                "Give the job the permission `id-token: write`, or configure another credential source."
            }
            Self::Credential { .. } => {
                "Fix this credential source or configure another one. vault-bake tries no other source."
            }
            Self::Foreign { .. } => "Check the management endpoint of the cloud.",
            Self::Source { error, .. } => return error.hint(),
            _ => return None,
        };
        Some(hint.to_owned())
    }

    /// Returns the service's refusal, if this is one.
    pub fn refusal(&self) -> Option<&Refusal> {
        match self {
            Self::Refused(refusal) => Some(refusal),
            _ => None,
        }
    }

    /// Returns the correlation id for Azure's support.
    pub fn correlation(&self) -> Option<&str> {
        self.refusal()?.correlation.as_deref()
    }
}

impl Refusal {
    /// Returns the kind of the refusal.
    pub fn class(&self) -> ErrorClass {
        hint::classify(self).0
    }

    /// Returns whether the innermost or the outermost code is this one.
    pub fn is(&self, code: &str) -> bool {
        self.leaf.eq_ignore_ascii_case(code) || self.code.eq_ignore_ascii_case(code)
    }

    /// Reads `{"error": {…}}`, or a body without that envelope.
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
        let mut messages = Vec::new();
        read.collect_level(error, &mut messages, 0);
        if let Some(text) = error.as_str().map(one_line) {
            messages.push(text);
        }
        if messages.is_empty() {
            messages.push(String::from("the answer contains no message"));
        }
        read.message = messages.join("; ");
        read
    }

    /// Reads an error and those within. The deepest code wins; each message is kept once.
    fn collect_level(&mut self, error: &Value, messages: &mut Vec<String>, depth: usize) {
        if depth > MAX_DEPTH {
            return;
        }
        // Some providers put the JSON of another error into the message.
        let message = text(error, "message").unwrap_or_default();
        if let Ok(inner) = serde_json::from_str::<Value>(&message)
            && inner.is_object()
        {
            self.read_fields(error);
            self.collect_level(inner.get("error").unwrap_or(&inner), messages, depth + 1);
        } else {
            let message = one_line(&message);
            if !message.is_empty() && !messages.iter().any(|known| known.contains(&message)) {
                messages.push(message);
            }
            self.read_fields(error);
        }
        let lists = ["details", "innererror", "innerError"];
        for inner in lists.iter().filter_map(|name| error.get(name)) {
            match inner {
                Value::Array(all) => {
                    for detail in all {
                        self.collect_level(detail, messages, depth + 1);
                    }
                }
                Value::Object(_) => self.collect_level(inner, messages, depth + 1),
                _ => {}
            }
        }
    }

    fn read_fields(&mut self, error: &Value) {
        if let Some(code) = text(error, "code") {
            self.leaf = code;
        }
        self.target = text(error, "target").or(self.target.take());
        let more = error.get("additionalInfo").and_then(Value::as_array);
        for info in more
            .into_iter()
            .flatten()
            .filter_map(|entry| entry.get("info"))
        {
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
        write!(f, "cannot {}: {}", self.operation, self.leaf)?;
        if self.leaf != self.code {
            write!(f, " (in {})", self.code)?;
        }
        if let Some(target) = &self.target {
            write!(f, " at {target}")?;
        }
        write!(f, ": {}", self.message.trim_end_matches('.'))?;
        if !self.policies.is_empty() {
            write!(f, "; denied by policy {}", self.policies.join(", "))?;
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

/// The depth to which errors within errors are read.
const MAX_DEPTH: usize = 8;
