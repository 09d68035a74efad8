//! The token authority: `POST /{tenant}/oauth2/v2.0/token` issues tokens with a configured lifetime.
//! Every other request needs a valid one.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serde_json::json;

use super::answer::{Answer, Refusal, Reply};

/// The known application and the issued tokens.
pub struct Authority {
    client_id: String,
    client_secret: String,
    lifetime: Duration,
    given: BTreeMap<String, Instant>,
    /// A token that never expires, for clients that request none.
    standing: Option<String>,
}

impl Authority {
    pub fn new(
        client_id: &str,
        client_secret: &str,
        lifetime: Duration,
        standing: Option<String>,
    ) -> Self {
        Self {
            client_id: client_id.to_owned(),
            client_secret: client_secret.to_owned(),
            lifetime,
            given: BTreeMap::new(),
            standing,
        }
    }

    /// Answers a token request.
    pub fn give(&mut self, tenant: &str, known_tenant: &str, form: &str, now: Instant) -> Answer {
        let form = super::route::pairs(form);
        let field = |name: &str| form.get(name).map_or("", String::as_str);
        if !tenant.eq_ignore_ascii_case(known_tenant) {
            return Err(refused(
                400,
                "invalid_request",
                "AADSTS90002: Tenant not found.",
            ));
        }
        if field("grant_type") != "client_credentials" {
            return Err(refused(
                400,
                "unsupported_grant_type",
                "AADSTS70003: The app requested an unsupported grant type.",
            ));
        }
        if field("client_id") != self.client_id {
            let text = "AADSTS700016: Application was not found in the directory.";
            return Err(refused(400, "unauthorized_client", text));
        }
        let asserted = !field("client_assertion").is_empty()
            && field("client_assertion_type")
                == "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";
        if !asserted && field("client_secret") != self.client_secret {
            let text = "AADSTS7000215: Invalid client secret provided.";
            return Err(refused(401, "invalid_client", text));
        }
        if !field("scope").ends_with("/.default") {
            let text =
                "AADSTS70011: The provided value for the input parameter 'scope' is not valid.";
            return Err(refused(400, "invalid_scope", text));
        }
        let token = format!("simulated.{}.token", self.given.len());
        self.given.insert(token.clone(), now + self.lifetime);
        let seconds = self.lifetime.as_secs();
        let body = json!({ "token_type": "Bearer", "expires_in": seconds, "ext_expires_in": seconds,
            "access_token": token });
        Ok(Reply::of(200, body))
    }

    /// Checks the token in the header of a request.
    pub fn admit(&self, authorization: Option<&String>, now: Instant) -> Result<(), Refusal> {
        let Some(token) = authorization.and_then(|value| value.strip_prefix("Bearer ")) else {
            let text = "Authentication failed. The 'Authorization' header is missing.";
            return Err(Refusal::new(401, "AuthenticationFailed", text));
        };
        if self.standing.as_deref() == Some(token) {
            return Ok(());
        }
        match self.given.get(token) {
            Some(until) if now < *until => Ok(()),
            Some(_) => Err(expired()),
            None => Err(Refusal::new(
                401,
                "InvalidAuthenticationToken",
                "The access token is invalid.",
            )),
        }
    }

    /// Expires all issued tokens.
    pub fn revoke(&mut self, now: Instant) {
        for until in self.given.values_mut() {
            *until = now;
        }
    }
}

/// Returns the refusal of an expired token.
pub fn expired() -> Refusal {
    let text = "The access token expiry UTC time is earlier than current UTC time.";
    Refusal::new(401, "ExpiredAuthenticationToken", text).header(
        "WWW-Authenticate",
        "Bearer error=\"invalid_token\", error_description=\"The access token expiry UTC time is earlier than current UTC time.\"",
    )
}

/// Returns a refusal in the authority's format, which differs from ARM's.
fn refused(status: u16, code: &str, text: &str) -> Refusal {
    Refusal::new(status, code, text).with("oauth", json!(true))
}

/// Returns the body of a refusal of the authority.
pub fn refusal_reply(refusal: &Refusal) -> Reply {
    let body = json!({ "error": refusal.code, "error_description": refusal.message });
    Reply::of(refusal.status, body)
}
