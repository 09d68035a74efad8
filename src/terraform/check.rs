//! What is to be said of the images of a plan.

use std::collections::BTreeSet;
use std::fmt;

use serde::Serialize;

use super::catalogue::{Catalogue, Known};
use super::uses::{Plan, Planned, Use, class, key, moves};
use crate::manifest::succession::{Obstacle, Runs, Shape, Versions, obstacles};
use crate::store::{Allow, DeployState};
use crate::terminal::visible_line;

/// What is to be said of one image at one place.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PlanFinding {
    /// What kind.
    pub kind: Kind,
    /// The resource's address.
    pub address: String,
    /// The attribute, with the way to it.
    pub attribute: String,
    /// The id, where it is known before the plan is applied.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// `image@version`, where a record has the id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,
    /// In words.
    pub text: String,
}

/// Kinds of findings, from bad to good.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// Revoked.
    Revoked,
    /// Its artifact was removed.
    Removed,
    /// Its artifact is not in the store.
    Missing,
    /// Its last test failed.
    Failed,
    /// It was never tested.
    Untested,
    /// Vault or Consul would become older.
    Downgrade,
    /// Another class of image: a scale set cannot change that, and a machine is replaced.
    ClassChange,
    /// No record has it.
    Untracked,
    /// Not known before the plan is applied.
    Unknown,
    /// An image without an id, as those of a marketplace: it cannot be looked up.
    NotChecked,
    /// Will be revoked.
    Scheduled,
    /// A channel that held it holds another one now.
    Newer,
    /// A record has it, and nothing that was looked at speaks against it.
    Tracked,
}

/// What is refused.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Mode {
    /// Whether images that cannot be checked are listed only.
    pub lenient: bool,
    /// Obstacles that are accepted.
    pub allow: Allow,
}

impl Kind {
    fn blocks(self, mode: Mode) -> bool {
        match self {
            Self::Revoked => !mode.allow.revoked,
            Self::Failed | Self::Untested => !mode.allow.untested,
            Self::Removed | Self::Missing | Self::Downgrade | Self::ClassChange => true,
            Self::Untracked | Self::Unknown | Self::NotChecked => !mode.lenient,
            Self::Scheduled | Self::Newer | Self::Tracked => false,
        }
    }

    fn of(state: DeployState) -> Self {
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

    fn word(self) -> &'static str {
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

/// What is to be said of a plan.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Report {
    /// Whether it must not be applied.
    pub refused: bool,
    /// What was found, bad before good.
    pub findings: Vec<PlanFinding>,
    /// What could not be looked at, in words.
    pub not_checked: Vec<String>,
    /// How many images the plan names by an id.
    pub images: usize,
    /// How many of those are known.
    pub known: usize,
    /// Where those were looked for: `store` or `pin file`.
    pub source: &'static str,
}

impl Report {
    /// Whether not one image is known: then probably another store was meant.
    pub fn is_all_strange(&self) -> bool {
        self.images > 0 && self.known == 0
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for finding in &self.findings {
            let PlanFinding {
                kind,
                address,
                attribute,
                text,
                ..
            } = finding;
            let line = format!("{:<12} {address} {attribute}: {text}", kind.word());
            writeln!(f, "{}", visible_line(&line))?;
        }
        for line in &self.not_checked {
            writeln!(f, "NOT CHECKED  {}", visible_line(line))?;
        }
        if self.is_all_strange() {
            let (images, source) = (self.images, self.source);
            writeln!(
                f,
                "0 of {images} images are known to this {source}: is it the right one? give another with --store or --pins"
            )?;
        }
        let verdict = if self.refused {
            "NOT to be applied"
        } else {
            "may be applied"
        };
        write!(f, "{verdict}, as far as images are concerned")
    }
}

/// Looks at every image that a plan uses, and says whether it may be applied. What is not known is refused, unless `mode` is
/// lenient; a plan of whose images not one is known is always.
pub fn evaluate(plan: &Plan, catalogue: &Catalogue, mode: Mode) -> Report {
    let ids = plan.uses.iter().filter_map(|one| match &one.after {
        Planned::Id(id) => Some(key(id)),
        _ => None,
    });
    let ids: BTreeSet<String> = ids.collect();
    let mut report = Report {
        images: ids.len(),
        known: ids.iter().filter(|id| catalogue.find(id).is_some()).count(),
        source: catalogue.source(),
        not_checked: plan.notes.clone(),
        ..Report::default()
    };
    for one in &plan.uses {
        compare_use(one, catalogue, &mut report);
    }
    report.findings.sort_by(|a, b| {
        let key = |one: &PlanFinding| (one.kind, one.address.clone(), one.attribute.clone());
        key(a).cmp(&key(b))
    });
    report.refused = report.findings.iter().any(|one| one.kind.blocks(mode));
    report.refused |= report.is_all_strange();
    report.not_checked.sort();
    report.not_checked.dedup();
    report
}

fn compare_use(one: &Use, catalogue: &Catalogue, report: &mut Report) {
    let id = match &one.after {
        Planned::Id(id) => Some(id),
        _ => None,
    };
    let known = id.and_then(|id| catalogue.find(id));
    let mut found = Vec::new();
    match (&one.after, known) {
        (Planned::Unknown, _) => found.push((
            Kind::Unknown,
            "known only once the plan is applied; use the id of a pin".to_owned(),
        )),
        (Planned::Unseen(why), _) => found.push((Kind::NotChecked, why.clone())),
        (Planned::Id(id), None) => found.push((Kind::Untracked, untracked(id))),
        (Planned::Id(id), Some(known)) => {
            if catalogue.is_unpinned(id) {
                let text = format!("{} is recorded, but no pin names it", known.label);
                found.push((Kind::Untracked, text));
            }
            stands(known, &mut found, report);
        }
    }
    if let (Some(before), Some(after)) = (&one.before, id)
        && before != after
    {
        compare((before, after), catalogue, &mut found, report);
    }
    if let ([], Some(known)) = (&found[..], known) {
        found.push((Kind::Tracked, known.label.clone()));
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
    if moves(id) {
        format!("{id} names no version of the gallery's image: what it is changes by itself")
    } else {
        format!("no record has {id}")
    }
}

fn stands(known: &Known, found: &mut Vec<(Kind, String)>, report: &mut Report) {
    match &known.status {
        Some(status) => {
            let obstacles = status.obstacles.iter();
            found.extend(obstacles.map(|one| (Kind::of(one.state), one.why.clone())));
            found.extend(status.scheduled.clone().map(|why| (Kind::Scheduled, why)));
        }
        None => report.not_checked.push(
            "whether anything was revoked, or a channel moved: give the store with --store"
                .to_owned(),
        ),
    }
    let newer = known.newer.iter();
    found.extend(newer.map(|newer| (Kind::Newer, format!("{}; {newer}", known.label))));
}

/// What runs, and what shall run.
fn compare(
    (before, after): (&String, &String),
    catalogue: &Catalogue,
    found: &mut Vec<(Kind, String)>,
    report: &mut Report,
) {
    let (old, new) = (catalogue.find(before), catalogue.find(after));
    let (runs, wanted) = (runs(before, old), runs(after, new));
    if old.is_none() || new.is_none() {
        report.not_checked.push(format!(
            "whether Vault or Consul become older where {} is replaced",
            if old.is_none() { before } else { after }
        ));
    }
    // Of an id that nobody knows not even the class is known.
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
                (Kind::ClassChange, text)
            }
            Obstacle::Machine => {
                let (from, to) = (machine(from), machine(to));
                let text = format!("from {from} to {to}: another kind of machine");
                (Kind::ClassChange, text)
            }
            Obstacle::Older(Versions {
                product,
                runs,
                wanted,
            }) => {
                let text = format!(
                    "{} has {product} {wanted}, older than the {runs} of {}, and may not read its data: restore a Consul snapshot from \
                     before the upgrade first",
                    label(new),
                    label(old)
                );
                (Kind::Downgrade, text)
            }
            Obstacle::NoOrder(Versions {
                product,
                runs,
                wanted,
            }) => {
                report.not_checked.push(format!(
                    "whether {product} {wanted} is older than {runs}: no versions that have an order"
                ));
                continue;
            }
        });
    }
}

/// What runs where `id` is deployed: all that a record says, or the class alone, where the id says so much.
fn runs(id: &str, known: Option<&Known>) -> Runs {
    match known {
        Some(known) => Runs {
            shapes: vec![Shape {
                class: known.class.clone(),
                machine: Some(known.machine.clone()),
            }],
            releases: known.releases.clone(),
        },
        None => Runs {
            shapes: class(id)
                .map(|class| Shape {
                    class: class.to_owned(),
                    machine: None,
                })
                .into_iter()
                .collect(),
            ..Runs::default()
        },
    }
}
