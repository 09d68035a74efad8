//! `diff`: what differs between two images.

use vault_bake::manifest::diff::diff;

use crate::args::DiffFormat;
use crate::commands::{print_json, print_line};
use crate::exit::{Exit, Failure};
use crate::invocation::Invocation;

pub async fn run(
    session: &Invocation,
    from: &str,
    to: &str,
    format: Option<DiffFormat>,
) -> Result<Exit, Failure> {
    let format = match format {
        None if session.json => DiffFormat::Json,
        None => DiffFormat::Text,
        Some(DiffFormat::Text | DiffFormat::Markdown) if session.json => {
            return Err(Failure::usage("`--json` and another `--format`: give one"));
        }
        Some(format) => format,
    };
    let (store, older) = session.find(from).await?;
    let (_, newer) = session.find(to).await?;
    let (older, newer) = (store.manifest(&older).await?, store.manifest(&newer).await?);
    let packages = (store.packages(&older).await?, store.packages(&newer).await?);
    let difference = diff(&older, &newer, Some((&packages.0, &packages.1)));
    match format {
        DiffFormat::Text => print_line(&difference.to_string()),
        DiffFormat::Json => print_json(&serde_json::to_value(&difference).unwrap_or_default()),
        DiffFormat::Markdown => print_line(&difference.markdown()),
    }
    Ok(Exit::Done)
}
