//! `fetch`: copies the artifact of a deployable image to a file of this computer.

use std::path::Path;

use vault_bake::manifest::Reference;
use vault_bake::resolve::Resolved;
use vault_bake::store::Allow;

use crate::args::pins::Fetch;
use crate::commands::{pin, print_json, print_line, print_warning};
use crate::exit::{Exit, Failure};
use crate::invocation::{Invocation, clock};

pub async fn run(invocation: &Invocation, args: &Fetch) -> Result<Exit, Failure> {
    let reference = reference(invocation, args)?;
    check_folder(&args.to)?;
    let store = invocation.open_store().await?;
    let allow = Allow {
        revoked: args.allow_revoked,
        untested: args.allow_untested,
    };
    let resolved = Resolved::from_store(&store, &reference, Some("local"), allow, clock()).await?;
    let manifest = store.manifest(&resolved.manifest_digest).await?;
    let fetched = store.fetch_artifact(&manifest, &args.to).await?;
    for warning in &resolved.warnings {
        print_warning(warning);
    }
    let name = manifest.name();
    if invocation.json {
        print_json(&serde_json::json!({
            "fetched": name, "manifest": resolved.manifest_digest, "file": args.to,
            "digest": fetched.digest, "size": fetched.size, "new": fetched.is_new,
        }));
        return Ok(Exit::Done);
    }
    let verb = if fetched.is_new { "fetched" } else { "kept" };
    print_line(&format!(
        "{verb} {name}: {} has the recorded digest {}",
        args.to.display(),
        fetched.digest
    ));
    Ok(Exit::Done)
}

/// Checks that the folder of the new file exists, before the store is read.
fn check_folder(to: &Path) -> Result<(), Failure> {
    let folder = to.parent().unwrap_or(Path::new(""));
    if folder.as_os_str().is_empty() || folder.is_dir() {
        return Ok(());
    }
    let (to, folder) = (to.display(), folder.display());
    let message = format!("cannot create {to}: the folder {folder} does not exist");
    Err(Failure::usage(message).hint("Create the folder, or name another file with --to."))
}

/// Returns the image to fetch. A pin names it by the digest of its manifest.
fn reference(invocation: &Invocation, args: &Fetch) -> Result<Reference, Failure> {
    let Some(path) = &args.pins else {
        return Ok(args.reference.parse()?);
    };
    let file = pin::parse(path)?;
    let trust = invocation.keys.trust()?;
    let pinned = Resolved::from_pins(&file, &args.reference, Some("local"), trust.as_ref())?;
    Ok(pinned.manifest_digest.to_string().parse()?)
}
