//! `diff`: what differs between two images.

use vault_bake::manifest::diff::diff;

use crate::commands::{print_json, print_line};
use crate::exit::{Exit, Failure};
use crate::world::Session;

pub async fn run(session: &Session, from: &str, to: &str) -> Result<Exit, Failure> {
    let (store, older) = session.find(from).await?;
    let (_, newer) = session.find(to).await?;
    let (older, newer) = (store.manifest(&older).await?, store.manifest(&newer).await?);
    let packages = (store.packages(&older).await?, store.packages(&newer).await?);
    let difference = diff(&older, &newer, Some((&packages.0, &packages.1)));
    if session.json {
        print_json(&serde_json::to_value(&difference).unwrap_or_default());
    } else {
        print_line(&difference.to_string());
    }
    Ok(Exit::Done)
}
