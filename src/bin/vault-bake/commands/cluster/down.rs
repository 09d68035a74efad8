//! `cluster down`: removes a cluster.

use vault_bake::cluster::down;

use super::{context, folder, name};
use crate::args::cluster::Down;
use crate::commands::{print_json, print_line, print_warning};
use crate::exit::{Exit, Failure};
use crate::invocation::Invocation;

pub async fn run(invocation: &Invocation, args: &Down) -> Result<Exit, Failure> {
    // The definition may be gone or broken: the state knows what there is.
    let name = name(invocation, &args.named)?;
    let folder = folder(invocation, &args.named, &name)?;
    let leftovers = down(&folder, &context(invocation)).await?;
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
