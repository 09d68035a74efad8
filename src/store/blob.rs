//! A store in a container of Azure Blob Storage.
//! Blobs are created with `If-None-Match: *` and never overwritten, so the container may be
//! write-once. The container must exist. `gc` needs the permission to delete, which a write-once
//! container refuses.

mod address;
mod credential;
mod fault;
mod transfer;

use std::num::NonZero;
use std::path::Path;
use std::sync::Arc;

use azure_core::Bytes;
use azure_core::http::{ClientOptions, RetryOptions};
use azure_storage_blob::models::{
    BlobClientDownloadOptions, BlobContainerClientListBlobsOptions, BlockBlobClientUploadOptions,
    ListBlobsResponse,
};
use azure_storage_blob::{BlobClient, BlobContainerClient, BlobContainerClientOptions};
use futures::TryStreamExt as _;

use super::backend::{ArtifactName, Backend, BackendError, Created, is_store_name};
use crate::azure::AzureTransport;
use crate::digest::Digest;
use credential::BlobAuth;
use fault::{is_absent, is_taken, retried};

pub use address::{AddressError, BlobAddress};
pub use credential::Credential;

/// A container, or the part of it below a prefix. Clones share it.
///
/// A create may succeed although its answer is lost. So only a writer with a confirmed create gets
/// [`Created::New`]. All others get [`Created::Exists`] and compare the content: objects are named
/// by digest, and entries have random ids.
///
/// Temporary failures (no connection, a broken one, 408, 429, 500, 502, 503, 504) are retried: six
/// tries within about six seconds. `Retry-After` is respected after 429 and 503, up to one minute.
#[derive(Clone)]
pub struct Blob {
    inner: Arc<Inner>,
    /// The number of names in a page of a listing. `None` uses the default of the service, 5000.
    page: Option<NonZero<u16>>,
}

struct Inner {
    address: BlobAddress,
    container: BlobContainerClient,
    /// Authenticates requests, and removes the credential from error messages.
    auth: BlobAuth,
}

impl Blob {
    /// Returns the backend for the container at `address`, over `wire`. Sends no request.
    pub fn new(
        address: BlobAddress,
        credential: &Credential,
        wire: &AzureTransport,
    ) -> Result<Self, BackendError> {
        let service_error = |why: String| BackendError::Service {
            place: address.location(),
            name: String::from("the container"),
            why,
            hint: None,
        };
        let auth =
            BlobAuth::new(credential, wire).map_err(|error| service_error(error.to_string()))?;
        let failed = |why: String| service_error(auth.scrubbed(&why));
        let mut url = address.container().clone();
        if let Credential::Sas(token) = credential {
            url.set_query(Some(token.expose().trim_start_matches('?')));
        }
        let transport = wire.for_url(address.container());
        let options = BlobContainerClientOptions {
            client_options: ClientOptions {
                transport: Some(transport.map_err(|error| failed(error.to_string()))?),
                // The SDK retries neither broken bodies nor within our time limit, so `retried`
                // does it.
                retry: RetryOptions::none(),
                ..ClientOptions::default()
            },
            version: SERVICE_VERSION.to_owned(),
        };
        let container = BlobContainerClient::new(url, auth.tokens(), Some(options))
            .map_err(|error| failed(fault::describe(&error)))?;
        let inner = Arc::new(Inner {
            address,
            container,
            auth,
        });
        Ok(Self { inner, page: None })
    }

    /// Limits the pages of listings to `names` names.
    #[must_use]
    pub fn with_page_size(self, names: NonZero<u16>) -> Self {
        Self {
            page: Some(names),
            ..self
        }
    }

    /// Returns the client of the blob `name`.
    fn client(&self, name: &str) -> Result<BlobClient, BackendError> {
        if is_store_name(name) {
            let whole = format!("{}{name}", self.inner.address.prefix());
            Ok(self.inner.container.blob_client(&whole))
        } else {
            Err(BackendError::Name(name.to_owned()))
        }
    }

    /// Converts an error of the service, without the credential.
    fn service_error(&self, name: &str, error: &azure_core::Error) -> BackendError {
        BackendError::Service {
            place: self.inner.address.location(),
            name: name.to_owned(),
            why: self.inner.auth.scrubbed(&fault::describe(error)),
            hint: fault::hint(error),
        }
    }

    /// Finds out whether a failed create failed because the name is taken, by a look at the name.
    async fn resolve_failed_create(
        &self,
        name: &str,
        error: azure_core::Error,
    ) -> Result<Created, BackendError> {
        let unclear = is_taken(&error) || fault::retry_delay(&error).is_some();
        if unclear && self.exists(name).await? {
            return Ok(Created::Exists);
        }
        Err(self.service_error(name, &error))
    }

    async fn list_page(
        &self,
        prefix: &str,
        marker: Option<String>,
    ) -> azure_core::Result<ListBlobsResponse> {
        let options = BlobContainerClientListBlobsOptions {
            marker,
            maxresults: self.page.map(|names| i32::from(names.get())),
            prefix: Some(prefix.to_owned()),
            ..BlobContainerClientListBlobsOptions::default()
        };
        let mut pages = self.inner.container.list_blobs(Some(options))?.into_pages();
        match pages.try_next().await? {
            Some(page) => page.into_model(),
            None => Ok(ListBlobsResponse::default()),
        }
    }
}

impl Backend for Blob {
    fn location(&self) -> String {
        self.inner.address.location()
    }

    async fn get(&self, name: &str) -> Result<Option<Vec<u8>>, BackendError> {
        let client = &self.client(name)?;
        let read = retried(|| async move {
            let options = BlobClientDownloadOptions {
                parallel: Some(NonZero::<usize>::MIN),
                partition_size: NonZero::new(LARGEST_RECORD),
                ..BlobClientDownloadOptions::default()
            };
            client.download(Some(options)).await?.body.collect().await
        });
        match read.await {
            Ok(bytes) => Ok(Some(bytes.into())),
            Err(error) if is_absent(&error) => Ok(None),
            Err(error) => Err(self.service_error(name, &error)),
        }
    }

    async fn digest(&self, name: &str) -> Result<Option<Digest>, BackendError> {
        transfer::read(self, name, std::io::sink()).await
    }

    async fn exists(&self, name: &str) -> Result<bool, BackendError> {
        let client = &self.client(name)?;
        match retried(|| client.get_properties(None)).await {
            Ok(_) => Ok(true),
            Err(error) if is_absent(&error) => Ok(false),
            Err(error) => Err(self.service_error(name, &error)),
        }
    }

    async fn size(&self, name: &str) -> Result<Option<u64>, BackendError> {
        transfer::size(self, name).await
    }

    async fn create(&self, name: &str, bytes: &[u8]) -> Result<Created, BackendError> {
        let client = &self.client(name)?.block_blob_client();
        let bytes = &Bytes::copy_from_slice(bytes);
        let put = retried(|| async move {
            let options = BlockBlobClientUploadOptions {
                // One Put Blob request: readers see the whole blob or none.
                partition_size: Some(NonZero::<u64>::MAX),
                ..BlockBlobClientUploadOptions::default()
            };
            let options = options.if_not_exists();
            client.upload(bytes.clone().into(), Some(options)).await
        });
        match put.await {
            Ok(_) => Ok(Created::New),
            Err(error) => self.resolve_failed_create(name, error).await,
        }
    }

    async fn list(&self, prefix: &str) -> Result<Vec<String>, BackendError> {
        let (above, mut names) = (self.inner.address.prefix(), Vec::new());
        let whole = &format!("{above}{prefix}");
        let mut marker = None;
        loop {
            let from = &marker;
            let page = retried(|| self.list_page(whole, from.clone())).await;
            let page = page.map_err(|error| self.service_error(prefix, &error))?;
            let listed = page.blob_items.into_iter().filter_map(|item| item.name);
            names.extend(listed.filter_map(|name| Some(name.strip_prefix(above)?.to_owned())));
            marker = page.next_marker.filter(|marker| !marker.is_empty());
            if marker.is_none() {
                break;
            }
        }
        names.sort();
        Ok(names)
    }

    async fn create_file(
        &self,
        name: &str,
        from: &Path,
        digest: &Digest,
    ) -> Result<Created, BackendError> {
        transfer::send(self, name, from, digest).await
    }

    async fn fetch_file(&self, name: &str, to: &Path) -> Result<Option<Digest>, BackendError> {
        transfer::fetch(self, name, to).await
    }

    async fn remove(&self, name: &ArtifactName) -> Result<(), BackendError> {
        let client = &self.client(name.as_str())?;
        match retried(|| client.delete(None)).await {
            Ok(_) => Ok(()),
            Err(error) if is_absent(&error) => Ok(()),
            Err(error) => Err(self.service_error(name.as_str(), &error)),
        }
    }
}

/// The version of the service API: old enough for sovereign clouds and the emulator.
const SERVICE_VERSION: &str = "2025-11-05";
/// The largest record that is read with one request, in bytes. All records are far smaller.
const LARGEST_RECORD: usize = 64 * 1024 * 1024;
