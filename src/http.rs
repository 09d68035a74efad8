//! Fetches an `https://`, `http://` or `file://` URL, or a local path, into memory or a file.
//! The caller sets the size limit and checks the digest. Transient failures are retried.
//! Azure, Consul and Vault have clients of their own.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use crate::event::{Event, Events};
use crate::wait::{Interrupt, Interrupted, Poll, Wait, WaitError};

/// A fetch that failed.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// A server that refused the request, such as with 404.
    #[error("cannot fetch {url}: the server answered {status}")]
    Refused {
        /// The requested URL.
        url: String,
        /// The HTTP status.
        status: u16,
    },
    /// A server that could not be reached, or a transfer that broke, after several tries.
    #[error("cannot fetch {url}: {reason}")]
    Unreachable {
        /// The requested URL.
        url: String,
        /// The last reason.
        reason: String,
    },
    /// A file that exceeds the size limit.
    #[error("cannot fetch {url}: larger than {limit_bytes} bytes")]
    TooLarge {
        /// The requested URL.
        url: String,
        /// The limit in bytes.
        limit_bytes: u64,
    },
    /// A local file that cannot be read or written.
    #[error("cannot access {}: {error}", path.display())]
    File {
        /// The path of the file.
        path: PathBuf,
        /// The error of the operating system.
        error: std::io::Error,
    },
    /// An interrupt by the user.
    #[error(transparent)]
    Interrupted(#[from] Interrupted),
}

impl FetchError {
    /// Returns what to do about it, as an imperative, if there is something to do.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Unreachable { .. } => Some(
                "Check the network connection and the proxy of this computer, then repeat the command."
                    .to_owned(),
            ),
            _ => None,
        }
    }
}

/// Fetches `url` into memory, at most `limit_bytes`.
pub async fn fetch_bytes(
    url: &str,
    limit_bytes: u64,
    events: &Events,
    interrupt: &Interrupt,
) -> Result<Vec<u8>, FetchError> {
    fetch(url, limit_bytes, events, interrupt, || Ok(Vec::new())).await
}

/// Fetches `url` into the file `path`, at most `limit_bytes`.
///
/// After an error, the content of `path` is undefined.
pub async fn fetch_file(
    url: &str,
    path: &Path,
    limit_bytes: u64,
    events: &Events,
    interrupt: &Interrupt,
) -> Result<(), FetchError> {
    let file_error = |error| FetchError::File {
        path: path.to_owned(),
        error,
    };
    let written = fetch(url, limit_bytes, events, interrupt, || {
        File::create(path).map_err(file_error)
    })
    .await?;
    written.sync_all().map_err(file_error)
}

/// Returns the local path of `url`, if it is a `file://` URL or a path.
pub(crate) fn local_path(url: &str) -> Option<PathBuf> {
    match url.split_once("://") {
        None => Some(PathBuf::from(url)),
        Some(("file", path)) => Some(PathBuf::from(path)),
        Some(_) => None,
    }
}

async fn fetch<W: Write + Send>(
    url: &str,
    limit_bytes: u64,
    events: &Events,
    interrupt: &Interrupt,
    mut open: impl FnMut() -> Result<W, FetchError>,
) -> Result<W, FetchError> {
    if let Some(path) = local_path(url) {
        return copy_local(url, &path, limit_bytes, open()?);
    }
    let client = reqwest::Client::builder()
        .user_agent(concat!("vault-bake/", env!("CARGO_PKG_VERSION")))
        .connect_timeout(CONNECT_TIMEOUT)
        .read_timeout(READ_TIMEOUT)
        .build()
        .map_err(|error| unreachable(url, &error))?;
    let tries = AtomicU32::new(0);
    Wait::new(url, FETCH_DEADLINE)
        .pausing(Duration::from_secs(1), Duration::from_secs(2))
        .until(events, interrupt, || {
            let (sink, client, tries) = (open(), &client, &tries);
            async move {
                let mut sink = match sink {
                    Ok(sink) => sink,
                    Err(error) => return Poll::Never(error),
                };
                match transfer(client, url, limit_bytes, events, &mut sink).await {
                    Ok(()) => Poll::Ready(sink),
                    Err(FetchError::Unreachable { reason, .. })
                        if tries.fetch_add(1, Ordering::Relaxed) < RETRIES =>
                    {
                        Poll::NotYet(reason)
                    }
                    Err(error) => Poll::Never(error),
                }
            }
        })
        .await
        .map_err(|error| match error {
            WaitError::Never(error) => error,
            WaitError::Interrupted(error) => error.into(),
            WaitError::Deadline { last, .. } => FetchError::Unreachable {
                url: url.to_owned(),
                reason: last,
            },
        })
}

async fn transfer(
    client: &reqwest::Client,
    url: &str,
    limit_bytes: u64,
    events: &Events,
    sink: &mut impl Write,
) -> Result<(), FetchError> {
    let mut response = client
        .get(url)
        .send()
        .await
        .map_err(|error| unreachable(url, &error))?;
    let status = response.status();
    if status.is_server_error() || status.as_u16() == 429 {
        return Err(FetchError::Unreachable {
            url: url.to_owned(),
            reason: format!("the server answered {status}"),
        });
    }
    if !status.is_success() {
        return Err(FetchError::Refused {
            url: url.to_owned(),
            status: status.as_u16(),
        });
    }
    let total_bytes = response.content_length();
    let what = url.rsplit('/').next().unwrap_or(url);
    let mut done_bytes = 0;
    while let Some(chunk) = response
        .chunk()
        .await
        .map_err(|error| unreachable(url, &error))?
    {
        done_bytes += chunk.len() as u64;
        if done_bytes > limit_bytes {
            return Err(FetchError::TooLarge {
                url: url.to_owned(),
                limit_bytes,
            });
        }
        sink.write_all(&chunk).map_err(|error| FetchError::File {
            path: PathBuf::from(url),
            error,
        })?;
        events.emit(&Event::Progress {
            what: what.to_owned(),
            done_bytes,
            total_bytes,
        });
    }
    Ok(())
}

fn copy_local<W: Write>(
    url: &str,
    path: &Path,
    limit_bytes: u64,
    mut sink: W,
) -> Result<W, FetchError> {
    let file_error = |error| FetchError::File {
        path: path.to_owned(),
        error,
    };
    let source = File::open(path).map_err(file_error)?;
    if source.metadata().map_err(file_error)?.len() > limit_bytes {
        return Err(FetchError::TooLarge {
            url: url.to_owned(),
            limit_bytes,
        });
    }
    std::io::copy(&mut &source, &mut sink).map_err(file_error)?;
    Ok(sink)
}

fn unreachable(url: &str, error: &reqwest::Error) -> FetchError {
    // The text of reqwest repeats the URL. The innermost source has the reason.
    let mut reason = String::new();
    let mut source: Option<&dyn std::error::Error> = std::error::Error::source(error);
    while let Some(inner) = source {
        reason = inner.to_string();
        source = inner.source();
    }
    FetchError::Unreachable {
        url: url.to_owned(),
        reason: if reason.is_empty() {
            error.to_string()
        } else {
            reason
        },
    }
}

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// The limit without a received byte.
const READ_TIMEOUT: Duration = Duration::from_secs(30);
/// The number of tries after a transient failure.
const RETRIES: u32 = 3;
/// The limit for all tries.
const FETCH_DEADLINE: Duration = Duration::from_secs(1800);
