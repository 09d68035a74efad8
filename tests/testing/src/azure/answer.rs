//! Replies of the simulator: answers, and refusals in ARM's format.

use serde_json::{Value, json};

/// An answer with status, headers and body.
#[derive(Clone, Debug)]
pub struct Reply {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Option<Value>,
}

impl Reply {
    pub fn empty(status: u16) -> Self {
        Self {
            status,
            headers: Vec::new(),
            body: None,
        }
    }

    pub fn of(status: u16, body: Value) -> Self {
        Self {
            status,
            headers: Vec::new(),
            body: Some(body),
        }
    }

    pub fn header(mut self, name: &str, value: impl Into<String>) -> Self {
        self.headers.push((name.to_owned(), value.into()));
        self
    }
}

/// A refusal of a request, with its reason.
#[derive(Clone, Debug)]
pub struct Refusal {
    pub status: u16,
    pub code: String,
    pub message: String,
    /// Other members of the error: `details`, `additionalInfo`, `target`.
    pub more: Value,
    pub headers: Vec<(String, String)>,
}

impl Refusal {
    pub fn new(status: u16, code: &str, message: impl Into<String>) -> Self {
        Self {
            status,
            code: code.to_owned(),
            message: message.into(),
            more: json!({}),
            headers: Vec::new(),
        }
    }

    pub fn with(mut self, name: &str, value: Value) -> Self {
        self.more[name] = value;
        self
    }

    pub fn header(mut self, name: &str, value: impl Into<String>) -> Self {
        self.headers.push((name.to_owned(), value.into()));
        self
    }

    /// Returns the refusal of an invalid value in a body.
    pub fn parameter(target: &str, message: impl Into<String>) -> Self {
        Self::new(400, "InvalidParameter", message).with("target", json!(target))
    }

    pub fn missing(id: &str) -> Self {
        let name = id.rsplit("/providers/").next().unwrap_or(id);
        Self::new(
            404,
            "ResourceNotFound",
            format!("The Resource '{name}' was not found."),
        )
    }

    /// Returns the value of `error` in a body.
    pub fn error(&self) -> Value {
        let mut error = json!({ "code": self.code, "message": self.message });
        if let (Some(error), Some(more)) = (error.as_object_mut(), self.more.as_object()) {
            error.extend(more.clone());
        }
        error
    }

    pub fn reply(&self) -> Reply {
        Reply {
            status: self.status,
            headers: self.headers.clone(),
            body: Some(json!({ "error": self.error() })),
        }
    }
}

pub type Answer = Result<Reply, Refusal>;
