//! Determines whether one image may replace another in a running deployment.
//! Takes both, as far as they are known; returns the obstacles. The caller decides what they mean.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use super::Manifest;
use crate::product::Product;

/// The running or the requested image, as far as it is known.
#[derive(Clone, Debug, Default)]
pub(crate) struct ImageFacts {
    /// One entry for each output of the image.
    pub(crate) shapes: Vec<Shape>,
    /// The version of each product.
    pub(crate) releases: BTreeMap<String, String>,
}

/// The kind of machine that an output is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Shape {
    /// The class, for example `qcow2`.
    pub(crate) class: String,
    /// The architecture and firmware, if known.
    pub(crate) machine: Option<String>,
}

/// A reason not to replace the image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Obstacle {
    /// The class differs: a fleet has one class of image.
    Class,
    /// The architecture or firmware differs.
    Machine,
    /// A product is older, and may not read the data of the newer version.
    Older(Versions),
    /// The versions of a product cannot be compared.
    NoOrder(Versions),
}

/// The running and the requested version of a product.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Versions {
    pub(crate) product: &'static str,
    pub(crate) runs: String,
    pub(crate) wanted: String,
}

impl From<&Manifest> for ImageFacts {
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

/// Returns the obstacles to replacing `old` with `new`. One matching output is enough. Products in
/// only one of them are ignored.
pub(crate) fn obstacles(old: &ImageFacts, new: &ImageFacts) -> Vec<Obstacle> {
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
    // Older servers may not be able to read the data of newer ones.
    for product in Product::NAMES {
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

fn any_pair(old: &ImageFacts, new: &ImageFacts, fits: impl Fn(&Shape, &Shape) -> bool) -> bool {
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
