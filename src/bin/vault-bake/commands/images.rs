//! `images`: lists recorded images with their tests, channels and revocations.

use vault_bake::store::ImageRow;

use crate::args::release::Images;
use crate::commands::{print_header, print_line, print_warning};
use crate::exit::{Exit, Failure};
use crate::invocation::{Invocation, clock};

pub async fn run(invocation: &Invocation, args: &Images) -> Result<Exit, Failure> {
    let rows = invocation.open_store().await?.images(clock()).await?;
    let rows = rows
        .iter()
        .filter(|row| args.name.as_ref().is_none_or(|name| row.image == *name));
    let line = |row| {
        if invocation.json {
            serde_json::to_value(row).unwrap_or_default().to_string()
        } else {
            table_line(row)
        }
    };
    let lines: Vec<String> = rows.map(line).collect();
    if lines.is_empty() {
        if let Some(name) = &args.name {
            print_warning(&format!("the store has no image {name}"));
        }
        return Ok(Exit::Done);
    }
    if !invocation.json {
        print_header(&columns("IMAGE", "TEST", "SIZE", "MANIFEST", "CHANNELS"));
    }
    // One write: separate writes of a hundred thousand lines take longer than the command.
    print_line(&lines.join("\n"));
    Ok(Exit::Done)
}

fn columns(name: &str, state: &str, size: &str, manifest: &str, channels: &str) -> String {
    let line = format!("{name:<32} {state:<9} {size:>10}  {manifest:<12}  {channels}");
    line.trim_end().to_owned()
}

fn table_line(row: &ImageRow) -> String {
    let mut remarks = Vec::new();
    if row.fixture {
        remarks.push("  FIXTURE RELEASES".to_owned());
    }
    if let Some(reason) = &row.revoked {
        remarks.push(format!("  REVOKED: {reason}"));
    }
    match (&row.removed, row.artifact_present) {
        (Some(removal), _) => remarks.push(format!("  artifact deleted {removal}")),
        (None, false) => remarks.push("  artifact missing".to_owned()),
        (None, true) => {}
    }
    let line = columns(
        &format!("{}@{}", row.image, row.version),
        &row.state.to_string(),
        &format!("{} MiB", row.size / (1024 * 1024)),
        &row.digest.short(),
        &row.channels.join(", "),
    );
    line + &remarks.concat()
}
