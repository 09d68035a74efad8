//! How requests reach Azure: the transport, the clock and the pace that all its clients share.
//!
//! In: a transport of the caller's, where it has one. Out: one that follows no redirect, notices a dead service, and asks
//! no proxy for what is on this machine or on this link. Deliberately tries nothing again.

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

/// Says what time it is.
pub type Clock = fn() -> Timestamp;

/// What all clients of Azure share.
#[derive(Clone)]
pub struct AzureTransport {
    /// What sends requests; `None` is a client of our own.
    pub transport: Option<Arc<dyn HttpClient>>,
    /// What time it is: for the assertions that a certificate signs, and for dates in answers.
    pub now: Clock,
    /// How long pauses are.
    pub pace: TimeScale,
}

impl AzureTransport {
    /// The real network at the real pace.
    pub fn real(now: Clock) -> Self {
        Self {
            transport: None,
            now,
            pace: TimeScale::REAL,
        }
    }

    /// What sends requests to `url`.
    pub(crate) fn to(&self, url: &Url) -> Result<Transport, reqwest::Error> {
        match &self.transport {
            Some(transport) => Ok(Transport::new(Arc::clone(transport))),
            None => transport(url),
        }
    }
}

/// Our own client, so that a lost service is noticed, a redirect is not followed, and what is near is not asked for
/// through a proxy.
fn transport(url: &Url) -> Result<Transport, reqwest::Error> {
    let client = reqwest::Client::builder()
        .connect_timeout(CONNECT_TIMEOUT)
        .read_timeout(READ_TIMEOUT)
        .redirect(reqwest::redirect::Policy::none());
    let client = match is_near(url) {
        true => client.no_proxy(),
        false => client,
    };
    Ok(Transport::new(Arc::new(client.build()?)))
}

/// Whether it is on this machine or on its link, as the metadata service of a virtual machine is.
fn is_near(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']);
    host == "localhost"
        || host.parse().is_ok_and(|ip: IpAddr| match ip {
            IpAddr::V4(ip) => ip.is_loopback() || ip.is_link_local(),
            IpAddr::V6(ip) => ip.is_loopback(),
        })
}

/// Names the run in every request: `vault-bake/1.2.3 (run ID)`. The SDK's own agent takes no id as long as ours.
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
                "nothing sends requests",
            )),
        }
    }
}

/// The innermost reason. The client's own text has the URL in it, and perhaps a signature, and is passed over.
pub(crate) fn cause(error: &azure_core::Error) -> String {
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

/// The first line alone.
pub(crate) fn first_line(text: &str) -> String {
    text.lines().next().unwrap_or_default().trim().to_owned()
}

/// All lines: each source that was asked has one.
fn on_one_line(text: &str) -> String {
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    lines.collect::<Vec<_>>().join(" ")
}

/// The words of a source that gave no token. `azure_identity` 1.0 cannot read an authority's refusal where there is an escape in it, as
/// there always is, and then shows the refusal within its own complaint.
pub(crate) fn why_no_token(text: &str) -> String {
    let advice = |line: &str| {
        line.split(" To troubleshoot, visit")
            .next()
            .map(str::to_owned)
    };
    let text = on_one_line(
        &text
            .lines()
            .filter_map(advice)
            .collect::<Vec<_>>()
            .join("\n"),
    );
    let (begin, end) = ("invalid type: string \"", "\", expected a borrowed string");
    let plain = match (text.split_once(begin), text.rsplit_once(end)) {
        (Some((before, rest)), Some(_)) => {
            let said = rest.split(end).next().unwrap_or(rest);
            let said = said
                .replace("\\r", " ")
                .replace("\\n", " ")
                .replace("\\\"", "\"");
            format!("{before}{said}")
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
/// Longer than a block of an artifact takes on a slow line.
const READ_TIMEOUT: Duration = Duration::from_secs(60);
