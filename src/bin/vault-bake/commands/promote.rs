//! `promote`: moves a channel to an image.

use vault_bake::store::event::ChannelSet;
use vault_bake::store::{AnyBackend, Store};

use crate::commands::{print_json, print_line};
use crate::exit::{Exit, Failure};
use crate::world::{Session, clock, resolve};

pub async fn run(
    session: &Session,
    reference: &str,
    channel: &str,
    expect: Option<u64>,
    note: Option<String>,
    dry_run: bool,
) -> Result<Exit, Failure> {
    let store = session.open_signing_store().await?;
    let digest = resolve(&store, reference).await?;
    let set = store
        .plan_promotion(&digest, channel, expect, note, clock())
        .await?;
    carry_out(session, &store, set, dry_run).await
}

/// Moves the channel, or says what would move, and tells it.
pub async fn carry_out(
    session: &Session,
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
