//! `rollout status`: what is done, what is next, and what clients felt.

use std::fmt::Write as _;

use vault_bake::rollout::{RolloutStatus, StepState, StepStatus, status};
use vault_bake::terminal::counted;

use super::duration;
use super::work::way_on;
use crate::args::rollout::Status;
use crate::commands::cluster::open;
use crate::commands::{print_json, print_line, print_text};
use crate::exit::{Exit, Failure};
use crate::invocation::Invocation;

pub async fn run(invocation: &Invocation, args: &Status) -> Result<Exit, Failure> {
    let opened = open(invocation, &args.named)?;
    let store = invocation.open_store().await?;
    let found = status(&opened.cluster(), &store).await?;
    if invocation.json {
        print_json(&serde_json::json!(found));
        return Ok(Exit::Done);
    }
    let name = &opened.file.name;
    match &found {
        Some(found) => print_text(&screen(found)),
        None => print_line(&format!("cluster {name} has no open rollout")),
    }
    Ok(Exit::Done)
}

fn screen(status: &RolloutStatus) -> String {
    let name = &status.cluster;
    let state = match (status.is_running, status.is_elsewhere, &status.resting) {
        (true, _, _) => "a controller works on it".to_owned(),
        (false, true, _) => "another controller has it".to_owned(),
        (false, false, Some(why)) => format!("it rests: {why}"),
        (false, false, None) => "its controller has ended".to_owned(),
    };
    // Writing to a string cannot fail.
    let mut text = String::new();
    let _ = writeln!(
        text,
        "rollout of cluster {name}, epoch {}, begun {:.0}: {state}\n",
        status.epoch, status.begun_at
    );
    for (index, step) in status.steps.iter().enumerate() {
        let _ = writeln!(text, "{:>3}  {}", index + 1, line(step));
    }
    let figures = &status.figures;
    for line in &status.damaged {
        let _ = writeln!(text, "\n{line}");
    }
    let _ = writeln!(
        text,
        "\nclients: {}, {} failed, {} lost\n         longest gap {}, slowest request {}",
        counted(figures.requests, "request"),
        figures.failed,
        counted(figures.lost, "write"),
        duration(figures.longest_gap_ms),
        duration(figures.slowest_ms)
    );
    if !status.is_running {
        let take_over = if status.is_elsewhere {
            " --take-over"
        } else {
            ""
        };
        let _ = writeln!(text, "{}", way_on(name, take_over, status.can_abort));
    }
    text
}

fn line(step: &StepStatus) -> String {
    let state = match step.state {
        StepState::Done => "done",
        StepState::Skipped => "was done",
        StepState::Begun => "begun",
        StepState::Failed => "FAILED",
        StepState::Undone => "undone",
        StepState::Waiting => "",
    };
    let time = step.elapsed_ms.map(duration).unwrap_or_default();
    format!("{state:<8}  {time:>9}  {}", step.step)
}
