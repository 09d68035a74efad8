//! Errors of builds on Azure.

use crate::azure::ArmError;
use crate::builder::{BuilderError, PlatformFailure};

/// A build on Azure failed.
#[derive(Debug, thiserror::Error)]
pub enum AzureError {
    /// The build cannot succeed, as a check before its start shows.
    #[error("{what}: {why}")]
    Preflight {
        /// The setting or resource that was checked.
        what: String,
        /// The defect.
        why: String,
        /// The way out, as an imperative.
        hint: Option<String>,
    },
    /// A request failed.
    #[error("{error}")]
    Arm {
        /// The error of the request.
        error: ArmError,
    },
    /// A resource is not in the expected state.
    #[error("{what}: {why}")]
    Unexpected {
        /// The name or id of the resource.
        what: String,
        /// The defect.
        why: String,
        /// The way out, as an imperative.
        hint: Option<String>,
    },
    /// The VM has another security type than the definition.
    #[error("VM {machine}: expected security type {wanted}, found {found}")]
    Security {
        /// The VM's name.
        machine: String,
        /// The security type of the VM.
        found: String,
        /// The security type of the definition.
        wanted: &'static str,
    },
}

impl From<ArmError> for AzureError {
    fn from(error: ArmError) -> Self {
        Self::Arm { error }
    }
}

impl From<AzureError> for BuilderError {
    fn from(error: AzureError) -> Self {
        Self::Platform(Box::new(error))
    }
}

impl PlatformFailure for AzureError {
    fn hint(&self) -> Option<String> {
        self.hint()
    }
}

impl AzureError {
    /// Returns what to do about it, as an imperative, if there is something to do.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Preflight { hint, .. } | Self::Unexpected { hint, .. } => hint.clone(),
            Self::Arm { error } => error.hint(),
            Self::Security { .. } => Some(
                "Check the policies of the subscription: one may change the security type of VMs."
                    .to_owned(),
            ),
        }
    }

    /// Creates an error without a hint about a resource.
    pub(super) fn unexpected(what: impl Into<String>, why: impl Into<String>) -> Self {
        Self::Unexpected {
            what: what.into(),
            why: why.into(),
            hint: None,
        }
    }
}
