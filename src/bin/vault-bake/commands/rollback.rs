//! `rollback`: moves a channel back to an earlier image, as a new generation.

use vault_bake::store;

use crate::args::release::Rollback;
use crate::commands::channel::ChannelName;
use crate::commands::promote::move_channel;
use crate::exit::{Exit, Failure};
use crate::invocation::{Invocation, clock, resolve};

pub async fn run(invocation: &Invocation, args: &Rollback) -> Result<Exit, Failure> {
    let ChannelName { image, channel } = ChannelName::parse(&args.channel)?;
    let propose = args.propose.propose;
    let store = invocation.open_planning_store(propose).await?;
    let to = match &args.to {
        Some(to) => Some(resolve(&store, to).await?),
        None => None,
    };
    let rollback = store::Rollback {
        image,
        channel,
        to,
        why: &args.reason,
        data_restored_from: args.data_restored_from.as_deref(),
    };
    let set = store.plan_rollback(rollback, clock()).await?;
    move_channel(invocation, &store, set, args.dry_run, propose).await
}
