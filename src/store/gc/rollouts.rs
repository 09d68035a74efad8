//! Collects the images of open rollouts, from their plans.
//! A plan is JSON of a later module. Only `targets` and `nodes` matter here.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;

use crate::digest::Digest;
use crate::store::backend::Backend;
use crate::store::history::History;
use crate::store::{Store, StoreError};

/// The part of a plan that names images.
#[derive(Deserialize)]
struct Plan {
    /// By tier.
    targets: BTreeMap<String, Planned>,
    /// By name.
    nodes: BTreeMap<String, Planned>,
}

#[derive(Deserialize)]
struct Planned {
    manifest: Digest,
}

impl<B: Backend> Store<B> {
    /// Returns the manifests in the plans of open rollouts, each with the names of the clusters. An
    /// unreadable plan is an error: its needs are unknown.
    pub(super) async fn rollout_uses(
        &self,
        history: &History,
    ) -> Result<BTreeMap<Digest, BTreeSet<String>>, StoreError> {
        let mut uses: BTreeMap<Digest, BTreeSet<String>> = BTreeMap::new();
        for open in history.open_rollouts() {
            let bytes = self.object(&open.plan).await?;
            let plan = serde_json::from_slice::<Plan>(&bytes).map_err(|error| {
                let what = format!("the plan of the rollout of cluster {}", open.name);
                StoreError::refused(what, format!("cannot read its images: {error}"))
            })?;
            let planned = plan.targets.into_values().chain(plan.nodes.into_values());
            for Planned { manifest } in planned {
                uses.entry(manifest).or_default().insert(open.name.clone());
            }
        }
        Ok(uses)
    }
}
