//! Artifacts on their way to the container and back, in blocks, never whole in memory.
//!
//! In: a file or a writer. Out: a blob of blocks that is committed at once, or all its bytes in order. Each block is
//! tried again by itself. Deliberately commits nothing that has another digest than the caller said.

use std::fs::File;
use std::io::{self, Read, Write};
use std::num::NonZero;
use std::path::Path;

use azure_core::Bytes;
use azure_core::http::Etag;
use azure_storage_blob::models::{
    BlobClientDownloadOptions, BlobClientGetPropertiesResultHeaders as _,
    BlockBlobClientCommitBlockListOptions, BlockLookupList, HttpRange,
};
use azure_storage_blob::{BlobClient, BlockBlobClient};
use futures::stream::{self, FuturesUnordered, StreamExt as _};

use super::Blob;
use super::fault::{is_absent, tried};
use crate::digest::{Digest, Hashing};
use crate::store::backend::{Backend as _, BackendError, Created};

/// Sends the file `from` as the blob `name`.
pub(super) async fn send(
    blob: &Blob,
    name: &str,
    from: &Path,
    digest: &Digest,
) -> Result<Created, BackendError> {
    let client = blob.client(name)?.block_blob_client();
    if blob.exists(name).await? {
        return Ok(Created::Exists);
    }
    let unread = |error| BackendError::Io {
        name: from.display().to_string(),
        error,
    };
    let mut source = BlockReader::open(from).map_err(unread)?;
    let (mut ids, mut flying) = (Vec::new(), FuturesUnordered::new());
    loop {
        let (again, block) = source.next().await.map_err(unread)?;
        source = again;
        if block.is_empty() {
            break;
        }
        if flying.len() >= PARALLEL
            && let Some(Err(error)) = flying.next().await
        {
            return blob.explain_failed_create(name, error).await;
        }
        let id = block_id(ids.len(), &source.run);
        ids.push(id.clone());
        flying.push(stage(&client, id, block.into()));
    }
    while let Some(staged) = flying.next().await {
        if let Err(error) = staged {
            return blob.explain_failed_create(name, error).await;
        }
    }
    let (found, _, _) = source.hashing.finish();
    if found != *digest {
        let name = name.to_owned();
        return Err(BackendError::OtherContent { name, found });
    }
    match tried(|| commit(&client, &ids)).await {
        Ok(()) => Ok(Created::New),
        Err(error) => blob.explain_failed_create(name, error).await,
    }
}

/// A file that is read in blocks, and hashed on the way.
struct BlockReader {
    file: File,
    hashing: Hashing<io::Sink>,
    /// Tells our blocks from those of another writer of the same blob.
    run: [u8; 8],
}

impl BlockReader {
    fn open(path: &Path) -> io::Result<Self> {
        let mut run = [0; 8];
        openssl::rand::rand_bytes(&mut run).map_err(io::Error::other)?;
        Ok(Self {
            file: File::open(path)?,
            hashing: Hashing::new(io::sink()),
            run,
        })
    }

    /// The next block, empty at the end.
    async fn next(mut self) -> io::Result<(Self, Vec<u8>)> {
        let read = move || {
            let mut block = Vec::with_capacity(BLOCK_BYTES);
            (&mut self.file)
                .take(BLOCK_BYTES as u64)
                .read_to_end(&mut block)?;
            self.hashing.write_all(&block)?;
            Ok((self, block))
        };
        tokio::task::spawn_blocking(read)
            .await
            .map_err(io::Error::other)?
    }
}

/// Ids of one blob are all of one length; the number keeps them apart, the run those of two writers.
fn block_id(number: usize, run: &[u8; 8]) -> Vec<u8> {
    [&(number as u64).to_be_bytes()[..], run].concat()
}

async fn stage(client: &BlockBlobClient, id: Vec<u8>, block: Bytes) -> azure_core::Result<()> {
    let (id, block) = (&id, &block);
    tried(|| async move {
        let size = block.len() as u64;
        client
            .stage_block(id, size, block.clone().into(), None)
            .await
            .map(|_| ())
    })
    .await
}

async fn commit(client: &BlockBlobClient, ids: &[Vec<u8>]) -> azure_core::Result<()> {
    let blocks = BlockLookupList {
        latest: Some(ids.to_vec()),
        ..BlockLookupList::default()
    };
    let options = BlockBlobClientCommitBlockListOptions {
        if_none_match: Some("*".into()),
        ..BlockBlobClientCommitBlockListOptions::default()
    };
    let committed = client.commit_block_list(blocks.try_into()?, Some(options));
    committed.await.map(|_| ())
}

/// Writes the blob `name` to the new file `to`.
pub(super) async fn fetch(
    blob: &Blob,
    name: &str,
    to: &Path,
) -> Result<Option<Digest>, BackendError> {
    let file = File::create(to).map_err(|error| BackendError::Io {
        name: to.display().to_string(),
        error,
    })?;
    read(blob, name, file).await
}

/// How many bytes the blob `name` has.
pub(super) async fn size(blob: &Blob, name: &str) -> Result<Option<u64>, BackendError> {
    let client = &blob.client(name)?;
    match tried(|| extent(client)).await {
        Ok((size, _)) => Ok(Some(size)),
        Err(error) if is_absent(&error) => Ok(None),
        Err(error) => Err(blob.failed(name, &error)),
    }
}

/// Reads the blob `name` into `writer`, in order, several blocks ahead.
pub(super) async fn read(
    blob: &Blob,
    name: &str,
    writer: impl Write + Send + 'static,
) -> Result<Option<Digest>, BackendError> {
    let client = &blob.client(name)?;
    let (size, etag) = match tried(|| extent(client)).await {
        Ok(extent) => extent,
        Err(error) if is_absent(&error) => return Ok(None),
        Err(error) => return Err(blob.failed(name, &error)),
    };
    let starts = (0..size).step_by(BLOCK_BYTES);
    let ranges = starts.map(|start| HttpRange::new(start, (size - start).min(BLOCK_BYTES as u64)));
    let blocks = ranges.map(|range| block(client, range, etag.as_ref()));
    let mut blocks = stream::iter(blocks).buffered(PARALLEL);
    let mut hashing = Hashing::new(writer);
    while let Some(block) = blocks.next().await {
        let block = block.map_err(|error| blob.failed(name, &error))?;
        let write = move || hashing.write_all(&block).map(|()| hashing);
        let written = tokio::task::spawn_blocking(write).await;
        let written = written.map_err(io::Error::other).flatten();
        hashing = written.map_err(|error| BackendError::Io {
            name: name.to_owned(),
            error,
        })?;
    }
    Ok(Some(hashing.finish().0))
}

async fn extent(client: &BlobClient) -> azure_core::Result<(u64, Option<Etag>)> {
    let properties = client.get_properties(None).await?;
    let size = properties.content_length()?.unwrap_or(0);
    Ok((size, properties.etag()?))
}

async fn block(
    client: &BlobClient,
    range: HttpRange,
    etag: Option<&Etag>,
) -> azure_core::Result<Bytes> {
    let range = &range;
    tried(|| async move {
        let options = BlobClientDownloadOptions {
            if_match: etag.cloned(),
            parallel: Some(NonZero::<usize>::MIN),
            partition_size: NonZero::new(BLOCK_BYTES),
            range: Some(range.clone()),
            ..BlobClientDownloadOptions::default()
        };
        client.download(Some(options)).await?.body.collect().await
    })
    .await
}

/// Small enough to be sent within the time-out over 2 Mbit/s; 50,000 of them, the service's limit, make 195 GiB.
const BLOCK_BYTES: usize = 4 * 1024 * 1024;
/// How many are on their way at once.
const PARALLEL: usize = 4;
