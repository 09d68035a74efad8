//! Whether one image may follow another where something runs.
//!
//! In: what runs and what shall run instead, as far as each is known. Out: what speaks against it. Deliberately knows
//! neither channels nor plans: whoever asks says what it means there.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use super::Manifest;

/// Products that keep data, which older servers need not read.
const WITH_DATA: [&str; 2] = ["vault", "consul"];

/// What runs, or shall run.
#[derive(Clone, Debug, Default)]
pub(crate) struct Runs {
    /// Any of these: one output of an image each.
    pub(crate) shapes: Vec<Shape>,
    /// Products and their versions.
    pub(crate) releases: BTreeMap<String, String>,
}

/// What an output is to a fleet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Shape {
    /// As in `qcow2`.
    pub(crate) class: String,
    /// Architecture and firmware, where they are known.
    pub(crate) machine: Option<String>,
}

/// Something that speaks against it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Obstacle {
    /// A fleet that runs one class of image cannot be given another.
    Class,
    /// Nor an image for another kind of machine.
    Machine,
    /// An older server, which may not read what a newer one wrote.
    Older(Versions),
    /// Versions of which nobody can say which is older.
    NoOrder(Versions),
}

/// The versions of a product.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Versions {
    pub(crate) product: &'static str,
    pub(crate) runs: String,
    pub(crate) wanted: String,
}

impl From<&Manifest> for Runs {
    fn from(manifest: &Manifest) -> Self {
        let shapes = manifest.outputs.iter().map(|output| Shape {
            class: output.class.clone(),
            machine: Some(format!("{} {}", output.arch, output.firmware)),
        });
        let releases = manifest.releases.iter();
        Self {
            shapes: shapes.collect(),
            releases: releases
                .map(|one| (one.product.clone(), one.version.clone()))
                .collect(),
        }
    }
}

/// What speaks against `new` in the place of `old`. One output that fits is enough; products that only one of them has
/// say nothing.
pub(crate) fn obstacles(old: &Runs, new: &Runs) -> Vec<Obstacle> {
    let mut found = Vec::new();
    if !any_pair(old, new, |a, b| a.class == b.class) {
        found.push(Obstacle::Class);
    }
    if !any_pair(old, new, same_machine) {
        found.push(Obstacle::Machine);
    }
    let fits = |a: &Shape, b: &Shape| a.class == b.class && same_machine(a, b);
    if found.is_empty() && !any_pair(old, new, fits) {
        found.push(Obstacle::Machine);
    }
    for product in WITH_DATA {
        let (Some(runs), Some(wanted)) = (old.releases.get(product), new.releases.get(product))
        else {
            continue;
        };
        let versions = || Versions {
            product,
            runs: runs.clone(),
            wanted: wanted.clone(),
        };
        match (semver::Version::parse(runs), semver::Version::parse(wanted)) {
            (Ok(from), Ok(to)) if to.cmp_precedence(&from) == Ordering::Less => {
                found.push(Obstacle::Older(versions()));
            }
            (Ok(_), Ok(_)) => {}
            _ => found.push(Obstacle::NoOrder(versions())),
        }
    }
    found
}

fn any_pair(old: &Runs, new: &Runs, fits: impl Fn(&Shape, &Shape) -> bool) -> bool {
    let fits = &fits;
    let mut pairs = old
        .shapes
        .iter()
        .flat_map(|a| new.shapes.iter().map(move |b| (a, b)));
    pairs.any(|(a, b)| fits(a, b))
}

fn same_machine(a: &Shape, b: &Shape) -> bool {
    match (&a.machine, &b.machine) {
        (Some(a), Some(b)) => a == b,
        _ => true,
    }
}
