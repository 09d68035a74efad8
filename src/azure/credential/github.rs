//! Authentication as a job of GitHub Actions.
//!
//! Takes the address and the token that the runner passes to a job; returns an id token signed by
//! GitHub, which an application in Azure trusts. It caches none: each is valid for minutes.

use std::fmt;

use azure_core::Error;
use azure_core::error::ErrorKind;
use azure_core::http::{
    ClientMethodOptions, ClientOptions, Context, Method, Pipeline, PipelineSendOptions, Request,
    Url,
};
use azure_identity::ClientAssertion;
use serde_json::Value;

use crate::azure::transport::root_cause;
use crate::secret::Secret;

/// A job of GitHub Actions that requests id tokens.
pub(super) struct GitHubJob {
    url: Url,
    token: Secret,
    pipeline: Pipeline,
}

impl GitHubJob {
    /// Parses the runner's address and adds the audience that Azure requires.
    pub(super) fn parse_address(given: &str) -> Result<Url, String> {
        let mut url = Url::parse(given)
            .map_err(|error| format!("the address for id tokens is not a URL: {error}"))?;
        if url.scheme() != "https" {
            return Err(String::from("the address for id tokens is not https"));
        }
        url.query_pairs_mut().append_pair("audience", AUDIENCE);
        Ok(url)
    }

    pub(super) fn new(url: Url, token: Secret, options: ClientOptions) -> Self {
        let (name, version) = (env!("CARGO_PKG_NAME"), env!("CARGO_PKG_VERSION"));
        let pipeline = Pipeline::new(
            Some(name),
            Some(version),
            options,
            Vec::new(),
            Vec::new(),
            None,
        );
        Self {
            url,
            token,
            pipeline,
        }
    }
}

#[async_trait::async_trait]
impl ClientAssertion for GitHubJob {
    async fn secret(&self, _: Option<ClientMethodOptions<'_>>) -> azure_core::Result<String> {
        let mut request = Request::new(self.url.clone(), Method::Get);
        request.insert_header("authorization", format!("bearer {}", self.token.expose()));
        request.insert_header("accept", "application/json; api-version=2.0");
        let failed = |reason: String| Error::with_message(ErrorKind::Credential, reason);
        let options = PipelineSendOptions {
            skip_checks: true,
            ..PipelineSendOptions::default()
        };
        let context = Context::default();
        let sent = self
            .pipeline
            .send(&context, &mut request, Some(options))
            .await;
        let response =
            sent.map_err(|error| failed(format!("cannot reach GitHub: {}", root_cause(&error))))?;
        let status = u16::from(response.status());
        if status != 200 {
            return Err(failed(format!(
                "GitHub answered {status} to the request for an id token"
            )));
        }
        let bytes: &[u8] = response.body();
        let body: Value = serde_json::from_slice(bytes).unwrap_or_default();
        let value = body.get("value").and_then(Value::as_str);
        value
            .map(str::to_owned)
            .ok_or_else(|| failed(String::from("GitHub's answer contains no token")))
    }
}

impl fmt::Debug for GitHubJob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("GitHubJob")
    }
}

const AUDIENCE: &str = "api://AzureADTokenExchange";
