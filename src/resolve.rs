//! What a deployment needs of an image, in the form that the deployment reads.
//!
//! In: a pin, or a reference and a store. Out: one [`Resolved`], written as JSON, for Terraform, for Bicep, for shells or
//! for workflows. Deliberately guesses nothing: an image with several outputs is not resolved until somebody says which.

mod external;
mod format;

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::Serialize;

use crate::digest::Digest;
use crate::manifest::{ImageVersion, Reference};
use crate::pin::{PinError, PinFile, PinnedOutput};
use crate::sign::Trust;
use crate::store::backend::Backend;
use crate::store::{Allow, Chosen, DeployState, Obstacle, Store, StoreError};

pub use external::Query;
pub use format::{FIELDS, Format};

/// One output of one image.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Resolved {
    /// As asked for: the name of a pin, or a reference.
    pub name: String,
    /// The image.
    pub image: String,
    /// Its version.
    pub version: ImageVersion,
    /// The digest of its manifest.
    pub manifest_digest: Digest,
    /// The channel that it was found by.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub channel: Option<String>,
    /// Where that channel stood.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub generation: Option<u64>,
    /// As in `local` or `azure/westeurope`.
    pub target: String,
    /// As in `qcow2`.
    pub class: String,
    /// What the target knows it by.
    pub image_id: String,
    /// As in `x86_64`.
    pub arch: String,
    /// `bios` or `uefi`.
    pub firmware: String,
    /// Of the file.
    pub file_digest: Digest,
    /// Products and their versions.
    pub releases: BTreeMap<String, String>,
    /// Whether it may be deployed.
    pub standing: DeployState,
    /// What people should know, a sentence each.
    pub warnings: Vec<String>,
}

/// Nothing could be resolved, or not in this form.
#[derive(Debug, thiserror::Error)]
pub enum ResolveError {
    /// Several outputs, or none of the target.
    #[error("{name}: {why}; its targets: {}", .there.join(", "))]
    Target {
        /// As asked for.
        name: String,
        /// What is wrong.
        why: String,
        /// What there is.
        there: Vec<String>,
    },
    /// It must not be deployed.
    #[error("cannot deploy {name}: {why}")]
    Refused {
        /// As asked for.
        name: String,
        /// Why, and what to use instead.
        why: String,
        /// What to do, as an imperative.
        hint: String,
    },
    /// A value that the form cannot hold.
    #[error("{field} is {value:?}, which {format} cannot hold: {why}")]
    Value {
        /// The field.
        field: String,
        /// The value.
        value: String,
        /// The form.
        format: &'static str,
        /// Why not.
        why: &'static str,
    },
    /// A form that is not asked for as it has to be.
    #[error("{0}")]
    Form(String),
    /// The pins do not hold.
    #[error(transparent)]
    Pin(#[from] PinError),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Resolved {
    /// An output of a pinned image, from the file alone, which has to prove itself first: see [`PinFile::verify`].
    pub fn from_pins(
        file: &PinFile,
        name: &str,
        target: Option<&str>,
        trust: Option<&Trust>,
    ) -> Result<Self, ResolveError> {
        file.verify(trust)?;
        let pin = file.pin(name)?;
        let output = choose(name, &pin.outputs, target)?;
        Ok(Self {
            channel: Some(pin.channel.clone()),
            generation: Some(pin.generation),
            releases: pin.releases.clone(),
            ..Self::of(name, &pin.image, pin.version, pin.manifest, output)
        })
    }

    /// An output of a recorded image, as the store says at the time `now`. A name alone means the newest image that may be
    /// deployed. What must not be deployed is refused, unless `allow` accepts the reason.
    pub async fn from_store<B: Backend>(
        store: &Store<B>,
        reference: &Reference,
        target: Option<&str>,
        allow: Allow,
        now: Timestamp,
    ) -> Result<Self, ResolveError> {
        let name = reference.to_string();
        let history = store.history().await?;
        let Chosen {
            manifest: digest,
            status,
            passed_over,
        } = store.choose(&history, reference, allow, now).await?;
        if let Some(obstacle) = status.refusal(allow) {
            return Err(ResolveError::refused(&name, reference, obstacle));
        }
        let mut warnings = status.warnings();
        let passed_over = passed_over.and_then(|newest| newest.remark());
        warnings.extend(passed_over.map(|why| format!("the newest image is passed over: {why}")));
        let standing = status.state();
        let position = match reference {
            Reference::Channel { image, channel } => {
                let positions = history.channel(image, channel).iter().rev();
                let position = positions.map(|one| (one.to, one.generation));
                let generation = position.clone().find(|(to, _)| *to == digest);
                Some((channel.clone(), generation.map_or(0, |(_, at)| at)))
            }
            _ => None,
        };
        let manifest = store.manifest(&digest).await?;
        let outputs: Vec<_> = manifest.outputs.iter().map(PinnedOutput::from).collect();
        let output = choose(&name, &outputs, target)?;
        let releases = manifest.releases.iter();
        let (channel, generation) = position.unzip();
        Ok(Self {
            channel,
            generation,
            releases: releases
                .map(|one| (one.product.clone(), one.version.clone()))
                .collect(),
            standing,
            warnings,
            ..Self::of(&name, &manifest.image, manifest.version, digest, output)
        })
    }

    fn of(
        name: &str,
        image: &str,
        version: ImageVersion,
        manifest_digest: Digest,
        output: &PinnedOutput,
    ) -> Self {
        Self {
            name: name.to_owned(),
            image: image.to_owned(),
            version,
            manifest_digest,
            channel: None,
            generation: None,
            target: output.target.clone(),
            class: output.class.clone(),
            image_id: output.id.clone(),
            arch: output.arch.clone(),
            firmware: output.firmware.clone(),
            file_digest: output.digest,
            releases: BTreeMap::new(),
            standing: DeployState::NotChecked,
            warnings: Vec::new(),
        }
    }
}

/// The output for `target`, which is one or the class of one; without it, the only one there is.
fn choose<'a>(
    name: &str,
    outputs: &'a [PinnedOutput],
    target: Option<&str>,
) -> Result<&'a PinnedOutput, ResolveError> {
    let fitting: Vec<&PinnedOutput> = outputs
        .iter()
        .filter(|output| {
            target.is_none_or(|target| output.target == target || output.class == target)
        })
        .collect();
    let why = match (fitting[..].as_ref(), target) {
        ([one], _) => return Ok(one),
        ([], Some(target)) => format!("nothing for the target `{target}`"),
        (_, Some(target)) => format!("several outputs for the target `{target}`"),
        (_, None) => "several outputs: say which with --target".to_owned(),
    };
    Err(ResolveError::Target {
        name: name.to_owned(),
        why,
        there: outputs.iter().map(|one| one.target.clone()).collect(),
    })
}

impl ResolveError {
    fn refused(name: &str, reference: &Reference, obstacle: &Obstacle) -> Self {
        let Obstacle { why, hint, .. } = obstacle;
        let why = match reference {
            Reference::Newest { .. } => format!("no image of this name may be; the newest: {why}"),
            _ => why.clone(),
        };
        let hint = match obstacle.option() {
            Some(option) => format!("{hint} To deploy it anyway, pass `{option}`."),
            None => hint.clone(),
        };
        Self::Refused {
            name: name.to_owned(),
            why,
            hint,
        }
    }

    /// What to do, as an imperative.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Refused { hint, .. } => Some(hint.clone()),
            Self::Pin(error) => error.hint(),
            Self::Store(error) => error.hint(),
            _ => None,
        }
    }

    /// Whether something is not what was signed: exit code 7.
    pub fn is_integrity(&self) -> bool {
        match self {
            Self::Pin(error) => error.is_integrity(),
            Self::Store(error) => error.is_integrity(),
            _ => false,
        }
    }

    /// Whether a guard says no: exit code 6.
    pub fn is_conflict(&self) -> bool {
        match self {
            Self::Refused { .. } => true,
            Self::Pin(error) => error.is_conflict(),
            Self::Store(error) => error.is_conflict(),
            _ => false,
        }
    }

    /// Whether what was asked for cannot be: exit code 2.
    pub fn is_invalid(&self) -> bool {
        match self {
            Self::Target { .. } | Self::Value { .. } | Self::Form(_) => true,
            Self::Pin(error) => error.is_invalid(),
            _ => false,
        }
    }
}
