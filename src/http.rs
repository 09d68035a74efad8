//! Fetches what is named by a URL: the only HTTP client beside Azure's.
//!
//! In: an `https://`, `http://` or `file://` URL, or a path. Out: bytes or a file, never more than the caller
//! allows. Passing faults are tried again. Deliberately judges no content: whoever asks has a digest to compare.

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
    /// The server has no such thing, or refuses it.
    #[error("{url}: the server answered {status}")]
    Refused {
        /// What was asked for.
        url: String,
        /// The HTTP status.
        status: u16,
    },
    /// It was not reached, or broke off, and went on doing so.
    #[error("{url}: {reason}")]
    Unreachable {
        /// What was asked for.
        url: String,
        /// Why.
        reason: String,
    },
    /// There is more of it than there may be.
    #[error("{url}: larger than the {limit_bytes} bytes that are allowed")]
    TooLarge {
        /// What was asked for.
        url: String,
        /// The limit in bytes.
        limit_bytes: u64,
    },
    /// A file could not be read or written.
    #[error("{}: {error}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        error: std::io::Error,
    },
    /// We were asked to stop.
    #[error(transparent)]
    Interrupted(#[from] Interrupted),
}

impl FetchError {
    /// Returns what to do about it, as an imperative, if there is something to do.
    pub fn hint(&self) -> Option<String> {
        None
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

/// Fetches `url` into a new file at `path`, at most `limit_bytes`. Where it fails, what is at `path` is not to be used.
pub async fn fetch_file(
    url: &str,
    path: &Path,
    limit_bytes: u64,
    events: &Events,
    interrupt: &Interrupt,
) -> Result<(), FetchError> {
    let file = |error| FetchError::File {
        path: path.to_owned(),
        error,
    };
    let written = fetch(url, limit_bytes, events, interrupt, || {
        File::create(path).map_err(file)
    })
    .await?;
    written.sync_all().map_err(file)
}

/// The local file that `url` means, where it is a `file://` URL or a path.
pub fn local_path(url: &str) -> Option<PathBuf> {
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
                    Err(error @ FetchError::Unreachable { .. })
                        if tries.fetch_add(1, Ordering::Relaxed) < RETRIES =>
                    {
                        Poll::NotYet(error.to_string())
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
                reason: last
                    .strip_prefix(&format!("{url}: "))
                    .unwrap_or(&last)
                    .to_owned(),
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
    let file = |error| FetchError::File {
        path: path.to_owned(),
        error,
    };
    let source = File::open(path).map_err(file)?;
    if source.metadata().map_err(file)?.len() > limit_bytes {
        return Err(FetchError::TooLarge {
            url: url.to_owned(),
            limit_bytes,
        });
    }
    std::io::copy(&mut &source, &mut sink).map_err(file)?;
    Ok(sink)
}

fn unreachable(url: &str, error: &reqwest::Error) -> FetchError {
    // reqwest's own text repeats the URL; its sources say what happened.
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
/// Without a byte for this long a transfer counts as broken.
const READ_TIMEOUT: Duration = Duration::from_secs(30);
/// How often a passing fault is tried again.
const RETRIES: u32 = 3;
/// All tries together.
const FETCH_DEADLINE: Duration = Duration::from_secs(1800);
