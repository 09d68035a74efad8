//! `verify`: proves the store, or a pin file.

use std::path::Path;

use vault_bake::pin::PinFile;
use vault_bake::store::{Allow, Depth};

use crate::commands::{pin, print_json, print_line};
use crate::exit::{Exit, Failure};
use crate::invocation::{Invocation, clock};

pub async fn run(session: &Invocation, records_only: bool) -> Result<Exit, Failure> {
    let depth = if records_only {
        Depth::Records
    } else {
        Depth::Artifacts
    };
    let report = session.open_store().await?.verify(depth).await?;
    if session.json {
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

/// Proves a pin file: by itself, and where somebody named a store, against that one as well.
pub async fn pins(session: &Invocation, path: &Path) -> Result<Exit, Failure> {
    let file = match pin::parse(path) {
        // Whoever asks for proof has a file that proves nothing.
        Err(failure) if path.exists() => return Err(failure.ending_with(Exit::Integrity)),
        parsed => parsed?,
    };
    let mut proved = file.verify(session.keys.trust()?.as_ref())?;
    if session.store_named() {
        let (head, refused) = against_store(session, &file).await?;
        proved.continued_by(head);
        proved.refused = refused;
    }
    if session.json {
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

/// Where the store's log ends, and which pins it speaks against.
async fn against_store(
    session: &Invocation,
    file: &PinFile,
) -> Result<(u64, Vec<String>), Failure> {
    let store = session.open_store().await?;
    let history = store.history().await?;
    file.check_store_lineage(&store, &history).await?;
    let mut refused = Vec::new();
    for (name, status) in file.evaluate(&store, &history, clock()).await? {
        match status.refusal(Allow::default()) {
            Some(obstacle) => refused.push(format!("pin {name}: {}", obstacle.why)),
            None => {
                let warnings = status.warnings().into_iter();
                warnings.for_each(|why| session.events.note(format!("warning: pin {name}: {why}")));
            }
        }
    }
    Ok((history.head(), refused))
}
