//! `verify`: proves the store.

use vault_bake::store::Depth;

use crate::commands::{print_json, print_line};
use crate::exit::{Exit, Failure};
use crate::world::Session;

pub async fn run(session: &Session, records_only: bool) -> Result<Exit, Failure> {
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
