//! `[azure]`: the subscription, cloud and identity for builds on Azure.

use crate::azure::{Cloud, CloudError, CredentialOptions};
use crate::definition::Problem;
use crate::definition::document::{Item, Table};

/// The content of `[azure]`. All fields are optional.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Subscription {
    /// The id of the subscription.
    pub id: Option<String>,
    /// The credential source.
    pub credential: CredentialOptions,
    /// The cloud.
    pub cloud: CloudChoice,
}

/// A cloud by its name, or by its endpoints.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CloudChoice {
    /// `public`, `usgovernment` or `china`.
    Named(String),
    /// A cloud with custom endpoints.
    Custom {
        /// The management endpoint, `https://HOST[:PORT]`.
        management: String,
        /// The token endpoint, `https://HOST[:PORT]`.
        authority: String,
        /// The suffix of blob hosts, for example `blob.core.windows.net`.
        blob_suffix: String,
        /// The audience of tokens, if it is not the management endpoint.
        audience: Option<String>,
    },
}

impl Default for CloudChoice {
    fn default() -> Self {
        Self::Named("public".to_owned())
    }
}

impl CloudChoice {
    /// Returns the endpoints of the cloud.
    pub fn cloud(&self) -> Result<Cloud, CloudError> {
        match self {
            Self::Named(name) => Cloud::named(name),
            Self::Custom {
                management,
                authority,
                blob_suffix,
                audience,
            } => Cloud::custom(management, authority, blob_suffix, audience.as_deref()),
        }
    }
}

/// Reads `[azure]`.
pub(super) fn read(mut table: Table) -> Result<Subscription, Problem> {
    table.reject_unknown(&[
        "subscription",
        "credential",
        "tenant_id",
        "client_id",
        "cloud",
        "endpoints",
    ]);
    let mut text = |key: &str| table.take(key).map(Item::text).transpose();
    let id = text("subscription")?;
    let (tenant, client) = (text("tenant_id")?, text("client_id")?);
    let name = table.take("cloud");
    let endpoints = table.take("endpoints");
    let cloud = match (name, endpoints) {
        (Some(_), Some(endpoints)) => {
            return Err(endpoints
                .at
                .problem("`cloud` and `endpoints` exclude each other")
                .with_hint("Remove `cloud`, or `endpoints`."));
        }
        (Some(name), None) => named(name)?,
        (None, Some(endpoints)) => custom(endpoints)?,
        (None, None) => CloudChoice::default(),
    };
    let credential = table.take("credential").map(|item| super::kind(item, None));
    let credential = credential.transpose()?;
    Ok(Subscription {
        id,
        credential: CredentialOptions {
            kind: credential.flatten(),
            tenant,
            client,
        },
        cloud,
    })
}

fn named(item: Item) -> Result<CloudChoice, Problem> {
    let at = item.at.clone();
    let name = item.text()?;
    match Cloud::named(&name) {
        Ok(_) => Ok(CloudChoice::Named(name)),
        Err(error) => Err(at
            .problem(error.to_string())
            .with_hint("Leave it out for `public`.")),
    }
}

fn custom(item: Item) -> Result<CloudChoice, Problem> {
    let at = item.at.clone();
    let mut table = item.table()?;
    table.reject_unknown(&["management", "authority", "blob_suffix", "audience"]);
    let choice = CloudChoice::Custom {
        management: table.require("management", "`https://HOST`")?.text()?,
        authority: table.require("authority", "`https://HOST`")?.text()?,
        blob_suffix: table
            .require("blob_suffix", "for example `blob.core.windows.net`")?
            .text()?,
        audience: table.take("audience").map(Item::text).transpose()?,
    };
    match choice.cloud() {
        Ok(_) => Ok(choice),
        Err(error) => Err(at
            .problem(error.to_string())
            .with_hint("Use https://: tokens are sent to this endpoint.")),
    }
}
