//! `cluster logs` and `cluster shell`: what happens on one node.

use std::path::{Path, PathBuf};

use vault_bake::cluster::state::{State, StateFolder, folders};
use vault_bake::cluster::{ClusterError, JournalLine, platform_of};
use vault_bake::process::{Program, replace_this};

use super::{clusters, context};
use crate::args::cluster::{Logs, Shell};
use crate::commands::print_json;
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
    if !invocation.json {
        return Err(replace_this(&command).into());
    }
    // With `--all`, long lines are whole.
    command.extend(["--output=json", "--all"].map(ToOwned::to_owned));
    print_lines(invocation, &args.node, &command).await
}

/// Runs a command that prints lines of the journal as JSON, and prints each in our form.
async fn print_lines(
    invocation: &Invocation,
    node: &str,
    command: &[String],
) -> Result<Exit, Failure> {
    let (program, arguments) = command.split_first().expect("a command names a program");
    let mut last = String::new();
    let on_line = |line: &str| match JournalLine::parse(node, line) {
        Some(line) => print_json(&line),
        None => line.clone_into(&mut last),
    };
    let program = Program::new(program).args(arguments);
    let status = program.lines(on_line, &invocation.interrupt).await?;
    if status.success() {
        return Ok(Exit::Done);
    }
    let message = format!("cannot read the journal of {node}: {status}: {last}");
    Err(Failure::new(Exit::Failed, message))
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
    let mut damaged = None;
    for folder in folders(clusters)? {
        match folder.read() {
            Ok(Some(state)) if state.nodes.contains_key(node) => return Ok((folder, state)),
            Ok(state) => nodes.extend(state.into_iter().flat_map(|state| state.nodes.into_keys())),
            Err(error) => damaged = Some(error),
        }
    }
    // The node may be one of a cluster whose state is damaged.
    if let Some(error) = damaged {
        return Err(error.into());
    }
    nodes.sort();
    let node = node.to_owned();
    Err(ClusterError::NoNode { node, nodes }.into())
}
