//! Answers: their JSON, the certificate of the server, and refusals.
//! Takes status, headers and body; returns typed values, or an [`ApiError`].
//! Errors about the form of an answer contain no value of it, because it may be a secret.

use jiff::Timestamp;
use reqwest::Url;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer};
use serde_json::Value;
use serde_json::error::Category;

use super::transport::Received;
use super::{Api, Origin};
use crate::product::ApiError;
use crate::secret::Scrubber;
use crate::terminal::visible_line;

/// An accepted answer.
pub(in crate::product) struct Answer {
    product: &'static Api,
    origin: Origin,
    received: Received,
    scrubber: Scrubber,
}

impl Answer {
    pub(super) fn new(
        product: &'static Api,
        origin: Origin,
        received: Received,
        scrubber: Scrubber,
    ) -> Self {
        Self {
            product,
            origin,
            received,
            scrubber,
        }
    }

    /// Returns the error that the answer is, although its status was accepted.
    pub(in crate::product) fn into_refusal(self) -> ApiError {
        refusal(self.product, self.origin, &self.received, &self.scrubber)
    }

    pub(in crate::product) fn status(&self) -> u16 {
        self.received.status
    }

    /// Returns the end of the server's certificate.
    pub(in crate::product) fn certificate_end(&self) -> Result<Timestamp, ApiError> {
        let end = self.received.certificate_end;
        end.ok_or_else(|| self.malformed("no certificate with an end"))
    }

    /// Parses the body.
    pub(in crate::product) fn json<T: DeserializeOwned>(&self) -> Result<T, ApiError> {
        serde_json::from_slice(&self.received.body)
            .map_err(|error| self.malformed(&describe_defect(&error)))
    }

    /// Parses a list, which Go writes as `null` if it is empty.
    pub(in crate::product) fn json_list<T: DeserializeOwned>(&self) -> Result<Vec<T>, ApiError> {
        Ok(self.json::<Option<Vec<T>>>()?.unwrap_or_default())
    }

    /// Returns an error about the form of the answer.
    pub(in crate::product) fn malformed(&self, reason: &str) -> ApiError {
        ApiError::Malformed {
            what: self.origin.what.clone(),
            server: self.origin.server.clone(),
            reason: reason.to_owned(),
        }
    }
}

/// Deserializes a value that may be `null`, as Go writes empty lists and maps.
pub(in crate::product) fn null_as_default<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de> + Default,
{
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

/// Describes a defect of JSON without any of its values.
fn describe_defect(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let defect = text.split(" at line").next().unwrap_or_default();
    let place = format!("line {}, column {}", error.line(), error.column());
    match error.classify() {
        // The names of fields are ours.
        Category::Data if defect.starts_with("missing field") => defect.to_owned(),
        Category::Data => format!("a value of another type in {place}"),
        Category::Eof => "incomplete JSON".to_owned(),
        Category::Syntax | Category::Io => format!("no JSON in {place}"),
    }
}

/// Returns the error of a refusal.
fn refusal(
    product: &'static Api,
    origin: Origin,
    received: &Received,
    scrubber: &Scrubber,
) -> ApiError {
    let Origin { what, server } = origin;
    let status = received.status;
    let text = text_of(&received.body, scrubber);
    if (product.is_standby)(status, &text) {
        let active = received.location.as_deref().and_then(origin_of);
        let active = active.filter(|active| scrubber.scrub(active) == *active);
        return ApiError::Standby {
            what,
            server,
            active,
        };
    }
    ApiError::Status {
        what,
        server,
        status,
        text,
    }
}

/// Returns the scheme, host and port of a URL. A path or query may contain a secret.
fn origin_of(location: &str) -> Option<String> {
    let url = Url::parse(location).ok()?;
    let is_plain = url.scheme() == "https" && url.username().is_empty() && url.password().is_none();
    is_plain.then(|| url.origin().ascii_serialization())
}

/// Returns the end of a server's text on one line, without secrets and control characters.
fn text_of(body: &[u8], scrubber: &Scrubber) -> String {
    let text = match serde_json::from_slice::<Value>(body) {
        Ok(value) => errors_of(&value),
        Err(_) => String::from_utf8_lossy(body).into_owned(),
    };
    let words: Vec<&str> = text.split_whitespace().collect();
    let line = words.join(" ");
    // Scrubbed before it is cut, because a part of a secret would not be found.
    let line = scrubber.scrub(&line);
    if line.is_empty() {
        return "no reason".to_owned();
    }
    let excess = line.chars().count().saturating_sub(LONGEST_TEXT);
    let end: String = line.chars().skip(excess).collect();
    let line = if excess > 0 { format!("…{end}") } else { end };
    visible_line(&line).into_owned()
}

/// Returns the texts of Vault's `{"errors": [], "warnings": []}`, or a JSON string.
///
/// Other parts of JSON may be secrets.
fn errors_of(value: &Value) -> String {
    if let Value::String(text) = value {
        return text.clone();
    }
    let lists = ["errors", "warnings"].map(|name| value.get(name).and_then(Value::as_array));
    let texts = lists.into_iter().flatten().flatten();
    let texts: Vec<&str> = texts.filter_map(Value::as_str).collect();
    texts.join("; ")
}

/// The longest text of a server in an error, in characters. The end tells most.
const LONGEST_TEXT: usize = 300;
