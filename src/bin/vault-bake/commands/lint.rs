//! `lint`: what would start and not be safe.

use semver::Version;
use serde_json::json;
use vault_bake::lint::{
    Configuration, Finding, LintError, Product, Severity, of_plan, of_steps, rules,
};
use vault_bake::plan::{Plan, evaluate};
use vault_bake::provisioner::Provisioners;

use crate::args::Vars;
use crate::args::lint::Lint;
use crate::commands::{print_json, print_line, print_warning};
use crate::exit::{Exit, Failure};
use crate::invocation::Invocation;

pub fn run(session: &Invocation, wish: &Lint) -> Result<Exit, Failure> {
    if wish.rules {
        list(session);
        return Ok(Exit::Done);
    }
    let mut found = Vec::new();
    let files = [
        (Product::Consul, &wish.consul, &wish.consul_version),
        (Product::Vault, &wish.vault, &wish.vault_version),
    ];
    for (product, path, version) in files {
        let Some(path) = path else { continue };
        let version = version.as_deref().map(Version::parse).transpose();
        let version = version.map_err(|error| {
            Failure::usage(format!(
                "--{}-version: {error}; expected MAJOR.MINOR.PATCH",
                product.name()
            ))
        })?;
        let mut configuration = Configuration::new(product, version, wish.role.into());
        configuration.add_path(path)?;
        found.extend(configuration.lint());
    }
    if wish.vault.is_none() && wish.consul.is_none() {
        let images = match wish.images.is_empty() {
            true => session.images()?,
            false => wish.images.clone(),
        };
        for image in &images {
            found.extend(of_image(session, image, &wish.vars)?);
        }
    }
    print_findings(session, &found);
    Ok(match found.iter().any(is_unsafe) {
        true => Exit::Conflict,
        false => Exit::Done,
    })
}

/// Whether a finding stops a build; a note does not.
fn is_unsafe(finding: &Finding) -> bool {
    finding.severity == Severity::Unsafe
}

/// Refuses a plan that configures what is not safe, and says which files it leaves unchecked.
pub fn guard(plan: &Plan) -> Result<(), Failure> {
    let mut found = of_plan(plan).map_err(unread)?;
    for one in found.iter().filter(|one| one.is_unchecked()) {
        print_warning(&format!("{} {}", one.file, one.found));
    }
    found.retain(is_unsafe);
    if found.is_empty() {
        return Ok(());
    }
    let texts: Vec<String> = found.iter().map(Finding::to_string).collect();
    let failure = Failure::new(
        Exit::Conflict,
        format!("{} would not be safe:\n{}", plan.image, texts.join("\n")),
    );
    Err(failure.hint(
        "what has to be so stands in image.toml with its reason, as in `[lint.allow]` and `\"consul.wan-gossip\" = \"two datacenters\"`",
    ))
}

/// A file of an image that the linter cannot read.
fn unread(error: LintError) -> Failure {
    let hint = error.hint();
    let failure = Failure::from(error);
    match hint {
        Some(hint) => failure.hint(hint),
        None => failure,
    }
}

fn of_image(session: &Invocation, image: &str, vars: &Vars) -> Result<Vec<Finding>, Failure> {
    let definition = session.load(image, vars)?;
    let provisioners = Provisioners::load(&session.provisioners()?, &definition)?;
    let steps = evaluate(&definition, &provisioners)?;
    let found = of_steps(&steps, &definition.releases, &definition.allowed);
    let mut found = found.map_err(unread)?;
    for finding in &mut found {
        finding.file = format!("{}: {}", definition.name, finding.file);
    }
    Ok(found)
}

fn print_findings(session: &Invocation, found: &[Finding]) {
    for finding in found {
        match session.json {
            true => print_json(&json!(finding)),
            false => print_line(&finding.to_string()),
        }
    }
    if !session.json {
        let notes = found.iter().filter(|one| !is_unsafe(one)).count();
        print_line(&match (found.len() - notes, notes) {
            (0, 0) => format!("nothing found by {} rules", rules().count()),
            (count, 0) => format!("{count} found"),
            (count, 1) => format!("{count} found, 1 note"),
            (count, notes) => format!("{count} found, {notes} notes"),
        });
    }
}

fn list(session: &Invocation) {
    for rule in rules() {
        match session.json {
            true => print_json(
                &json!({"rule": rule.id, "severity": rule.severity, "reason": rule.reason, "fix": rule.fix, "source": rule.source}),
            ),
            false => print_line(&format!(
                "{}\n  {}\n  instead: {}\n  source:  {}",
                rule.id, rule.reason, rule.fix, rule.source
            )),
        }
    }
}
