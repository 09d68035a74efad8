//! ACL policies and tokens, created with chosen names and ids so that a repetition finds them.

use serde::Deserialize;
use serde_json::{Value, json};

use super::super::client::null_as_default;
use super::Client;
use crate::product::{ApiError, Change};
use crate::secret::Secret;

/// A token to create.
pub struct TokenRequest<'a> {
    /// The accessor id, a UUID, which names the token.
    pub accessor: &'a str,
    /// The secret id, a UUID.
    pub secret: &'a Secret,
    /// The description.
    pub description: &'a str,
    /// The names of the policies.
    pub policies: &'a [&'a str],
}

/// A token without its secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenInfo {
    /// The accessor id.
    pub accessor: String,
    /// The description.
    pub description: String,
    /// The names of the policies, sorted.
    pub policies: Vec<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct TokenJson {
    #[serde(rename = "AccessorID")]
    accessor: String,
    #[serde(rename = "SecretID", default)]
    secret: String,
    #[serde(default)]
    description: String,
    #[serde(default, deserialize_with = "null_as_default")]
    policies: Vec<LinkJson>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct LinkJson {
    name: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct PolicyJson {
    #[serde(rename = "ID")]
    id: String,
    name: String,
    #[serde(default)]
    description: String,
    #[serde(default)]
    rules: String,
}

impl From<TokenJson> for TokenInfo {
    fn from(json: TokenJson) -> Self {
        let mut policies: Vec<_> = json.policies.into_iter().map(|link| link.name).collect();
        policies.sort();
        Self {
            accessor: json.accessor,
            description: json.description,
            policies,
        }
    }
}

impl Client {
    /// Whether the agent knows a token.
    ///
    /// A server without a leader, or that begins, may not know a valid one yet.
    pub async fn knows_token(&self, token: &Secret) -> Result<bool, ApiError> {
        let call = self.api.get("read the token", &["acl", "token", "self"]);
        match call.token(token).send().await {
            Ok(_) => Ok(true),
            Err(ApiError::Status { status: 403, .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Creates the policy `name`, or changes it if its description or rules differ.
    ///
    /// Needs `acl:write`.
    pub async fn put_policy(
        &self,
        token: &Secret,
        name: &str,
        description: &str,
        rules: &str,
    ) -> Result<Change, ApiError> {
        let what = format!("write the policy {name}");
        // A read by name is refused for an absent policy as for an unknown token, with 403.
        let call = self.api.get(&what, &["acl", "policies"]).token(token);
        let policies: Vec<PolicyJson> = call.send().await?.json_list()?;
        let mut body = json!({ "Name": name, "Description": description, "Rules": rules });
        let Some(listed) = policies.into_iter().find(|policy| policy.name == name) else {
            let call = self.api.put(&what, &["acl", "policy"]).token(token);
            call.body(&body).send().await?;
            return Ok(Change::Created);
        };
        let path = ["acl", "policy", &listed.id];
        let call = self.api.get(&what, &path).token(token);
        let existing: PolicyJson = call.send().await?.json()?;
        if existing.description == description && existing.rules == rules {
            return Ok(Change::Unchanged);
        }
        body["ID"] = Value::from(listed.id.as_str());
        let call = self.api.put(&what, &path).token(token);
        call.body(&body).send().await?;
        Ok(Change::Updated)
    }

    /// Creates a token with the requested ids, or changes its description and policies.
    ///
    /// Fails with [`ApiError::Conflict`] if the token exists with another secret.
    /// Needs `acl:write`.
    pub async fn put_token(
        &self,
        token: &Secret,
        request: &TokenRequest<'_>,
    ) -> Result<Change, ApiError> {
        let what = format!("write the token {}", request.description);
        let call = self.api.get(&what, &["acl", "tokens"]).token(token);
        let tokens: Vec<TokenJson> = call.send().await?.json_list()?;
        let exists = tokens
            .iter()
            .any(|found| found.accessor == request.accessor);
        let links: Vec<Value> = request
            .policies
            .iter()
            .map(|name| json!({ "Name": name }))
            .collect();
        let body = json!({
            "AccessorID": request.accessor,
            "SecretID": request.secret.expose(),
            "Description": request.description,
            "Policies": links,
        });
        if !exists {
            let call = self.api.put(&what, &["acl", "token"]).token(token);
            call.body(&body).hiding(request.secret).send().await?;
            return Ok(Change::Created);
        }
        let path = ["acl", "token", request.accessor];
        let call = self.api.get(&what, &path).token(token);
        let existing: TokenJson = call.hiding(request.secret).send().await?.json()?;
        if existing.secret != request.secret.expose() {
            return Err(self.api.conflict(&what, "it exists with another secret"));
        }
        let mut policies: Vec<&str> = request.policies.to_vec();
        policies.sort_unstable();
        let existing = TokenInfo::from(existing);
        if existing.description == request.description && existing.policies == policies {
            return Ok(Change::Unchanged);
        }
        let call = self.api.put(&what, &path).token(token);
        call.body(&body).hiding(request.secret).send().await?;
        Ok(Change::Updated)
    }

    /// Returns what `token` is.
    pub async fn token_self(&self, token: &Secret) -> Result<TokenInfo, ApiError> {
        let call = self.api.get("read the token", &["acl", "token", "self"]);
        let json: TokenJson = call.token(token).send().await?.json()?;
        Ok(json.into())
    }

    /// Deletes the token with this accessor id, if it exists. Needs `acl:write`.
    pub async fn delete_token(&self, token: &Secret, accessor: &str) -> Result<(), ApiError> {
        let what = format!("delete the token {accessor}");
        let call = self.api.delete(&what, &["acl", "token", accessor]);
        call.token(token).send().await?;
        Ok(())
    }
}
