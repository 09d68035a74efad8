//! Tokens from one source, kept until one is refused.
//!
//! In: who we are. Out: a credential for Microsoft's clients. Deliberately shows no token: what was given out is taken out of
//! everything that others say.

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
use super::github::Job;
use super::{CredentialError, CredentialSource};
use crate::azure::cloud::Cloud;
use crate::azure::transport::{AzureTransport, cause};
use crate::secret::{SCRUBBED, Scrubber, Secret};

/// Who we are, in which cloud, over which wire.
#[derive(Clone)]
pub struct Auth {
    /// Where tokens come from.
    pub source: CredentialSource,
    /// Whose tokens.
    pub cloud: Cloud,
    /// What carries the requests for them.
    pub wire: AzureTransport,
}

impl Auth {
    /// A source of tokens. Nothing is asked for yet; files that are named are read.
    pub fn tokens(&self) -> Result<Tokens, CredentialError> {
        Ok(Tokens {
            current: Mutex::new(self.credential()?),
            given: Mutex::new(Vec::new()),
            who: self.clone(),
        })
    }

    fn credential(&self) -> Result<Arc<dyn TokenCredential>, CredentialError> {
        let unusable = |error: azure_core::Error| self.unusable(&cause(&error));
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
                let read = Certificate::read(path, password.as_ref(), tenant, client, self);
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
                let url = Job::address(url).map_err(|why| self.unusable(&why))?;
                let job = Job::new(url.clone(), token.clone(), self.options(&url)?);
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
                let why = format!("{}: {}", token_file.display(), cause(&error));
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
        let transport = self.wire.to(url);
        let transport = transport.map_err(|error| self.unusable(&error.to_string()))?;
        let first = self.wire.pace.of(FIRST_PAUSE).as_millis();
        Ok(ClientOptions {
            transport: Some(transport),
            // Asking for a token changes nothing, so the SDK may repeat it.
            retry: RetryOptions::exponential(ExponentialRetryOptions {
                initial_delay: azure_core::time::Duration::milliseconds(
                    i64::try_from(first).unwrap_or(1).max(1),
                ),
                max_retries: 4,
                ..ExponentialRetryOptions::default()
            }),
            cloud: Some(self.cloud.configuration()),
            ..ClientOptions::default()
        })
    }

    fn unusable(&self, why: &str) -> CredentialError {
        CredentialError::Unusable {
            who: self.source.kind().name(),
            why: redact(&Scrubber::new(&self.source.secrets()).scrub(why)),
        }
    }
}

/// What makes tokens. Clients of Microsoft's take it as theirs.
pub struct Tokens {
    who: Auth,
    current: Mutex<Arc<dyn TokenCredential>>,
    /// The tokens that were given out last.
    given: Mutex<Vec<Secret>>,
}

impl Tokens {
    /// Forgets every token: the next one is new. The clients below keep theirs and cannot be told, so they are made anew.
    pub fn renew(&self) -> Result<(), CredentialError> {
        let new = self.who.credential()?;
        *locked(&self.current) = new;
        Ok(())
    }

    /// `text` without the source's secrets, without tokens and without signatures.
    pub fn scrubbed(&self, text: &str) -> String {
        let mut secrets = self.who.source.secrets();
        secrets.extend(locked(&self.given).iter().cloned());
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
        let (mut given, text) = (locked(&self.given), token.token.secret());
        if !given.iter().any(|known| known.expose() == text) {
            given.push(Secret::new(text));
            let more = given.len().saturating_sub(KEPT);
            given.drain(..more);
        }
        drop(given);
        Ok(token)
    }
}

impl fmt::Debug for Tokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Tokens from {}", self.who.source.kind().name())
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    match mutex.lock() {
        Ok(guard) => guard,
        Err(poisoned) => poisoned.into_inner(),
    }
}

/// Takes out what looks like a token or a signature, whosever it is: an answer may repeat a URL of its own.
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

/// Where a virtual machine asks for its identity.
const METADATA: &str = "http://169.254.169.254/";
const FIRST_PAUSE: std::time::Duration = std::time::Duration::from_millis(500);
/// So many tokens are remembered, so as to be taken out of texts.
const KEPT: usize = 8;
