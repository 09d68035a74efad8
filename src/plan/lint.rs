//! Lints the configuration that the steps of a plan write into an image.
//! Returns the findings that the definition does not allow.

use std::collections::BTreeMap;

use semver::Version;

use super::{CONFIGURATION, Plan, PlannedStep, StepKind};
use crate::hcl1::Position;
use crate::lint::{Configuration, Finding, LintError, Role, Severity, environment, is_linted};
use crate::product::{Product, lint_rules};

/// Lints the configuration of planned steps:
///
/// - configuration from [`Product::configuration`],
/// - templates named after a product, as in `templates/vault.hcl`,
/// - files copied into `/etc/vault.d/` or `/etc/consul.d/`.
///
/// `releases` has versions by product, and `allowed` has reasons by rule id. A file that is skipped
/// by `allowed` gets a note, which comes first.
pub fn lint_steps(
    steps: &[PlannedStep],
    releases: &BTreeMap<String, String>,
    allowed: &BTreeMap<String, String>,
) -> Result<Vec<Finding>, LintError> {
    check_allowed(allowed)?;
    let mut findings = Vec::new();
    let mut notes = Vec::new();
    for product in Product::ALL {
        let version = |product: Product| Version::parse(releases.get(product.name())?).ok();
        let mut configuration = Configuration::new(product, version(product), Role::Image)
            .with_consul(version(Product::Consul));
        for step in steps {
            for (file, content) in files_of(product, step) {
                let added = configuration.add_bytes(&format!("{}: {file}", step.name), content);
                let accepted = allowed.get(product.profile().unparsed_rule_id);
                match (added, accepted) {
                    (Err(LintError::Syntax { file, at, .. }), Some(reason)) => {
                        notes.push(unchecked_note(product, file, at, reason));
                    }
                    (other, _) => other?,
                }
            }
        }
        if !configuration.is_empty() {
            findings.extend(configuration.lint());
        }
    }
    findings.retain(|finding| !allowed.contains_key(finding.rule));
    notes.extend(findings);
    Ok(notes)
}

/// Returns a note about a file that is not checked because the definition allows it.
fn unchecked_note(product: Product, file: String, at: Position, reason: &str) -> Finding {
    Finding {
        rule: product.profile().unparsed_rule_id,
        severity: Severity::Note,
        file,
        line: Some(at.line),
        key: String::new(),
        found: format!("is not checked: {reason}"),
        reason: "no rule applies to a file that cannot be parsed",
        source: product.profile().source,
        fix: "correct the file at this line, and remove the rule from `[lint.allow]`",
    }
}

/// Fails if `allowed` has an id that is no lint rule.
pub fn check_allowed(allowed: &BTreeMap<String, String>) -> Result<(), LintError> {
    let known = |id: &&String| {
        let unreadable = Product::ALL.map(|product| product.profile().unparsed_rule_id);
        lint_rules().any(|rule| rule.id == **id) || unreadable.contains(&id.as_str())
    };
    match allowed.keys().find(|id| !known(id)) {
        Some(unknown) => Err(LintError::UnknownRule(unknown.clone())),
        None => Ok(()),
    }
}

/// Lints the configuration of a plan, as [`lint_steps`] does.
pub fn lint_plan(plan: &Plan) -> Result<Vec<Finding>, LintError> {
    let releases = plan.releases.iter();
    let releases = releases.map(|release| (release.product.clone(), release.version.clone()));
    lint_steps(&plan.steps, &releases.collect(), &plan.allowed)
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
            let known = [&template[..], &[format!("{CONFIGURATION}{name}.json")]].concat();
            files
                .filter(|(path, _)| {
                    known.iter().any(|file| file == path) || environment::is_for(name, path)
                })
                .collect()
        }
        StepKind::File { destination, .. } => {
            let below = destination.starts_with(&format!("/etc/{name}.d/"));
            let applies =
                (below && is_linted(destination)) || environment::is_for(name, destination);
            let payload = files.next().filter(|_| applies);
            payload
                .map(|(_, content)| (destination.as_str(), content))
                .into_iter()
                .collect()
        }
        _ => Vec::new(),
    }
}
