//! `promote`: moves a channel to an image.

use vault_bake::digest::Digest;
use vault_bake::manifest::{InvalidReference, Reference};
use vault_bake::store::event::ChannelSet;
use vault_bake::store::{Allow, AnyBackend, Store};

use crate::commands::{print_json, print_line};
use crate::exit::{Exit, Failure};
use crate::invocation::{Invocation, clock};

pub async fn run(
    session: &Invocation,
    reference: &str,
    channel: &str,
    expect: Option<u64>,
    note: Option<String>,
    dry_run: bool,
) -> Result<Exit, Failure> {
    let store = session.open_signing_store().await?;
    let digest = choose(&store, reference).await?;
    let channel = name_alone(&store, &digest, channel).await?;
    let set = store
        .plan_promotion(&digest, channel, expect, note, clock())
        .await?;
    carry_out(session, &store, set, dry_run).await
}

/// The manifest that a reference means: of a name alone, the newest image that may be deployed.
async fn choose(store: &Store<AnyBackend>, reference: &str) -> Result<Digest, Failure> {
    let reference: Reference = reference
        .parse()
        .map_err(|error: InvalidReference| Failure::usage(error.to_string()))?;
    // What was asked for by more than its name is looked at when the move is planned.
    if !matches!(reference, Reference::Newest { .. }) {
        return Ok(store.resolve(&reference).await?);
    }
    let history = store.history().await?;
    let chosen = store.choose(&history, &reference, Allow::default(), clock());
    Ok(chosen.await?.manifest)
}

/// The channel of `channel` or `image:channel`.
async fn name_alone<'a>(
    store: &Store<AnyBackend>,
    manifest: &Digest,
    channel: &'a str,
) -> Result<&'a str, Failure> {
    let Some((image, alone)) = channel.split_once(':') else {
        return Ok(channel);
    };
    let recorded = store.recorded(manifest).await?;
    if image == recorded.put.image {
        return Ok(alone);
    }
    Err(Failure::usage(format!(
        "cannot promote {} to {channel}: that is a channel of another image",
        recorded.put.name()
    ))
    .hint(format!(
        "Write `{alone}` or `{}:{alone}`.",
        recorded.put.image
    )))
}

/// Moves the channel, or says what would move, and tells it.
pub async fn carry_out(
    session: &Invocation,
    store: &Store<AnyBackend>,
    set: ChannelSet,
    dry_run: bool,
) -> Result<Exit, Failure> {
    if !dry_run {
        store.move_channel(set.clone(), clock()).await?;
    }
    let history = store.history().await?;
    let name = |digest| match history.by_digest(digest) {
        Some(recorded) => recorded.put.name(),
        None => digest.to_string(),
    };
    if session.json {
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
    Ok(Exit::Done)
}
