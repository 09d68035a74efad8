//! What is to be said of the images of a plan.

use std::fmt;

use serde::Serialize;

use super::catalogue::{Catalogue, Known};
use super::uses::{Use, class, moves};
use crate::manifest::succession::{Obstacle, Runs, Shape, Versions, obstacles};
use crate::store::Verdict;

/// What is to be said of one image at one place.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
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
    /// Revoked, or its artifact was removed.
    Revoked,
    /// Vault or Consul would become older.
    Downgrade,
    /// Another class of image: a scale set cannot change that, and a machine is replaced.
    ClassChange,
    /// No record has it.
    Untracked,
    /// Not known before the plan is applied.
    Unknown,
    /// Will be revoked.
    Scheduled,
    /// A channel that held it holds another one now.
    Newer,
    /// A record has it, and nothing that was looked at speaks against it.
    Tracked,
}

impl Kind {
    fn blocks(self, strict: bool) -> bool {
        match self {
            Self::Revoked | Self::Downgrade | Self::ClassChange => true,
            Self::Untracked | Self::Unknown => strict,
            Self::Scheduled | Self::Newer | Self::Tracked => false,
        }
    }

    fn word(self) -> &'static str {
        match self {
            Self::Revoked => "REVOKED",
            Self::Downgrade => "DOWNGRADE",
            Self::ClassChange => "CLASS CHANGE",
            Self::Untracked => "untracked",
            Self::Unknown => "unknown",
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
    pub findings: Vec<Finding>,
    /// What could not be looked at, in words.
    pub not_checked: Vec<String>,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for finding in &self.findings {
            let Finding {
                kind,
                address,
                attribute,
                text,
                ..
            } = finding;
            let line = format!("{:<12} {address} {attribute}: {text}", kind.word());
            writeln!(f, "{}", printable(&line))?;
        }
        for line in &self.not_checked {
            writeln!(f, "NOT CHECKED  {}", printable(line))?;
        }
        let verdict = if self.refused {
            "NOT to be applied"
        } else {
            "may be applied"
        };
        write!(f, "{verdict}, as far as images are concerned")
    }
}

/// A plan may name things as it likes; it may not draw on our terminal.
fn printable(line: &str) -> String {
    let escape = |c: char| {
        if c.is_control() {
            c.escape_default().to_string()
        } else {
            c.to_string()
        }
    };
    line.chars().map(escape).collect()
}

/// Looks at every image that a plan uses. `strict` refuses those that no record has.
pub fn judge(uses: &[Use], catalogue: &Catalogue, strict: bool) -> Report {
    let mut report = Report::default();
    for one in uses {
        look(one, catalogue, &mut report);
    }
    report.findings.sort_by(|a, b| {
        let key = |one: &Finding| (one.kind, one.address.clone(), one.attribute.clone());
        key(a).cmp(&key(b))
    });
    report.refused = report.findings.iter().any(|one| one.kind.blocks(strict));
    report.not_checked.sort();
    report.not_checked.dedup();
    report
}

fn look(one: &Use, catalogue: &Catalogue, report: &mut Report) {
    let known = one.after.as_ref().and_then(|id| catalogue.find(id));
    let mut found = Vec::new();
    match (&one.after, known) {
        (None, _) => found.push((
            Kind::Unknown,
            "known only once the plan is applied; use the id of a pin".to_owned(),
        )),
        (Some(id), None) => found.push((Kind::Untracked, untracked(id))),
        (Some(id), Some(known)) => {
            if catalogue.is_unpinned(id) {
                let text = format!("{} is recorded, but no pin names it", known.label);
                found.push((Kind::Untracked, text));
            }
            stands(known, &mut found, report);
        }
    }
    if let (Some(before), Some(after)) = (&one.before, &one.after)
        && before != after
    {
        compare((before, after), catalogue, &mut found, report);
    }
    if let ([], Some(known)) = (&found[..], known) {
        found.push((Kind::Tracked, known.label.clone()));
    }
    report
        .findings
        .extend(found.into_iter().map(|(kind, text)| Finding {
            kind,
            address: one.address.clone(),
            attribute: one.attribute.clone(),
            id: one.after.clone(),
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
    match &known.verdict {
        Some(Verdict::Good) => {}
        Some(Verdict::Refused(why)) => found.push((Kind::Revoked, why.clone())),
        Some(Verdict::Scheduled(why)) => found.push((Kind::Scheduled, why.clone())),
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
