//! `sbom`: the bill of materials of an image.

use crate::commands::print_file;
use crate::exit::{Exit, Failure};
use crate::invocation::Invocation;

pub async fn run(session: &Invocation, reference: &str) -> Result<Exit, Failure> {
    let (store, digest) = session.find(reference).await?;
    let manifest = store.manifest(&digest).await?;
    let Some(bytes) = store.sbom(&manifest).await? else {
        let message = format!("{} was recorded without an SBOM", manifest.name());
        return Err(Failure::new(Exit::Failed, message)
            .hint("images that are baked from now on have one; bake this one again"));
    };
    // The stored bytes and no line end: their SHA-256 is what the manifest names.
    print_file(&bytes);
    Ok(Exit::Done)
}
