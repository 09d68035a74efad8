//! A plain client of ARM: it sends requests as given and follows operations.

use reqwest::{Certificate, Client, Method};
use serde_json::{Value, json};

use super::{Config, Simulator};

pub const RESOURCES: &str = "2025-04-01";
pub const NETWORK: &str = "2025-05-01";
pub const COMPUTE: &str = "2025-11-01";
pub const GALLERY: &str = "2024-03-03";
pub const DISKS: &str = "2026-03-02";
pub const LOCKS: &str = "2020-05-01";

/// An answer of ARM.
#[derive(Clone, Debug)]
pub struct RawResponse {
    pub status: u16,
    pub headers: reqwest::header::HeaderMap,
    pub body: Value,
}

impl RawResponse {
    pub fn header(&self, name: &str) -> Option<String> {
        Some(self.headers.get(name)?.to_str().ok()?.to_owned())
    }

    /// Returns the status, with the code of an error: `200`, `404 ResourceNotFound`.
    pub fn short(&self) -> String {
        match self.body["error"]["code"].as_str() {
            Some(code) => format!("{} {code}", self.status),
            None => self.status.to_string(),
        }
    }
}

/// A simulator with an authenticated client.
pub struct RawClient {
    pub simulator: Simulator,
    pub client: Client,
    pub token: String,
}

impl RawClient {
    pub async fn start(config: Config) -> Self {
        let (tenant, id, secret) = (
            config.tenant.clone(),
            config.client_id.clone(),
            config.client_secret.clone(),
        );
        let simulator = Simulator::start(config);
        let authority =
            Certificate::from_pem(simulator.ca_pem().as_bytes()).expect("a certificate");
        let client = Client::builder()
            .tls_certs_only([authority])
            .no_proxy()
            .build()
            .expect("a client");
        let mut arm = Self {
            simulator,
            client,
            token: String::new(),
        };
        let form = format!(
            "grant_type=client_credentials&client_id={id}&client_secret={secret}&scope=https%3A%2F%2Fmanagement.azure.com%2F.default"
        );
        let given = arm.token(&tenant, form).await;
        let token = given.body["access_token"].as_str();
        token.unwrap_or_default().clone_into(&mut arm.token);
        arm
    }

    /// Requests a token from the authority.
    pub async fn token(&self, tenant: &str, form: String) -> RawResponse {
        let url = format!("{}/{tenant}/oauth2/v2.0/token", self.simulator.url());
        let request = self.client.post(url).body(form);
        read(request.send().await.expect("an answer")).await
    }

    /// Expands `S/…` to a path in the subscription, and `G/…` to one in the group `rg`.
    fn url(&self, path: &str, version: &str) -> String {
        let subscription = format!("/subscriptions/{}", self.simulator.subscription());
        let path = match path.split_once('/') {
            Some(("G", rest)) => format!("{subscription}/resourceGroups/rg/providers/{rest}"),
            Some(("S", rest)) => format!("{subscription}/{rest}"),
            _ => path.to_owned(),
        };
        let path = path.trim_end_matches('/').to_owned();
        if path.starts_with("https://") {
            return path;
        }
        let sign = if path.contains('?') { '&' } else { '?' };
        format!("{}{path}{sign}api-version={version}", self.simulator.url())
    }

    /// Returns the id of a resource in the group `rg`.
    pub fn id(&self, path: &str) -> String {
        let subscription = self.simulator.subscription();
        format!("/subscriptions/{subscription}/resourceGroups/rg/providers/{path}")
    }

    pub async fn try_send(
        &self,
        method: &str,
        path: &str,
        version: &str,
        body: Option<&Value>,
        headers: &[(&str, &str)],
    ) -> Result<RawResponse, reqwest::Error> {
        let method: Method = method.parse().expect("a method");
        let mut request = self.client.request(method, self.url(path, version));
        if !self.token.is_empty() {
            request = request.bearer_auth(&self.token);
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        if let Some(body) = body {
            request = request
                .header("content-type", "application/json")
                .body(body.to_string());
        }
        Ok(read(request.send().await?).await)
    }

    pub async fn send(
        &self,
        method: &str,
        path: &str,
        version: &str,
        body: Option<&Value>,
    ) -> RawResponse {
        let response = self.try_send(method, path, version, body, &[]).await;
        response.unwrap_or_else(|error| panic!("{method} {path}: {error:?}"))
    }

    pub async fn get(&self, path: &str, version: &str) -> RawResponse {
        self.send("GET", path, version, None).await
    }

    pub async fn put(&self, path: &str, version: &str, body: &Value) -> RawResponse {
        self.send("PUT", path, version, Some(body)).await
    }

    /// Sends a request and follows its operation to the end. Returns the status, or the refusal.
    pub async fn run(
        &self,
        method: &str,
        path: &str,
        version: &str,
        body: Option<&Value>,
    ) -> String {
        let response = self.send(method, path, version, body).await;
        if response.status >= 300 {
            return response.short();
        }
        self.follow(&response).await
    }

    pub async fn follow(&self, response: &RawResponse) -> String {
        if let Some(url) = response.header("azure-asyncoperation") {
            loop {
                let now = self.get(&url, "").await;
                let status = now.body["status"].as_str().unwrap_or_default().to_owned();
                match status.as_str() {
                    "InProgress" => tokio::task::yield_now().await,
                    "Failed" => {
                        return format!(
                            "Failed {}",
                            now.body["error"]["code"].as_str().unwrap_or_default()
                        );
                    }
                    _ => return status,
                }
            }
        }
        let Some(url) = response.header("location") else {
            return response.status.to_string();
        };
        loop {
            let now = self.get(&url, "").await;
            match now.status {
                202 => tokio::task::yield_now().await,
                200 | 204 => return "Succeeded".to_owned(),
                _ => return format!("Failed {}", now.short()),
            }
        }
    }

    /// Panics if the simulator recorded a violation.
    pub fn assert_no_violations(&self) {
        let violations = self.simulator.violations();
        assert!(violations.is_empty(), "{violations:#?}");
    }
}

async fn read(response: reqwest::Response) -> RawResponse {
    let status = response.status().as_u16();
    let headers = response.headers().clone();
    let text = response.text().await.expect("a body");
    let body = serde_json::from_str(&text).unwrap_or_else(|_| json!(text));
    RawResponse {
        status,
        headers,
        body,
    }
}
