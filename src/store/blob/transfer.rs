//! Sends artifacts to the container and fetches them, in blocks, never whole in memory.
//! All blocks are committed at once, and only if their digest is the given one. Each block is
//! retried by itself.

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
use super::fault::{is_absent, retried};
use crate::digest::{Digest, HashingWriter};
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
    let read_error = |error| BackendError::Io {
        name: from.display().to_string(),
        error,
    };
    let mut source = BlockReader::open(from).map_err(read_error)?;
    let (mut ids, mut in_flight) = (Vec::new(), FuturesUnordered::new());
    loop {
        let (reader, block) = source.next().await.map_err(read_error)?;
        source = reader;
        if block.is_empty() {
            break;
        }
        if in_flight.len() >= PARALLEL
            && let Some(Err(error)) = in_flight.next().await
        {
            return blob.resolve_failed_create(name, error).await;
        }
        let id = block_id(ids.len(), &source.run);
        ids.push(id.clone());
        in_flight.push(stage(&client, id, block.into()));
    }
    while let Some(staged) = in_flight.next().await {
        if let Err(error) = staged {
            return blob.resolve_failed_create(name, error).await;
        }
    }
    let (found, _, _) = source.hashing.finish();
    if found != *digest {
        let name = name.to_owned();
        return Err(BackendError::OtherContent { name, found });
    }
    match retried(|| commit(&client, &ids)).await {
        Ok(()) => Ok(Created::New),
        Err(error) => blob.resolve_failed_create(name, error).await,
    }
}

/// A file that is hashed while it is read in blocks.
struct BlockReader {
    file: File,
    hashing: HashingWriter<io::Sink>,
    /// A random number that distinguishes our blocks from those of another writer.
    run: [u8; 8],
}

impl BlockReader {
    fn open(path: &Path) -> io::Result<Self> {
        let mut run = [0; 8];
        openssl::rand::rand_bytes(&mut run).map_err(io::Error::other)?;
        Ok(Self {
            file: File::open(path)?,
            hashing: HashingWriter::new(io::sink()),
            run,
        })
    }

    /// Reads the next block, which is empty at the end.
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

/// Returns the id of a block. All ids of a blob must have the same length.
fn block_id(number: usize, run: &[u8; 8]) -> Vec<u8> {
    [&(number as u64).to_be_bytes()[..], run].concat()
}

async fn stage(client: &BlockBlobClient, id: Vec<u8>, block: Bytes) -> azure_core::Result<()> {
    let (id, block) = (&id, &block);
    retried(|| async move {
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

/// Returns the size of the blob `name`, in bytes.
pub(super) async fn size(blob: &Blob, name: &str) -> Result<Option<u64>, BackendError> {
    let client = &blob.client(name)?;
    match retried(|| extent(client)).await {
        Ok((size, _)) => Ok(Some(size)),
        Err(error) if is_absent(&error) => Ok(None),
        Err(error) => Err(blob.service_error(name, &error)),
    }
}

/// Reads the blob `name` into `writer`, in order. Several blocks are requested in advance.
pub(super) async fn read(
    blob: &Blob,
    name: &str,
    writer: impl Write + Send + 'static,
) -> Result<Option<Digest>, BackendError> {
    let client = &blob.client(name)?;
    let (size, etag) = match retried(|| extent(client)).await {
        Ok(extent) => extent,
        Err(error) if is_absent(&error) => return Ok(None),
        Err(error) => return Err(blob.service_error(name, &error)),
    };
    let starts = (0..size).step_by(BLOCK_BYTES);
    let ranges = starts.map(|start| HttpRange::new(start, (size - start).min(BLOCK_BYTES as u64)));
    let blocks = ranges.map(|range| block(client, range, etag.as_ref()));
    let mut blocks = stream::iter(blocks).buffered(PARALLEL);
    let mut hashing = HashingWriter::new(writer);
    while let Some(block) = blocks.next().await {
        let block = block.map_err(|error| blob.service_error(name, &error))?;
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
    retried(|| async move {
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

/// The block size: sent within the time-out at 2 Mbit/s. The limit of 50,000 blocks allows 195 GiB.
const BLOCK_BYTES: usize = 4 * 1024 * 1024;
/// The number of concurrent requests.
const PARALLEL: usize = 4;
