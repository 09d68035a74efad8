//! `verify`: verifies a store, or a pin file.

use std::path::Path;

use vault_bake::pin::PinFile;
use vault_bake::store::{Allow, Depth};

use crate::args::release::Verify;
use crate::commands::{pin, print_json, print_line};
use crate::exit::{Exit, Failure};
use crate::invocation::{Invocation, clock};

pub async fn run(invocation: &Invocation, args: &Verify) -> Result<Exit, Failure> {
    match &args.pins {
        Some(path) => verify_pins(invocation, path).await,
        None => verify_store(invocation, args.records_only).await,
    }
}

async fn verify_store(invocation: &Invocation, records_only: bool) -> Result<Exit, Failure> {
    let depth = if records_only {
        Depth::Records
    } else {
        Depth::Artifacts
    };
    let report = invocation.open_store().await?.verify(depth).await?;
    if invocation.json {
        print_json(&serde_json::to_value(&report).unwrap_or_default());
    } else {
        print_line(&report.to_string());
    }
    Ok(if report.is_sound() {
        Exit::Done
    } else {
        Exit::Integrity
    })
}

/// Verifies a pin file, also against the store if the user names one.
async fn verify_pins(invocation: &Invocation, path: &Path) -> Result<Exit, Failure> {
    let file = match pin::parse(path) {
        // A malformed file proves nothing, so this is a failed verification and not a usage error.
        Err(failure) if path.exists() => return Err(failure.ending_with(Exit::Integrity)),
        parsed => parsed?,
    };
    let mut proved = file.verify(invocation.keys.trust()?.as_ref())?;
    if invocation.is_store_named() {
        let (head, refused) = compare_with_store(invocation, &file).await?;
        proved.confirm_by_store(head);
        proved.refused = refused;
    }
    if invocation.json {
        print_json(&serde_json::to_value(&proved).unwrap_or_default());
    } else {
        print_line(&proved.to_string());
    }
    Ok(if proved.refused.is_empty() {
        Exit::Done
    } else {
        Exit::Conflict
    })
}

/// Returns the last entry of the store's log, and the pins whose images must not be deployed.
async fn compare_with_store(
    invocation: &Invocation,
    file: &PinFile,
) -> Result<(u64, Vec<String>), Failure> {
    let store = invocation.open_store().await?;
    let history = store.history().await?;
    file.check_store_lineage(&store, &history).await?;
    let mut refused = Vec::new();
    for (name, status) in file.evaluate(&store, &history, clock()).await? {
        if let Some(obstacle) = status.refusal(Allow::default()) {
            refused.push(format!("pin {name}: {}", obstacle.why));
            continue;
        }
        for reason in status.warnings() {
            let warning = format!("warning: pin {name}: {reason}");
            invocation.events.note(warning);
        }
    }
    Ok((history.head(), refused))
}
