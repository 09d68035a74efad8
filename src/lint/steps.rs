//! The configuration that a plan puts into an image.
//!
//! In: planned steps and the versions of their products. Out: the findings that are not accepted with a reason.

use std::collections::BTreeMap;

use semver::Version;

use super::{
    Configuration, Finding, LintError, Product, Role, Severity, environment, is_read, rules,
};
use crate::hcl1::Position;
use crate::plan::{CONFIGURATION, Plan, PlannedStep, StepKind};

/// What an image's steps configure, and what is not safe in it: what provisioners get from [`crate::configuration`], templates of
/// theirs that are called after a product, as in `templates/vault.hcl`, and files that are put into `/etc/vault.d/` or `/etc/consul.d/`.
///
/// `releases` are products and their versions; `allowed` are rules that may be broken, and why. A file that is left unchecked for
/// such a reason has a note, which comes first.
pub fn of_steps(
    steps: &[PlannedStep],
    releases: &BTreeMap<String, String>,
    allowed: &BTreeMap<String, String>,
) -> Result<Vec<Finding>, LintError> {
    check_allowed(allowed)?;
    let mut findings = Vec::new();
    let mut unchecked = Vec::new();
    for product in Product::ALL {
        let version = releases.get(product.name());
        let version = version.and_then(|version| Version::parse(version).ok());
        let mut configuration = Configuration::new(product, version, Role::Image);
        for step in steps {
            for (file, content) in files_of(product, step) {
                let added = configuration.add_bytes(&format!("{}: {file}", step.name), content);
                let accepted = allowed.get(product.unreadable());
                match (added, accepted) {
                    (Err(LintError::Syntax { file, at, .. }), Some(reason)) => {
                        unchecked.push(left_unchecked(product, file, at, reason));
                    }
                    (other, _) => other?,
                }
            }
        }
        if !configuration.files.is_empty() || !configuration.environment.is_empty() {
            findings.extend(configuration.lint());
        }
    }
    findings.retain(|finding| !allowed.contains_key(finding.rule));
    unchecked.extend(findings);
    Ok(unchecked)
}

/// A note about a file that no rule has looked at, because the definition says so.
fn left_unchecked(product: Product, file: String, at: Position, reason: &str) -> Finding {
    Finding {
        rule: product.unreadable(),
        severity: Severity::Note,
        file,
        line: Some(at.line),
        key: String::new(),
        found: format!("is left unchecked: {reason}"),
        reason: "no rule looks at a file that cannot be read",
        source: match product {
            Product::Consul => {
                "https://developer.hashicorp.com/consul/docs/reference/agent/configuration-file"
            }
            Product::Vault => "https://developer.hashicorp.com/vault/docs/configuration",
        },
        fix: "correct the file at this line, and remove the rule from `[lint.allow]`",
    }
}

/// Refuses to allow what no rule of the linter finds.
pub fn check_allowed(allowed: &BTreeMap<String, String>) -> Result<(), LintError> {
    let known = |id: &&String| {
        let unreadable = Product::ALL.map(Product::unreadable);
        rules().any(|rule| rule.id == **id) || unreadable.contains(&id.as_str())
    };
    match allowed.keys().find(|id| !known(id)) {
        Some(unknown) => Err(LintError::Rule(unknown.clone())),
        None => Ok(()),
    }
}

/// The same of a plan.
pub fn of_plan(plan: &Plan) -> Result<Vec<Finding>, LintError> {
    let releases = plan.releases.iter();
    let releases = releases.map(|release| (release.product.clone(), release.version.clone()));
    of_steps(&plan.steps, &releases.collect(), &plan.allowed)
}

fn files_of(product: Product, step: &PlannedStep) -> Vec<(&str, &[u8])> {
    let mut files = step
        .files
        .iter()
        .map(|file| (file.path.as_str(), &file.content[..]));
    let name = product.name();
    match &step.kind {
        StepKind::Provisioner { .. } => {
            let template = ["json", "hcl"].map(|end| format!("templates/{name}.{end}"));
            let ours = [&template[..], &[format!("{CONFIGURATION}{name}.json")]].concat();
            files
                .filter(|(path, _)| {
                    ours.iter().any(|one| one == path) || environment::is_of(name, path)
                })
                .collect()
        }
        StepKind::File { destination, .. } => {
            let below = destination.starts_with(&format!("/etc/{name}.d/"));
            let read = (below && is_read(destination)) || environment::is_of(name, destination);
            let payload = files.next().filter(|_| read);
            payload
                .map(|(_, content)| (destination.as_str(), content))
                .into_iter()
                .collect()
        }
        _ => Vec::new(),
    }
}
