//! `rollout log`: lists the rollouts of a store.

use super::{Entry, duration, is_last_epoch};
use crate::args::rollout::Log;
use crate::commands::{print_header, print_json, print_line};
use crate::exit::{Exit, Failure};
use crate::invocation::Invocation;

pub async fn run(invocation: &Invocation, args: &Log) -> Result<Exit, Failure> {
    let store = invocation.open_store().await?;
    let history = store.history().await?;
    let rollouts = history.rollouts().iter();
    let rollouts = rollouts.filter(|one| is_last_epoch(&history, one));
    let requested = args.cluster.as_ref();
    let rollouts = rollouts
        .filter(|one| requested.is_none_or(|cluster| [&one.name, &one.cluster].contains(&cluster)));
    let mut entries = Vec::new();
    for last in rollouts {
        entries.push(Entry::read(&store, &history, last).await?);
    }
    if !invocation.json && !entries.is_empty() {
        print_header(&columns(
            "ROLLOUT",
            "BEGUN",
            "STATE",
            "FAILED LOST GAP",
            "IMAGES",
        ));
    }
    for entry in &entries {
        if invocation.json {
            print_json(&entry.to_json(&history));
        } else {
            print_line(&line(entry));
        }
    }
    Ok(Exit::Done)
}

fn columns(rollout: &str, begun: &str, state: &str, figures: &str, images: &str) -> String {
    format!("{rollout:<10} {begun:<10}  {state:<9}  {figures:<15}  {images}")
}

fn line(entry: &Entry<'_>) -> String {
    let last = entry.last;
    let record = entry.record.as_ref();
    let begun = record.map_or(last.at, |record| record.started_at);
    let canary = record.and_then(|record| record.canary.as_ref());
    let figures = canary.map_or("-".to_owned(), |canary| {
        let gap = duration(canary.longest_gap_ms);
        format!("{:>6} {:>4} {gap}", canary.failed, canary.lost)
    });
    let tiers = entry.targets.iter().filter_map(|(tier, to)| {
        let from = versions(&entry.before(tier));
        let to = versions(to);
        (from != to).then(|| format!("{tier} {from}→{to}"))
    });
    let images: Vec<String> = tiers.collect();
    let images = match images.is_empty() {
        true => "same versions".to_owned(),
        false => images.join(", "),
    };
    columns(
        &format!("{}@{}", last.name, last.epoch),
        &begun.to_string()[..10],
        &entry.state(),
        &figures,
        &images,
    )
}

/// Returns the versions of `image@version`.
fn versions(images: &[String]) -> String {
    let versions = images.iter().map(|image| {
        let version = image.split_once('@');
        version.map_or(image.as_str(), |(_, version)| version)
    });
    versions.collect::<Vec<_>>().join("+")
}
