//! Evaluates the images of a plan with a catalogue.

use std::collections::BTreeSet;
use std::fmt;

use serde::Serialize;

use super::catalogue::{Catalog, Known};
use super::image::{PlannedImage, class, is_unversioned, key};
use super::uses::{ImageUse, Plan};
use crate::manifest::succession::{ImageFacts, Obstacle, Shape, Versions, obstacles};
use crate::store::{Allow, DeployState};
use crate::terminal::visible_line;

/// A finding about one image in one field.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PlanFinding {
    /// The kind of finding.
    pub kind: FindingKind,
    /// The address of the resource.
    pub address: String,
    /// The path of the attribute.
    pub attribute: String,
    /// The id of the image, if it is known before the plan is applied.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// `image@version`, if a record has the id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,
    /// The finding, in words.
    pub text: String,
}

/// The kind of a finding, from bad to good.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum FindingKind {
    /// The image is revoked.
    Revoked,
    /// Its artifact was removed.
    Removed,
    /// Its artifact is not in the store.
    Missing,
    /// The last test failed.
    Failed,
    /// There is no test.
    Untested,
    /// Vault or Consul would become older.
    Downgrade,
    /// The class changes: a scale set cannot change it, and a machine would be replaced.
    ClassChange,
    /// No record has the id.
    Untracked,
    /// The id is not known before the plan is applied.
    Unknown,
    /// The image has no id, as in a marketplace, and cannot be looked up.
    NotChecked,
    /// The image will be revoked.
    Scheduled,
    /// A channel that pointed to the image has moved on.
    Newer,
    /// A record has the id, and there is no obstacle.
    Tracked,
}

/// The rules for refusing a plan.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CheckMode {
    /// Whether images that cannot be checked are accepted.
    pub lenient: bool,
    /// The obstacles that are accepted.
    pub allow: Allow,
}

impl FindingKind {
    fn blocks(self, mode: CheckMode) -> bool {
        match self {
            Self::Revoked => !mode.allow.revoked,
            Self::Failed | Self::Untested => !mode.allow.untested,
            Self::Removed | Self::Missing | Self::Downgrade | Self::ClassChange => true,
            Self::Untracked | Self::Unknown | Self::NotChecked => !mode.lenient,
            Self::Scheduled | Self::Newer | Self::Tracked => false,
        }
    }

    fn from_state(state: DeployState) -> Self {
        match state {
            DeployState::Revoked => Self::Revoked,
            DeployState::Removed => Self::Removed,
            DeployState::Missing => Self::Missing,
            DeployState::Failed => Self::Failed,
            DeployState::Untested => Self::Untested,
            DeployState::Scheduled => Self::Scheduled,
            DeployState::NotChecked => Self::NotChecked,
            DeployState::Good => Self::Tracked,
        }
    }

    fn label(self) -> &'static str {
        match self {
            Self::Revoked => "REVOKED",
            Self::Removed => "REMOVED",
            Self::Missing => "MISSING",
            Self::Failed => "FAILED",
            Self::Untested => "UNTESTED",
            Self::Downgrade => "DOWNGRADE",
            Self::ClassChange => "CLASS CHANGE",
            Self::Untracked => "untracked",
            Self::Unknown => "unknown",
            Self::NotChecked => "NOT CHECKED",
            Self::Scheduled => "scheduled",
            Self::Newer => "newer",
            Self::Tracked => "tracked",
        }
    }
}

/// The findings about a plan.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct PlanReport {
    /// Whether the plan must not be applied.
    pub refused: bool,
    /// The findings, the bad ones first.
    pub findings: Vec<PlanFinding>,
    /// What could not be checked, in words.
    pub not_checked: Vec<String>,
    /// The number of distinct image ids in the plan.
    pub images: usize,
    /// The number of those in the catalogue.
    pub known: usize,
    /// The kind of catalogue: `store` or `pin file`.
    pub source: &'static str,
}

impl PlanReport {
    /// Whether the catalogue has none of the images: then it is probably the wrong one.
    pub(crate) fn has_no_known_image(&self) -> bool {
        self.images > 0 && self.known == 0
    }
}

impl fmt::Display for PlanReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for finding in &self.findings {
            let PlanFinding {
                kind,
                address,
                attribute,
                text,
                ..
            } = finding;
            let line = format!("{:<12} {address} {attribute}: {text}", kind.label());
            writeln!(f, "{}", visible_line(&line))?;
        }
        for line in &self.not_checked {
            writeln!(f, "NOT CHECKED  {}", visible_line(line))?;
        }
        if self.has_no_known_image() {
            let (images, source) = (self.images, self.source);
            writeln!(
                f,
                "the {source} has none of the {images} images; pass another one with --store or --pins"
            )?;
        }
        let verdict = if self.refused {
            "must NOT be applied"
        } else {
            "may be applied"
        };
        write!(f, "{verdict}, as far as images are concerned")
    }
}

/// Evaluates every image of a plan. Unknown images refuse the plan, unless `mode` is lenient. If
/// the catalogue has none of the images, the plan is always refused.
pub fn evaluate(plan: &Plan, catalogue: &Catalog, mode: CheckMode) -> PlanReport {
    let ids = plan.uses.iter().filter_map(|one| match &one.after {
        PlannedImage::Id(id) => Some(key(id)),
        _ => None,
    });
    let ids: BTreeSet<String> = ids.collect();
    let mut report = PlanReport {
        images: ids.len(),
        known: ids.iter().filter(|id| catalogue.find(id).is_some()).count(),
        source: catalogue.source(),
        not_checked: plan.notes.clone(),
        ..PlanReport::default()
    };
    for one in &plan.uses {
        compare_use(one, catalogue, &mut report);
    }
    report.findings.sort_by(|a, b| {
        let key = |one: &PlanFinding| (one.kind, one.address.clone(), one.attribute.clone());
        key(a).cmp(&key(b))
    });
    report.refused = report.findings.iter().any(|one| one.kind.blocks(mode));
    report.refused |= report.has_no_known_image();
    report.not_checked.sort();
    report.not_checked.dedup();
    report
}

fn compare_use(one: &ImageUse, catalogue: &Catalog, report: &mut PlanReport) {
    let id = match &one.after {
        PlannedImage::Id(id) => Some(id),
        _ => None,
    };
    let known = id.and_then(|id| catalogue.find(id));
    let mut found = Vec::new();
    match (&one.after, known) {
        (PlannedImage::Unknown, _) => found.push((
            FindingKind::Unknown,
            "its id is known only after the plan is applied".to_owned(),
        )),
        (PlannedImage::NoId(why), _) => found.push((FindingKind::NotChecked, why.clone())),
        (PlannedImage::Id(id), None) => found.push((FindingKind::Untracked, untracked(id))),
        (PlannedImage::Id(id), Some(known)) => {
            if catalogue.is_unpinned(id) {
                let text = format!("{} is recorded, but no pin names it", known.label);
                found.push((FindingKind::Untracked, text));
            }
            add_status(known, &mut found, report);
        }
    }
    if let (Some(before), Some(after)) = (&one.before, id)
        && before != after
    {
        add_changes((before, after), catalogue, &mut found, report);
    }
    if let ([], Some(known)) = (&found[..], known) {
        found.push((FindingKind::Tracked, known.label.clone()));
    }
    report
        .findings
        .extend(found.into_iter().map(|(kind, text)| PlanFinding {
            kind,
            address: one.address.clone(),
            attribute: one.attribute.clone(),
            id: id.cloned(),
            image: known.map(|known| known.label.clone()),
            text,
        }));
}

fn untracked(id: &str) -> String {
    if is_unversioned(id) {
        format!("{id} contains no version, so the image can change")
    } else {
        format!("{id} is not recorded")
    }
}

fn add_status(known: &Known, found: &mut Vec<(FindingKind, String)>, report: &mut PlanReport) {
    match &known.status {
        Some(status) => {
            let obstacles = status.obstacles.iter();
            found
                .extend(obstacles.map(|one| (FindingKind::from_state(one.state), one.why.clone())));
            found.extend(
                status
                    .scheduled
                    .clone()
                    .map(|why| (FindingKind::Scheduled, why)),
            );
        }
        None => report
            .not_checked
            .push("revocations and moved channels: pass --store".to_owned()),
    }
    let newer = known.newer.iter();
    found.extend(newer.map(|newer| (FindingKind::Newer, format!("{}; {newer}", known.label))));
}

/// Adds findings about replacing the running image.
fn add_changes(
    (before, after): (&String, &String),
    catalogue: &Catalog,
    found: &mut Vec<(FindingKind, String)>,
    report: &mut PlanReport,
) {
    let (old, new) = (catalogue.find(before), catalogue.find(after));
    let (runs, wanted) = (runs_of(before, old), runs_of(after, new));
    if old.is_none() || new.is_none() {
        report.not_checked.push(format!(
            "whether Vault or Consul become older: the image {} is not known",
            if old.is_none() { before } else { after }
        ));
    }
    // The class of an unknown id may be unknown as well.
    let (Some(from), Some(to)) = (runs.shapes.first(), wanted.shapes.first()) else {
        return;
    };
    let label = |known: Option<&Known>| known.map(|known| known.label.clone()).unwrap_or_default();
    let machine = |shape: &Shape| shape.machine.clone().unwrap_or_default();
    for obstacle in obstacles(&runs, &wanted) {
        found.push(match obstacle {
            Obstacle::Class => {
                let (from, to) = (&from.class, &to.class);
                let text = format!(
                    "from {from} to {to}: a scale set cannot change the class of its image"
                );
                (FindingKind::ClassChange, text)
            }
            Obstacle::Machine => {
                let (from, to) = (machine(from), machine(to));
                let text = format!("from {from} to {to}: a different kind of machine");
                (FindingKind::ClassChange, text)
            }
            Obstacle::Older(Versions {
                product,
                runs,
                wanted,
            }) => {
                let text = format!(
                    "{} has {product} {wanted}, older than the {runs} of {}, and may not read its data; first restore a Consul \
                     snapshot from before the upgrade",
                    label(new),
                    label(old)
                );
                (FindingKind::Downgrade, text)
            }
            Obstacle::NoOrder(Versions {
                product,
                runs,
                wanted,
            }) => {
                report.not_checked.push(format!(
                    "whether {product} {wanted} is older than {runs}: the versions cannot be compared"
                ));
                continue;
            }
        });
    }
}

/// Returns the known facts about a deployed image. Without a record, these are at most its class.
fn runs_of(id: &str, known: Option<&Known>) -> ImageFacts {
    match known {
        Some(known) => ImageFacts {
            shapes: vec![Shape {
                class: known.class.clone(),
                machine: Some(known.machine.clone()),
            }],
            releases: known.releases.clone(),
        },
        None => ImageFacts {
            shapes: class(id)
                .map(|class| Shape {
                    class: class.to_owned(),
                    machine: None,
                })
                .into_iter()
                .collect(),
            ..ImageFacts::default()
        },
    }
}
