//! The difference between two images, as their records tell it.
//!
//! In: two manifests and, where there, their package lists. Out: a [`Difference`], for people and as JSON.
//! Deliberately looks at no artifact: what is not recorded is not compared.

mod text;

use std::cmp::Ordering;
use std::collections::BTreeMap;

use serde::Serialize;

use super::{CheckFact, Manifest, Package, debian};
use crate::digest::Digest;

/// What is different in the second image.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// The first image, `name@version`.
    pub from: String,
    /// The second image, `name@version`.
    pub to: String,
    /// Products, by name.
    pub releases: Vec<Changed>,
    /// The base, where it is another: digests of the disks.
    pub base: Option<Changed>,
    /// Packages; none where a list was not at hand.
    pub packages: Option<Vec<Changed>>,
    /// Steps, by name: what they do is another where the digest is.
    pub steps: Vec<Changed>,
    /// Whether the same steps come in another order.
    pub steps_reordered: bool,
    /// Other inputs, by role and name: digests.
    pub inputs: Vec<Changed>,
    /// Variables with another value, by name: values as JSON.
    pub variables: Vec<Changed>,
    /// Checks, by id: `ok`, `not ok` or `skipped`.
    pub checks: Vec<Changed>,
    /// Size of the files in bytes, first and second.
    pub size: (u64, u64),
    /// Size of the disks in bytes, first and second.
    pub virtual_size: (u64, u64),
}

/// One thing that is different.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Changed {
    /// Its name.
    pub name: String,
    /// How.
    pub change: Change,
    /// In the first image.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// In the second image.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub to: Option<String>,
}

/// How a thing is different.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Change {
    /// Only in the second.
    Added,
    /// Only in the first.
    Removed,
    /// A newer version in the second.
    Up,
    /// An older version in the second.
    Down,
    /// Another, without an order.
    Other,
}

impl Difference {
    /// Whether nothing that was compared is different.
    pub fn is_empty(&self) -> bool {
        let lists = [
            &self.releases,
            &self.steps,
            &self.inputs,
            &self.variables,
            &self.checks,
        ];
        lists.iter().all(|list| list.is_empty())
            && self.base.is_none()
            && self.packages.as_ref().is_none_or(Vec::is_empty)
            && !self.steps_reordered
            && self.size.0 == self.size.1
            && self.virtual_size.0 == self.virtual_size.1
    }
}

/// What is different in `b`. `packages` are the lists of `a` and `b`.
pub fn diff(a: &Manifest, b: &Manifest, packages: Option<(&[Package], &[Package])>) -> Difference {
    let no_order = |_: &str, _: &str| None;
    let by_digest = |name: &str, digest: Digest| (name.to_owned(), digest.to_string());
    let disks = |manifest: &Manifest| {
        BTreeMap::from([("disk".to_owned(), manifest.base.disk_sha256.to_string())])
    };
    let steps = |manifest: &Manifest| {
        let steps = manifest.steps.iter();
        steps
            .map(|step| by_digest(&step.name, step.digest))
            .collect()
    };
    let inputs = |manifest: &Manifest| {
        let inputs = manifest.inputs.iter();
        inputs
            .map(|input| by_digest(&format!("{} {}", input.role, input.name), input.digest))
            .collect()
    };
    let variables = |manifest: &Manifest| {
        let variables = manifest.variables.iter();
        variables
            .map(|(name, value)| (name.clone(), value.to_string()))
            .collect()
    };
    Difference {
        from: a.name(),
        to: b.name(),
        releases: changes(&releases(a), &releases(b), release_order),
        base: changes(&disks(a), &disks(b), no_order).pop(),
        packages: packages.map(|(a, b)| {
            changes(&versions(a), &versions(b), |a, b| {
                Some(debian::compare(a, b))
            })
        }),
        steps: changes(&steps(a), &steps(b), no_order),
        steps_reordered: common_steps(a, b) != common_steps(b, a),
        inputs: changes(&inputs(a), &inputs(b), no_order),
        variables: changes(&variables(a), &variables(b), no_order),
        checks: changes(&checks(a), &checks(b), no_order),
        size: (file_size(a), file_size(b)),
        virtual_size: (virtual_size(a), virtual_size(b)),
    }
}

/// Names to what stands for the thing in each of the two, compared.
fn changes(
    a: &BTreeMap<String, String>,
    b: &BTreeMap<String, String>,
    order: impl Fn(&str, &str) -> Option<Ordering>,
) -> Vec<Changed> {
    let changed = |name: &String| {
        let (from, to) = (a.get(name), b.get(name));
        let change = match (from, to) {
            (Some(from), Some(to)) if from == to => return None,
            (Some(from), Some(to)) => match order(from, to) {
                Some(Ordering::Less) => Change::Up,
                Some(Ordering::Greater) => Change::Down,
                Some(Ordering::Equal) | None => Change::Other,
            },
            (None, _) => Change::Added,
            (Some(_), None) => Change::Removed,
        };
        Some(Changed {
            name: name.clone(),
            change,
            from: from.cloned(),
            to: to.cloned(),
        })
    };
    let mut names: Vec<&String> = a.keys().chain(b.keys()).collect();
    names.sort();
    names.dedup();
    names.into_iter().filter_map(changed).collect()
}

/// Product to version; a stand-in or another archive under the same version shows.
fn releases(manifest: &Manifest) -> BTreeMap<String, String> {
    let releases = manifest.releases.iter();
    releases
        .map(|release| {
            let fixture = if release.fixture { ", fixture" } else { "" };
            let of = format!(
                "{} ({}{fixture})",
                release.version,
                release.binary_sha256.short()
            );
            (release.product.clone(), of)
        })
        .collect()
}

fn release_order(a: &str, b: &str) -> Option<Ordering> {
    let version = |text: &str| semver::Version::parse(text.split(' ').next()?).ok();
    Some(version(a)?.cmp_precedence(&version(b)?))
}

/// Package to version. An architecture is named only where the package is there for several; where the same one is
/// there in several versions (as kernels may be) all are named.
fn versions(packages: &[Package]) -> BTreeMap<String, String> {
    let mut by_name: BTreeMap<&str, Vec<&Package>> = BTreeMap::new();
    for package in packages {
        by_name.entry(&package.name).or_default().push(package);
    }
    let mut versions = BTreeMap::<String, String>::new();
    for (name, packages) in by_name {
        let several = packages
            .iter()
            .any(|package| package.arch != packages[0].arch);
        for package in packages {
            let key = if several {
                format!("{name}:{}", package.arch)
            } else {
                name.to_owned()
            };
            versions
                .entry(key)
                .and_modify(|version| {
                    version.push_str(", ");
                    version.push_str(&package.version);
                })
                .or_insert_with(|| package.version.clone());
        }
    }
    versions
}

/// The names of those steps of `a` that `b` has too, in order.
fn common_steps<'a>(a: &'a Manifest, b: &Manifest) -> Vec<&'a str> {
    let names = a.steps.iter().map(|step| step.name.as_str());
    names
        .filter(|name| b.steps.iter().any(|step| step.name == *name))
        .collect()
}

fn checks(manifest: &Manifest) -> BTreeMap<String, String> {
    let state = |check: &CheckFact| match (&check.skipped, check.ok) {
        (Some(_), _) => "skipped",
        (None, true) => "ok",
        (None, false) => "not ok",
    };
    let checks = manifest.checks.iter();
    checks
        .map(|check| (check.id.clone(), state(check).to_owned()))
        .collect()
}

fn file_size(manifest: &Manifest) -> u64 {
    manifest.outputs.iter().map(|output| output.file.size).sum()
}

fn virtual_size(manifest: &Manifest) -> u64 {
    let outputs = manifest.outputs.iter();
    outputs.map(|output| output.file.virtual_size).sum()
}
