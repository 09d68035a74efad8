//! `restore`: takes a revocation back.

use vault_bake::store::StoreError;
use vault_bake::store::event::Body;

use crate::commands::{print_json, print_line};
use crate::exit::{Exit, Failure};
use crate::invocation::{Invocation, clock, new_id};

pub async fn run(
    session: &Invocation,
    entry: u64,
    reason: String,
    dry_run: bool,
) -> Result<Exit, Failure> {
    let store = match dry_run {
        true => session.open_store().await?,
        false => session.open_signing_store().await?,
    };
    let history = store.history().await?;
    let revocation = history.revocations().iter().find(|one| one.seq == entry);
    let revocation = revocation.ok_or(StoreError::NoRevocation(entry))?;
    if !dry_run {
        let body = Body::Restore {
            revocation: entry,
            why: reason,
        };
        store.append(new_id(), clock(), body).await?;
    }
    if session.json {
        print_json(&serde_json::json!({ "restored": !dry_run, "entry": entry }));
        return Ok(Exit::Done);
    }
    let verb = if dry_run {
        "would take back"
    } else {
        "took back"
    };
    print_line(&format!(
        "{verb} the revocation of {} (entry {entry}: {})",
        revocation.revoke.rule, revocation.revoke.why
    ));
    Ok(Exit::Done)
}
