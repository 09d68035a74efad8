//! Asks the store before a node is taken away: is the rollout open with this epoch, and may its
//! target images be deployed? Another controller and a revocation stop a rollout there.

use jiff::Timestamp;

use super::EffectError;
use crate::digest::Digest;
use crate::store::backend::Backend;
use crate::store::{Allow, DeployState, Store};

/// A guard asked for a test before. A revocation may come in the middle.
const MAY_BE_UNTESTED: Allow = Allow {
    revoked: false,
    untested: true,
};

/// Confirms that the log has the rollout open with `epoch`, and that no target is revoked or gone.
pub async fn confirm_open<B: Backend>(
    store: &Store<B>,
    (cluster, epoch): (&str, u64),
    targets: &[Digest],
    now: Timestamp,
) -> Result<(), EffectError> {
    let history = store.history().await;
    let history = history.map_err(|error| EffectError::Inconclusive(error.to_string()))?;
    match history.rollout(cluster) {
        Some(last) if last.epoch > epoch => {
            return Err(EffectError::TakenOver { epoch: last.epoch });
        }
        Some(last) if last.epoch == epoch && last.end.is_none() => {}
        _ => {
            return Err(EffectError::Refused {
                message: format!("the rollout with epoch {epoch} is not open in the store"),
                hint: "Run `vault-bake rollout status`.".to_owned(),
            });
        }
    }
    for target in targets {
        let status = store.evaluate(&history, target, now).await;
        let status = status.map_err(|error| EffectError::Inconclusive(error.to_string()))?;
        let Some(obstacle) = status.refusal(MAY_BE_UNTESTED) else {
            continue;
        };
        let hint = match obstacle.state {
            DeployState::Revoked => {
                "Run `vault-bake rollout abort`. If the revocation is a mistake, withdraw it with \
                 `vault-bake restore`, then run `vault-bake rollout resume`."
            }
            _ => "Run `vault-bake rollout abort`.",
        };
        return Err(EffectError::Refused {
            message: format!("a target image may not be deployed: {}", obstacle.why),
            hint: hint.to_owned(),
        });
    }
    Ok(())
}
