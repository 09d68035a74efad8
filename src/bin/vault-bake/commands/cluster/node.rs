//! `cluster logs` and `cluster shell`: what happens on one node.

use std::path::{Path, PathBuf};

use vault_bake::cluster::state::{State, StateFolder, read_all};
use vault_bake::cluster::{ClusterError, platform_of};
use vault_bake::process::replace_this;

use super::{clusters, context};
use crate::args::cluster::{Logs, Shell};
use crate::exit::{Exit, Failure};
use crate::invocation::Invocation;

pub async fn logs(invocation: &Invocation, args: &Logs) -> Result<Exit, Failure> {
    let mut command = shell_of(invocation, args.state.as_ref(), &args.node).await?;
    // The last word is the shell.
    command.pop();
    let lines = args.lines.to_string();
    let words = [
        "journalctl",
        "--no-pager",
        "--unit=vault",
        "--unit=consul",
        "--unit=vault-bake-identity",
        "--lines",
        &lines,
    ];
    command.extend(words.map(ToOwned::to_owned));
    command.extend(args.follow.then(|| "--follow".to_owned()));
    Err(replace_this(&command).into())
}

pub async fn shell(invocation: &Invocation, args: &Shell) -> Result<Exit, Failure> {
    let command = shell_of(invocation, args.state.as_ref(), &args.node).await?;
    Err(replace_this(&command).into())
}

/// Returns the command line of a shell on a node.
async fn shell_of(
    invocation: &Invocation,
    state: Option<&PathBuf>,
    node: &str,
) -> Result<Vec<String>, Failure> {
    let (folder, state) = find(&clusters(invocation, state)?, node)?;
    let context = context(invocation);
    let platform = platform_of(&folder, &state, &context).await?;
    let running = platform.filter(|platform| platform.is_running(node));
    let Some(platform) = running else {
        let message = format!("cannot enter {node}: it does not run");
        return Err(Failure::new(Exit::Failed, message)
            .hint(format!("Run `vault-bake cluster up {}`.", state.name)));
    };
    let command = platform.shell(node, context.interrupt).await;
    Ok(command.map_err(ClusterError::from)?)
}

/// Finds the cluster of a node by the node's name.
fn find(clusters: &Path, node: &str) -> Result<(StateFolder, State), Failure> {
    let mut nodes = Vec::new();
    for (folder, state) in read_all(clusters)? {
        if state.nodes.contains_key(node) {
            return Ok((folder, state));
        }
        nodes.extend(state.nodes.into_keys());
    }
    nodes.sort();
    let node = node.to_owned();
    Err(ClusterError::NoNode { node, nodes }.into())
}
