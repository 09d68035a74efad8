//! `test`: boots a recorded image, checks it, and records the result.

use vault_bake::bake;
use vault_bake::builder::qemu::{self, Qemu, QemuOptions};
use vault_bake::guest_steps::Lynis;
use vault_bake::plan::PlannedMachine;

use crate::azure;
use crate::commands::{doctor, print_json, print_line};
use crate::ending;
use crate::exit::{Exit, Failure};
use crate::invocation::{Invocation, clock, resolve};

pub async fn run(
    session: &Invocation,
    reference: &str,
    audit: bool,
    dry_run: bool,
) -> Result<Exit, Failure> {
    let store = match dry_run {
        true => session.open_store().await?,
        false => session.open_signing_store().await?,
    };
    let digest = resolve(&store, reference).await?;
    let manifest = store.manifest(&digest).await?;
    if dry_run {
        let checks = manifest.checks.len();
        if session.json {
            print_json(
                &serde_json::json!({"would_test": manifest.name(), "manifest": digest, "checks_in_build": checks}),
            );
        } else {
            print_line(&format!(
                "would boot {} ({digest}) and check it; {checks} checks held in its build",
                manifest.name()
            ));
        }
        return Ok(Exit::Done);
    }
    let lynis = auditor(audit)?;
    let tool = session.tool();
    let world = session.world(&clock, &tool);
    let checks = bake::stored_checks(&store, &manifest).await;
    let checks = checks.map_err(bake::Failed::from)?;
    let tested = match &checks.machine {
        PlannedMachine::Azure(machine) => {
            let builder = azure::tester(session, &manifest, machine)?;
            bake::test(&builder, &store, digest, lynis.as_ref(), &world).await?
        }
        PlannedMachine::Qemu(_) => {
            let settings = QemuOptions::new(&session.cache);
            let needs = qemu::test_requirements(&settings, checks.firmware, checks.access);
            doctor::guard(&format!("test {}", manifest.name()), &needs)?;
            let builder = Qemu::new(settings);
            bake::test(&builder, &store, digest, lynis.as_ref(), &world).await?
        }
    };
    ending::of_test(&manifest.name(), &tested)
}

/// Lynis, where an audit is wanted: it has to be there before there is a machine.
pub fn auditor(wanted: bool) -> Result<Option<Lynis>, Failure> {
    let lynis = Lynis::default();
    match lynis.missing() {
        Some(path) if wanted => Err(Failure::usage(format!("{} is missing", path.display()))
            .hint("install the package lynis, or leave out `--audit`")),
        _ => Ok(wanted.then_some(lynis)),
    }
}
