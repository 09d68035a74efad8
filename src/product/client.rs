//! Sends one request to one server, and reads its answer.
//! Trusts one authority, follows no redirect, uses no proxy, and has limits of time and size.
//! Tokens are sent as headers only, and are removed from texts of the server.

mod answer;
mod transport;

use std::fs::File;
use std::time::Duration;

use reqwest::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use reqwest::{Method, Url};
use serde_json::Value;

use super::{ApiError, Endpoint, TlsMaterial};
use crate::network::Network;
use crate::secret::{Scrubber, Secret};

pub(super) use answer::{Answer, null_as_default};

/// How the HTTP API of one product differs from others.
pub(super) struct Api {
    /// The product, as in sentences.
    pub(super) title: &'static str,
    /// The header of tokens, in lower case.
    pub(super) token_header: &'static str,
    /// Whether a refusal with this status and text is that of a standby.
    pub(super) is_standby: fn(u16, &str) -> bool,
}

/// A client for the API of one server.
#[derive(Clone)]
pub(super) struct ApiClient {
    product: &'static Api,
    server: String,
    base: Url,
    http: reqwest::Client,
    network: Network,
    limit: Duration,
}

impl ApiClient {
    /// Prepares a client. Connects to nothing.
    ///
    /// Each request gets a connection of its own: a kept one would show an old certificate, and
    /// would delay the news of a dead node.
    pub(super) fn new(
        product: &'static Api,
        endpoint: &Endpoint,
        tls: &TlsMaterial,
    ) -> Result<Self, ApiError> {
        Self::with_kept(product, endpoint, tls, 0)
    }

    /// Prepares a client that uses its connections again.
    pub(super) fn keeping_connections(
        product: &'static Api,
        endpoint: &Endpoint,
        tls: &TlsMaterial,
    ) -> Result<Self, ApiError> {
        Self::with_kept(product, endpoint, tls, KEPT)
    }

    fn with_kept(
        product: &'static Api,
        endpoint: &Endpoint,
        tls: &TlsMaterial,
        kept: usize,
    ) -> Result<Self, ApiError> {
        let server = format!("{} at {}", product.title, endpoint.address);
        let invalid = |reason: String| ApiError::Invalid {
            what: "prepare a client".to_owned(),
            server: server.clone(),
            reason,
        };
        let base = transport::base_url(endpoint).map_err(invalid)?;
        let http = transport::http_client(endpoint, tls, kept).map_err(invalid)?;
        Ok(Self {
            product,
            base,
            http,
            network: endpoint.network.clone(),
            limit: REQUEST_LIMIT,
            server,
        })
    }

    /// Sets the limit of each request, for requests without a longer limit of their own.
    pub(super) fn set_limit(&mut self, limit: Duration) {
        self.limit = limit;
    }

    pub(super) fn get<'a>(&'a self, what: &str, path: &[&str]) -> Call<'a> {
        self.call(Method::GET, what, path)
    }

    pub(super) fn put<'a>(&'a self, what: &str, path: &[&str]) -> Call<'a> {
        self.call(Method::PUT, what, path)
    }

    pub(super) fn post<'a>(&'a self, what: &str, path: &[&str]) -> Call<'a> {
        self.call(Method::POST, what, path)
    }

    pub(super) fn delete<'a>(&'a self, what: &str, path: &[&str]) -> Call<'a> {
        self.call(Method::DELETE, what, path)
    }

    /// Returns an error about an object that exists.
    pub(super) fn conflict(&self, what: &str, reason: &str) -> ApiError {
        ApiError::Conflict {
            what: what.to_owned(),
            server: self.server.clone(),
            reason: reason.to_owned(),
        }
    }

    /// Returns an error about an input.
    pub(super) fn invalid(&self, what: &str, reason: &str) -> ApiError {
        ApiError::Invalid {
            what: what.to_owned(),
            server: self.server.clone(),
            reason: reason.to_owned(),
        }
    }

    /// Returns an error about missing rights.
    pub(super) fn no_rights(&self, what: &str) -> ApiError {
        ApiError::NoRights {
            what: what.to_owned(),
            server: self.server.clone(),
        }
    }

    /// Begins a request. A segment of `path` may contain `/` only if it is the last one.
    fn call(&self, method: Method, what: &str, path: &[&str]) -> Call<'_> {
        let mut url = self.base.clone();
        // URLs drop the segments `.` and `..`, also if they are encoded.
        let segments = || path.iter().flat_map(|part| part.split('/'));
        let is_exact = segments().all(|segment| segment != "." && segment != "..");
        if let Ok(mut into) = url.path_segments_mut() {
            into.push("v1").extend(segments());
        }
        Call {
            api: self,
            what: what.to_owned(),
            request: reqwest::Request::new(method, url),
            problem: (!is_exact).then(|| "the path has a segment `.` or `..`".to_owned()),
            secrets: Vec::new(),
            accepted: &[],
            limit: self.limit,
        }
    }
}

/// A request that is being built.
pub(super) struct Call<'a> {
    api: &'a ApiClient,
    what: String,
    request: reqwest::Request,
    problem: Option<String>,
    secrets: Vec<Secret>,
    accepted: &'static [u16],
    limit: Duration,
}

impl Call<'_> {
    /// Sends `token`.
    pub(super) fn token(mut self, token: &Secret) -> Self {
        match HeaderValue::from_str(token.expose()) {
            Ok(mut value) => {
                value.set_sensitive(true);
                let header = HeaderName::from_static(self.api.product.token_header);
                self.request.headers_mut().insert(header, value);
            }
            Err(_) => {
                self.problem = Some("the token has characters that no header may have".to_owned());
            }
        }
        self.hiding(token)
    }

    /// Adds a parameter to the query.
    pub(super) fn query(mut self, name: &str, value: &str) -> Self {
        self.request
            .url_mut()
            .query_pairs_mut()
            .append_pair(name, value);
        self
    }

    /// Sends `body` as JSON.
    pub(super) fn body(mut self, body: &Value) -> Self {
        *self.request.body_mut() = Some(body.to_string().into());
        let json = HeaderValue::from_static("application/json");
        self.request.headers_mut().insert(CONTENT_TYPE, json);
        self
    }

    /// Removes `secret`, which the body contains, from texts of the server.
    pub(super) fn hiding(mut self, secret: &Secret) -> Self {
        self.secrets.push(secret.clone());
        self
    }

    /// Accepts these statuses, in addition to 200 to 299.
    pub(super) fn accepting(mut self, statuses: &'static [u16]) -> Self {
        self.accepted = statuses;
        self
    }

    /// Sets a limit for a slow request.
    pub(super) fn lasting(mut self, limit: Duration) -> Self {
        self.limit = limit.max(self.limit);
        self
    }

    /// Sends the request once.
    pub(super) async fn send(self) -> Result<Answer, ApiError> {
        self.exchange(transport::exchange).await
    }

    /// Sends the request once, and writes the body of a successful answer to `file`.
    pub(super) async fn download(self, file: File) -> Result<(), ApiError> {
        let download = |http, request| transport::download(http, request, file);
        self.exchange(download).await.map(|_| ())
    }

    async fn exchange<F>(
        self,
        exchange: impl FnOnce(reqwest::Client, reqwest::Request) -> F,
    ) -> Result<Answer, ApiError>
    where
        F: Future<Output = Result<transport::Received, transport::Fault>> + Send + 'static,
    {
        let Self {
            api,
            what,
            mut request,
            problem,
            secrets,
            accepted,
            limit,
        } = self;
        let server = api.server.clone();
        if let Some(reason) = problem {
            return Err(ApiError::Invalid {
                what,
                server,
                reason,
            });
        }
        *request.timeout_mut() = Some(limit);
        let exchange = exchange(api.http.clone(), request);
        let received = match api.network.run(exchange).await {
            Ok(received) => received,
            Err(fault) => return Err(fault.into_error(what, server, limit)),
        };
        let (status, origin) = (received.status, Origin { what, server });
        // Host names, as in a redirect, are in lower case.
        let lower: Vec<Secret> = secrets.iter().map(in_lower_case).collect();
        let scrubber = Scrubber::new(secrets.iter().chain(&lower));
        let answer = Answer::new(api.product, origin, received, scrubber);
        if (200..300).contains(&status) || accepted.contains(&status) {
            return Ok(answer);
        }
        Err(answer.into_refusal())
    }
}

fn in_lower_case(secret: &Secret) -> Secret {
    Secret::new(secret.expose().to_lowercase())
}

/// The request and the server of an answer, for errors.
pub(super) struct Origin {
    what: String,
    server: String,
}

/// The limit of a request, except for slow ones.
const REQUEST_LIMIT: Duration = Duration::from_secs(10);

/// The most connections without a request that a client keeps.
const KEPT: usize = 16;
