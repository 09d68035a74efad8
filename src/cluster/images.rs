//! Chooses the image of each tier, and copies its artifact into the cluster's folder.
//! Takes the cluster file and a store; returns the captured disk with what its manifest records.

use std::collections::BTreeMap;
use std::fs;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

use jiff::Timestamp;

use super::ClusterError;
use super::file::{ImageRef, TierName};
use super::state::{NodeStage, NodeState, OpenRollout};
use crate::definition::Firmware;
use crate::digest::Digest;
use crate::manifest::{ImageVersion, Reference};
use crate::pin::PinFile;
use crate::resolve::Resolved;
use crate::sign::Trust;
use crate::store::backend::Backend;
use crate::store::{Allow, Store};

/// The image of a tier.
#[derive(Clone, Debug)]
pub struct NodeImage {
    /// The reference in the cluster file.
    pub reference: String,
    /// The name of the image.
    pub image: String,
    /// The version of the image.
    pub version: ImageVersion,
    /// The digest of the manifest.
    pub manifest: Digest,
    /// The digest of the captured disk.
    pub artifact: Digest,
    /// The firmware that boots the disk.
    pub firmware: Firmware,
    /// The products with their versions.
    pub releases: BTreeMap<String, String>,
    /// Warnings for people, one sentence each.
    pub warnings: Vec<String>,
}

impl NodeImage {
    /// Describes node `number` of a generation that is made from the image.
    pub(super) fn node(
        &self,
        tier: TierName,
        (generation, number): (u32, u32),
        address: Ipv4Addr,
    ) -> NodeState {
        NodeState {
            tier,
            generation,
            number,
            address,
            reference: self.reference.clone(),
            image: self.image.clone(),
            version: self.version,
            manifest: self.manifest,
            artifact: self.artifact,
            firmware: self.firmware,
            releases: self.releases.clone(),
            stage: NodeStage::Serving,
        }
    }
}

/// The store of images, and what it is trusted for.
pub struct Images<'a, B> {
    /// The store.
    pub store: &'a Store<B>,
    /// The trust policy for pin files.
    pub trust: Option<&'a Trust>,
    /// The obstacles to accept.
    pub allow: Allow,
}

impl<'a, B> Images<'a, B> {
    /// Accepts no obstacle.
    pub fn new(store: &'a Store<B>, trust: Option<&'a Trust>) -> Self {
        Self {
            store,
            trust,
            allow: Allow::default(),
        }
    }
}

impl<B: Backend> Images<'_, B> {
    /// Finds the image that `reference` names. Fails if it must not be deployed.
    pub async fn choose(
        &self,
        reference: &ImageRef,
        now: Timestamp,
    ) -> Result<NodeImage, ClusterError> {
        let stored = self.stored_reference(reference)?;
        let resolved =
            Resolved::from_store(self.store, &stored, Some("local"), self.allow, now).await?;
        Ok(NodeImage {
            reference: reference.to_string(),
            image: resolved.image,
            version: resolved.version,
            manifest: resolved.manifest_digest,
            artifact: resolved.file_digest,
            firmware: match resolved.firmware.as_str() {
                "uefi" => Firmware::Uefi,
                _ => Firmware::Bios,
            },
            releases: resolved.releases,
            warnings: resolved.warnings,
        })
    }

    /// Returns a reference to the store. A pin names its image by the digest of the manifest.
    pub fn stored_reference(&self, reference: &ImageRef) -> Result<Reference, ClusterError> {
        match reference {
            ImageRef::Store(reference) => Ok(reference.clone()),
            ImageRef::Pin { pins, name } => {
                let text = fs::read(pins).map_err(ClusterError::file(pins))?;
                let file = PinFile::parse(&pins.display().to_string(), &text)?;
                let pinned = Resolved::from_pins(&file, name, Some("local"), self.trust)?;
                let hex = pinned.manifest_digest.hex();
                Ok(Reference::Digest { hex })
            }
        }
    }

    /// Returns the subnets that the Consul of a recorded image answers, if its manifest has them.
    pub(super) async fn management_subnets(
        &self,
        manifest: &Digest,
    ) -> Result<Option<Vec<String>>, ClusterError> {
        let manifest = self.store.manifest(manifest).await?;
        let subnets = manifest.variables.get("management_subnets");
        Ok(subnets.and_then(|subnets| serde_json::from_value(subnets.clone()).ok()))
    }

    /// Returns why a recorded image may not be deployed, if there is a reason.
    pub async fn problem(
        &self,
        manifest: &Digest,
        now: Timestamp,
    ) -> Result<Option<String>, ClusterError> {
        let history = self.store.history().await?;
        let status = self.store.evaluate(&history, manifest, now).await?;
        Ok(status.obstacles.first().map(|one| one.why.clone()))
    }

    /// Returns the open rollout of a cluster in the log, which another computer may control.
    pub(super) async fn open_rollout(
        &self,
        cluster: &str,
    ) -> Result<Option<OpenRollout>, ClusterError> {
        let history = self.store.history().await?;
        let open = history.open_rollout(cluster);
        Ok(open.map(|open| OpenRollout {
            plan: open.plan,
            epoch: open.epoch,
        }))
    }

    /// Copies the artifact of `image` to the folder `images`, unless it is there.
    /// Returns its path.
    pub async fn fetch(&self, image: &NodeImage, images: &Path) -> Result<PathBuf, ClusterError> {
        fs::create_dir_all(images).map_err(ClusterError::file(images))?;
        let path = disk_path(images, &image.artifact);
        let manifest = self.store.manifest(&image.manifest).await?;
        self.store.fetch_artifact(&manifest, &path).await?;
        Ok(path)
    }
}

/// Returns the path of the captured disk with the digest `artifact`.
pub fn disk_path(images: &Path, artifact: &Digest) -> PathBuf {
    images.join(format!("{}.qcow2", &artifact.hex()[..16]))
}
