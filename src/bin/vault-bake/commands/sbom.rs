//! `sbom`: prints the bill of materials of an image.

use crate::args::release::Sbom;
use crate::commands::print_file;
use crate::exit::{Exit, Failure};
use crate::invocation::Invocation;

pub async fn run(invocation: &Invocation, args: &Sbom) -> Result<Exit, Failure> {
    let (store, digest) = invocation.find(&args.image.reference).await?;
    let manifest = store.manifest(&digest).await?;
    let Some(bytes) = store.sbom(&manifest).await? else {
        let message = format!("{} was recorded without an SBOM", manifest.name());
        return Err(
            Failure::new(Exit::Failed, message).hint("Build the image again: new images have one.")
        );
    };
    // No line end is added: the manifest names the SHA-256 of these bytes.
    print_file(&bytes);
    Ok(Exit::Done)
}
