//! `cluster down`: removes a cluster.

use vault_bake::cluster::down;
use vault_bake::cluster::state::StateFolder;

use super::{context, folder, name, running};
use crate::args::cluster::Down;
use crate::commands::{print_json, print_line, print_warning};
use crate::exit::{Exit, Failure};
use crate::invocation::Invocation;

pub async fn run(invocation: &Invocation, args: &Down) -> Result<Exit, Failure> {
    // The definition may be gone or broken: the state knows what there is.
    let name = name(invocation, &args.named)?;
    let folder = folder(invocation, &args.named, &name)?;
    if !folder.path().exists() && invocation.clusters().contains(&name) {
        // A former removal was complete.
        if invocation.json {
            print_json(&serde_json::json!({"removed": null, "leftovers": []}));
        } else {
            print_line(&format!("cluster {name}: nothing to remove"));
        }
        return Ok(Exit::Done);
    }
    if !folder.path().exists() {
        let message = format!("cannot remove cluster {name}: it does not run on this computer");
        let running = running(invocation, &args.named)?;
        return Err(Failure::usage(message).hint(match running.as_slice() {
            [] => "Name its project with --project: no cluster of this one runs here.".to_owned(),
            running => format!("Name one of {}, or another --project.", running.join(", ")),
        }));
    }
    refuse_open_rollout(&folder, args)?;
    let leftovers = down(&folder, args.force, &context(invocation)).await?;
    for leftover in &leftovers {
        print_warning(&format!("leftover: {leftover}"));
    }
    if invocation.json {
        let leftovers: Vec<String> = leftovers.iter().map(ToString::to_string).collect();
        print_json(&serde_json::json!({"removed": name, "leftovers": leftovers}));
    } else if leftovers.is_empty() {
        print_line(&format!("removed cluster {name}"));
    }
    Ok(if leftovers.is_empty() {
        Exit::Done
    } else {
        Exit::Leftovers
    })
}

/// Fails if a rollout is open: only a running cluster can end it, in the store's log too.
fn refuse_open_rollout(folder: &StateFolder, args: &Down) -> Result<(), Failure> {
    // A state that cannot be read is an error of `down` itself.
    let state = folder.read().ok().flatten();
    let Some(state) = state.filter(|state| state.rollout.is_some() && !args.force) else {
        return Ok(());
    };
    let name = state.name;
    let message = format!("cannot remove cluster {name}: a rollout of it is open");
    Err(Failure::new(Exit::Conflict, message).hint(format!(
        "End it first: `vault-bake rollout status {name}` prints how. With --force, the rollout \
         stays open in the store, and `gc` keeps its images."
    )))
}
