//! `restore`: takes back a revocation.

use vault_bake::store::StoreError;
use vault_bake::store::event::Body;

use crate::args::release::Restore;
use crate::commands::{print_json, print_line, proposals};
use crate::exit::{Exit, Failure};
use crate::invocation::{Invocation, clock, new_id};

pub async fn run(invocation: &Invocation, args: &Restore) -> Result<Exit, Failure> {
    let Restore {
        entry,
        reason,
        dry_run,
        propose,
    } = args;
    let store = invocation.open_store_unless(*dry_run).await?;
    let history = store.history().await?;
    let revocation = history.revocations().iter().find(|one| one.seq == *entry);
    let revocation = revocation.ok_or(StoreError::NoRevocation(*entry))?;
    if !dry_run {
        let body = Body::Restore {
            revocation: *entry,
            why: reason.clone(),
        };
        if propose.propose {
            return proposals::propose(invocation, &store, body).await;
        }
        store.append(new_id(), clock(), body).await?;
    }
    if invocation.json {
        print_json(&serde_json::json!({ "restored": !dry_run, "entry": entry }));
        return Ok(Exit::Done);
    }
    let verb = if *dry_run {
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
