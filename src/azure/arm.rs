//! The client of ARM: sends one request and retries it if that is safe.
//!
//! Takes a path, an api-version and a body; returns JSON or a [`LongRunningOperation`].
//! Callers interpret the bodies of resources. [`ArmClient`] lists the retries.

use std::fmt::Display;
use std::sync::Arc;
use std::time::Duration;

use azure_core::Bytes;
use azure_core::http::policies::auth::BearerTokenAuthorizationPolicy;
use azure_core::http::{ClientOptions, Method, Pipeline, RetryOptions, Url};
use serde_json::Value;

use super::answer::Answer;
use super::credential::{Auth, Tokens};
use super::error::{ArmError, Operation, hint};
use super::retry::Limiter;
use super::transport::RunAgent;
use crate::event::Events;
use crate::wait::Interrupt;

mod long_running;
mod request;

pub use long_running::LongRunningOperation;

use request::ArmRequest;
use request::has_tags_of;

/// The options of an [`ArmClient`].
#[derive(Clone)]
pub struct ArmOptions {
    /// The credential source, the cloud and the transport.
    pub auth: Auth,
    /// The subscription's id.
    pub subscription: String,
    /// The id of the run, for the user agent of all requests.
    pub run: String,
    /// The limit of one request; 60 s is a good value.
    pub request_timeout: Duration,
}

/// A client of ARM for one subscription. Clones share the request limiter and the tokens.
///
/// | outcome | retried |
/// |---|---|
/// | no connection | always |
/// | broken connection, 408, 500, 502, 503, 504 | unless it is a POST |
/// | 429 | after the time that the service sets, which holds back all clones |
/// | refusal because another operation runs | always |
/// | 401 | once, with a new token |
///
/// A request fails after 8 faults, after 20 refusals, or after 30 minutes.
#[derive(Clone)]
pub struct ArmClient {
    pub(super) inner: Arc<Inner>,
    pub(super) events: Events,
    pub(super) interrupt: Interrupt,
    /// Whether "not found" is retried, because the resource may not be visible yet.
    retrying_not_found: bool,
}

pub(super) struct Inner {
    pub(super) options: ArmOptions,
    pub(super) limiter: Limiter,
    tokens: Arc<Tokens>,
    pipeline: Pipeline,
}

impl ArmClient {
    /// Creates a client without sending anything. `interrupt` ends every request and every wait.
    pub fn new(
        options: ArmOptions,
        events: &Events,
        interrupt: &Interrupt,
    ) -> Result<Self, ArmError> {
        let cloud = &options.auth.cloud;
        let failed = |reason: String| ArmError::Client {
            host: host(cloud.arm()),
            reason,
        };
        let tokens = options.auth.tokens();
        let tokens = tokens.map_err(|error| ArmError::Source {
            host: host(cloud.arm()),
            error,
        });
        let tokens = Arc::new(tokens?);
        let transport = options.auth.transport.for_url(cloud.arm());
        let client_options = ClientOptions {
            transport: Some(transport.map_err(|error| failed(error.to_string()))?),
            // The SDK's retries would repeat a POST and cannot be interrupted.
            retry: RetryOptions::none(),
            ..ClientOptions::default()
        };
        let bearer =
            BearerTokenAuthorizationPolicy::new(Arc::<Tokens>::clone(&tokens), [cloud.scope()]);
        let pipeline = Pipeline::new(
            Some(env!("CARGO_PKG_NAME")),
            Some(env!("CARGO_PKG_VERSION")),
            client_options,
            Vec::new(),
            vec![Arc::new(RunAgent::new(&options.run)), Arc::new(bearer)],
            None,
        );
        Ok(Self {
            inner: Arc::new(Inner {
                limiter: Limiter::new(options.auth.transport.time_scale),
                options,
                tokens,
                pipeline,
            }),
            events: events.clone(),
            interrupt: interrupt.clone(),
            retrying_not_found: false,
        })
    }

    /// Returns this client with another interrupt, so that cleanup continues after the first one.
    #[must_use]
    pub fn with_interrupt(&self, interrupt: &Interrupt) -> Self {
        Self {
            interrupt: interrupt.clone(),
            ..self.clone()
        }
    }

    /// Returns this client with retries of "not found" for about two minutes.
    ///
    /// For requests about a resource, or a reference to one, that was just created.
    #[must_use]
    pub fn retrying_not_found(&self) -> Self {
        Self {
            retrying_not_found: true,
            ..self.clone()
        }
    }

    /// Returns the subscription's id.
    pub fn subscription(&self) -> &str {
        &self.inner.options.subscription
    }

    /// Returns the resource at `path`, or `None` if the service answers 404.
    pub async fn get(&self, path: impl Display, api: &str) -> Result<Option<Value>, ArmError> {
        self.get_with(path, api, &[]).await
    }

    /// Works like [`Self::get`], with more query parameters: `[("$expand", "instanceView")]`.
    pub async fn get_with(
        &self,
        path: impl Display,
        api: &str,
        query: &[(&str, &str)],
    ) -> Result<Option<Value>, ArmError> {
        let request = self.build_request(Method::Get, &path.to_string(), "", api, query)?;
        let received = self.send(&request).await?.answer;
        match received.status {
            404 if hint::is_absent(&request.refusal(self, &received)) => Ok(None),
            _ if received.is_success() => Ok(Some(received.body)),
            _ => Err(request.refusal_error(self, &received)),
        }
    }

    /// Returns the `value` of all pages of a list. Fails if a page links to another host.
    pub async fn list(
        &self,
        path: impl Display,
        api: &str,
        query: &[(&str, &str)],
    ) -> Result<Vec<Value>, ArmError> {
        let mut request = self.build_request(Method::Get, &path.to_string(), "", api, query)?;
        let mut all = Vec::new();
        for _ in 0..MAX_PAGES {
            let mut received = self.send(&request).await?.answer;
            if !received.is_success() {
                return Err(request.refusal_error(self, &received));
            }
            let Some(Value::Array(page)) = received.body.get_mut("value").map(Value::take) else {
                return Err(request.malformed("the answer is not a list"));
            };
            all.extend(page);
            match received.body.get("nextLink").and_then(Value::as_str) {
                None | Some("") => return Ok(all),
                Some(next) => {
                    request.url = self.check_link(&request.operation, "nextLink", next)?;
                }
            }
        }
        Err(request.malformed(&format!("the list has more than {MAX_PAGES} pages")))
    }

    /// Creates or replaces the resource at `path`. If the answer is lost, repeats the same body.
    pub async fn put(
        &self,
        path: impl Display,
        api: &str,
        body: &Value,
    ) -> Result<LongRunningOperation, ArmError> {
        let path = path.to_string();
        let request = self
            .build_request(Method::Put, &path, "", api, &[])?
            .body(body);
        let received = self.send(&request).await?.answer;
        self.start_operation(request, &path, api, received)
    }

    /// Creates the resource at `path`. Fails with 409 or 412 if it exists.
    ///
    /// After a lost answer an existing resource counts as created by this call if it carries all
    /// tags of `body`. A body without tags never does.
    pub async fn create(
        &self,
        path: impl Display,
        api: &str,
        body: &Value,
    ) -> Result<LongRunningOperation, ArmError> {
        let path = path.to_string();
        let mut request = self
            .build_request(Method::Put, &path, "", api, &[])?
            .body(body);
        request.only_new = true;
        let received = self.send(&request).await?;
        if received.lost && matches!(received.answer.status, 409 | 412) {
            let read = self.build_request(Method::Get, &path, "", api, &[])?;
            let found = self.send(&read).await?.answer;
            if found.is_success() && has_tags_of(body, &found.body) {
                return self.start_operation(request, &path, api, found);
            }
        }
        self.start_operation(request, &path, api, received.answer)
    }

    /// Updates the resource at `path`.
    pub async fn patch(
        &self,
        path: impl Display,
        api: &str,
        body: &Value,
    ) -> Result<LongRunningOperation, ArmError> {
        let path = path.to_string();
        let request = self
            .build_request(Method::Patch, &path, "", api, &[])?
            .body(body);
        let received = self.send(&request).await?.answer;
        self.start_operation(request, &path, api, received)
    }

    /// Runs `action` on the resource at `path`. The request is not repeated if it may have arrived.
    ///
    /// # Errors
    ///
    /// [`ArmError::Unknown`] if the answer was lost; the caller must read the resource's state.
    pub async fn post(
        &self,
        path: impl Display,
        action: &str,
        api: &str,
        query: &[(&str, &str)],
        body: Option<&Value>,
    ) -> Result<LongRunningOperation, ArmError> {
        let path = path.to_string();
        let mut request = self.build_request(Method::Post, &path, action, api, query)?;
        if let Some(body) = body {
            request = request.body(body);
        }
        let received = self.send(&request).await?.answer;
        self.start_operation(request, &path, api, received)
    }

    /// Deletes the resource at `path`. Succeeds if it does not exist.
    pub async fn delete(
        &self,
        path: impl Display,
        api: &str,
        query: &[(&str, &str)],
    ) -> Result<LongRunningOperation, ArmError> {
        let path = path.to_string();
        let request = self.build_request(Method::Delete, &path, "", api, query)?;
        let mut received = self.send(&request).await?.answer;
        if received.status == 404 && hint::is_absent(&request.refusal(self, &received)) {
            (received.status, received.body) = (204, Value::Null);
        }
        self.start_operation(request, &path, api, received)
    }

    /// Returns the text at `url`, a signed address such as that of a log, or `None` on failure.
    ///
    /// Sends no token there.
    pub(crate) async fn fetch_text(&self, url: &str) -> Option<String> {
        let url = Url::parse(url).ok().filter(|url| url.scheme() == "https")?;
        let transport = self.inner.options.auth.transport.for_url(&url).ok()?;
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
        let mut download = azure_core::http::Request::new(url, Method::Get);
        let context = azure_core::http::Context::new();
        let sending = pipeline.send(&context, &mut download, None);
        let response = self.interrupt.or(sending).await.ok()?.ok()?;
        let bytes: &[u8] = response.body();
        let text = || String::from_utf8_lossy(bytes).into_owned();
        response.status().is_success().then(text)
    }

    fn start_operation(
        &self,
        request: ArmRequest,
        path: &str,
        api: &str,
        received: Answer,
    ) -> Result<LongRunningOperation, ArmError> {
        if !received.is_success() {
            return Err(request.refusal_error(self, &received));
        }
        let read = self.build_request(Method::Get, path, "", api, &[])?;
        Ok(LongRunningOperation::new(
            self.clone(),
            request,
            read,
            received,
        ))
    }

    fn build_request(
        &self,
        method: Method,
        path: &str,
        action: &str,
        api: &str,
        query: &[(&str, &str)],
    ) -> Result<ArmRequest, ArmError> {
        let verb = format!("{} {action}", method.as_str());
        let operation = Operation::new(verb.trim_end(), path);
        let mut url = self.inner.options.auth.cloud.arm().clone();
        let whole = format!("{path}/{action}");
        let whole = whole.trim_end_matches('/');
        // A name with a slash or dots in it would change the path.
        let parts = whole.strip_prefix('/').map(|path| path.split('/'));
        let is_unsafe = |part: &str| {
            part.is_empty() || part == "." || part == ".." || part.contains(['?', '#', '%', '\\'])
        };
        if parts.is_none_or(|mut parts| parts.any(is_unsafe)) {
            let what = format!("`{whole}` is not a resource path");
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

    /// Returns `link` as a URL. Fails unless it is on the cloud's own host.
    pub(super) fn check_link(
        &self,
        operation: &Operation,
        header: &'static str,
        link: &str,
    ) -> Result<Url, ArmError> {
        let arm = self.inner.options.auth.cloud.arm();
        let url = arm.join(link).map_err(|error| ArmError::Malformed {
            operation: operation.clone(),
            what: format!("{header} of the answer is not a URL: {error}"),
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
}

fn host(url: &Url) -> String {
    let port = url
        .port()
        .map_or_else(String::new, |port| format!(":{port}"));
    format!("{}{port}", url.host_str().unwrap_or_default())
}

/// A longer list must be a cycle of pages.
const MAX_PAGES: usize = 1000;
