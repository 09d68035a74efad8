//! Collects the images of open rollouts, from their plans.

use std::collections::{BTreeMap, BTreeSet};

use crate::digest::Digest;
use crate::store::backend::Backend;
use crate::store::history::History;
use crate::store::{Store, StoreError};

impl<B: Backend> Store<B> {
    /// Returns the manifests in the plans of open rollouts, each with the names of the clusters. An
    /// unreadable plan is an error: its needs are unknown.
    pub(super) async fn rollout_uses(
        &self,
        history: &History,
    ) -> Result<BTreeMap<Digest, BTreeSet<String>>, StoreError> {
        let mut uses: BTreeMap<Digest, BTreeSet<String>> = BTreeMap::new();
        for open in history.open_rollouts() {
            let planned = self.planned_images(open).await?;
            for manifest in planned.targets.values().chain(planned.nodes.values()) {
                let clusters = uses.entry(*manifest).or_default();
                clusters.insert(open.name.clone());
            }
        }
        Ok(uses)
    }
}
