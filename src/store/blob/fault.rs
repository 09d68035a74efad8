//! Classifies failed requests: retry, name taken or absent; and describes them.
//! The SDK's own text of a broken connection is never shown, since it contains the URL and so a
//! signature.

use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::time::Duration;

use azure_core::error::ErrorKind;
use azure_core::http::RawResponse;
use azure_core::http::headers::HeaderName;
use azure_storage_blob::StorageError;

use crate::azure::{describe_token_error, first_line, root_cause};
use crate::wait::pause_for;

/// Runs `attempt`, and retries temporary failures.
pub(super) async fn retried<T, F>(mut attempt: impl FnMut() -> F) -> azure_core::Result<T>
where
    F: Future<Output = azure_core::Result<T>>,
{
    let mut pause = FIRST_PAUSE;
    for _ in 1..TRIES {
        let requested = match attempt().await {
            Ok(value) => return Ok(value),
            Err(error) => match retry_delay(&error) {
                Some(requested) => requested,
                None => return Err(error),
            },
        };
        // Random, so that rejected writers do not all retry at the same time.
        let jitter = RandomState::new().build_hasher().finish() % (pause.as_millis() as u64 / 2);
        pause_for((pause + Duration::from_millis(jitter)).max(requested)).await;
        pause *= 2;
    }
    attempt().await
}

/// Returns the delay that the service requests, if the failure may be temporary.
pub(super) fn retry_delay(error: &azure_core::Error) -> Option<Duration> {
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

/// Whether the blob does not exist. A missing container is a different error.
pub(super) fn is_absent(error: &azure_core::Error) -> bool {
    answer(error).is_some_and(|(status, code)| status == 404 && code == Some("BlobNotFound"))
}

/// Whether a create failed because the name is taken. Some reasons of 409 concern the container;
/// without a reason it may be either.
pub(super) fn is_taken(error: &azure_core::Error) -> bool {
    match answer(error) {
        Some((412, _) | (409, None)) => true,
        Some((409, Some(code))) => TAKEN.contains(&code),
        // The answer to a credential that may create but not overwrite: of the service, and of the
        // emulator.
        Some((403, Some(code))) => {
            matches!(
                code,
                "UnauthorizedBlobOverwrite" | "AuthorizationPermissionMismatch"
            )
        }
        // Another writer's commit discarded our blocks.
        Some((400, code)) => code == Some("InvalidBlockList"),
        _ => false,
    }
}

/// Codes of 409 that occur only if the blob exists.
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

/// Describes the error for people.
pub(super) fn describe(error: &azure_core::Error) -> String {
    match error.kind() {
        ErrorKind::HttpResponse {
            status,
            error_code,
            raw_response,
        } => {
            let code = error_code.as_deref();
            let message = raw_response.as_deref().and_then(message);
            let message = message.map_or_else(String::new, |message| format!(": {message}"));
            let named = code.map_or_else(String::new, |code| format!(" {code}"));
            format!(
                "the service answered {}{named}{message}",
                u16::from(*status)
            )
        }
        ErrorKind::Io | ErrorKind::Connection => {
            format!(
                "the service could not be reached, or the connection broke: {}",
                root_cause(error)
            )
        }
        ErrorKind::Credential => format!(
            "no credential: {}",
            describe_token_error(&error.to_string())
        ),
        _ => root_cause(error),
    }
}

/// Returns the message of the service, without its request ids.
fn message(response: &RawResponse) -> Option<String> {
    let error = azure_core::Error::new(
        ErrorKind::HttpResponse {
            status: response.status(),
            error_code: None,
            raw_response: Some(Box::new(response.clone())),
        },
        "",
    );
    let answer = StorageError::try_from(error).ok()?;
    let message = answer.message.filter(|_| !response.body().is_empty())?;
    let detail = answer.authentication_error_detail;
    let detail = detail.map_or_else(String::new, |detail| format!(" {}", first_line(&detail)));
    let message = first_line(&message);
    Some(format!("{}{detail}", message.trim_end_matches('.')))
}

/// Returns the way out, if there is one.
pub(super) fn hint(error: &azure_core::Error) -> Option<&'static str> {
    Some(match answer(error)? {
        (404, Some("ContainerNotFound")) => "Create the container first.",
        (409, Some("ContainerBeingDeleted")) => {
            "Wait until it is deleted, or use another container."
        }
        (401 | 403, Some("AuthorizationPermissionMismatch")) => {
            "Give the identity the role `Storage Blob Data Contributor`. A shared access \
             signature needs the permissions `rcwl`, and `d` to remove artifacts."
        }
        (401 | 403, _) => {
            "Check that the credential has not expired, is for this container, and permits the request."
        }
        _ => return None,
    })
}

/// The number of tries before a failure counts.
const TRIES: u32 = 6;
/// The first delay between tries. It doubles with each try.
const FIRST_PAUSE: Duration = Duration::from_millis(200);
/// The longest delay that the service may request.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
