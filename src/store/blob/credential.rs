//! How we prove to the service who we are.
//!
//! In: the caller's one choice. Out: what the client needs for it. Deliberately never goes on to another source where
//! the chosen one fails, and reads no environment itself.

use std::sync::Arc;

use azure_core::credentials::TokenCredential;

use crate::azure::{Auth, AzureTransport, Cloud, CredentialError, CredentialSource, Tokens};
use crate::secret::{Scrubber, Secret};

/// The one thing that proves it. Account keys are not offered: the client knows none.
#[derive(Clone, PartialEq, Eq)]
pub enum Credential {
    /// A shared access signature: the query of a SAS URL. It needs the permissions read, create, write and list.
    Sas(Secret),
    /// Tokens.
    Identity {
        /// Where they come from.
        source: CredentialSource,
        /// Whose they are.
        cloud: Box<Cloud>,
    },
}

impl Credential {
    /// What makes tokens, where it is not a signature in the URL.
    pub(super) fn tokens(
        &self,
        wire: &AzureTransport,
    ) -> Result<Option<Arc<Tokens>>, CredentialError> {
        let Self::Identity { source, cloud } = self else {
            return Ok(None);
        };
        let who = Auth {
            source: source.clone(),
            cloud: Cloud::clone(cloud),
            wire: wire.clone(),
        };
        Ok(Some(Arc::new(who.tokens()?)))
    }

    /// What nobody may read in an error: the token, and its signature alone.
    fn secrets(&self) -> Vec<Secret> {
        let Self::Sas(token) = self else {
            return Vec::new();
        };
        let text = token.expose().trim_start_matches('?');
        let mut secrets = vec![Secret::new(text)];
        for pair in text.split('&') {
            if let Some(signature) = pair.strip_prefix("sig=") {
                secrets.push(Secret::new(signature));
                let plain = signature.replace("%2B", "+").replace("%2F", "/");
                secrets.push(Secret::new(plain.replace("%3D", "=")));
            }
        }
        secrets
    }
}

/// What proves it, ready for use, and what takes it out of the words of others.
pub(super) struct Proof {
    tokens: Option<Arc<Tokens>>,
    signature: Scrubber,
}

impl Proof {
    pub(super) fn new(
        credential: &Credential,
        wire: &AzureTransport,
    ) -> Result<Self, CredentialError> {
        Ok(Self {
            tokens: credential.tokens(wire)?,
            signature: Scrubber::new(&credential.secrets()),
        })
    }

    /// For the client.
    pub(super) fn tokens(&self) -> Option<Arc<dyn TokenCredential>> {
        self.tokens.clone().map(|tokens| tokens as _)
    }

    /// `text` without anything secret.
    pub(super) fn scrubbed(&self, text: &str) -> String {
        let text = self.signature.scrub(text);
        match &self.tokens {
            Some(tokens) => tokens.scrubbed(&text),
            None => text.into_owned(),
        }
    }
}
