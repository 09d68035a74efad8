//! Authentication to the service, with the credential that the caller chose.
//! There is no fallback to another source, and no environment variable is read here.

use std::sync::Arc;

use azure_core::credentials::TokenCredential;

use crate::azure::{Auth, AzureTransport, Cloud, CredentialError, CredentialSource, Tokens};
use crate::secret::{Scrubber, Secret};

/// The credential. The SDK does not support account keys.
#[derive(Clone, PartialEq, Eq)]
pub enum Credential {
    /// A shared access signature: the query of a SAS URL. It needs the permissions read, create,
    /// write and list.
    Sas(Secret),
    /// Tokens of Microsoft Entra ID.
    Identity {
        /// The source of the tokens.
        source: CredentialSource,
        /// The cloud that issues them.
        cloud: Box<Cloud>,
    },
}

impl Credential {
    /// Returns the source of tokens. `None` for a shared access signature.
    pub(super) fn tokens(
        &self,
        wire: &AzureTransport,
    ) -> Result<Option<Arc<Tokens>>, CredentialError> {
        let Self::Identity { source, cloud } = self else {
            return Ok(None);
        };
        let auth = Auth {
            source: source.clone(),
            cloud: Cloud::clone(cloud),
            transport: wire.clone(),
        };
        Ok(Some(Arc::new(auth.tokens()?)))
    }

    /// Returns the texts to remove from errors: the SAS token, and its signature alone.
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

/// The credential in the form that the client needs, and a filter that removes it from texts.
pub(super) struct BlobAuth {
    tokens: Option<Arc<Tokens>>,
    signature: Scrubber,
}

impl BlobAuth {
    pub(super) fn new(
        credential: &Credential,
        wire: &AzureTransport,
    ) -> Result<Self, CredentialError> {
        Ok(Self {
            tokens: credential.tokens(wire)?,
            signature: Scrubber::new(&credential.secrets()),
        })
    }

    /// Returns the source of tokens for the client.
    pub(super) fn tokens(&self) -> Option<Arc<dyn TokenCredential>> {
        self.tokens.clone().map(|tokens| tokens as _)
    }

    /// Returns `text` without the credential.
    pub(super) fn scrubbed(&self, text: &str) -> String {
        let text = self.signature.scrub(text);
        match &self.tokens {
            Some(tokens) => tokens.scrub(&text),
            None => text.into_owned(),
        }
    }
}
