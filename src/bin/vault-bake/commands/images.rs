//! `images`: what is recorded, whether it was tested, and what must not or can no longer be deployed.

use vault_bake::store::ImageRow;

use crate::commands::{print_header, print_line};
use crate::exit::{Exit, Failure};
use crate::invocation::{Invocation, clock};

pub async fn run(session: &Invocation, name: Option<&str>) -> Result<Exit, Failure> {
    let rows = session.open_store().await?.images(clock()).await?;
    let rows = rows
        .iter()
        .filter(|row| name.is_none_or(|name| row.image == name));
    let lines: Vec<String> = rows
        .map(|row| match session.json {
            true => serde_json::to_value(row).unwrap_or_default().to_string(),
            false => line(row),
        })
        .collect();
    if !session.json && !lines.is_empty() {
        print_header(&columns("IMAGE", "TEST", "SIZE", "MANIFEST", "CHANNELS"));
    }
    // At once: a write for each of a hundred thousand lines takes longer than all the rest.
    if !lines.is_empty() {
        print_line(&lines.join("\n"));
    }
    Ok(Exit::Done)
}

fn columns(name: &str, state: &str, size: &str, manifest: &str, channels: &str) -> String {
    let line = format!("{name:<32} {state:<9} {size:>10}  {manifest:<12}  {channels}");
    line.trim_end().to_owned()
}

fn line(row: &ImageRow) -> String {
    let mut marks = Vec::new();
    if row.fixture {
        marks.push("  FIXTURE RELEASES".to_owned());
    }
    if let Some(why) = &row.revoked {
        marks.push(format!("  REVOKED: {why}"));
    }
    match (&row.removed, row.artifact_present) {
        (Some(removal), _) => marks.push(format!("  image file removed {removal}")),
        (None, false) => marks.push("  image file missing".to_owned()),
        (None, true) => {}
    }
    let line = columns(
        &format!("{}@{}", row.image, row.version),
        &row.state.to_string(),
        &format!("{} MiB", row.size / (1024 * 1024)),
        &row.digest.short(),
        &row.channels.join(", "),
    );
    line + &marks.concat()
}
