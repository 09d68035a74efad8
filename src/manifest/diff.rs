//! Compares two images by their manifests and package lists, and prints the difference as text,
//! JSON or markdown.
//! Artifacts are not read.

mod markdown;
mod text;

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use serde_json::Value;

use super::{CheckFact, Manifest, Output, Package, debian};
use crate::digest::Digest;

/// The differences of the second image from the first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// The name of the first image, `name@version`.
    pub from: String,
    /// The name of the second image, `name@version`.
    pub to: String,
    /// Changed products.
    pub releases: Vec<FieldChange>,
    /// Changes of the base: the digest of its disk, the system, and the requested and resolved
    /// values, by path.
    pub base: Vec<FieldChange>,
    /// Changed packages. `None` if a list was not available.
    pub packages: Option<Vec<FieldChange>>,
    /// Changed steps, by name: the values are digests.
    pub steps: Vec<FieldChange>,
    /// Whether the common steps have another order.
    pub steps_reordered: bool,
    /// Changed inputs, by role and name: the values are digests.
    pub inputs: Vec<FieldChange>,
    /// Changed variables, by name: the values are JSON.
    pub variables: Vec<FieldChange>,
    /// Changed checks, by id: `ok`, `not ok` or `skipped`.
    pub checks: Vec<FieldChange>,
    /// Changed outputs, by target: class, architecture and firmware.
    pub outputs: Vec<FieldChange>,
    /// The sizes of the files in bytes, first and second.
    pub size: (u64, u64),
    /// The sizes of the disks in bytes, first and second.
    pub virtual_size: (u64, u64),
}

/// One difference.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FieldChange {
    /// The name of the product, package, step and so on.
    pub name: String,
    /// The kind of change.
    pub change: ChangeKind,
    /// The value in the first image.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// The value in the second image.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub to: Option<String>,
}

/// The kind of a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum ChangeKind {
    /// Only in the second image.
    Added,
    /// Only in the first image.
    Removed,
    /// A newer version in the second image.
    Up,
    /// An older version in the second image.
    Down,
    /// A different value without an order.
    Other,
}

impl Difference {
    /// Whether no difference was found.
    pub fn is_empty(&self) -> bool {
        let lists = [
            &self.releases,
            &self.base,
            &self.steps,
            &self.inputs,
            &self.variables,
            &self.checks,
            &self.outputs,
        ];
        lists.iter().all(|list| list.is_empty())
            && self.packages.as_ref().is_none_or(Vec::is_empty)
            && !self.steps_reordered
            && self.size.0 == self.size.1
            && self.virtual_size.0 == self.virtual_size.1
    }

    /// Returns the releases and packages that are older in the second image.
    pub fn downgrades(&self) -> impl Iterator<Item = &FieldChange> {
        let packages = self.packages.iter().flatten();
        let all = self.releases.iter().chain(packages);
        all.filter(|changed| changed.change == ChangeKind::Down)
    }
}

/// Returns the differences of `b` from `a`. `packages` are the package lists of both.
pub fn diff(a: &Manifest, b: &Manifest, packages: Option<(&[Package], &[Package])>) -> Difference {
    let no_order = |_: &str, _: &str| None;
    let by_digest = |name: &str, digest: Digest| (name.to_owned(), digest.to_string());
    let steps = |manifest: &Manifest| {
        let steps = manifest.steps.iter();
        joined(steps.map(|step| by_digest(&step.name, step.digest)))
    };
    let inputs = |manifest: &Manifest| {
        let inputs = manifest.inputs.iter();
        joined(
            inputs.map(|input| by_digest(&format!("{} {}", input.role, input.name), input.digest)),
        )
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
        base: changes(&base(a), &base(b), no_order),
        packages: packages.map(|(in_a, in_b)| {
            let by_dpkg = [a, b].iter().all(|one| one.packages.manager == "dpkg");
            let order =
                |a: &str, b: &str| (by_dpkg && both_single(a, b)).then(|| debian::compare(a, b));
            let several = several_archs(in_a, in_b);
            changes(&versions(in_a, &several), &versions(in_b, &several), order)
        }),
        steps: changes(&steps(a), &steps(b), no_order),
        steps_reordered: common_steps(a, b) != common_steps(b, a),
        inputs: changes(&inputs(a), &inputs(b), no_order),
        variables: changes(&variables(a), &variables(b), no_order),
        checks: changes(&checks(a), &checks(b), no_order),
        outputs: changes(&outputs(a), &outputs(b), no_order),
        size: (file_size(a), file_size(b)),
        virtual_size: (virtual_size(a), virtual_size(b)),
    }
}

/// Compares two maps of names to values.
fn changes(
    a: &BTreeMap<String, String>,
    b: &BTreeMap<String, String>,
    order: impl Fn(&str, &str) -> Option<Ordering>,
) -> Vec<FieldChange> {
    let changed = |name: &String| {
        let (from, to) = (a.get(name), b.get(name));
        let change = match (from, to) {
            (Some(from), Some(to)) if from == to => return None,
            (Some(from), Some(to)) => match order(from, to) {
                Some(Ordering::Less) => ChangeKind::Up,
                Some(Ordering::Greater) => ChangeKind::Down,
                Some(Ordering::Equal) | None => ChangeKind::Other,
            },
            (None, _) => ChangeKind::Added,
            (Some(_), None) => ChangeKind::Removed,
        };
        Some(FieldChange {
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

/// Returns the version of each product, with a mark for fixtures and a short digest.
fn releases(manifest: &Manifest) -> BTreeMap<String, String> {
    joined(manifest.releases.iter().map(|release| {
        let fixture = if release.fixture { ", fixture" } else { "" };
        let described = format!(
            "{} ({}{fixture})",
            release.version,
            release.binary_sha256.short()
        );
        (release.product.clone(), described)
    }))
}

fn release_order(a: &str, b: &str) -> Option<Ordering> {
    let version = |text: &str| semver::Version::parse(text.split(' ').next()?).ok();
    Some(version(a)?.cmp_precedence(&version(b)?))
}

/// Returns the facts about the base: definition and lock file, disk, and system.
fn base(manifest: &Manifest) -> BTreeMap<String, String> {
    let (base, os) = (&manifest.base, &manifest.os);
    let mut facts = BTreeMap::from([
        ("disk".to_owned(), base.digest().to_string()),
        ("kernel".to_owned(), os.kernel.clone()),
        ("os".to_owned(), format!("{} {}", os.id, os.version)),
    ]);
    flatten("requested", &base.requested, &mut facts);
    flatten("resolved", &base.resolved, &mut facts);
    facts
}

/// Collects the leaves of a value, by path.
fn flatten(path: &str, value: &Value, leaves: &mut BTreeMap<String, String>) {
    match value {
        Value::Object(fields) if !fields.is_empty() => {
            for (name, value) in fields {
                flatten(&format!("{path}.{name}"), value, leaves);
            }
        }
        Value::Array(items) if !items.is_empty() => {
            for (at, value) in items.iter().enumerate() {
                flatten(&format!("{path}[{at}]"), value, leaves);
            }
        }
        Value::String(text) => {
            leaves.insert(path.to_owned(), text.clone());
        }
        other => {
            leaves.insert(path.to_owned(), other.to_string());
        }
    }
}

/// Returns the names of packages that a list has for several architectures.
fn several_archs<'a>(a: &'a [Package], b: &'a [Package]) -> BTreeSet<&'a str> {
    let mut several = BTreeSet::new();
    for list in [a, b] {
        let mut first: BTreeMap<&str, &str> = BTreeMap::new();
        for Package { name, arch, .. } in list {
            if first.entry(name).or_insert(arch) != arch {
                several.insert(name.as_str());
            }
        }
    }
    several
}

/// Returns the version of each package. The key contains the architecture only for packages with
/// several. Several versions of one package, as of kernels, are joined.
fn versions(packages: &[Package], several: &BTreeSet<&str>) -> BTreeMap<String, String> {
    let mut packages: Vec<&Package> = packages.iter().collect();
    packages.sort();
    joined(packages.into_iter().map(|package| {
        let Package { name, arch, .. } = package;
        let key = if several.contains(name.as_str()) {
            format!("{name}:{arch}")
        } else {
            name.clone()
        };
        (key, package.version.clone())
    }))
}

/// Whether both are single versions and so can be ordered.
fn both_single(a: &str, b: &str) -> bool {
    !a.contains(AND) && !b.contains(AND)
}

/// The state of a failed check.
const NOT_OK: &str = "not ok";

/// The separator of joined values.
const AND: &str = ", ";

/// Collects pairs into a map. The values of a repeated name are joined.
fn joined(pairs: impl Iterator<Item = (String, String)>) -> BTreeMap<String, String> {
    let mut map = BTreeMap::<String, String>::new();
    for (name, value) in pairs {
        let values = map.entry(name).or_default();
        if !values.is_empty() {
            values.push_str(AND);
        }
        values.push_str(&value);
    }
    map
}

/// Returns the names of the steps of `a` that `b` also has, in order.
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
        (None, false) => NOT_OK,
    };
    let checks = manifest.checks.iter();
    joined(checks.map(|check| (check.id.clone(), state(check).to_owned())))
}

fn outputs(manifest: &Manifest) -> BTreeMap<String, String> {
    joined(manifest.outputs.iter().map(|output| {
        let Output {
            class,
            arch,
            firmware,
            ..
        } = output;
        (output.target.clone(), format!("{class} {arch} {firmware}"))
    }))
}

fn file_size(manifest: &Manifest) -> u64 {
    let files = manifest.outputs.iter().filter_map(|one| one.file.as_ref());
    files.map(|file| file.size).sum()
}

fn virtual_size(manifest: &Manifest) -> u64 {
    let outputs = manifest.outputs.iter();
    outputs.map(Output::virtual_size).sum()
}
