//! The door to the management interface: one request, tried again where that is safe.
//!
//! In: a path, an api-version and a body. Out: JSON, `None` where there is nothing, or a [`Started`] operation. An answer that
//! was lost is asked for again where the request may be repeated; a POST may not. Deliberately reads no body of a resource.
//!
//! What is repeated: no connection, always; a broken one, 408, 500, 502, 503 and 504, unless it is a POST; 429, as soon as the
//! service asks and not before, together with all others who use the door; a refusal that says that something else has to end
//! first. After a 401 a new token is tried, once.

use std::fmt::Display;
use std::sync::Arc;
use std::time::Duration;

use azure_core::Bytes;
use azure_core::http::policies::auth::BearerTokenAuthorizationPolicy;
use azure_core::http::{ClientOptions, Method, Pipeline, RetryOptions, Url};
use serde_json::Value;

use super::answer::Answer;
use super::credential::{Auth, Tokens};
use super::error::{ArmError, Operation, Refusal};
use super::long_running::LongRunningOperation;
use super::retry::Limiter;
use super::transport::RunAgent;
use crate::event::Events;
use crate::wait::Interrupt;

mod request;

pub(super) use request::{ArmRequest, TransportError};

/// What a door is made of.
#[derive(Clone)]
pub struct ArmOptions {
    /// Who we are, in which cloud, over which wire.
    pub who: Auth,
    /// The subscription's id.
    pub subscription: String,
    /// The id of the run, for the user agent of all requests.
    pub run: String,
    /// How long one request may take; 60 s is good.
    pub request_timeout: Duration,
}

/// The door. Clones share the limit of requests and the tokens.
#[derive(Clone)]
pub struct ArmClient {
    pub(super) inner: Arc<Inner>,
    pub(super) events: Events,
    pub(super) interrupt: Interrupt,
    /// Whether what is not found may only be not seen yet.
    expecting: bool,
}

pub(super) struct Inner {
    pub(super) settings: ArmOptions,
    pub(super) limiter: Limiter,
    tokens: Arc<Tokens>,
    pipeline: Pipeline,
}

impl ArmClient {
    /// A door. Nothing is asked of the service yet. `interrupt` ends every request and every wait.
    pub fn new(
        settings: ArmOptions,
        events: &Events,
        interrupt: &Interrupt,
    ) -> Result<Self, ArmError> {
        let cloud = &settings.who.cloud;
        let failed = |reason: String| ArmError::Client {
            host: host(cloud.arm()),
            reason,
        };
        let tokens = settings.who.tokens();
        let tokens = Arc::new(tokens.map_err(|error| failed(error.to_string()))?);
        let transport = settings.who.wire.to(cloud.arm());
        let options = ClientOptions {
            transport: Some(transport.map_err(|error| failed(error.to_string()))?),
            // We try again ourselves: this one would repeat a POST, and cannot be interrupted.
            retry: RetryOptions::none(),
            ..ClientOptions::default()
        };
        let bearer =
            BearerTokenAuthorizationPolicy::new(Arc::<Tokens>::clone(&tokens), [cloud.scope()]);
        let pipeline = Pipeline::new(
            Some(env!("CARGO_PKG_NAME")),
            Some(env!("CARGO_PKG_VERSION")),
            options,
            Vec::new(),
            vec![Arc::new(RunAgent::new(&settings.run)), Arc::new(bearer)],
            None,
        );
        Ok(Self {
            inner: Arc::new(Inner {
                limiter: Limiter::new(settings.who.wire.pace),
                settings,
                tokens,
                pipeline,
            }),
            events: events.clone(),
            interrupt: interrupt.clone(),
            expecting: false,
        })
    }

    /// The same door for somebody who stops for another reason: cleaning up goes on after the first interrupt.
    #[must_use]
    pub fn until(&self, interrupt: &Interrupt) -> Self {
        Self {
            interrupt: interrupt.clone(),
            ..self.clone()
        }
    }

    /// The same door for somebody who has just created what is asked for, or what it refers to: that it is not found passes,
    /// and is believed after some two minutes.
    #[must_use]
    pub fn expecting(&self) -> Self {
        Self {
            expecting: true,
            ..self.clone()
        }
    }

    /// The subscription's id.
    pub fn subscription(&self) -> &str {
        &self.inner.settings.subscription
    }

    /// What is at `path`; `None` only where the service says that there is nothing (404).
    pub async fn get(&self, path: impl Display, api: &str) -> Result<Option<Value>, ArmError> {
        self.get_with(path, api, &[]).await
    }

    /// The same with more of a query, as `[("$expand", "instanceView")]`.
    pub async fn get_with(
        &self,
        path: impl Display,
        api: &str,
        query: &[(&str, &str)],
    ) -> Result<Option<Value>, ArmError> {
        let ask = self.ask(Method::Get, &path.to_string(), "", api, query)?;
        let got = self.answered(&ask).await?.answer;
        match got.status {
            404 if super::hint::is_absent(&ask.refusal(self, &got)) => Ok(None),
            _ if got.is_success() => Ok(Some(got.body)),
            _ => Err(ask.refused(self, &got)),
        }
    }

    /// All of a list: every page's `value`. A link to a next page on another host is refused.
    pub async fn list(
        &self,
        path: impl Display,
        api: &str,
        query: &[(&str, &str)],
    ) -> Result<Vec<Value>, ArmError> {
        let mut ask = self.ask(Method::Get, &path.to_string(), "", api, query)?;
        let mut all = Vec::new();
        for _ in 0..MOST_PAGES {
            let mut got = self.answered(&ask).await?.answer;
            if !got.is_success() {
                return Err(ask.refused(self, &got));
            }
            let Some(Value::Array(page)) = got.body.get_mut("value").map(Value::take) else {
                return Err(ask.malformed("the answer is no list"));
            };
            all.extend(page);
            match got.body.get("nextLink").and_then(Value::as_str) {
                None | Some("") => return Ok(all),
                Some(next) => ask.url = self.own(&ask.operation, "nextLink", next)?,
            }
        }
        Err(ask.malformed(&format!("the list has more than {MOST_PAGES} pages")))
    }

    /// Creates or replaces what is at `path`. A lost answer is asked for again with the same body, which changes nothing more.
    pub async fn put(
        &self,
        path: impl Display,
        api: &str,
        body: &Value,
    ) -> Result<LongRunningOperation, ArmError> {
        let path = path.to_string();
        let ask = self.ask(Method::Put, &path, "", api, &[])?.body(body);
        let got = self.answered(&ask).await?.answer;
        self.started(ask, &path, api, got)
    }

    /// Creates what is at `path`, and never replaces anything: 409 or 412 where there is something. After a lost answer it may
    /// be ours: it is where all tags of `body`, and there must be some, are on it.
    pub async fn create(
        &self,
        path: impl Display,
        api: &str,
        body: &Value,
    ) -> Result<LongRunningOperation, ArmError> {
        let path = path.to_string();
        let mut ask = self.ask(Method::Put, &path, "", api, &[])?.body(body);
        ask.only_new = true;
        let got = self.answered(&ask).await?;
        if got.lost && matches!(got.answer.status, 409 | 412) {
            let look = self.ask(Method::Get, &path, "", api, &[])?;
            let seen = self.answered(&look).await?.answer;
            if seen.is_success() && is_ours(body, &seen.body) {
                return self.started(ask, &path, api, seen);
            }
        }
        self.started(ask, &path, api, got.answer)
    }

    /// Changes what is at `path`.
    pub async fn patch(
        &self,
        path: impl Display,
        api: &str,
        body: &Value,
    ) -> Result<LongRunningOperation, ArmError> {
        let path = path.to_string();
        let ask = self.ask(Method::Patch, &path, "", api, &[])?.body(body);
        let got = self.answered(&ask).await?.answer;
        self.started(ask, &path, api, got)
    }

    /// Does `action` on what is at `path`. Sent once: where it may have reached the service and no answer came, that is
    /// [`ArmError::Unknown`], and the caller looks.
    pub async fn post(
        &self,
        path: impl Display,
        action: &str,
        api: &str,
        query: &[(&str, &str)],
        body: Option<&Value>,
    ) -> Result<LongRunningOperation, ArmError> {
        let path = path.to_string();
        let mut ask = self.ask(Method::Post, &path, action, api, query)?;
        if let Some(body) = body {
            ask = ask.body(body);
        }
        let got = self.answered(&ask).await?.answer;
        self.started(ask, &path, api, got)
    }

    /// Removes what is at `path`. That there is nothing is success.
    pub async fn delete(
        &self,
        path: impl Display,
        api: &str,
        query: &[(&str, &str)],
    ) -> Result<LongRunningOperation, ArmError> {
        let path = path.to_string();
        let ask = self.ask(Method::Delete, &path, "", api, query)?;
        let mut got = self.answered(&ask).await?.answer;
        if got.status == 404 && super::hint::is_absent(&ask.refusal(self, &got)) {
            (got.status, got.body) = (204, Value::Null);
        }
        self.started(ask, &path, api, got)
    }

    /// The text at `url`, an address with a signature of its own, as Azure gives for logs: no token is sent there, and
    /// the address stays out of the error. `None` where it cannot be had.
    pub async fn fetch_text(&self, url: &str) -> Option<String> {
        let url = Url::parse(url).ok().filter(|url| url.scheme() == "https")?;
        let transport = self.inner.settings.who.wire.to(&url).ok()?;
        let pipeline = Pipeline::new(
            None,
            None,
            ClientOptions {
                transport: Some(transport),
                retry: RetryOptions::none(),
                ..ClientOptions::default()
            },
            Vec::new(),
            Vec::new(),
            None,
        );
        let mut request = azure_core::http::Request::new(url, Method::Get);
        let context = azure_core::http::Context::new();
        let sending = pipeline.send(&context, &mut request, None);
        let response = self.interrupt.or(sending).await.ok()?.ok()?;
        let bytes: &[u8] = response.body();
        let text = || String::from_utf8_lossy(bytes).into_owned();
        response.status().is_success().then(text)
    }

    fn started(
        &self,
        ask: ArmRequest,
        path: &str,
        api: &str,
        got: Answer,
    ) -> Result<LongRunningOperation, ArmError> {
        if !got.is_success() {
            return Err(ask.refused(self, &got));
        }
        let look = self.ask(Method::Get, path, "", api, &[])?;
        Ok(LongRunningOperation::new(self.clone(), ask, look, got))
    }

    fn ask(
        &self,
        method: Method,
        path: &str,
        action: &str,
        api: &str,
        query: &[(&str, &str)],
    ) -> Result<ArmRequest, ArmError> {
        let verb = format!("{} {action}", method.as_str());
        let operation = Operation::new(verb.trim_end(), path);
        let mut url = self.inner.settings.who.cloud.arm().clone();
        let whole = format!("{path}/{action}");
        let whole = whole.trim_end_matches('/');
        // A name with a slash or dots in it would be another path than the one that was meant.
        let parts = whole.strip_prefix('/').map(|path| path.split('/'));
        let odd = |part: &str| {
            part.is_empty() || part == "." || part == ".." || part.contains(['?', '#', '%', '\\'])
        };
        if parts.is_none_or(|mut parts| parts.any(odd)) {
            let what = format!("`{whole}` is no path of a resource");
            return Err(ArmError::Malformed { operation, what });
        }
        url.set_path(whole);
        url.query_pairs_mut()
            .extend_pairs([("api-version", api)])
            .extend_pairs(query);
        Ok(ArmRequest {
            operation,
            method,
            url,
            body: Bytes::new(),
            only_new: false,
        })
    }

    /// `link` as a URL, where it is one of the cloud's own.
    pub(super) fn own(
        &self,
        operation: &Operation,
        header: &'static str,
        link: &str,
    ) -> Result<Url, ArmError> {
        let arm = self.inner.settings.who.cloud.arm();
        let url = arm.join(link).map_err(|error| ArmError::Malformed {
            operation: operation.clone(),
            what: format!("{header} of the answer is no URL: {error}"),
        })?;
        if url.origin() == arm.origin() && url.username().is_empty() && url.password().is_none() {
            return Ok(url);
        }
        Err(ArmError::Foreign {
            operation: operation.clone(),
            header,
            host: format!("{}://{}", url.scheme(), host(&url)),
            expected: format!("{}://{}", arm.scheme(), host(arm)),
        })
    }

    /// The refusal that `answer` is, without anything secret.
    pub(super) fn refusal(&self, operation: &Operation, answer: &Answer) -> Refusal {
        let mut refusal = Refusal::read(
            operation.clone(),
            answer.status,
            &answer.body,
            answer.correlation.clone(),
        );
        refusal.message = self.inner.tokens.scrubbed(&refusal.message);
        refusal
    }
}

/// Whether what is there carries every tag of what we sent, and that at least one.
fn is_ours(sent: &Value, there: &Value) -> bool {
    let Some(tags) = sent.get("tags").and_then(Value::as_object) else {
        return false;
    };
    let same = |(name, value): (&String, &Value)| {
        there.pointer("/tags").and_then(|all| all.get(name)) == Some(value)
    };
    !tags.is_empty() && tags.iter().all(same)
}

fn host(url: &Url) -> String {
    let port = url
        .port()
        .map_or_else(String::new, |port| format!(":{port}"));
    format!("{}{port}", url.host_str().unwrap_or_default())
}

/// A list that goes on for longer leads in a circle.
const MOST_PAGES: usize = 1000;
