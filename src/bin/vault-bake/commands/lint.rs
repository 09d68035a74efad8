//! `lint`: finds unsafe settings in the configuration of Vault and Consul.
//! `build` uses the same rules to refuse a plan.

use semver::Version;
use serde_json::json;
use vault_bake::lint::{Configuration, Finding, Severity};
use vault_bake::plan::lint::{lint_plan, lint_steps};
use vault_bake::plan::{Plan, plan_steps};
use vault_bake::product::{Product, lint_rules};
use vault_bake::provisioner::Provisioners;

use crate::args::Vars;
use crate::args::lint::Lint;
use crate::commands::{print_json, print_line, print_warning};
use crate::exit::{Exit, Failure};
use crate::invocation::Invocation;

pub fn run(invocation: &Invocation, args: &Lint) -> Result<Exit, Failure> {
    if args.rules {
        print_rules(invocation);
        return Ok(Exit::Done);
    }
    let findings = if args.vault.is_none() && args.consul.is_none() {
        lint_images(invocation, args)?
    } else {
        lint_files(args)?
    };
    print_findings(invocation, &findings);
    Ok(if findings.iter().any(is_unsafe) {
        Exit::Conflict
    } else {
        Exit::Done
    })
}

/// Checks the files of --vault and --consul.
fn lint_files(args: &Lint) -> Result<Vec<Finding>, Failure> {
    let consul = parse_version(Product::Consul, args.consul_version.as_deref())?;
    let vault = parse_version(Product::Vault, args.vault_version.as_deref())?;
    let files = [
        (Product::Consul, &args.consul, consul.clone()),
        (Product::Vault, &args.vault, vault),
    ];
    let mut findings = Vec::new();
    for (product, path, version) in files {
        let Some(path) = path else { continue };
        let mut configuration =
            Configuration::new(product, version, args.role.into()).with_consul(consul.clone());
        configuration.add_path(path)?;
        findings.extend(configuration.lint());
    }
    Ok(findings)
}

fn parse_version(product: Product, text: Option<&str>) -> Result<Option<Version>, Failure> {
    text.map(Version::parse).transpose().map_err(|error| {
        Failure::usage(format!(
            "--{}-version: {error}; expected MAJOR.MINOR.PATCH",
            product.name()
        ))
    })
}

/// Checks the configuration that images contain.
fn lint_images(invocation: &Invocation, args: &Lint) -> Result<Vec<Finding>, Failure> {
    let images = if args.images.is_empty() {
        invocation.images()?
    } else {
        args.images.clone()
    };
    let mut findings = Vec::new();
    for image in &images {
        findings.extend(lint_image(invocation, image, &args.vars)?);
    }
    Ok(findings)
}

fn lint_image(invocation: &Invocation, image: &str, vars: &Vars) -> Result<Vec<Finding>, Failure> {
    let definition = invocation.load(image, vars)?;
    let provisioners = Provisioners::load(&invocation.provisioners()?, &definition)?;
    let steps = plan_steps(&definition, &provisioners)?;
    let mut findings = lint_steps(&steps, &definition.releases, &definition.allowed)?;
    for finding in &mut findings {
        finding.file = format!("{}: {}", definition.name, finding.file);
    }
    Ok(findings)
}

/// Returns whether a finding stops a build. Notes do not.
fn is_unsafe(finding: &Finding) -> bool {
    finding.severity == Severity::Unsafe
}

/// Fails if a plan contains unsafe configuration. Warns about files that are left unchecked.
pub fn check_plan(plan: &Plan) -> Result<(), Failure> {
    let mut findings = lint_plan(plan)?;
    for finding in findings.iter().filter(|finding| finding.is_unchecked()) {
        print_warning(&format!("{} {}", finding.file, finding.found));
    }
    findings.retain(is_unsafe);
    if findings.is_empty() {
        return Ok(());
    }
    let texts: Vec<String> = findings.iter().map(Finding::to_string).collect();
    let message = format!(
        "the configuration of {} is unsafe:\n{}",
        plan.image,
        texts.join("\n")
    );
    Err(Failure::new(Exit::Conflict, message).hint(
        "Correct the files. To accept a finding, add the rule and a reason to `[lint.allow]` in image.toml, for example `\"consul.wan-gossip\" = \"two datacenters\"`.",
    ))
}

fn print_findings(invocation: &Invocation, findings: &[Finding]) {
    if invocation.json {
        findings
            .iter()
            .for_each(|finding| print_json(&json!(finding)));
        return;
    }
    for finding in findings {
        print_line(&finding.to_string());
    }
    let notes = findings
        .iter()
        .filter(|finding| !is_unsafe(finding))
        .count();
    print_line(&match (findings.len() - notes, notes) {
        (0, 0) => format!("nothing found by {} rules", lint_rules().count()),
        (count, 0) => format!("{count} found"),
        (count, 1) => format!("{count} found, 1 note"),
        (count, notes) => format!("{count} found, {notes} notes"),
    });
}

fn print_rules(invocation: &Invocation) {
    for rule in lint_rules() {
        if invocation.json {
            print_json(&json!({
                "rule": rule.id, "severity": rule.severity, "reason": rule.reason, "fix": rule.fix,
                "source": rule.source,
            }));
        } else {
            print_line(&format!(
                "{}\n  {}\n  instead: {}\n  source:  {}",
                rule.id, rule.reason, rule.fix, rule.source
            ));
        }
    }
}
