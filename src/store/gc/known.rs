//! A cache of what manifests record about output files: each manifest is read once.

use std::collections::HashMap;
use std::ops::ControlFlow;

use crate::digest::Digest;
use crate::manifest::Manifest;
use crate::store::backend::{ArtifactName, Backend, BackendError};
use crate::store::history::History;
use crate::store::parallel::in_order;
use crate::store::{Store, StoreError};

/// The outputs of each manifest.
#[derive(Default)]
pub(super) struct Known(HashMap<Digest, Outputs>);

/// The outputs of a build.
pub(super) struct Outputs {
    /// The files in the store, with their digests.
    pub files: Vec<(ArtifactName, Digest)>,
    /// The ids of the outputs at their targets.
    pub ids: Vec<String>,
    /// The target of an output that is not in the store.
    pub elsewhere: Option<String>,
}

/// The number of manifests that one task reads.
const AT_A_TIME: usize = 64;

impl Known {
    /// Returns the outputs of a recorded manifest.
    pub fn outputs(&self, manifest: &Digest) -> &Outputs {
        &self.0[manifest]
    }
}

impl Outputs {
    fn from_manifest(manifest: &Manifest) -> Result<Self, BackendError> {
        let outputs = manifest.outputs.iter();
        let local = outputs
            .clone()
            .filter_map(|one| Some((&one.id, one.local_file()?)));
        let files = local.map(|(id, file)| Ok((ArtifactName::new(id)?, file.digest)));
        let mut others = outputs.clone().filter(|one| one.target != "local");
        Ok(Self {
            files: files.collect::<Result<_, BackendError>>()?,
            elsewhere: others.next().map(|one| one.target.clone()),
            ids: outputs.map(|one| one.id.clone()).collect(),
        })
    }
}

impl<B: Backend> Store<B> {
    /// Reads all recorded manifests that are not cached yet. An unreadable manifest is an error:
    /// its needs are unknown.
    pub(super) async fn read_outputs(
        &self,
        history: &History,
        known: &mut Known,
    ) -> Result<(), StoreError> {
        let recorded = history.recorded().iter().map(|one| one.put.manifest);
        let new: Vec<Digest> = recorded.filter(|one| !known.0.contains_key(one)).collect();
        let pieces = new.chunks(AT_A_TIME).map(|digests| {
            let (store, digests) = (self.share(), digests.to_vec());
            async move {
                let mut read = Vec::new();
                for digest in digests {
                    let outputs = Outputs::from_manifest(&store.manifest(&digest).await?)?;
                    read.push((digest, outputs));
                }
                Ok::<_, StoreError>(read)
            }
        });
        in_order(pieces, |read| {
            known.0.extend(read?);
            Ok(ControlFlow::Continue(()))
        })
        .await
    }
}
