//! What is known of images, by their ids.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use jiff::Timestamp;

use super::uses::{LOCAL, Plan, Planned, key};
use crate::digest::Digest;
use crate::manifest::Manifest;
use crate::pin::{PinError, PinFile, PinnedOutput};
use crate::sign::Trust;
use crate::store::backend::Backend;
use crate::store::history::{History, Recorded};
use crate::store::{DeployStatus, Store, StoreError};

/// An image that a record has.
pub(super) struct Known {
    /// `image@version`.
    pub(super) label: String,
    pub(super) class: String,
    pub(super) machine: String,
    pub(super) releases: BTreeMap<String, String>,
    /// Whether it may be deployed; none where no store was asked.
    pub(super) status: Option<DeployStatus>,
    /// Channels that held it and hold another image now.
    pub(super) newer: Vec<String>,
}

/// The images that a plan may use.
#[derive(Default)]
pub struct Catalogue {
    known: HashMap<String, Known>,
    /// Where pins are given, only what they name may be deployed.
    pinned: Option<HashSet<String>>,
    from_store: bool,
}

impl Catalogue {
    /// What the pins of a file say, which has to prove itself first: see [`PinFile::verify`].
    pub fn of_pins(file: &PinFile, trust: Option<&Trust>) -> Result<Self, PinError> {
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

    /// What a store says at the time `now` of the images that `plan` names. Images that are looked up by what the log says
    /// cost nothing; others, the reading of manifests, newest first, until all are found.
    pub async fn of_store<B: Backend>(
        store: &Store<B>,
        plan: &Plan,
        now: Timestamp,
    ) -> Result<Self, StoreError> {
        let history = store.history().await?;
        let mut wanted: BTreeSet<String> = BTreeSet::new();
        for one in &plan.uses {
            wanted.extend(one.before.iter().map(|id| key(id)));
            if let Planned::Id(id) = &one.after {
                wanted.insert(key(id));
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
        let local: HashSet<Digest> = wanted.iter().filter_map(local).collect();
        // A local id is the digest of a file, and the log has that of the first one.
        let (first, rest): (Vec<&Recorded>, Vec<&Recorded>) = history
            .recorded()
            .iter()
            .rev()
            .partition(|one| local.contains(&one.put.artifact));
        for recorded in first.into_iter().chain(rest) {
            if wanted.is_empty() {
                break;
            }
            let digest = &recorded.put.manifest;
            let manifest = store.manifest(digest).await?;
            for (id, mut known) in known_outputs(&manifest) {
                if wanted.remove(&id) {
                    known.status = Some(store.evaluate(&history, digest, now).await?);
                    known.newer = newer(&history, recorded);
                    catalogue.known.insert(id, known);
                }
            }
        }
        Ok(catalogue)
    }

    /// The same, but only what `pins` pin counts as tracked.
    #[must_use]
    pub fn only(mut self, pins: Self) -> Self {
        for (id, known) in pins.known {
            self.known.entry(id).or_insert(known);
        }
        self.pinned = pins.pinned;
        self
    }

    /// What it was made from.
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

    /// Whether pins are given and none of them is this.
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

fn newer(history: &History, recorded: &Recorded) -> Vec<String> {
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
                "{image}:{channel} holds {now} (generation {})",
                last.generation
            ))
        });
    channels.collect()
}
