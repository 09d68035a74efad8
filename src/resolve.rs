//! Resolves an image for a deployment, and writes the result for Terraform, Bicep, shells or
//! workflows.
//! Takes a pin, or a reference and a store. An image with several outputs needs a target.

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
use crate::store::{Allow, ChosenImage, DeployState, Obstacle, Store, StoreError};

pub use external::Query;
pub use format::{FIELDS, Format};

/// One output of one image.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Resolved {
    /// The requested name: a pin or a reference.
    pub name: String,
    /// The name of the image.
    pub image: String,
    /// The version of the image.
    pub version: ImageVersion,
    /// The digest of its manifest.
    pub manifest_digest: Digest,
    /// The channel, if the request or the pin names one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub channel: Option<String>,
    /// The generation of that channel.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub generation: Option<u64>,
    /// The target, for example `local` or `azure/westeurope`.
    pub target: String,
    /// The class of the output, for example `qcow2`.
    pub class: String,
    /// The id of the output at its target.
    pub image_id: String,
    /// The architecture, for example `x86_64`.
    pub arch: String,
    /// `bios` or `uefi`.
    pub firmware: String,
    /// The digest of the file, or of the cloud's description.
    pub file_digest: Digest,
    /// The version of each product.
    pub releases: BTreeMap<String, String>,
    /// The deploy status.
    pub status: DeployState,
    /// Warnings for people, one sentence each.
    pub warnings: Vec<String>,
}

/// Why nothing could be resolved or written.
#[derive(Debug, thiserror::Error)]
pub enum ResolveError {
    /// No output, or several, for the target.
    #[error("cannot choose an output of {name}: {why} (targets: {})", .there.join(", "))]
    Target {
        /// The requested name.
        name: String,
        /// The defect.
        why: String,
        /// The targets of the image.
        there: Vec<String>,
    },
    /// The image must not be deployed.
    #[error("cannot deploy {name}: {why}")]
    Refused {
        /// The requested name.
        name: String,
        /// The reason.
        why: String,
        /// The way out, as an imperative.
        hint: String,
        /// The option that accepts the obstacle, if there is one.
        option: Option<&'static str>,
    },
    /// A value cannot be written in the format.
    #[error("cannot write {field} = {value:?} as {format}: {why}")]
    Value {
        /// The name of the field.
        field: String,
        /// The value of the field.
        value: String,
        /// The name of the format.
        format: &'static str,
        /// The reason.
        why: &'static str,
    },
    /// The request is not valid.
    #[error("{why}")]
    Form {
        /// The defect.
        why: String,
        /// The way out, if there is one.
        hint: Option<String>,
    },
    /// The pins are not valid.
    #[error(transparent)]
    Pin(#[from] PinError),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Resolved {
    /// Resolves a pinned output from the file alone, after [`PinFile::verify`].
    pub fn from_pins(
        file: &PinFile,
        name: &str,
        target: Option<&str>,
        trust: Option<&Trust>,
    ) -> Result<Self, ResolveError> {
        file.verify(trust)?;
        let pin = file.pin(name)?;
        let output = choose_output(name, &pin.outputs, target)?;
        Ok(Self {
            channel: Some(pin.channel.clone()),
            generation: Some(pin.generation),
            releases: pin.releases.clone(),
            ..Self::from_output(name, &pin.image, pin.version, pin.manifest, output)
        })
    }

    /// Resolves an output of a recorded image at the time `now`. A name alone means the newest
    /// image that may be deployed. Fails if the image must not be deployed, unless `allow` accepts
    /// the reason.
    pub async fn from_store<B: Backend>(
        store: &Store<B>,
        reference: &Reference,
        target: Option<&str>,
        allow: Allow,
        now: Timestamp,
    ) -> Result<Self, ResolveError> {
        let name = reference.to_string();
        let history = store.history().await?;
        let ChosenImage {
            manifest: digest,
            status,
            skipped_newest: passed_over,
        } = store.choose(&history, reference, allow, now).await?;
        if let Some(obstacle) = status.refusal(allow) {
            return Err(ResolveError::refused(&name, reference, obstacle));
        }
        let mut warnings = status.warnings();
        let skipped = passed_over.and_then(|newest| newest.first_remark());
        warnings.extend(skipped.map(|why| format!("the newest image is skipped: {why}")));
        let state = status.state();
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
        let output = choose_output(&name, &outputs, target)?;
        let releases = manifest.releases.iter();
        let (channel, generation) = position.unzip();
        Ok(Self {
            channel,
            generation,
            releases: releases
                .map(|one| (one.product.clone(), one.version.clone()))
                .collect(),
            status: state,
            warnings,
            ..Self::from_output(&name, &manifest.image, manifest.version, digest, output)
        })
    }

    fn from_output(
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
            status: DeployState::NotChecked,
            warnings: Vec::new(),
        }
    }
}

/// Returns the output for `target`, a target or a class. Without it, returns the only output.
fn choose_output<'a>(
    name: &str,
    outputs: &'a [PinnedOutput],
    target: Option<&str>,
) -> Result<&'a PinnedOutput, ResolveError> {
    let matching: Vec<&PinnedOutput> = outputs
        .iter()
        .filter(|output| {
            target.is_none_or(|target| output.target == target || output.class == target)
        })
        .collect();
    let why = match (matching[..].as_ref(), target) {
        ([one], _) => return Ok(one),
        ([], Some(target)) => format!("no output for the target `{target}`"),
        (_, Some(target)) => format!("several outputs for the target `{target}`"),
        (_, None) => "several outputs".to_owned(),
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
            Reference::Newest { .. } => format!("no version may be deployed; the newest: {why}"),
            _ => why.clone(),
        };
        Self::Refused {
            name: name.to_owned(),
            why,
            hint: hint.clone(),
            option: obstacle.option(),
        }
    }

    /// Returns what to do about it, as an imperative, if there is something to do.
    pub fn hint(&self) -> Option<String> {
        self.hint_of(&|_| true)
    }

    /// Returns [`Self::hint`] for a command that has only the options for which `has` is true.
    pub fn hint_of(&self, has: &dyn Fn(&str) -> bool) -> Option<String> {
        match self {
            Self::Refused { hint, option, .. } => Some(match option {
                Some(option) if has(option) => {
                    format!("{hint} To deploy it anyway, pass `{option}`.")
                }
                _ => hint.clone(),
            }),
            Self::Pin(error) => error.hint(),
            Self::Store(error) => error.hint(),
            Self::Form { hint, .. } => hint.clone(),
            Self::Target { .. } => Some("Pass one of the targets with --target.".to_owned()),
            Self::Value { .. } => None,
        }
    }

    /// Whether a record is not what was signed: exit code 7.
    pub fn is_integrity(&self) -> bool {
        match self {
            Self::Pin(error) => error.is_integrity(),
            Self::Store(error) => error.is_integrity(),
            _ => false,
        }
    }

    /// Whether a rule forbids it: exit code 6.
    pub fn is_conflict(&self) -> bool {
        match self {
            Self::Refused { .. } => true,
            Self::Pin(error) => error.is_conflict(),
            Self::Store(error) => error.is_conflict(),
            _ => false,
        }
    }

    /// Whether the request is not valid: exit code 2.
    pub fn is_invalid(&self) -> bool {
        match self {
            Self::Target { .. } | Self::Value { .. } | Self::Form { .. } => true,
            Self::Pin(error) => error.is_invalid(),
            _ => false,
        }
    }
}
