//! The images in a store or a pin file, by id.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use jiff::Timestamp;

use super::image::{LOCAL, PlannedImage, key};
use super::uses::Plan;
use crate::digest::Digest;
use crate::manifest::Manifest;
use crate::pin::{PinError, PinFile, PinnedOutput};
use crate::sign::Trust;
use crate::store::backend::Backend;
use crate::store::history::{History, RecordedManifest};
use crate::store::{DeployStatus, Store, StoreError};

/// An image of a store or a pin file.
pub(super) struct Known {
    /// `image@version`.
    pub(super) label: String,
    pub(super) class: String,
    pub(super) machine: String,
    pub(super) releases: BTreeMap<String, String>,
    /// The deploy status. `None` without a store.
    pub(super) status: Option<DeployStatus>,
    /// The channels that have moved from this image to another one.
    pub(super) newer: Vec<String>,
}

/// The images that a plan may use.
#[derive(Default)]
pub struct Catalog {
    known: HashMap<String, Known>,
    /// The ids of pinned outputs. If present, other images are untracked.
    pinned: Option<HashSet<String>>,
    from_store: bool,
}

impl Catalog {
    /// Reads the pins of a file, after [`PinFile::verify`].
    pub fn from_pins(file: &PinFile, trust: Option<&Trust>) -> Result<Self, PinError> {
        file.verify(trust)?;
        let mut catalogue = Self::default();
        let mut pinned = HashSet::new();
        for pin in file.pins().values() {
            for output in &pin.outputs {
                pinned.insert(key(&output.id));
                let known = Known::new(pin.label(), output, pin.releases.clone());
                catalogue.known.insert(key(&output.id), known);
            }
        }
        catalogue.pinned = Some(pinned);
        Ok(catalogue)
    }

    /// Looks up the images of `plan` in a store at the time `now`. Local images are found by the
    /// log alone. For others, reads manifests, newest first, until all are found.
    pub async fn from_store<B: Backend>(
        store: &Store<B>,
        plan: &Plan,
        now: Timestamp,
    ) -> Result<Self, StoreError> {
        let history = store.history().await?;
        let mut ids: BTreeSet<String> = BTreeSet::new();
        for one in &plan.uses {
            ids.extend(one.before.iter().map(|id| key(id)));
            if let PlannedImage::Id(id) = &one.after {
                ids.insert(key(id));
            }
        }
        let mut catalogue = Self {
            from_store: true,
            ..Self::default()
        };
        let local = |id: &String| {
            let hex = id.strip_prefix(LOCAL)?.split('.').next()?;
            format!("sha256:{hex}").parse::<Digest>().ok()
        };
        let local: HashSet<Digest> = ids.iter().filter_map(local).collect();
        // A local id contains the digest of a file, and the log has the digest of each first
        // output.
        let (first, rest): (Vec<&RecordedManifest>, Vec<&RecordedManifest>) = history
            .recorded()
            .iter()
            .rev()
            .partition(|one| local.contains(&one.put.artifact));
        for recorded in first.into_iter().chain(rest) {
            if ids.is_empty() {
                break;
            }
            let digest = &recorded.put.manifest;
            let manifest = store.manifest(digest).await?;
            for (id, mut known) in known_outputs(&manifest) {
                if ids.remove(&id) {
                    known.status = Some(store.evaluate(&history, digest, now).await?);
                    known.newer = moved_channels(&history, recorded);
                    catalogue.known.insert(id, known);
                }
            }
        }
        Ok(catalogue)
    }

    /// Restricts tracked images to those in `pins`.
    #[must_use]
    pub fn restricted_to(mut self, pins: Self) -> Self {
        for (id, known) in pins.known {
            self.known.entry(id).or_insert(known);
        }
        self.pinned = pins.pinned;
        self
    }

    /// Returns the kind of its source, in words.
    pub(super) fn source(&self) -> &'static str {
        match (self.from_store, self.pinned.is_some()) {
            (true, _) => "store",
            (false, true) => "pin file",
            (false, false) => "catalogue",
        }
    }

    pub(super) fn find(&self, id: &str) -> Option<&Known> {
        self.known.get(&key(id))
    }

    /// Whether pins were given, and none of them is this image.
    pub(super) fn is_unpinned(&self, id: &str) -> bool {
        let pinned = self.pinned.as_ref();
        pinned.is_some_and(|pinned| !pinned.contains(&key(id)))
    }
}

impl Known {
    fn new(label: String, output: &PinnedOutput, releases: BTreeMap<String, String>) -> Self {
        Self {
            label,
            class: output.class.clone(),
            machine: format!("{} {}", output.arch, output.firmware),
            releases,
            status: None,
            newer: Vec::new(),
        }
    }
}

fn known_outputs(manifest: &Manifest) -> impl Iterator<Item = (String, Known)> {
    let releases = manifest.releases.iter();
    let releases: BTreeMap<String, String> = releases
        .map(|one| (one.product.clone(), one.version.clone()))
        .collect();
    let name = manifest.name();
    manifest.outputs.iter().map(move |output| {
        let output = PinnedOutput::from(output);
        (
            key(&output.id),
            Known::new(name.clone(), &output, releases.clone()),
        )
    })
}

fn moved_channels(history: &History, recorded: &RecordedManifest) -> Vec<String> {
    let digest = recorded.put.manifest;
    let channels = history
        .channels()
        .filter_map(|(image, channel, positions)| {
            let last = positions.last()?;
            let held = positions.iter().any(|position| position.to == digest);
            if !held || last.to == digest {
                return None;
            }
            let now = history.by_digest(&last.to)?.put.name();
            Some(format!(
                "{image}:{channel} points to {now} (generation {})",
                last.generation
            ))
        });
    channels.collect()
}
