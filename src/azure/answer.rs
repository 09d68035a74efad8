//! Takes a raw response of ARM; returns its status, its JSON and the headers that the client uses.
//!
//! The caller evaluates the status.

use std::time::Duration;

use azure_core::http::RawResponse;
use azure_core::http::headers::HeaderName;
use jiff::Timestamp;
use serde_json::Value;

/// One parsed response.
pub(super) struct Answer {
    pub(super) status: u16,
    /// The JSON; `null` if the body was empty; otherwise an object with the text as `message`.
    pub(super) body: Value,
    /// The header `Azure-AsyncOperation`.
    pub(super) asynchronous: Option<String>,
    pub(super) location: Option<String>,
    pub(super) retry_after: Option<Duration>,
    pub(super) correlation: Option<String>,
    /// The smallest remaining request count of the headers in [`LIMITS`].
    pub(super) remaining: Option<u64>,
}

impl Answer {
    pub(super) fn read(response: &RawResponse, now: Timestamp) -> Self {
        let header = |name: &'static str| {
            let name = HeaderName::from_static(name);
            response.headers().get_optional_str(&name)
        };
        let owned = |name| header(name).map(str::to_owned);
        let date = header("date").and_then(parse_http_date).unwrap_or(now);
        let bytes: &[u8] = response.body();
        Self {
            status: u16::from(response.status()),
            body: serde_json::from_slice(bytes).unwrap_or_else(|_| text_body(bytes)),
            asynchronous: owned("azure-asyncoperation"),
            location: owned("location"),
            retry_after: header("retry-after").and_then(|text| parse_retry_after(text, date)),
            correlation: owned("x-ms-correlation-request-id").or(owned("x-ms-request-id")),
            remaining: LIMITS
                .iter()
                .filter_map(|name| smallest_count(header(name)?))
                .min(),
        }
    }

    /// Returns `properties.provisioningState`, if present.
    pub(super) fn provisioning(&self) -> Option<&str> {
        self.body.pointer("/properties/provisioningState")?.as_str()
    }

    pub(super) fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }
}

/// Wraps a body that is not JSON, such as the error page of a gateway.
fn text_body(bytes: &[u8]) -> Value {
    let text = String::from_utf8_lossy(bytes);
    match text.trim() {
        "" => Value::Null,
        text => {
            serde_json::json!({ "message": text.chars().take(MAX_TEXT).collect::<String>() })
        }
    }
}

/// Parses seconds or a date. A date counts from the answer's own date, so a wrong local clock is
/// harmless.
fn parse_retry_after(text: &str, date: Timestamp) -> Option<Duration> {
    let text = text.trim();
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let until = parse_http_date(text)?.duration_since(date);
    Some(Duration::try_from(until).unwrap_or(Duration::ZERO))
}

fn parse_http_date(text: &str) -> Option<Timestamp> {
    let zoned = jiff::fmt::rfc2822::parse(text.trim()).ok()?;
    Some(zoned.timestamp())
}

/// Returns the smallest count of a header such as `11999` or
/// `Microsoft.Compute/PutVM3Min;237,Microsoft.Compute/PutVM30Min;1197`.
fn smallest_count(text: &str) -> Option<u64> {
    let numbers = text.split(',').filter_map(|entry| {
        let number = entry.rsplit(';').next()?;
        number.trim().parse().ok()
    });
    numbers.min()
}

const LIMITS: [&str; 4] = [
    "x-ms-ratelimit-remaining-subscription-reads",
    "x-ms-ratelimit-remaining-subscription-writes",
    "x-ms-ratelimit-remaining-subscription-deletes",
    "x-ms-ratelimit-remaining-resource",
];
/// The length to which a body that is not JSON is cut, in characters.
const MAX_TEXT: usize = 300;
