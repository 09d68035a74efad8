//! One answer of the management interface.
//!
//! In: the raw response. Out: its status, its JSON, and the headers that we act by. Deliberately judges nothing.

use std::time::Duration;

use azure_core::http::RawResponse;
use azure_core::http::headers::HeaderName;
use jiff::Timestamp;
use serde_json::Value;

/// An answer.
pub(super) struct Answer {
    pub(super) status: u16,
    /// `null` where there was none, or none that is JSON.
    pub(super) body: Value,
    pub(super) asynchronous: Option<String>,
    pub(super) location: Option<String>,
    pub(super) retry_after: Option<Duration>,
    pub(super) correlation: Option<String>,
    /// The least that is left of any of the limits that the answer tells of.
    pub(super) remaining: Option<u64>,
}

impl Answer {
    pub(super) fn read(response: &RawResponse, now: Timestamp) -> Self {
        let header = |name: &'static str| {
            let name = HeaderName::from_static(name);
            response.headers().get_optional_str(&name)
        };
        let owned = |name| header(name).map(str::to_owned);
        let date = header("date").and_then(moment).unwrap_or(now);
        let bytes: &[u8] = response.body();
        Self {
            status: u16::from(response.status()),
            body: serde_json::from_slice(bytes).unwrap_or_else(|_| plain(bytes)),
            asynchronous: owned("azure-asyncoperation"),
            location: owned("location"),
            retry_after: header("retry-after").and_then(|text| after(text, date)),
            correlation: owned("x-ms-correlation-request-id").or(owned("x-ms-request-id")),
            remaining: LIMITS.iter().filter_map(|name| least(header(name)?)).min(),
        }
    }

    /// `properties.provisioningState`, where there is one.
    pub(super) fn provisioning(&self) -> Option<&str> {
        self.body.pointer("/properties/provisioningState")?.as_str()
    }

    pub(super) fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }
}

/// What is not JSON is an error's text at most: a gateway's page.
fn plain(bytes: &[u8]) -> Value {
    let text = String::from_utf8_lossy(bytes);
    match text.trim() {
        "" => Value::Null,
        text => {
            serde_json::json!({ "message": text.chars().take(LONGEST_TEXT).collect::<String>() })
        }
    }
}

/// Seconds, or a date: that one counts from the date of the answer, so that a wrong clock of ours does no harm.
fn after(text: &str, date: Timestamp) -> Option<Duration> {
    let text = text.trim();
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let until = moment(text)?.duration_since(date);
    Some(Duration::try_from(until).unwrap_or(Duration::ZERO))
}

fn moment(text: &str) -> Option<Timestamp> {
    let zoned = jiff::fmt::rfc2822::parse(text.trim()).ok()?;
    Some(zoned.timestamp())
}

/// `11999`, or `Microsoft.Compute/PutVM3Min;237,Microsoft.Compute/PutVM30Min;1197`.
fn least(text: &str) -> Option<u64> {
    let numbers = text.split(',').filter_map(|one| {
        let number = one.rsplit(';').next()?;
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
/// More of a page that is no JSON is not repeated, in characters.
const LONGEST_TEXT: usize = 300;
