//! `build`: bakes an image, records it, and tries it.

use std::io::{IsTerminal, Write, stderr, stdin};

use vault_bake::bake::{BakeError, OnError, Order, bake};
use vault_bake::builder::qemu::{self, Qemu, QemuSettings};
use vault_bake::builder::{LayerRules, Requirement};
use vault_bake::definition::BuilderKind;
use vault_bake::manifest::ImageVersion;
use vault_bake::plan::{Plan, PlannedMachine, PlannedOutput, PlannedStep, StepKind};
use vault_bake::record::{Revision, date};

use crate::args::{self, Image, Releases};
use crate::azure;
use crate::commands::test::auditor;
use crate::commands::{doctor, lint, plan};
use crate::exit::{Exit, Failure};
use crate::report::seconds;
use crate::world::{Session, clock};

/// How to build.
pub struct Wish {
    pub version: Option<String>,
    pub on_error: args::OnError,
    pub test: bool,
    pub audit: bool,
    pub layers: LayerRules,
    pub suspend: bool,
    pub dry_run: bool,
    pub builder: BuilderKind,
}

pub async fn run(
    session: &Session,
    image: &Image,
    releases: &Releases,
    wish: Wish,
) -> Result<Exit, Failure> {
    let plan = plan::make(session, image, releases, wish.builder)?;
    if !wish.dry_run {
        doctor::guard(&format!("build {}", plan.image), &needs(session, &plan))?;
    }
    lint::guard(&plan)?;
    if wish.dry_run {
        plan::print(session, &plan);
        return Ok(Exit::Done);
    }
    let version = wish
        .version
        .map(|text| text.parse::<ImageVersion>())
        .transpose();
    let version = version.map_err(|error| Failure::usage(error.to_string()))?;
    let lynis = auditor(wish.audit)?;
    let store = session.open_or_create_store().await?;
    let tool = session.tool();
    let on_error = |error: &BakeError| decide(wish.on_error, error);
    let mut order = Order {
        plan: &plan,
        version,
        revision: Revision::of(&plan.folder, &session.interrupt).await,
        test: wish.test,
        audit: lynis.as_ref(),
        on_error: &on_error,
    };
    let world = session.world(&clock, &tool);
    let baked = match (&plan.machine, &plan.output) {
        (PlannedMachine::Azure(machine), PlannedOutput::Azure(output)) => {
            // Images on Azure are named after their version, so it is chosen before they are made.
            let next = store.next_version(&plan.image, date(clock()));
            let version = match order.version {
                Some(version) => version,
                None => next.await?,
            };
            order.version = Some(version);
            let named = version.to_string();
            let builder = azure::builder(session, &plan.image, &named, machine, output)?;
            bake(&builder, &store, &order, &world).await?
        }
        (_, output) => {
            let mut settings = QemuSettings::new(&session.cache);
            settings.layers = wish.layers;
            settings.suspend = wish.suspend;
            if let PlannedOutput::Qemu(output) = output {
                settings.compression = output.compression;
            }
            bake(&Qemu::new(settings), &store, &order, &world).await?
        }
    };
    if !session.json {
        print_timings(session);
    }
    if !baked.leaks.is_empty() {
        return Err(Failure::new(
            Exit::Leaked,
            "the bake is recorded, but something is left behind",
        )
        .leaking(&baked.leaks));
    }
    match baked.tested {
        Some(record) if !record.passed => {
            let name = baked.manifest.name();
            Err(Failure::new(
                Exit::Checks,
                format!("{name} is recorded, but failed its test"),
            )
            .hint(format!(
                "`vault-bake test {name}` repeats it; its log has what each check said"
            )))
        }
        _ => Ok(Exit::Done),
    }
}

/// What has to be on this computer before the bake begins.
fn needs(session: &Session, plan: &Plan) -> Vec<Requirement> {
    let mut needs = qemu::build_requirements(&QemuSettings::new(&session.cache), &plan.base);
    let is_playbook = |step: &PlannedStep| matches!(step.kind, StepKind::Ansible { .. });
    if plan.steps.iter().any(is_playbook) {
        needs.push(doctor::ansible());
    }
    needs
}

fn decide(wanted: args::OnError, error: &BakeError) -> OnError {
    match wanted {
        args::OnError::Clean => OnError::Clean,
        args::OnError::Keep => OnError::Keep,
        args::OnError::Ask => ask(error),
    }
}

/// Asks on the terminal. Where there is none, or no answer, the machine is removed.
fn ask(error: &BakeError) -> OnError {
    if !stdin().is_terminal() {
        return OnError::Clean;
    }
    // Without a terminal to ask on, the answer below is empty and the machine goes.
    let _ = write!(
        stderr().lock(),
        "{error}\nKeep the machine to look at it? [y/N] "
    );
    let mut answer = String::new();
    match stdin().read_line(&mut answer) {
        Ok(_) if answer.trim().eq_ignore_ascii_case("y") => OnError::Keep,
        _ => OnError::Clean,
    }
}

fn print_timings(session: &Session) {
    let timings = session.report.timings();
    let line =
        |(what, elapsed_ms): &(String, u64)| format!("  {what:<24} {:>8}\n", seconds(*elapsed_ms));
    let table: String = timings.iter().map(line).collect();
    let text = format!("\nwhere the time went\n{table}");
    // Nobody is there to read it any more.
    let _ = stderr().lock().write_all(text.as_bytes());
}
