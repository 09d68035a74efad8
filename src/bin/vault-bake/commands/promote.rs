//! `promote`: moves a channel to an image.

use vault_bake::cluster::file::ClusterFile;
use vault_bake::digest::Digest;
use vault_bake::manifest::Reference;
use vault_bake::store::event::{Body, ChannelSet};
use vault_bake::store::{Allow, AnyBackend, Store};

use crate::args::release::Promote;
use crate::commands::{print_json, print_line, proposals};
use crate::exit::{Exit, Failure};
use crate::invocation::{Invocation, clock};

pub async fn run(invocation: &Invocation, args: &Promote) -> Result<Exit, Failure> {
    let store = invocation.open_planning_store(args.propose.propose).await?;
    let digest = choose_image(&store, &args.reference).await?;
    let channel = channel_of(&store, &digest, &args.channel).await?;
    let set = store
        .plan_promotion(&digest, channel, args.expect, args.note.clone(), clock())
        .await?;
    move_channel(invocation, &store, set, args.dry_run, args.propose.propose).await
}

/// Returns the manifest of an image. A name alone means its newest deployable version.
async fn choose_image(store: &Store<AnyBackend>, reference: &str) -> Result<Digest, Failure> {
    let reference: Reference = reference.parse()?;
    // Other references name one version, which is checked when the move is planned.
    if !matches!(reference, Reference::Newest { .. }) {
        return Ok(store.resolve(&reference).await?);
    }
    let history = store.history().await?;
    let chosen = store.choose(&history, &reference, Allow::default(), clock());
    Ok(chosen.await?.manifest)
}

/// Returns the channel of `channel` or `image:channel`. Fails if it is one of another image.
async fn channel_of<'a>(
    store: &Store<AnyBackend>,
    manifest: &Digest,
    channel: &'a str,
) -> Result<&'a str, Failure> {
    let Some((image, name)) = channel.split_once(':') else {
        return Ok(channel);
    };
    let recorded = store.recorded(manifest).await?;
    if image == recorded.put.image {
        return Ok(name);
    }
    let message = format!(
        "cannot promote {} to {channel}: the channel belongs to another image",
        recorded.put.name()
    );
    let hint = format!("Write `{name}` or `{}:{name}`.", recorded.put.image);
    Err(Failure::usage(message).hint(hint))
}

/// Moves the channel unless `dry_run`, or proposes the move, and prints it.
pub async fn move_channel(
    invocation: &Invocation,
    store: &Store<AnyBackend>,
    set: ChannelSet,
    dry_run: bool,
    propose: bool,
) -> Result<Exit, Failure> {
    if propose && !dry_run {
        return proposals::propose(invocation, store, Body::ChannelSet(set)).await;
    }
    if !dry_run {
        store.move_channel(set.clone(), clock()).await?;
    }
    let history = store.history().await?;
    let name = |digest| match history.by_digest(digest) {
        Some(recorded) => recorded.put.name(),
        None => digest.to_string(),
    };
    if invocation.json {
        print_json(&serde_json::json!({ "moved": !dry_run, "set": set, "name": name(&set.to) }));
        return Ok(Exit::Done);
    }
    let from = set.from.as_ref().map_or("nothing".to_owned(), name);
    let verb = if dry_run { "would move" } else { "moved" };
    print_line(&format!(
        "{verb} {}:{} from {from} to {} (generation {}, {})",
        set.image,
        set.channel,
        name(&set.to),
        set.generation,
        set.reason
    ));
    let channel = format!("{}:{}", set.image, set.channel);
    for cluster in clusters_of(invocation, &channel) {
        print_line(&format!(
            "next: vault-bake rollout start {cluster}, whose definition names {channel}"
        ));
    }
    Ok(Exit::Done)
}

/// Returns the clusters of the project whose definitions name a channel. Broken ones are left out.
fn clusters_of(invocation: &Invocation, channel: &str) -> Vec<String> {
    let names = |name: &String| {
        let file = ClusterFile::load(&invocation.cluster_folder(name));
        file.is_ok_and(|file| {
            let tiers = [&file.consul, &file.vault];
            tiers.iter().any(|tier| tier.image.to_string() == channel)
        })
    };
    invocation.clusters().into_iter().filter(names).collect()
}
