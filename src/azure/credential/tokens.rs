//! Requests tokens from one credential source and caches them.
//!
//! Takes an [`Auth`]; returns a credential for Microsoft's clients. It removes issued tokens from
//! messages.

use std::borrow::Cow;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard};

use azure_core::credentials::{AccessToken, TokenCredential, TokenRequestOptions};
use azure_core::http::{ClientOptions, ExponentialRetryOptions, RetryOptions, Url};
use azure_identity::{
    ClientAssertionCredential, ClientAssertionCredentialOptions, ClientSecretCredential,
    ClientSecretCredentialOptions, DeveloperToolsCredential, ManagedIdentityCredential,
    ManagedIdentityCredentialOptions, UserAssignedId, WorkloadIdentityCredential,
    WorkloadIdentityCredentialOptions,
};

use super::certificate::Certificate;
use super::github::GitHubJob;
use super::{CredentialError, CredentialSource};
use crate::azure::cloud::Cloud;
use crate::azure::transport::{AzureTransport, root_cause};
use crate::secret::{SCRUBBED, Scrubber, Secret};

/// The credential source, the cloud and the transport of a client.
#[derive(Clone)]
pub struct Auth {
    /// The source of tokens.
    pub source: CredentialSource,
    /// The cloud that issues the tokens.
    pub cloud: Cloud,
    /// The transport of token requests.
    pub transport: AzureTransport,
}

impl Auth {
    /// Creates a token cache. Reads the files of the source and sends nothing.
    pub fn tokens(&self) -> Result<Tokens, CredentialError> {
        Ok(Tokens {
            current: Mutex::new(self.credential()?),
            issued: Mutex::new(Vec::new()),
            auth: self.clone(),
        })
    }

    fn credential(&self) -> Result<Arc<dyn TokenCredential>, CredentialError> {
        let unusable = |error: azure_core::Error| self.unusable(&root_cause(&error));
        let assertion = |options| ClientAssertionCredentialOptions {
            client_options: options,
        };
        Ok(match &self.source {
            CredentialSource::ClientSecret {
                tenant,
                client,
                secret,
            } => {
                let secret = secret.expose().to_owned().into();
                let client_options = self.options(self.cloud.authority())?;
                let options = ClientSecretCredentialOptions { client_options };
                ClientSecretCredential::new(tenant, client.clone(), secret, Some(options))
                    .map_err(unusable)?
            }
            CredentialSource::Certificate {
                tenant,
                client,
                path,
                password,
            } => {
                let read = Certificate::read(
                    path,
                    password.as_ref(),
                    (tenant, client),
                    &self.cloud,
                    self.transport.now,
                );
                let options = assertion(self.options(self.cloud.authority())?);
                let read = read.map_err(|why| self.unusable(&why))?;
                let (tenant, client) = (tenant.clone(), client.clone());
                ClientAssertionCredential::new(tenant, client, read, Some(options))
                    .map_err(unusable)?
            }
            CredentialSource::GitHub {
                tenant,
                client,
                url,
                token,
            } => {
                let url = GitHubJob::parse_address(url).map_err(|why| self.unusable(&why))?;
                let job = GitHubJob::new(url.clone(), token.clone(), self.options(&url)?);
                let options = assertion(self.options(self.cloud.authority())?);
                let (tenant, client) = (tenant.clone(), client.clone());
                ClientAssertionCredential::new(tenant, client, job, Some(options))
                    .map_err(unusable)?
            }
            CredentialSource::WorkloadIdentity {
                tenant,
                client,
                token_file,
            } => WorkloadIdentityCredential::new(Some(WorkloadIdentityCredentialOptions {
                credential_options: assertion(self.options(self.cloud.authority())?),
                client_id: Some(client.clone()),
                tenant_id: Some(tenant.clone()),
                token_file_path: Some(token_file.clone()),
            }))
            .map_err(|error| {
                let why = format!("{}: {}", token_file.display(), root_cause(&error));
                self.unusable(&why)
            })?,
            CredentialSource::ManagedIdentity { client } => {
                let metadata =
                    Url::parse(METADATA).map_err(|error| self.unusable(&error.to_string()))?;
                ManagedIdentityCredential::new(Some(ManagedIdentityCredentialOptions {
                    user_assigned_id: client.clone().map(UserAssignedId::ClientId),
                    client_options: self.options(&metadata)?,
                }))
                .map_err(unusable)?
            }
            CredentialSource::DeveloperTools => {
                DeveloperToolsCredential::new(None).map_err(unusable)?
            }
        })
    }

    fn options(&self, url: &Url) -> Result<ClientOptions, CredentialError> {
        let transport = self.transport.for_url(url);
        let transport = transport.map_err(|error| self.unusable(&error.to_string()))?;
        let initial_pause = self.transport.time_scale.scale(INITIAL_PAUSE).as_millis();
        Ok(ClientOptions {
            transport: Some(transport),
            // A token request has no effect, so the SDK may repeat it.
            retry: RetryOptions::exponential(ExponentialRetryOptions {
                initial_delay: azure_core::time::Duration::milliseconds(
                    i64::try_from(initial_pause).unwrap_or(1).max(1),
                ),
                max_retries: 4,
                ..ExponentialRetryOptions::default()
            }),
            cloud: Some(self.cloud.configuration()),
            ..ClientOptions::default()
        })
    }

    fn unusable(&self, reason: &str) -> CredentialError {
        CredentialError::Unusable {
            source_name: self.source.kind().name(),
            reason: redact(&Scrubber::new(&self.source.secrets()).scrub(reason)),
        }
    }
}

/// A token cache that Microsoft's clients accept as a credential.
pub struct Tokens {
    auth: Auth,
    current: Mutex<Arc<dyn TokenCredential>>,
    /// The tokens issued last, to remove them from messages.
    issued: Mutex<Vec<Secret>>,
}

impl Tokens {
    /// Discards all tokens, so that the next one is new.
    ///
    /// The clients below cache tokens without a way to clear them, so this recreates them.
    pub fn renew(&self) -> Result<(), CredentialError> {
        let new = self.auth.credential()?;
        *locked(&self.current) = new;
        Ok(())
    }

    /// Returns `text` without the source's secrets, issued tokens and signatures.
    pub fn scrub(&self, text: &str) -> String {
        let mut secrets = self.auth.source.secrets();
        secrets.extend(locked(&self.issued).iter().cloned());
        redact(&Scrubber::new(&secrets).scrub(text))
    }
}

#[async_trait::async_trait]
impl TokenCredential for Tokens {
    async fn get_token(
        &self,
        scopes: &[&str],
        options: Option<TokenRequestOptions<'_>>,
    ) -> azure_core::Result<AccessToken> {
        let current = Arc::clone(&*locked(&self.current));
        let token = current.get_token(scopes, options).await?;
        let (mut issued, text) = (locked(&self.issued), token.token.secret());
        if !issued.iter().any(|known| known.expose() == text) {
            issued.push(Secret::new(text));
            let more = issued.len().saturating_sub(MAX_ISSUED);
            issued.drain(..more);
        }
        drop(issued);
        Ok(token)
    }
}

impl fmt::Debug for Tokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Tokens from {}", self.auth.source.kind().name())
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    match mutex.lock() {
        Ok(guard) => guard,
        Err(poisoned) => poisoned.into_inner(),
    }
}

/// Removes everything that looks like a token or a signature, for example in a quoted URL.
fn redact(text: &str) -> String {
    let mut text = Cow::Borrowed(text);
    for begin in ["sig=", "Bearer ", "eyJ"] {
        let mut done = 0;
        while let Some(at) = text[done..].find(begin) {
            let from = done + at + if begin == "eyJ" { 0 } else { begin.len() };
            let ends = |c: char| c.is_whitespace() || "&\"'<>,;)".contains(c);
            let to = text[from..].find(ends).map_or(text.len(), |end| from + end);
            if to > from && !text[from..to].starts_with(SCRUBBED) {
                text = Cow::Owned(format!("{}{SCRUBBED}{}", &text[..from], &text[to..]));
            }
            done = (from + SCRUBBED.len()).min(text.len());
            while !text.is_char_boundary(done) {
                done += 1;
            }
        }
    }
    text.into_owned()
}

/// The metadata service of a virtual machine.
const METADATA: &str = "http://169.254.169.254/";
const INITIAL_PAUSE: std::time::Duration = std::time::Duration::from_millis(500);
/// The number of issued tokens to remove from messages.
const MAX_ISSUED: usize = 8;
