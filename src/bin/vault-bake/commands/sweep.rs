//! `sweep`: removes what killed runs left.

use vault_bake::teardown::sweep;

use crate::commands::{print_json, print_line};
use crate::exit::{Exit, Failure};
use crate::world::Session;

pub async fn run(session: &Session, dry_run: bool) -> Result<Exit, Failure> {
    let swept = sweep(
        &session.runs(),
        dry_run,
        None,
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
                "swept": run.run, "dry_run": dry_run, "removed": undos, "left_behind": leaks,
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
    if swept.is_empty() && !session.json {
        print_line("nothing to sweep");
    }
    Ok(if leaked { Exit::Leaked } else { Exit::Done })
}
