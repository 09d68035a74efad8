//! `gc`: deletes artifacts that nothing needs, in two steps.
//! Collects uses outside of the event log; the library plans and deletes.

use std::collections::BTreeMap;
use std::path::Path;

use vault_bake::cluster::state::{State, read_all};
use vault_bake::digest::Digest;
use vault_bake::store::event::Retention;
use vault_bake::store::gc::ExternalUses;
use vault_bake::store::{AnyBackend, Store};
use vault_bake::terminal::visible_line;

use crate::args::gc::Gc;
use crate::commands::gc_report::{print_applied, print_dry_run, print_plan, print_survey};
use crate::commands::gc_sources::Sources;
use crate::commands::pin;
use crate::exit::{Exit, Failure};
use crate::invocation::{Invocation, PROC, clock};

pub async fn run(invocation: &Invocation, args: &Gc) -> Result<Exit, Failure> {
    let keep = Retention {
        generations: args.keep_generations,
        min_age_s: args.min_age,
        pin_files: 0,
        in_use_lists: 0,
    };
    match args.apply {
        Some(entry) => apply(invocation, args, entry).await,
        None if args.plan => plan(invocation, args, &keep).await,
        None => {
            let dry_run = dry_run(invocation, args, &keep);
            invocation.interrupt.or(dry_run).await?
        }
    }
}

async fn dry_run(invocation: &Invocation, args: &Gc, keep: &Retention) -> Result<Exit, Failure> {
    let store = invocation.open_store().await?;
    let uses = external_uses(invocation, &Sources::given(args), &store).await?;
    let history = store.history().await?;
    let survey = store.survey(&history, keep, &uses, clock()).await?;
    print_survey(invocation, &survey);
    print_dry_run(invocation, &survey, &history, &uses);
    Ok(Exit::Done)
}

async fn plan(invocation: &Invocation, args: &Gc, keep: &Retention) -> Result<Exit, Failure> {
    let store = invocation.open_signing_store().await?;
    let sources = Sources::given(args);
    let uses = external_uses(invocation, &sources, &store).await?;
    let (survey, planned) = store.plan_gc(keep, &uses, args.grace, clock()).await?;
    if let Some(planned) = &planned {
        sources.save(&invocation.cache, &store.origin(), planned.seq)?;
    }
    print_survey(invocation, &survey);
    print_plan(invocation, &survey, planned.as_ref(), &uses);
    Ok(Exit::Done)
}

async fn apply(invocation: &Invocation, args: &Gc, entry: u64) -> Result<Exit, Failure> {
    let store = invocation.open_signing_store().await?;
    let sources = Sources::of_plan(args, &invocation.cache, &store.origin(), entry);
    if sources != Sources::given(args) {
        note_sources(invocation, &sources);
    }
    let uses = external_uses(invocation, &sources, &store).await?;
    let applied = store.apply_gc(entry, &uses, clock()).await?;
    print_applied(invocation, entry, &applied, &uses);
    Ok(if applied.failed.is_empty() {
        Exit::Done
    } else {
        Exit::Leftovers
    })
}

/// Returns the uses of images that are not in the event log: pin files, lists and processes.
async fn external_uses(
    invocation: &Invocation,
    sources: &Sources,
    store: &Store<AnyBackend>,
) -> Result<ExternalUses, Failure> {
    let mut uses = ExternalUses::default();
    let trust = invocation.keys.trust()?;
    if !sources.pins.is_empty() {
        let history = store.history().await?;
        for path in &sources.pins {
            let file = match pin::parse(path) {
                // An unreadable pin file may pin any image, so nothing can be deleted.
                Err(failure) if path.exists() => return Err(failure.ending_with(Exit::Integrity)),
                parsed => parsed?,
            };
            file.add_to_uses(&mut uses, trust.as_ref(), store, &history)
                .await?;
        }
    }
    for path in &sources.in_use {
        let list = std::fs::read_to_string(path);
        let list = list
            .map_err(|error| Failure::usage(format!("cannot read {}: {error}", path.display())))?;
        uses.add_in_use_list(&list);
    }
    for (_, state) in read_all(&invocation.cluster_states()?)? {
        uses.add_nodes(nodes_by_image(&state));
    }
    store.scan_processes(&mut uses, Path::new(PROC)).await?;
    for name in uses.stray() {
        let name = visible_line(name);
        invocation.events.note(format!(
            "warning: {name} is not a file of the store and is not deleted; move it out of the store"
        ));
    }
    Ok(uses)
}

/// Returns the manifests of a cluster's nodes, each with the names of its nodes.
fn nodes_by_image(state: &State) -> Vec<(Digest, String)> {
    let mut names: BTreeMap<Digest, Vec<&str>> = BTreeMap::new();
    for (name, node) in &state.nodes {
        names.entry(node.manifest).or_default().push(name);
    }
    let described = |(manifest, names): (Digest, Vec<&str>)| {
        let names = names.join(", ");
        (manifest, format!("cluster {} ({names})", state.name))
    };
    names.into_iter().map(described).collect()
}

fn note_sources(invocation: &Invocation, sources: &Sources) {
    let files = sources.pins.iter().chain(&sources.in_use);
    let files: Vec<String> = files.map(|path| path.display().to_string()).collect();
    invocation.events.note(format!(
        "reading the files of the plan: {}",
        files.join(", ")
    ));
}
