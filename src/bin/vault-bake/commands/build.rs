//! `build`: builds an image, records it and tests it.
//! Refuses early what cannot succeed; the library does the build.

use std::io::{IsTerminal, stdin};
use std::time::Instant;

use vault_bake::bake::{BakeError, BakeOptions, OnError};
use vault_bake::build_record::Revision;
use vault_bake::builder::Requirement;
use vault_bake::event::millis;
use vault_bake::manifest::ImageVersion;
use vault_bake::plan::{Plan, PlannedStep, StepKind};

use crate::args::build::{self, Build};
use crate::commands::test::lynis_if;
use crate::commands::{doctor, lint, plan, print_json};
use crate::ending;
use crate::exit::{Exit, Failure};
use crate::invocation::{Invocation, clock};
use crate::output::eprint_text;
use crate::platforms;
use crate::report::{Timing, seconds};

/// The result of a build, for the event `finished`.
#[derive(Default)]
struct Summary {
    image: Option<String>,
    version: Option<String>,
    manifest: Option<String>,
    state: Option<&'static str>,
}

pub async fn run(invocation: &Invocation, args: &Build) -> Result<Exit, Failure> {
    let started = Instant::now();
    let folder = invocation.definition_folder(&args.source.image.image);
    let name = folder.file_name();
    let mut summary = Summary {
        image: name.map(|name| name.to_string_lossy().into_owned()),
        ..Summary::default()
    };
    let result = build(invocation, args, &mut summary).await;
    if !invocation.json || args.dry_run {
        return result;
    }
    let log = invocation.report.log_path();
    let exit = result.unwrap_or_else(|failure| failure.print(true, log.as_deref()));
    print_json(&serde_json::json!({
        "event": "finished", "time": clock(), "image": summary.image, "version": summary.version,
        "manifest": summary.manifest, "state": summary.state, "exit": exit as u8,
        "elapsed_ms": millis(started.elapsed()), "log": log,
    }));
    Ok(exit)
}

async fn build(
    invocation: &Invocation,
    args: &Build,
    summary: &mut Summary,
) -> Result<Exit, Failure> {
    let version = args.version.as_deref().map(str::parse::<ImageVersion>);
    let version = version
        .transpose()
        .map_err(|error| Failure::usage(error.to_string()))?;
    invocation.check_cache()?;
    let plan = plan::make(invocation, &args.source)?;
    summary.image = Some(plan.image.clone());
    if let Some(version) = version {
        summary.version = Some(version.to_string());
        check_version(invocation, &plan, version).await?;
    }
    if !args.dry_run {
        let requirements = requirements(invocation, &plan);
        doctor::require(&format!("build {}", plan.image), &requirements)?;
    }
    lint::check_plan(&plan)?;
    if args.dry_run {
        plan::print(invocation, &plan);
        return Ok(Exit::Done);
    }
    let lynis = lynis_if(args.audit)?;
    let store = invocation.open_or_create_store().await?;
    let on_error = |error: &BakeError| on_error(args.on_error, error);
    let options = BakeOptions {
        plan: &plan,
        version,
        revision: Revision::of(&plan.folder, &invocation.interrupt).await,
        test: !args.skip_test,
        audit: lynis.as_ref(),
        on_error: &on_error,
    };
    let tool = invocation.tool();
    let context = invocation.run_context(&clock, &tool);
    let baked = platforms::build(invocation, args, &store, options, &context).await?;
    summary.version = Some(baked.manifest.version.to_string());
    summary.manifest = Some(baked.digest.to_string());
    summary.state = Some(ending::state(baked.tested.as_ref()));
    if !invocation.json {
        print_timings(invocation);
    }
    ending::of_build(&baked)
}

/// Returns the programs that this computer needs for the build.
fn requirements(invocation: &Invocation, plan: &Plan) -> Vec<Requirement> {
    let mut requirements = platforms::build_requirements(invocation, plan);
    let is_playbook = |step: &PlannedStep| matches!(step.kind, StepKind::Ansible { .. });
    if plan.steps.iter().any(is_playbook) {
        requirements.push(doctor::ansible());
    }
    requirements
}

/// Fails if the version is taken, or too long for the builder.
async fn check_version(
    invocation: &Invocation,
    plan: &Plan,
    version: ImageVersion,
) -> Result<(), Failure> {
    platforms::check_version(plan, version)?;
    let Some(store) = invocation.existing_store().await? else {
        return Ok(());
    };
    let history = invocation.interrupt.or(store.history()).await??;
    if history.by_name(&plan.image, version).is_none() {
        return Ok(());
    }
    let name = format!("{}@{version}", plan.image);
    let failure = Failure::from(BakeError::VersionTaken { name });
    Err(failure.hint("Leave out --version to use the next free one."))
}

fn on_error(requested: build::OnError, error: &BakeError) -> OnError {
    match requested {
        build::OnError::Clean => OnError::Clean,
        build::OnError::Keep => OnError::Keep,
        build::OnError::Ask => ask_on_error(error),
    }
}

/// Asks on the terminal. Without a terminal, or without an answer, the build VM is deleted.
fn ask_on_error(error: &BakeError) -> OnError {
    if !stdin().is_terminal() {
        return OnError::Clean;
    }
    eprint_text(&format!("{error}\nKeep the build VM? [y/N] "));
    let mut answer = String::new();
    match stdin().read_line(&mut answer) {
        Ok(_) if answer.trim().eq_ignore_ascii_case("y") => OnError::Keep,
        _ => OnError::Clean,
    }
}

fn print_timings(invocation: &Invocation) {
    let timings = invocation.report.timings();
    let line = |Timing { name, elapsed_ms }: &Timing| {
        format!("  {name:<24} {:>8}\n", seconds(*elapsed_ms))
    };
    let table: String = timings.iter().map(line).collect();
    eprint_text(&format!("\ntime by stage and step\n{table}"));
}
