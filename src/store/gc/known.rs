//! What manifests say of the files that came out: read once each, however often the log is judged again.

use std::collections::HashMap;
use std::ops::ControlFlow;

use crate::digest::Digest;
use crate::manifest::Manifest;
use crate::store::backend::{ArtifactName, Backend, BackendError};
use crate::store::history::History;
use crate::store::parallel::in_order;
use crate::store::{Store, StoreError};

/// By manifest.
#[derive(Default)]
pub(super) struct Known(HashMap<Digest, Outputs>);

/// What came out of a bake.
pub(super) struct Outputs {
    /// The files in the store, with their digests.
    pub files: Vec<(ArtifactName, Digest)>,
    /// What the targets know the outputs by.
    pub ids: Vec<String>,
    /// Where an output is that is not in the store.
    pub elsewhere: Option<String>,
}

/// How many manifests one task reads.
const AT_A_TIME: usize = 64;

impl Known {
    /// Of a manifest that the log records.
    pub fn of(&self, manifest: &Digest) -> &Outputs {
        &self.0[manifest]
    }
}

impl Outputs {
    fn of(manifest: &Manifest) -> Result<Self, BackendError> {
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
    /// Reads all manifests of the log that are not known yet. One that cannot be read is an error: what it needs is not
    /// guessed at.
    pub(super) async fn learn(
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
                    let outputs = Outputs::of(&store.manifest(&digest).await?)?;
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
