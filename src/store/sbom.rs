//! Stores and reads the bill of materials of a manifest.

use super::backend::Backend;
use super::{Store, StoreError, object_name};
use crate::manifest::{Descriptor, Manifest, Package, SBOM_MEDIA_TYPE, sbom};

impl<B: Backend> Store<B> {
    /// Creates and stores the bill of materials of `manifest`, and returns its entry for the
    /// manifest.
    pub async fn put_sbom(
        &self,
        manifest: &Manifest,
        packages: &[Package],
    ) -> Result<Descriptor, StoreError> {
        let bytes = sbom(manifest, packages);
        Ok(Descriptor {
            digest: self.put_object(&bytes).await?,
            size: bytes.len() as u64,
            media_type: SBOM_MEDIA_TYPE.to_owned(),
        })
    }

    /// Reads and checks the bill of materials of `manifest`; `None` if the manifest has none.
    pub async fn sbom(&self, manifest: &Manifest) -> Result<Option<Vec<u8>>, StoreError> {
        let Some(named) = &manifest.sbom else {
            return Ok(None);
        };
        let bytes = self.object(&named.digest).await?;
        if bytes.len() as u64 == named.size {
            return Ok(Some(bytes));
        }
        let why = format!(
            "{} bytes, the manifest requires {}",
            bytes.len(),
            named.size
        );
        Err(StoreError::integrity(object_name(&named.digest), why))
    }
}
