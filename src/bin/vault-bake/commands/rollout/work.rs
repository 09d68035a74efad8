//! `rollout start`, `resume` and `abort`: the controller.

use vault_bake::cluster::Images;
use vault_bake::cluster::file::ImageRef;
use vault_bake::manifest::{Reference, Tool};
use vault_bake::rollout::{self, Ended, Options, Outcome, Rest};
use vault_bake::store::Allow;
use vault_bake::terminal::counted;

use super::duration;
use crate::args::cluster::Named;
use crate::args::rollout::{Abort, Control, Resume, Start, Targets};
use crate::commands::cluster::up::read_shares;
use crate::commands::cluster::{context, open};
use crate::commands::{print_json, print_line};
use crate::exit::{Exit, Failure};
use crate::invocation::{Invocation, clock};

/// What a controller does.
enum Work {
    Start,
    Resume,
    Abort,
}

pub async fn start(invocation: &Invocation, args: &Start) -> Result<Exit, Failure> {
    let tool = invocation.tool();
    let targets = Some(&args.targets);
    let options = options(&tool, targets, &args.control, false)?;
    run(
        invocation,
        &args.named,
        &options,
        args.targets.allow_untested,
        &Work::Start,
    )
    .await
}

pub async fn resume(invocation: &Invocation, args: &Resume) -> Result<Exit, Failure> {
    let tool = invocation.tool();
    let options = options(&tool, None, &args.control, args.take_over)?;
    run(invocation, &args.named, &options, false, &Work::Resume).await
}

pub async fn abort(invocation: &Invocation, args: &Abort) -> Result<Exit, Failure> {
    let tool = invocation.tool();
    let options = options(&tool, None, &args.control, args.take_over)?;
    run(invocation, &args.named, &options, false, &Work::Abort).await
}

fn options<'a>(
    tool: &'a Tool,
    targets: Option<&'a Targets>,
    control: &Control,
    take_over: bool,
) -> Result<Options<'a>, Failure> {
    Ok(Options {
        to: match targets {
            Some(targets) => image_refs(&targets.to)?,
            None => Vec::new(),
        },
        unseal_shares: read_shares(control.unseal_keys.as_ref())?,
        all_nodes: targets.is_some_and(|targets| targets.all_nodes),
        max_surge: targets.and_then(|targets| targets.max_surge),
        soak_s: targets.map_or(0, |targets| targets.soak),
        stop_before_hand_over: control.stop_before_handover,
        require_no_failure: control.require_no_failure,
        allow_version_jump: targets.map_or(Ok(None), jump_reason)?,
        allow_unpromoted: targets.is_some_and(|targets| targets.allow_unpromoted),
        take_over,
        tool,
    })
}

/// Returns the reason to accept a jump of versions.
pub(super) fn jump_reason(targets: &Targets) -> Result<Option<&str>, Failure> {
    let reason = targets.allow_version_jump.as_deref().map(str::trim);
    if reason == Some("") {
        return Err(Failure::usage("--allow-version-jump is empty").hint(
            "Say which upgrade notes you read: the record of the rollout keeps the reason.",
        ));
    }
    Ok(reason)
}

/// Parses the images of `--to`. A name alone would be the image that was built last.
pub(super) fn image_refs(texts: &[String]) -> Result<Vec<ImageRef>, Failure> {
    let parse = |text: &String| match text.parse()? {
        Reference::Newest { image } => Err(Failure::usage(format!(
            "--to {image}: expected a channel or a version of the image"
        ))
        .hint(format!(
            "Write `--to {image}:stable`, or `--to {image}@VERSION`."
        ))),
        reference => Ok(ImageRef::Store(reference)),
    };
    texts.iter().map(parse).collect()
}

async fn run(
    invocation: &Invocation,
    named: &Named,
    options: &Options<'_>,
    untested: bool,
    work: &Work,
) -> Result<Exit, Failure> {
    let opened = open(invocation, named)?;
    let store = invocation.open_signing_store().await?;
    let trust = invocation.keys.trust()?;
    let images = Images {
        store: &store,
        trust: trust.as_ref(),
        allow: Allow {
            revoked: false,
            untested,
        },
    };
    let (cluster, context) = (opened.cluster(), context(invocation));
    let ended = match work {
        Work::Start => rollout::start(&cluster, &images, options, &context).await?,
        Work::Resume => Some(rollout::resume(&cluster, &images, options, &context).await?),
        Work::Abort => Some(rollout::abort(&cluster, &images, options, &context).await?),
    };
    let Some(ended) = ended else {
        print_unchanged(invocation, &opened.file.name);
        return Ok(Exit::Done);
    };
    if invocation.json {
        print_json(&json(&ended));
    } else {
        print_ended(&ended);
    }
    Ok(match ended.outcome {
        Outcome::Completed => Exit::Done,
        Outcome::Resting {
            why: Rest::Interrupted,
            ..
        } => Exit::Interrupted,
        Outcome::Resting {
            why: Rest::BeforeHandOver,
            ..
        } => Exit::Done,
        Outcome::Resting { .. } | Outcome::Changed { .. } => Exit::Failed,
    })
}

/// Prints that a rollout was not begun, because it has nothing to do.
fn print_unchanged(invocation: &Invocation, name: &str) {
    if invocation.json {
        print_json(&serde_json::json!({
            "event": "finished", "time": clock(), "cluster": name, "state": "unchanged",
        }));
    } else {
        print_line(&nothing_to_do(name));
    }
}

/// Returns that all nodes have their images.
pub(super) fn nothing_to_do(name: &str) -> String {
    format!("cluster {name}: every node has its target image")
}

fn json(ended: &Ended) -> serde_json::Value {
    let (state, next, why) = match &ended.outcome {
        Outcome::Completed => ("completed", None, None),
        Outcome::Resting { next, why } => ("resting", Some(*next), Some(why.to_string())),
        Outcome::Changed { next, why } => ("changed", Some(*next), Some(why.clone())),
    };
    let next = next.and_then(|next| ended.plan.steps.get(next));
    serde_json::json!({
        "event": "finished",
        "time": clock(),
        "cluster": ended.plan.name,
        "state": state,
        "why": why,
        "next": next.map(|step| step.action.to_string()),
        "plan": ended.plan.digest(),
        "figures": ended.figures,
        "record": ended.record,
    })
}

/// Returns what to run for an open rollout. `option` is part of both commands.
pub(super) fn way_on(name: &str, option: &str, can_abort: bool) -> String {
    let back = match can_abort {
        true => format!(", or `vault-bake rollout abort {name}{option}` to go back"),
        false => String::new(),
    };
    format!("Run `vault-bake rollout resume {name}{option}` to continue{back}.")
}

fn print_ended(ended: &Ended) {
    let name = &ended.plan.name;
    let figures = &ended.figures;
    match &ended.outcome {
        Outcome::Completed => {
            let outcome = ended.record.as_ref();
            let outcome = outcome.map_or_else(String::new, |record| record.outcome.to_string());
            print_line(&format!("rollout of cluster {name} {outcome}"));
        }
        Outcome::Resting { next, why } => {
            print_line(&format!("rollout of cluster {name} rests: {why}"));
            if let Some(step) = ended.plan.steps.get(*next) {
                print_line(&format!("next: {}", step.action));
            }
            print_line(&way_on(name, "", ended.plan.goes_back(*next)));
        }
        Outcome::Changed { why, .. } => print_line(&format!("the cluster changed: {why}")),
    }
    print_line(&format!(
        "clients: {}, {} failed, {} tried again, {} lost\n         longest gap {}, slowest request {}",
        counted(figures.requests, "request"),
        figures.failed,
        figures.retried,
        counted(figures.lost, "write"),
        duration(figures.longest_gap_ms),
        duration(figures.slowest_ms)
    ));
}
