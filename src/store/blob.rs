//! A store in a container of Azure Blob Storage.
//!
//! Every name is a block blob, created with `If-None-Match: *` and never written again, so the container may be a
//! write-once one. Records are never deleted; artifacts are by `gc` alone, which a write-once container refuses. Records need
//! no permission to write over what is there, the blocks of an artifact do, and removing one needs the permission to delete.
//! Deliberately creates no container.
//!
//! A create whose answer is lost may have happened. So nobody but who was told so by the service is told
//! [`Created::New`]; whoever finds the name taken, be it by the own first try, is told [`Created::Exists`] and looks
//! at what is there: an object is named by its digest, and an entry of the log carries a random id.
//!
//! Passing faults (no connection, a broken one, 408, 429, 500, 502, 503, 504) are tried again, six times in all, over
//! some six seconds. `Retry-After` is obeyed after 429 and 503, up to a minute.

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
use credential::Proof;
use fault::{is_absent, is_taken, tried};

pub use address::{AddressError, BlobAddress};
pub use credential::Credential;

/// A container, or the part of it below a prefix. Clones share it.
#[derive(Clone)]
pub struct Blob {
    inner: Arc<Inner>,
    /// How many names a page of a listing may have; `None` leaves it to the service, which gives 5000.
    page: Option<NonZero<u16>>,
}

struct Inner {
    address: BlobAddress,
    container: BlobContainerClient,
    /// Takes the credential out of what others say.
    proof: Proof,
}

impl Blob {
    /// The container at `address`, over `wire`. Nothing is asked of the service yet.
    pub fn new(
        address: BlobAddress,
        credential: &Credential,
        wire: &AzureTransport,
    ) -> Result<Self, BackendError> {
        let service = |why: String| BackendError::Service {
            place: address.place(),
            name: String::from("(opening)"),
            why,
        };
        let proof = Proof::new(credential, wire).map_err(|error| service(error.to_string()))?;
        let failed = |why: String| service(proof.scrubbed(&why));
        let mut url = address.container().clone();
        if let Credential::Sas(token) = credential {
            url.set_query(Some(token.expose().trim_start_matches('?')));
        }
        let transport = wire.to(address.container());
        let options = BlobContainerClientOptions {
            client_options: ClientOptions {
                transport: Some(transport.map_err(|error| failed(error.to_string()))?),
                // We try again ourselves: bodies that break off as well, and never for longer than we said.
                retry: RetryOptions::none(),
                ..ClientOptions::default()
            },
            version: SERVICE_VERSION.to_owned(),
        };
        let container = BlobContainerClient::new(url, proof.tokens(), Some(options))
            .map_err(|error| failed(fault::words(&error)))?;
        let inner = Arc::new(Inner {
            address,
            container,
            proof,
        });
        Ok(Self { inner, page: None })
    }

    /// The same, listing at most `names` names a page.
    #[must_use]
    pub fn paging(self, names: NonZero<u16>) -> Self {
        Self {
            page: Some(names),
            ..self
        }
    }

    /// The client of the blob `name`.
    fn client(&self, name: &str) -> Result<BlobClient, BackendError> {
        if is_store_name(name) {
            let whole = format!("{}{name}", self.inner.address.prefix());
            Ok(self.inner.container.blob_client(&whole))
        } else {
            Err(BackendError::Name(name.to_owned()))
        }
    }

    /// The error that people are told: where, what, why, and no credential.
    fn failed(&self, name: &str, error: &azure_core::Error) -> BackendError {
        BackendError::Service {
            place: self.inner.address.place(),
            name: name.to_owned(),
            why: self.inner.proof.scrubbed(&fault::words(error)),
        }
    }

    /// What a create that failed amounts to. That the name is taken is only said after it was seen.
    async fn explain_failed_create(
        &self,
        name: &str,
        error: azure_core::Error,
    ) -> Result<Created, BackendError> {
        let unclear = is_taken(&error) || fault::passing(&error).is_some();
        if unclear && self.exists(name).await? {
            return Ok(Created::Exists);
        }
        Err(self.failed(name, &error))
    }

    async fn page(
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
    fn place(&self) -> String {
        self.inner.address.place()
    }

    async fn get(&self, name: &str) -> Result<Option<Vec<u8>>, BackendError> {
        let client = &self.client(name)?;
        let read = tried(|| async move {
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
            Err(error) => Err(self.failed(name, &error)),
        }
    }

    async fn digest(&self, name: &str) -> Result<Option<Digest>, BackendError> {
        transfer::read(self, name, std::io::sink()).await
    }

    async fn exists(&self, name: &str) -> Result<bool, BackendError> {
        let client = &self.client(name)?;
        match tried(|| client.get_properties(None)).await {
            Ok(_) => Ok(true),
            Err(error) if is_absent(&error) => Ok(false),
            Err(error) => Err(self.failed(name, &error)),
        }
    }

    async fn size(&self, name: &str) -> Result<Option<u64>, BackendError> {
        transfer::size(self, name).await
    }

    async fn create(&self, name: &str, bytes: &[u8]) -> Result<Created, BackendError> {
        let client = &self.client(name)?.block_blob_client();
        let bytes = &Bytes::copy_from_slice(bytes);
        let put = tried(|| async move {
            let options = BlockBlobClientUploadOptions {
                // Never in parts: one Put Blob, seen whole or not at all.
                partition_size: Some(NonZero::<u64>::MAX),
                ..BlockBlobClientUploadOptions::default()
            };
            let options = options.if_not_exists();
            client.upload(bytes.clone().into(), Some(options)).await
        });
        match put.await {
            Ok(_) => Ok(Created::New),
            Err(error) => self.explain_failed_create(name, error).await,
        }
    }

    async fn list(&self, prefix: &str) -> Result<Vec<String>, BackendError> {
        let (above, mut names) = (self.inner.address.prefix(), Vec::new());
        let whole = &format!("{above}{prefix}");
        let mut marker = None;
        loop {
            let from = &marker;
            let page = tried(|| self.page(whole, from.clone())).await;
            let page = page.map_err(|error| self.failed(prefix, &error))?;
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
        match tried(|| client.delete(None)).await {
            Ok(_) => Ok(()),
            Err(error) if is_absent(&error) => Ok(()),
            Err(error) => Err(self.failed(name.as_str(), &error)),
        }
    }
}

/// The version of the service's interface that is spoken: old enough for sovereign clouds and the emulator.
const SERVICE_VERSION: &str = "2025-11-05";
/// Records up to this many bytes come with one request; all of ours are far smaller.
const LARGEST_RECORD: usize = 64 * 1024 * 1024;
