//! `images`: what is recorded, and whether it was tested.

use vault_bake::store::ImageRow;

use crate::commands::print_line;
use crate::exit::{Exit, Failure};
use crate::world::Session;

pub async fn run(session: &Session, name: Option<&str>) -> Result<Exit, Failure> {
    let rows = session.open_store().await?.images().await?;
    let rows = rows
        .iter()
        .filter(|row| name.is_none_or(|name| row.image == name));
    let lines: Vec<String> = rows
        .map(|row| match session.json {
            true => serde_json::to_value(row).unwrap_or_default().to_string(),
            false => line(row),
        })
        .collect();
    // At once: a write for each of a hundred thousand lines takes longer than all the rest.
    if !lines.is_empty() {
        print_line(&lines.join("\n"));
    }
    Ok(Exit::Done)
}

fn line(row: &ImageRow) -> String {
    let name = format!("{}@{}", row.image, row.version);
    let mut marks = String::new();
    if row.fixture {
        marks += "  FIXTURE RELEASES";
    }
    if !row.artifact_present {
        marks += "  image file missing";
    }
    format!(
        "{name:<32} {:<9} {:>6} MiB  {}{marks}",
        row.state.to_string(),
        row.size / (1024 * 1024),
        row.digest.short()
    )
}
