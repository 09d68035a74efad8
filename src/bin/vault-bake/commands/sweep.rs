//! `sweep`: deletes what crashed or kept runs left.

use vault_bake::teardown::{Cloud, SweptRun, sweep};

use crate::args::maintain::Sweep;
use crate::commands::{print_json, print_line};
use crate::exit::{Exit, Failure};
use crate::invocation::Invocation;
use crate::platforms::{Clouds, Expired};

pub async fn run(invocation: &Invocation, args: &Sweep) -> Result<Exit, Failure> {
    let clouds = Clouds::to_sweep(invocation)?;
    let swept = sweep_runs(invocation, &clouds, args.dry_run).await?;
    for run in &swept {
        print_run(invocation, run, args.dry_run);
    }
    let expired = clouds.sweep_expired(invocation, args.dry_run).await?;
    for resource in &expired {
        print_expired(invocation, resource, args.dry_run);
    }
    if swept.is_empty() && expired.is_empty() && !invocation.json {
        print_line("nothing to sweep");
    }
    let runs_left = swept.iter().any(|run| !run.leftovers.is_empty());
    let resources_left = expired.iter().any(|resource| resource.failure.is_some());
    Ok(if runs_left || resources_left {
        Exit::Leftovers
    } else {
        Exit::Done
    })
}

async fn sweep_runs(
    invocation: &Invocation,
    clouds: &Clouds,
    dry_run: bool,
) -> Result<Vec<SweptRun>, Failure> {
    let cleaner = clouds.cleaner();
    let cloud = cleaner.as_ref().map(|cleaner| cleaner as &dyn Cloud);
    let (events, interrupt) = (&invocation.events, &invocation.interrupt);
    Ok(sweep(&invocation.runs(), dry_run, cloud, events, interrupt).await?)
}

fn print_run(invocation: &Invocation, run: &SweptRun, dry_run: bool) {
    if invocation.json {
        let undos: Vec<String> = run.undos.iter().map(ToString::to_string).collect();
        let leftovers: Vec<String> = run.leftovers.iter().map(ToString::to_string).collect();
        print_json(&serde_json::json!({
            "swept": run.run, "dry_run": dry_run, "removed": undos, "leftovers": leftovers,
        }));
        return;
    }
    print_line(&format!("{} {}", verb(dry_run), run.run));
    for undo in &run.undos {
        print_line(&format!("  {undo}"));
    }
}

fn print_expired(invocation: &Invocation, resource: &Expired, dry_run: bool) {
    if invocation.json {
        let leftovers = Vec::from_iter(&resource.failure);
        print_json(&serde_json::json!({
            "swept": resource.run, "dry_run": dry_run, "removed": [resource.id],
            "leftovers": leftovers,
        }));
        return;
    }
    let reason = resource.failure.as_ref().map(|why| format!(": {why}"));
    print_line(&format!(
        "{} {}, expired {}{}",
        verb(dry_run),
        resource.id,
        resource.expired_at,
        reason.unwrap_or_default()
    ));
}

fn verb(dry_run: bool) -> &'static str {
    if dry_run { "would sweep" } else { "swept" }
}
