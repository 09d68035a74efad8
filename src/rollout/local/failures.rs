//! Turns the errors of clusters, products and the load balancer into failures of an effect.

use crate::cluster::ClusterError;
use crate::cluster::front::FrontError;
use crate::product::ApiError;
use crate::rollout::EffectError;
use crate::wait::WaitError;

/// An error of the cluster as that of an effect.
pub(super) fn failed(error: ClusterError) -> EffectError {
    match error {
        ClusterError::UnsealNeeded { node } => EffectError::UnsealNeeded { node },
        ClusterError::Interrupted(interrupted) => interrupted.into(),
        error => EffectError::Failed {
            hint: error.hint(),
            message: error.to_string(),
        },
    }
}

pub(super) fn api_error(error: ApiError) -> EffectError {
    match error {
        ApiError::Unreachable { .. } => EffectError::Inconclusive(error.to_string()),
        error => EffectError::Failed {
            hint: error.hint(),
            message: error.to_string(),
        },
    }
}

#[expect(clippy::needless_pass_by_value, reason = "the form of map_err")]
pub(super) fn front_error(error: FrontError) -> EffectError {
    EffectError::Failed {
        hint: error.hint(),
        message: error.to_string(),
    }
}

#[expect(clippy::needless_pass_by_value, reason = "the form of map_err")]
pub(super) fn wait_error<E: std::error::Error>(error: WaitError<E>) -> EffectError {
    EffectError::Failed {
        message: error.to_string(),
        hint: None,
    }
}
