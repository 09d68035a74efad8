//! The transport, the clock and the time scale that all clients of Azure share.
//!
//! Takes the caller's transport or none; returns one that follows no redirect, times out, and uses
//! no proxy for local addresses. Retries are in the module `retry`.

use std::error::Error as _;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use azure_core::error::ErrorKind;
use azure_core::http::policies::{Policy, PolicyResult};
use azure_core::http::{Context, HttpClient, Request, Transport, Url};
use jiff::Timestamp;

use crate::wait::TimeScale;

/// A function that returns the current time.
pub type Clock = fn() -> Timestamp;

/// The settings that all clients of Azure share.
#[derive(Clone)]
pub struct AzureTransport {
    /// The HTTP client; `None` creates one for each host.
    pub http_client: Option<Arc<dyn HttpClient>>,
    /// The clock for assertions signed by a certificate, and for dates in answers.
    pub now: Clock,
    /// The scale of all pauses and deadlines.
    pub time_scale: TimeScale,
}

impl AzureTransport {
    /// Returns the transport to the real network, in real time.
    pub fn real(now: Clock) -> Self {
        Self {
            http_client: None,
            now,
            time_scale: TimeScale::REAL,
        }
    }

    /// Returns the HTTP client for `url`.
    pub(crate) fn for_url(&self, url: &Url) -> Result<Transport, reqwest::Error> {
        match &self.http_client {
            Some(transport) => Ok(Transport::new(Arc::clone(transport))),
            None => create_client(url),
        }
    }
}

/// Creates an HTTP client with time-outs, without redirects, and without a proxy for local hosts.
fn create_client(url: &Url) -> Result<Transport, reqwest::Error> {
    let client = reqwest::Client::builder()
        .connect_timeout(CONNECT_TIMEOUT)
        .read_timeout(READ_TIMEOUT)
        .redirect(reqwest::redirect::Policy::none());
    let client = if is_local(url) {
        client.no_proxy()
    } else {
        client
    };
    Ok(Transport::new(Arc::new(client.build()?)))
}

/// Returns whether a host is loopback or link-local, as the metadata service of a VM is.
fn is_local(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']);
    host == "localhost"
        || host.parse().is_ok_and(|ip: IpAddr| match ip {
            IpAddr::V4(ip) => ip.is_loopback() || ip.is_link_local(),
            IpAddr::V6(ip) => ip.is_loopback(),
        })
}

/// Sets the user agent `vault-bake/1.2.3 (run ID)`. The SDK's own policy truncates long ids.
#[derive(Debug)]
pub(super) struct RunAgent(String);

impl RunAgent {
    pub(super) fn new(run: &str) -> Self {
        let plain = |c: &char| c.is_ascii_alphanumeric() || "-._".contains(*c);
        let run: String = run.chars().filter(plain).collect();
        Self(format!(
            concat!("vault-bake/", env!("CARGO_PKG_VERSION"), " (run {})"),
            run
        ))
    }
}

#[async_trait]
impl Policy for RunAgent {
    async fn send(
        &self,
        context: &Context,
        request: &mut Request,
        next: &[Arc<dyn Policy>],
    ) -> PolicyResult {
        request.insert_header("user-agent", self.0.clone());
        match next.split_first() {
            Some((next, rest)) => next.send(context, request, rest).await,
            None => Err(azure_core::Error::with_message(
                ErrorKind::Other,
                "the pipeline has no transport",
            )),
        }
    }
}

/// Returns the innermost reason of an error.
///
/// Skips the HTTP client's own text, which contains the URL and possibly a signature.
pub(crate) fn root_cause(error: &azure_core::Error) -> String {
    let mut found = error
        .source()
        .is_none()
        .then(|| first_line(&error.to_string()));
    let mut next = error.source();
    while let Some(source) = next {
        match source.downcast_ref::<reqwest::Error>() {
            Some(error) if error.is_timeout() => found = Some(String::from("timed out")),
            Some(_) => {}
            None => found = Some(first_line(&source.to_string())),
        }
        next = source.source();
    }
    found.unwrap_or_else(|| String::from("the connection failed"))
}

/// Returns the first line of a text.
pub(crate) fn first_line(text: &str) -> String {
    text.lines().next().unwrap_or_default().trim().to_owned()
}

/// Joins all lines: an error has one for each source that was tried.
fn on_one_line(text: &str) -> String {
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    lines.collect::<Vec<_>>().join(" ")
}

/// Returns the message of a credential source that returned no token.
///
/// `azure_identity` 1.0 cannot parse a refusal of the authority that contains an escape, as all do.
/// Its error then quotes the refusal; this function extracts it.
pub(crate) fn describe_token_error(text: &str) -> String {
    let without_advice = |line: &str| {
        line.split(" To troubleshoot, visit")
            .next()
            .map(str::to_owned)
    };
    let text = on_one_line(
        &text
            .lines()
            .filter_map(without_advice)
            .collect::<Vec<_>>()
            .join("\n"),
    );
    let (begin, end) = ("invalid type: string \"", "\", expected a borrowed string");
    let plain = match (text.split_once(begin), text.rsplit_once(end)) {
        (Some((before, rest)), Some(_)) => {
            let quoted = rest.split(end).next().unwrap_or(rest);
            let quoted = quoted
                .replace("\\r", " ")
                .replace("\\n", " ")
                .replace("\\\"", "\"");
            format!("{before}{quoted}")
        }
        _ => text.clone(),
    };
    on_one_line(&plain)
        .split(' ')
        .filter(|word| !word.is_empty())
        .collect::<Vec<_>>()
        .join(" ")
}

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Longer than one block of an artifact takes on a slow connection.
const READ_TIMEOUT: Duration = Duration::from_secs(60);
