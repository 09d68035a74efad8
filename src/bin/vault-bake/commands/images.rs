//! `images`: what is recorded, whether it was tested, and what must not or can no longer be deployed.

use vault_bake::store::ImageRow;

use crate::commands::print_line;
use crate::exit::{Exit, Failure};
use crate::world::{Session, clock};

pub async fn run(session: &Session, name: Option<&str>) -> Result<Exit, Failure> {
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
    // At once: a write for each of a hundred thousand lines takes longer than all the rest.
    if !lines.is_empty() {
        print_line(&lines.join("\n"));
    }
    Ok(Exit::Done)
}

fn line(row: &ImageRow) -> String {
    let name = format!("{}@{}", row.image, row.version);
    let mut marks = Vec::new();
    if row.fixture {
        marks.push("  FIXTURE RELEASES".to_owned());
    }
    if let Some(why) = &row.revoked {
        marks.push(format!("  REVOKED: {why}"));
    }
    match (&row.removed, row.artifact_present) {
        (Some(why), _) => marks.push(format!("  image file removed: {why}")),
        (None, false) => marks.push("  image file missing".to_owned()),
        (None, true) => {}
    }
    let marks = marks.concat();
    format!(
        "{name:<32} {:<9} {:>6} MiB  {}{marks}",
        row.state.to_string(),
        row.size / (1024 * 1024),
        row.digest.short()
    )
}
