//! `build`: bakes an image, records it, and tries it.

use std::io::{IsTerminal, stdin};
use std::time::Instant;

use vault_bake::bake::{BakeError, BakeOptions, Failed, OnError, bake};
use vault_bake::build_record::{Revision, date};
use vault_bake::builder::qemu::{self, Qemu, QemuOptions};
use vault_bake::builder::{LayerRules, Requirement};
use vault_bake::definition::{BuilderKind, LONGEST_IMAGE_NAME};
use vault_bake::event::millis;
use vault_bake::manifest::ImageVersion;
use vault_bake::plan::{Plan, PlannedMachine, PlannedOutput, PlannedStep, StepKind};

use crate::args::{self, Image, Releases};
use crate::azure;
use crate::commands::test::auditor;
use crate::commands::{doctor, lint, plan, print_json};
use crate::ending;
use crate::exit::{Exit, Failure};
use crate::invocation::{Invocation, clock};
use crate::output::eprint_text;
use crate::report::seconds;

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

/// What a build came to, for programs.
#[derive(Default)]
struct Summary {
    image: Option<String>,
    version: Option<String>,
    manifest: Option<String>,
    state: Option<&'static str>,
}

pub async fn run(
    session: &Invocation,
    image: &Image,
    releases: &Releases,
    wish: Wish,
) -> Result<Exit, Failure> {
    let began = Instant::now();
    let dry_run = wish.dry_run;
    let folder = session.definition(&image.image);
    let name = folder
        .file_name()
        .map(|name| name.to_string_lossy().into_owned());
    let mut summary = Summary {
        image: name,
        ..Summary::default()
    };
    let built = build(session, image, releases, wish, &mut summary).await;
    if !session.json || dry_run {
        return built;
    }
    let log = session.report.log_path();
    let exit = built.unwrap_or_else(|failure| failure.print(true, log.as_deref()));
    print_json(&serde_json::json!({
        "event": "finished", "time": clock(), "image": summary.image, "version": summary.version,
        "manifest": summary.manifest, "state": summary.state, "exit": exit as u8,
        "elapsed_ms": millis(began.elapsed()), "log": log,
    }));
    Ok(exit)
}

async fn build(
    session: &Invocation,
    image: &Image,
    releases: &Releases,
    wish: Wish,
    summary: &mut Summary,
) -> Result<Exit, Failure> {
    let version = wish
        .version
        .map(|text| text.parse::<ImageVersion>())
        .transpose();
    let version = version.map_err(|error| Failure::usage(error.to_string()))?;
    session.check_cache()?;
    let plan = plan::make(session, image, releases, wish.builder)?;
    summary.image = Some(plan.image.clone());
    if let Some(version) = version {
        summary.version = Some(version.to_string());
        refuse_taken(session, &plan, version).await?;
    }
    if !wish.dry_run {
        doctor::guard(&format!("build {}", plan.image), &needs(session, &plan))?;
    }
    lint::guard(&plan)?;
    if wish.dry_run {
        plan::print(session, &plan);
        return Ok(Exit::Done);
    }
    let lynis = auditor(wish.audit)?;
    let store = session.open_or_create_store().await?;
    let tool = session.tool();
    let on_error = |error: &BakeError| decide(wish.on_error, error);
    let mut order = BakeOptions {
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
            let mut settings = QemuOptions::new(&session.cache);
            settings.layers = wish.layers;
            settings.suspend = wish.suspend;
            if let PlannedOutput::Qemu(output) = output {
                settings.compression = output.compression;
            }
            bake(&Qemu::new(settings), &store, &order, &world).await?
        }
    };
    summary.version = Some(baked.manifest.version.to_string());
    summary.manifest = Some(baked.digest.to_string());
    summary.state = Some(ending::state(baked.tested.as_ref()));
    if !session.json {
        print_timings(session);
    }
    ending::of_build(&baked)
}

/// What has to be on this computer before the bake begins.
fn needs(session: &Invocation, plan: &Plan) -> Vec<Requirement> {
    let mut needs = qemu::build_requirements(&QemuOptions::new(&session.cache), &plan.base);
    let is_playbook = |step: &PlannedStep| matches!(step.kind, StepKind::Ansible { .. });
    if plan.steps.iter().any(is_playbook) {
        needs.push(doctor::ansible());
    }
    needs
}

/// Refuses a version that is taken, or that the builder cannot use, before anything is fetched or made.
async fn refuse_taken(
    session: &Invocation,
    plan: &Plan,
    version: ImageVersion,
) -> Result<(), Failure> {
    let name = format!("{}-{version}", plan.image);
    if let PlannedOutput::Azure(output) = &plan.output
        && output.managed_image
        && name.len() > LONGEST_IMAGE_NAME
    {
        return Err(Failure::usage(format!(
            "{name} has {} characters; a managed image's name has at most {LONGEST_IMAGE_NAME}",
            name.len()
        ))
        .hint("give a shorter `--version`"));
    }
    let Some(store) = session.existing_store().await? else {
        return Ok(());
    };
    let history = session.interrupt.or(store.history()).await??;
    match history.by_name(&plan.image, version) {
        None => Ok(()),
        Some(_) => {
            let name = format!("{}@{version}", plan.image);
            Err(
                Failure::from(Failed::from(BakeError::VersionTaken { name }))
                    .hint("leave `--version` out for the next free one"),
            )
        }
    }
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
    eprint_text(&format!("{error}\nKeep the machine to look at it? [y/N] "));
    let mut answer = String::new();
    match stdin().read_line(&mut answer) {
        Ok(_) if answer.trim().eq_ignore_ascii_case("y") => OnError::Keep,
        _ => OnError::Clean,
    }
}

fn print_timings(session: &Invocation) {
    let timings = session.report.timings();
    let line =
        |(what, elapsed_ms): &(String, u64)| format!("  {what:<24} {:>8}\n", seconds(*elapsed_ms));
    let table: String = timings.iter().map(line).collect();
    let text = format!("\nwhere the time went\n{table}");
    eprint_text(&text);
}
