//! `rollback`: takes a channel back, as a new generation.

use vault_bake::store::Rollback;

use crate::commands::promote::carry_out;
use crate::exit::{Exit, Failure};
use crate::invocation::{Invocation, clock, resolve};

/// What is wanted.
pub struct Wish<'a> {
    pub to: Option<&'a str>,
    pub reason: &'a str,
    pub data_restored_from: Option<&'a str>,
    pub dry_run: bool,
}

pub async fn run(session: &Invocation, channel: &str, wish: Wish<'_>) -> Result<Exit, Failure> {
    let (image, channel) = split(channel)?;
    let store = session.open_signing_store().await?;
    let to = match wish.to {
        Some(to) => Some(resolve(&store, to).await?),
        None => None,
    };
    let rollback = Rollback {
        image,
        channel,
        to,
        why: wish.reason,
        data_restored_from: wish.data_restored_from,
    };
    let set = store.plan_rollback(rollback, clock()).await?;
    carry_out(session, &store, set, wish.dry_run).await
}

/// `name:channel` in its two parts.
pub fn split(text: &str) -> Result<(&str, &str), Failure> {
    text.split_once(':')
        .ok_or_else(|| Failure::usage(format!("`{text}` is no channel: write name:channel")))
}
