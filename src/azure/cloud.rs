//! The endpoints of a cloud: ARM, authority and blobs.
//!
//! Takes the name of a preset, or endpoints; returns a [`Cloud`] whose endpoints all use `https`.
//! It queries no metadata service, because the answer would decide which hosts receive tokens.

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

/// Invalid endpoints of a cloud.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CloudError {
    /// No preset has this name.
    #[error("no such cloud `{0}`: expected public, usgovernment or china")]
    Unknown(String),
    /// The endpoint is not a URL.
    #[error("{what} endpoint `{given}` is not a URL: {why}")]
    NotUrl {
        /// The kind of endpoint: `management` or `authority`.
        what: &'static str,
        /// The text.
        given: String,
        /// The defect.
        why: String,
    },
    /// The endpoint is not `https://HOST[:PORT]`.
    #[error("{what} endpoint: expected https://HOST[:PORT], found `{given}`")]
    NotPlain {
        /// The kind of endpoint: `management` or `authority`.
        what: &'static str,
        /// The URL without user, password and query.
        given: String,
    },
}

struct Preset {
    name: &'static str,
    arm: &'static str,
    authority: &'static str,
    blob_suffix: &'static str,
}

const PRESETS: [Preset; 3] = [
    Preset {
        name: "public",
        arm: "https://management.azure.com",
        authority: "https://login.microsoftonline.com",
        blob_suffix: "blob.core.windows.net",
    },
    Preset {
        name: "usgovernment",
        arm: "https://management.usgovcloudapi.net",
        authority: "https://login.microsoftonline.us",
        blob_suffix: "blob.core.usgovcloudapi.net",
    },
    Preset {
        name: "china",
        arm: "https://management.chinacloudapi.cn",
        authority: "https://login.chinacloudapi.cn",
        blob_suffix: "blob.core.chinacloudapi.cn",
    },
];

impl Cloud {
    /// Returns the preset `public`, `usgovernment` or `china`.
    pub fn named(name: &str) -> Result<Self, CloudError> {
        let found = PRESETS.iter().find(|preset| preset.name == name);
        let preset = found.ok_or_else(|| CloudError::Unknown(name.to_owned()))?;
        Ok(Self {
            name: name.to_owned(),
            ..Self::custom(preset.arm, preset.authority, preset.blob_suffix, None)?
        })
    }

    /// Returns the preset whose blobs are at `host`, or the public one if none matches.
    pub fn from_blob_host(host: &str) -> Result<Self, CloudError> {
        let matches = |preset: &&Preset| {
            host.strip_suffix(preset.blob_suffix)
                .is_some_and(|account| account.ends_with('.'))
        };
        let found = PRESETS.iter().find(matches);
        Self::named(found.map_or("public", |preset| preset.name))
    }

    /// Returns this cloud with another authority, such as that of `AZURE_AUTHORITY_HOST`.
    pub fn with_authority(self, authority: &str) -> Result<Self, CloudError> {
        Ok(Self {
            authority: endpoint("authority", authority)?,
            ..self
        })
    }

    /// Returns a cloud with custom endpoints.
    ///
    /// `audience` is that of tokens for `arm`; the default is `arm` itself.
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

    /// Returns the name of the preset, or `custom`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns the endpoint of ARM, `https://HOST[:PORT]/`.
    pub fn arm(&self) -> &Url {
        &self.arm
    }

    /// Returns the endpoint that issues tokens, `https://HOST[:PORT]/`.
    pub fn authority(&self) -> &Url {
        &self.authority
    }

    /// Returns the scope of a token for ARM.
    pub fn scope(&self) -> String {
        format!("{}/.default", self.audience)
    }

    /// Returns the address of a container in a storage account.
    pub fn container(&self, account: &str, container: &str) -> String {
        format!("https://{account}.{}/{container}", self.blob_suffix)
    }

    /// Returns this cloud as a configuration of `azure_core`.
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
        // The text before the host may be a password.
        let host = url.host_str().unwrap_or_default();
        Err(CloudError::NotPlain {
            what,
            given: format!("{}://{host}{}", url.scheme(), url.path()),
        })
    }
}
