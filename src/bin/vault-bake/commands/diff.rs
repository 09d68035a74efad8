//! `diff`: compares two images.

use vault_bake::manifest::diff::diff;

use crate::args::release::{Diff, DiffFormat};
use crate::commands::{print_json, print_line};
use crate::exit::{Exit, Failure};
use crate::invocation::Invocation;

pub async fn run(invocation: &Invocation, args: &Diff) -> Result<Exit, Failure> {
    let format = match args.format {
        None if invocation.json => DiffFormat::Json,
        None => DiffFormat::Text,
        Some(DiffFormat::Text | DiffFormat::Markdown) if invocation.json => {
            let message = "--json and --format name different formats";
            return Err(Failure::usage(message).hint("Leave out one of them."));
        }
        Some(format) => format,
    };
    let (store, older) = invocation.find(&args.from).await?;
    let (_, newer) = invocation.find(&args.to).await?;
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
