//! The identity of a job of GitHub Actions.
//!
//! In: the address and the token that the runner gives to a job. Out: the job's own signed statement of who it is, which an
//! application in Azure trusts. Deliberately keeps none: each is good for minutes.

use std::fmt;

use azure_core::Error;
use azure_core::error::ErrorKind;
use azure_core::http::{
    ClientMethodOptions, ClientOptions, Context, Method, Pipeline, PipelineSendOptions, Request,
    Url,
};
use azure_identity::ClientAssertion;
use serde_json::Value;

use crate::azure::transport::cause;
use crate::secret::Secret;

/// A job.
pub(super) struct Job {
    url: Url,
    token: Secret,
    pipeline: Pipeline,
}

impl Job {
    /// The address that `given` is, with the audience that Azure wants.
    pub(super) fn address(given: &str) -> Result<Url, String> {
        let mut url =
            Url::parse(given).map_err(|error| format!("the job's address is no URL: {error}"))?;
        if url.scheme() != "https" {
            return Err(String::from(
                "the job's address is not https: its token would be seen",
            ));
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
impl ClientAssertion for Job {
    async fn secret(&self, _: Option<ClientMethodOptions<'_>>) -> azure_core::Result<String> {
        let mut request = Request::new(self.url.clone(), Method::Get);
        request.insert_header("authorization", format!("bearer {}", self.token.expose()));
        request.insert_header("accept", "application/json; api-version=2.0");
        let failed = |why: String| Error::with_message(ErrorKind::Credential, why);
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
            sent.map_err(|error| failed(format!("GitHub was not reached: {}", cause(&error))))?;
        let status = u16::from(response.status());
        if status != 200 {
            return Err(failed(format!(
                "GitHub answered {status}; the job needs the permission `id-token: write`"
            )));
        }
        let bytes: &[u8] = response.body();
        let body: Value = serde_json::from_slice(bytes).unwrap_or_default();
        let value = body.get("value").and_then(Value::as_str);
        value
            .map(str::to_owned)
            .ok_or_else(|| failed(String::from("GitHub's answer has no token in it")))
    }
}

impl fmt::Debug for Job {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Job")
    }
}

const AUDIENCE: &str = "api://AzureADTokenExchange";
