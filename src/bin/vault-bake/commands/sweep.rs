//! `sweep`: removes what killed runs left.

use vault_bake::builder::azure::{AzureError, Cleaner, sweep_expired};
use vault_bake::teardown::{Cloud, sweep};

use crate::azure;
use crate::commands::{print_json, print_line};
use crate::exit::{Exit, Failure};
use crate::invocation::{Invocation, clock};

pub async fn run(session: &Invocation, dry_run: bool) -> Result<Exit, Failure> {
    let arm = azure::client_if_configured(session, "sweep")?;
    let cleaner = arm.as_ref().map(Cleaner::new);
    let cloud = cleaner.as_ref().map(|cleaner| cleaner as &dyn Cloud);
    let swept = sweep(
        &session.runs(),
        dry_run,
        cloud,
        &session.events,
        &session.interrupt,
    )
    .await?;
    let mut leaked = false;
    for run in &swept {
        if session.json {
            let undos: Vec<String> = run.undos.iter().map(ToString::to_string).collect();
            let leaks: Vec<String> = run.leaks.iter().map(ToString::to_string).collect();
            print_json(&serde_json::json!({
                "swept": run.run, "dry_run": dry_run, "removed": undos, "leftovers": leaks,
            }));
        } else {
            print_line(&format!(
                "{} {}",
                if dry_run { "would sweep" } else { "swept" },
                run.run
            ));
            for undo in &run.undos {
                print_line(&format!("  {undo}"));
            }
        }
        leaked |= !run.leaks.is_empty();
    }
    let mut expired = Vec::new();
    if let Some(arm) = &arm {
        let failed = |error: AzureError| Failure::new(Exit::Failed, error.to_string());
        let sweeping = sweep_expired(arm, clock(), dry_run, &session.events);
        expired = sweeping.await.map_err(failed)?;
    }
    for one in &expired {
        if session.json {
            print_json(&serde_json::json!({
                "swept": one.run, "dry_run": dry_run, "removed": [one.id], "leftovers": one.left,
            }));
        } else {
            let word = if dry_run { "would sweep" } else { "swept" };
            let left = one.left.as_ref().map(|why| format!(": {why}"));
            print_line(&format!(
                "{word} {}, expired {}{}",
                one.id,
                one.expired_at,
                left.unwrap_or_default()
            ));
        }
        leaked |= one.left.is_some();
    }
    if swept.is_empty() && expired.is_empty() && !session.json {
        print_line("nothing to sweep");
    }
    Ok(if leaked { Exit::Leaked } else { Exit::Done })
}
