//! `rollout log`: lists the rollouts of a store.

use std::collections::{BTreeMap, BTreeSet};

use vault_bake::store::history::History;

use super::{Entry, duration, is_last_epoch, title};
use crate::args::rollout::Log;
use crate::commands::{print_header, print_json, print_line};
use crate::exit::{Exit, Failure};
use crate::invocation::Invocation;
use crate::output::eprint_line;

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
    if entries.is_empty() {
        eprint_line(&nothing(&history, requested.map(String::as_str)));
    }
    if invocation.json {
        for entry in &entries {
            print_json(&entry.to_json(&history));
        }
        return Ok(Exit::Done);
    }
    let titles: Vec<String> = entries
        .iter()
        .map(|entry| title(&history, entry.last))
        .collect();
    let width = titles.iter().map(String::len).max().unwrap_or(0).max(9);
    if !entries.is_empty() {
        let titles = ["ROLLOUT", "BEGUN", "STATE", "FAILED LOST    GAP", "IMAGES"];
        print_header(&columns(width, titles));
    }
    for (title, entry) in titles.iter().zip(&entries) {
        print_line(&line(width, title, entry));
    }
    Ok(Exit::Done)
}

/// Returns that no rollout was found, and which there are.
fn nothing(history: &History, cluster: Option<&str>) -> String {
    let names = history.rollouts().iter().map(|one| one.name.as_str());
    let names: Vec<&str> = BTreeSet::from_iter(names).into_iter().collect();
    match (cluster, names.is_empty()) {
        (Some(cluster), false) => format!(
            "the store has no rollout of {cluster}; it has rollouts of: {}",
            names.join(", ")
        ),
        _ => "the store has no rollout".to_owned(),
    }
}

fn columns(width: usize, [rollout, begun, state, figures, images]: [&str; 5]) -> String {
    format!("{rollout:<width$} {begun:<10} {state:<9} {figures:<18} {images}")
}

fn line(width: usize, title: &str, entry: &Entry<'_>) -> String {
    let last = entry.last;
    let record = entry.record.as_ref();
    let begun = record.map_or(last.at, |record| record.started_at);
    let canary = record.and_then(|record| record.canary.as_ref());
    let figures = canary.map_or("-".to_owned(), |canary| {
        let gap = duration(canary.longest_gap_ms);
        format!("{:>6} {:>4} {gap:>6}", canary.failed, canary.lost)
    });
    let begun = begun.to_string();
    columns(
        width,
        [
            title,
            &begun[..10],
            &entry.state(),
            &figures,
            &images(entry),
        ],
    )
}

/// Returns the versions of the tiers that change: from and to for one, the targets for several.
fn images(entry: &Entry<'_>) -> String {
    let tiers = entry.targets.iter();
    let tiers = tiers.map(|(tier, to)| (tier, versions(&entry.before(tier)), versions(to)));
    let changed: Vec<_> = tiers.filter(|(_, from, to)| from != to).collect();
    if let [(tier, from, to)] = &changed[..] {
        return format!("{tier} {from}→{to}");
    }
    let mut by_target: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (tier, _, to) in &changed {
        by_target.entry(to).or_default().push(tier);
    }
    let targets = by_target.iter();
    let targets = targets.map(|(to, tiers)| format!("{} →{to}", tiers.join(", ")));
    match changed.is_empty() {
        true => "the same versions".to_owned(),
        false => targets.collect::<Vec<_>>().join("; "),
    }
}

/// Returns the versions of `image@version`.
fn versions(images: &[String]) -> String {
    let versions = images.iter().map(|image| {
        let version = image.split_once('@');
        version.map_or(image.as_str(), |(_, version)| version)
    });
    versions.collect::<Vec<_>>().join("+")
}
