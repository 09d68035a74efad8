//! `cluster status`: one screen about the nodes of a cluster.

use std::fmt::Write as _;
use std::time::Duration;

use jiff::Timestamp;
use vault_bake::cluster::{Expiry, Images, NodeStatus, Status, status};
use vault_bake::terminal::counted;
use vault_bake::wait::pause;

use super::{context, open};
use crate::args::cluster;
use crate::commands::{print_json, print_text};
use crate::exit::{Exit, Failure};
use crate::invocation::{Invocation, clock};
use crate::output::print_screen;

/// The time between two screens of --watch.
const INTERVAL: Duration = Duration::from_secs(2);

pub async fn run(invocation: &Invocation, args: &cluster::Status) -> Result<Exit, Failure> {
    let opened = open(invocation, &args.named)?;
    let store = invocation.existing_store().await?;
    let trust = invocation.keys.trust()?;
    let images = store
        .as_ref()
        .map(|store| Images::new(store, trust.as_ref()));
    loop {
        let (cluster, context) = (opened.cluster(), context(invocation));
        let observing = status(&cluster, images.as_ref(), &context);
        let observed = invocation.interrupt.or(observing).await??;
        let serves = observed.serves();
        if invocation.json {
            print_json(&observed);
        } else {
            let text = screen(&observed, opened.file.identity.valid_h, clock());
            if args.watch {
                print_screen(&text);
            } else {
                print_text(&text);
            }
        }
        if !args.watch {
            return Ok(if serves { Exit::Done } else { Exit::Failed });
        }
        pause(INTERVAL, &invocation.interrupt).await?;
    }
}

/// Returns the screen, at most 80 columns wide with names of usual length.
fn screen(status: &Status, valid_h: u32, now: Timestamp) -> String {
    let mut text = String::new();
    let serving = status
        .nodes
        .iter()
        .filter(|node| node.role.serves())
        .count();
    let total = status.nodes.len();
    if total == 0 {
        let name = &status.cluster;
        return format!(
            "cluster {name} has no node yet: `vault-bake cluster up {name}` makes them\n"
        );
    }
    let serve = if total == 1 { "serves" } else { "serve" };
    let (name, platform) = (&status.cluster, status.platform);
    let state = match &status.problem {
        Some(_) => "state unknown".to_owned(),
        None => format!("{serving} of {} {serve}", counted(total, "node")),
    };
    // Writing to a string cannot fail.
    let _ = writeln!(text, "cluster {name}: {state} ({platform}), {now:.0}\n");
    if let Some(problem) = &status.problem {
        let _ = writeln!(text, "problem: {}", problem.why);
        if let Some(hint) = &problem.hint {
            let _ = writeln!(text, "hint: {hint}");
        }
        text.push('\n');
    }
    let width = |cell: fn(&NodeStatus) -> usize, least: usize| {
        status.nodes.iter().map(cell).max().unwrap_or(0).max(least)
    };
    let names = width(|node| node.node.len(), 4);
    let versions = width(|node| node.product_version.len(), 7);
    let _ = writeln!(
        text,
        "{:<names$}  {:<9}  {:<versions$}  {:>4}  IMAGE",
        "NODE", "ROLE", "VERSION", "CERT"
    );
    for node in &status.nodes {
        let _ = writeln!(
            text,
            "{:<names$}  {:<9}  {:<versions$}  {:>4}  {}@{}",
            node.node,
            node.role.name(),
            node.product_version,
            certificate(node, now),
            node.image,
            node.version
        );
        for remark in remarks(node, valid_h, now) {
            let _ = writeln!(text, "  {remark}");
        }
    }
    if let Some(front) = &status.front {
        let state = match (front.running, front.nodes.as_slice()) {
            (false, _) => "does not run".to_owned(),
            (true, []) => "has no node to send clients to".to_owned(),
            (true, nodes) => format!("sends clients to {}", counted(nodes.len(), "node")),
        };
        let _ = writeln!(text, "\nload balancer {} {state}", front.url);
    }
    if let Some(rollout) = &status.rollout {
        let _ = writeln!(
            text,
            "\na rollout is open, epoch {}: `vault-bake rollout status {}` prints its steps",
            rollout.epoch, status.cluster
        );
    }
    text
}

/// Returns the time until the certificate ends.
fn certificate(node: &NodeStatus, now: Timestamp) -> String {
    let Some(end) = node.certificate_end else {
        return "-".to_owned();
    };
    match end.as_second() - now.as_second() {
        ..=0 => "over".to_owned(),
        left @ ..172_800 => format!("{}h", left / 3600),
        left => format!("{}d", left / 86_400),
    }
}

fn remarks(node: &NodeStatus, valid_h: u32, now: Timestamp) -> Vec<String> {
    let mut remarks = Vec::new();
    remarks.extend(node.reason.clone());
    match node.expiry(now, valid_h) {
        Expiry::Fine => {}
        Expiry::Soon => remarks.push("its certificate ends soon".to_owned()),
        Expiry::Ended => remarks.push("its certificate has ended".to_owned()),
    }
    remarks.extend(node.image_problem.clone());
    remarks.extend(
        node.outdated_by
            .as_ref()
            .map(|newer| format!("outdated by {newer}")),
    );
    remarks
}
