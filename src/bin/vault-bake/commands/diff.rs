//! `diff`: what differs between two images.

use vault_bake::manifest::diff::diff;

use crate::commands::{print_json, print_line};
use crate::exit::{Exit, Failure};
use crate::world::Session;

pub async fn run(session: &Session, from: &str, to: &str) -> Result<Exit, Failure> {
    let store = session.open_store().await?;
    let older = store
        .manifest(&session.resolve(&store, from).await?)
        .await?;
    let newer = store.manifest(&session.resolve(&store, to).await?).await?;
    let packages = (store.packages(&older).await?, store.packages(&newer).await?);
    let difference = diff(&older, &newer, Some((&packages.0, &packages.1)));
    if session.json {
        print_json(&serde_json::to_value(&difference).unwrap_or_default());
    } else {
        print_line(&difference.to_string());
    }
    Ok(Exit::Done)
}
