//! `rollout show`: prints one rollout.

use std::collections::BTreeSet;

use vault_bake::manifest::{EpochFact, RolloutRecord, RolloutStep};
use vault_bake::sign::KeyId;
use vault_bake::store::history::{History, RecordedRollout};
use vault_bake::terminal::counted;

use super::{Entry, duration, is_last_epoch, title};
use crate::args::rollout::Show;
use crate::commands::{print_json, print_line};
use crate::exit::{Exit, Failure};
use crate::invocation::Invocation;

pub async fn run(invocation: &Invocation, args: &Show) -> Result<Exit, Failure> {
    let store = invocation.open_store().await?;
    let history = store.history().await?;
    let entry = Entry::read(&store, &history, find(&history, &args.rollout)?).await?;
    if invocation.json {
        print_json(&entry.to_json(&history));
    } else {
        lines(&entry, &history)
            .iter()
            .for_each(|line| print_line(line));
    }
    Ok(Exit::Done)
}

/// Returns the last epoch of the rollout that `text` means.
fn find<'a>(history: &'a History, text: &str) -> Result<&'a RecordedRollout, Failure> {
    let (cluster, epoch) = match text.split_once('@') {
        None => (text, None),
        Some((cluster, epoch)) => {
            let epoch = epoch.parse::<u64>().map_err(|_| {
                Failure::usage(format!("`{text}` is not a rollout: expected CLUSTER@EPOCH"))
            })?;
            (cluster, Some(epoch))
        }
    };
    let of_cluster = || {
        let rollouts = history.rollouts().iter();
        rollouts.filter(|one| one.name == cluster || one.cluster == cluster)
    };
    let ids: BTreeSet<&str> = of_cluster().map(|one| one.cluster.as_str()).collect();
    if ids.len() > 1 {
        let ids = Vec::from_iter(ids).join(", ");
        let message = format!("cannot choose a rollout: the store has several clusters {cluster}");
        return Err(Failure::usage(message).hint(format!("Name one by its id: {ids}.")));
    }
    // An epoch that was taken over belongs to the rollout of the epochs after it.
    let mut ends = of_cluster().filter(|one| is_last_epoch(history, one));
    let found = match epoch {
        None => ends.next_back(),
        Some(0) => None,
        Some(epoch) => ends.find(|one| one.epoch >= epoch),
    };
    found.ok_or_else(|| {
        Failure::usage(format!("cannot find a rollout {text} in this store"))
            .hint("Run `vault-bake rollout log` to list the rollouts.")
    })
}

fn lines(entry: &Entry<'_>, history: &History) -> Vec<String> {
    let last = entry.last;
    let mut lines = vec![
        format!("rollout    {}", title(history, last)),
        format!("cluster    {}", last.cluster),
        format!("state      {}", entry.state()),
        format!("plan       {}", last.plan.short()),
    ];
    for (index, epoch) in history.rollout_epochs(last).iter().enumerate() {
        lines.push(controller(index, epoch));
    }
    if let Some(end) = &last.end {
        let by = keys(&end.by);
        lines.push(format!("ended      {} by {by}", end.at));
    }
    for (tier, to) in &entry.targets {
        let (from, to) = (entry.before(tier).join(", "), to.join(", "));
        let from = if from.is_empty() {
            "?".to_owned()
        } else {
            from
        };
        lines.push(format!("{tier:<10} {from} → {to}"));
    }
    match &entry.record {
        Some(record) => lines.extend(record_lines(record)),
        None => lines.push(format!(
            "next       vault-bake rollout status {}",
            last.name
        )),
    }
    lines
}

fn controller(index: usize, epoch: &EpochFact) -> String {
    let verb = if index == 0 { "begun" } else { "taken over" };
    let by = keys(&epoch.by);
    format!(
        "{verb:<10} {} by {by} (epoch {})",
        epoch.begun_at, epoch.epoch
    )
}

fn record_lines(record: &RolloutRecord) -> Vec<String> {
    let mut lines = Vec::new();
    if let Some(reason) = &record.version_jump_reason {
        lines.push(format!("jump       accepted: {reason}"));
    }
    if let Some(snapshot) = &record.snapshot {
        let index = snapshot.index.map(|index| format!(", index {index}"));
        lines.push(format!(
            "snapshot   {} bytes, {}{}",
            snapshot.size,
            snapshot.digest.short(),
            index.unwrap_or_default()
        ));
    }
    match &record.canary {
        None => lines.push("clients    not measured: no canary client ran".to_owned()),
        Some(canary) => {
            lines.push(format!(
                "clients    {}, {} of them writes: {} failed, {} lost, {} retried",
                counted(canary.requests, "request"),
                canary.writes,
                canary.failed,
                canary.lost,
                canary.retried
            ));
            let gap = duration(canary.longest_gap_ms);
            let slowest = canary.slowest_ms.map(duration);
            let slowest =
                slowest.map_or_else(String::new, |time| format!(", slowest request {time}"));
            lines.push(format!("           longest gap {gap}{slowest}"));
            if canary.unmeasured_ms > 0 {
                let unmeasured = duration(canary.unmeasured_ms);
                lines.push(format!("           not measured for {unmeasured}"));
            }
        }
    }
    lines.extend(record.notes.iter().map(|note| format!("note       {note}")));
    lines.extend(table(record));
    lines
}

/// Returns the steps as a table. The nodes of a step have a line each.
fn table(record: &RolloutRecord) -> Vec<String> {
    if record.steps.is_empty() {
        return Vec::new();
    }
    let header = ["STEP", "NODES", "RESULT", "TIME", "FAILED", "LOST", "GAP"];
    let mut rows = vec![header.map(ToOwned::to_owned)];
    let measured = record.canary.is_some();
    for step in &record.steps {
        rows.extend(step_rows(step, measured));
    }
    let least = [18, 16, 13, 8, 6, 4, 8];
    let width = |column: usize| {
        let cells = rows.iter().map(|row| row[column].chars().count());
        cells.max().unwrap_or(0).max(least[column])
    };
    let widths: [usize; 7] = std::array::from_fn(width);
    rows.iter().map(|row| columns(row, widths)).collect()
}

fn step_rows(step: &RolloutStep, measured: bool) -> Vec<[String; 7]> {
    let figure = |figure: String| if measured { figure } else { "-".to_owned() };
    let result = match step.unclean {
        true => format!("{}, unclean", step.result),
        false => step.result.to_string(),
    };
    let mut nodes = step.nodes.iter();
    let first = [
        step.step.clone(),
        nodes.next().cloned().unwrap_or_default(),
        result,
        duration(step.elapsed_ms),
        figure(step.failed.to_string()),
        figure(step.lost.to_string()),
        figure(duration(step.longest_gap_ms)),
    ];
    let more = nodes.map(|node| {
        let mut row: [String; 7] = Default::default();
        row[1].clone_from(node);
        row
    });
    std::iter::once(first).chain(more).collect()
}

fn columns(row: &[String; 7], widths: [usize; 7]) -> String {
    let cells = row.iter().zip(widths).enumerate();
    let cells = cells.map(|(column, (cell, width))| match column {
        0..3 => format!("{cell:<width$}"),
        _ => format!("{cell:>width$}"),
    });
    cells.collect::<Vec<_>>().join(" ").trim_end().to_owned()
}

/// Returns the ids of keys, each shortened to 12 digits.
fn keys(ids: &BTreeSet<KeyId>) -> String {
    let short = ids.iter().map(|id| {
        let id = id.to_string();
        id.split_at("sha256:".len() + 12).0.to_owned()
    });
    short.collect::<Vec<_>>().join(", ")
}
