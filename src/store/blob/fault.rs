//! What a failed request means: whether to try again, whether a name is taken or free, and what people are told.
//!
//! In: an error of the client. Out: a judgement or words. Deliberately never shows the client's own text of a broken
//! connection: it repeats the URL, and with it a signature.

use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::time::Duration;

use azure_core::error::ErrorKind;
use azure_core::http::RawResponse;
use azure_core::http::headers::HeaderName;
use azure_storage_blob::StorageError;

use crate::azure::{cause, first_line, why_no_token};
use crate::wait::pause_for;

/// Does `attempt`, and again where a fault may pass.
pub(super) async fn tried<T, F>(mut attempt: impl FnMut() -> F) -> azure_core::Result<T>
where
    F: Future<Output = azure_core::Result<T>>,
{
    let mut pause = FIRST_PAUSE;
    for _ in 1..TRIES {
        let asked = match attempt().await {
            Ok(value) => return Ok(value),
            Err(error) => match passing(&error) {
                Some(asked) => asked,
                None => return Err(error),
            },
        };
        // Writers that were turned away together should not come back together.
        let apart = RandomState::new().build_hasher().finish() % (pause.as_millis() as u64 / 2);
        pause_for((pause + Duration::from_millis(apart)).max(asked)).await;
        pause *= 2;
    }
    attempt().await
}

/// Where the fault may pass: how long the service asked us to wait.
pub(super) fn passing(error: &azure_core::Error) -> Option<Duration> {
    match error.kind() {
        ErrorKind::Io | ErrorKind::Connection => Some(Duration::ZERO),
        ErrorKind::HttpResponse {
            status,
            raw_response,
            ..
        } => match u16::from(*status) {
            429 | 503 => Some(raw_response.as_deref().map_or(Duration::ZERO, retry_after)),
            408 | 500 | 502 | 504 => Some(Duration::ZERO),
            _ => None,
        },
        _ => None,
    }
}

fn retry_after(response: &RawResponse) -> Duration {
    let header = HeaderName::from_static("retry-after");
    let seconds = response
        .headers()
        .get_optional_str(&header)
        .and_then(|text| text.trim().parse().ok());
    Duration::from_secs(seconds.unwrap_or(0)).min(LONGEST_PAUSE)
}

/// Whether the service says that there is no blob of this name. A missing container is another thing.
pub(super) fn is_absent(error: &azure_core::Error) -> bool {
    answer(error).is_some_and(|(status, code)| status == 404 && code == Some("BlobNotFound"))
}

/// Whether a refusal to create says that the name is taken. 409 has other reasons as well, and some are about the
/// container; without a reason it may be either.
pub(super) fn is_taken(error: &azure_core::Error) -> bool {
    match answer(error) {
        Some((412, _) | (409, None)) => true,
        Some((409, Some(code))) => TAKEN.contains(&code),
        // What a credential that may create and not overwrite is told where there is a blob: by the service, and by
        // the emulator.
        Some((403, Some(code))) => {
            matches!(
                code,
                "UnauthorizedBlobOverwrite" | "AuthorizationPermissionMismatch"
            )
        }
        // Somebody else's commit threw our blocks away.
        Some((400, code)) => code == Some("InvalidBlockList"),
        _ => false,
    }
}

/// Codes of 409 that are only given where there is a blob.
const TAKEN: [&str; 7] = [
    "BlobAlreadyExists",
    "BlobImmutableDueToPolicy",
    "BlobArchived",
    "BlobBeingRehydrated",
    "InvalidBlobType",
    "PendingCopyOperation",
    "SnapshotsPresent",
];

fn answer(error: &azure_core::Error) -> Option<(u16, Option<&str>)> {
    match error.kind() {
        ErrorKind::HttpResponse {
            status, error_code, ..
        } => Some((u16::from(*status), error_code.as_deref())),
        _ => None,
    }
}

/// What people are told.
pub(super) fn words(error: &azure_core::Error) -> String {
    match error.kind() {
        ErrorKind::HttpResponse {
            status,
            error_code,
            raw_response,
        } => {
            let code = error_code.as_deref();
            let said = raw_response.as_deref().and_then(message);
            let said = said.map_or_else(String::new, |said| format!(": {said}"));
            let named = code.map_or_else(String::new, |code| format!(" {code}"));
            let hint = hint(u16::from(*status), code);
            format!(
                "the service answered {}{named}{said}{hint}",
                u16::from(*status)
            )
        }
        ErrorKind::Io | ErrorKind::Connection => {
            format!("could not be reached, or broke off: {}", cause(error))
        }
        ErrorKind::Credential => format!("no credential: {}", why_no_token(&error.to_string())),
        _ => cause(error),
    }
}

/// What the service says in its own words, without its ids of requests.
fn message(response: &RawResponse) -> Option<String> {
    let error = azure_core::Error::new(
        ErrorKind::HttpResponse {
            status: response.status(),
            error_code: None,
            raw_response: Some(Box::new(response.clone())),
        },
        "",
    );
    let said = StorageError::try_from(error).ok()?;
    let message = said.message.filter(|_| !response.body().is_empty())?;
    let detail = said.authentication_error_detail;
    let detail = detail.map_or_else(String::new, |detail| format!(" {}", first_line(&detail)));
    let message = first_line(&message);
    Some(format!("{}{detail}", message.trim_end_matches('.')))
}

/// What to do about it.
fn hint(status: u16, code: Option<&str>) -> &'static str {
    match (status, code) {
        (404, Some("ContainerNotFound")) => "; create the container first, a store creates none",
        (409, Some("ContainerBeingDeleted")) => {
            "; wait until it is gone, or take another container"
        }
        (401 | 403, Some("AuthorizationPermissionMismatch")) => {
            "; an identity needs the role `Storage Blob Data Contributor` here, a shared access signature the permissions `rcwl`, and `d` to remove artifacts"
        }
        (401 | 403, _) => {
            "; the credential is expired, is for another container, or may not do this"
        }
        _ => "",
    }
}

/// How often something is done until its failure counts.
const TRIES: u32 = 6;
/// Doubles with each try.
const FIRST_PAUSE: Duration = Duration::from_millis(200);
/// The most that a service may ask us to wait.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
