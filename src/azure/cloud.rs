//! Where a cloud is: its management interface, its authority, its blobs.
//!
//! In: a preset's name or endpoints of one's own. Out: a [`Cloud`] whose endpoints are all `https`. Deliberately asks no
//! metadata service: an answer from there would decide where tokens go.

use std::sync::Arc;

use azure_core::cloud::{CloudConfiguration, CustomConfiguration};
use azure_core::http::Url;

/// The endpoints of one cloud.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cloud {
    name: String,
    arm: Url,
    authority: Url,
    audience: String,
    blob_suffix: String,
}

/// Endpoints that make no cloud.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CloudError {
    /// There is no preset of this name.
    #[error("no cloud is called `{0}`; there are public, usgovernment and china")]
    Unknown(String),
    /// Not a URL.
    #[error("the {what} endpoint `{given}` is no URL: {why}")]
    NotUrl {
        /// Which endpoint.
        what: &'static str,
        /// What was given.
        given: String,
        /// What is wrong.
        why: String,
    },
    /// A URL that is not just `https://HOST[:PORT]`.
    #[error(
        "the {what} endpoint `{given}` must be https://HOST[:PORT] and nothing more: tokens go there"
    )]
    NotPlain {
        /// Which endpoint.
        what: &'static str,
        /// What was given.
        given: String,
    },
}

/// Name, management, authority, blobs.
const PRESETS: [(&str, &str, &str, &str); 3] = [
    (
        "public",
        "https://management.azure.com",
        "https://login.microsoftonline.com",
        "blob.core.windows.net",
    ),
    (
        "usgovernment",
        "https://management.usgovcloudapi.net",
        "https://login.microsoftonline.us",
        "blob.core.usgovcloudapi.net",
    ),
    (
        "china",
        "https://management.chinacloudapi.cn",
        "https://login.chinacloudapi.cn",
        "blob.core.chinacloudapi.cn",
    ),
];

impl Cloud {
    /// `public`, `usgovernment` or `china`.
    pub fn named(name: &str) -> Result<Self, CloudError> {
        let found = PRESETS.iter().find(|preset| preset.0 == name);
        let (name, arm, authority, blobs) =
            *found.ok_or_else(|| CloudError::Unknown(name.to_owned()))?;
        Ok(Self {
            name: name.to_owned(),
            ..Self::custom(arm, authority, blobs, None)?
        })
    }

    /// The cloud whose blobs are at `host`; the public one where none is.
    pub fn of_blobs(host: &str) -> Result<Self, CloudError> {
        let of = |preset: &&(&str, &str, &str, &str)| {
            host.strip_suffix(preset.3)
                .is_some_and(|account| account.ends_with('.'))
        };
        Self::named(PRESETS.iter().find(of).map_or("public", |preset| preset.0))
    }

    /// The same, with tokens from elsewhere: `AZURE_AUTHORITY_HOST`, as the binary read it.
    pub fn with_authority(self, authority: &str) -> Result<Self, CloudError> {
        Ok(Self {
            authority: endpoint("authority", authority)?,
            ..self
        })
    }

    /// A cloud of one's own. `audience` is whom a token for `arm` is for; without it, `arm` itself.
    pub fn custom(
        arm: &str,
        authority: &str,
        blob_suffix: &str,
        audience: Option<&str>,
    ) -> Result<Self, CloudError> {
        let arm = endpoint("management", arm)?;
        Ok(Self {
            name: String::from("custom"),
            audience: audience
                .unwrap_or(arm.as_str())
                .trim_end_matches('/')
                .to_owned(),
            authority: endpoint("authority", authority)?,
            blob_suffix: blob_suffix.trim_matches('.').to_owned(),
            arm,
        })
    }

    /// Its name, or `custom`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The management interface, `https://HOST[:PORT]/`.
    pub fn arm(&self) -> &Url {
        &self.arm
    }

    /// What gives tokens, `https://HOST[:PORT]/`.
    pub fn authority(&self) -> &Url {
        &self.authority
    }

    /// What a token for the management interface is asked for.
    pub fn scope(&self) -> String {
        format!("{}/.default", self.audience)
    }

    /// The address of the container `container` in the storage account `account`.
    pub fn container(&self, account: &str, container: &str) -> String {
        format!("https://{account}.{}/{container}", self.blob_suffix)
    }

    /// The same in the words of `azure_core`.
    pub(super) fn configuration(&self) -> Arc<CloudConfiguration> {
        let mut custom = CustomConfiguration::default();
        custom.authority_host = self.authority.as_str().trim_end_matches('/').to_owned();
        Arc::new(custom.into())
    }
}

fn endpoint(what: &'static str, given: &str) -> Result<Url, CloudError> {
    let url = Url::parse(given).map_err(|error| CloudError::NotUrl {
        what,
        given: given.to_owned(),
        why: error.to_string(),
    })?;
    let plain = url.scheme() == "https"
        && url.host_str().is_some()
        && url.path() == "/"
        && url.username().is_empty()
        && [url.password(), url.query(), url.fragment()] == [None; 3];
    if plain {
        Ok(url)
    } else {
        // What stands before the host may be a password.
        let host = url.host_str().unwrap_or_default();
        Err(CloudError::NotPlain {
            what,
            given: format!("{}://{host}{}", url.scheme(), url.path()),
        })
    }
}
