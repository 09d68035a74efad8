//! `test`: boots a recorded image, runs its checks and records the result.

use vault_bake::bake;
use vault_bake::digest::Digest;
use vault_bake::guest_steps::Lynis;
use vault_bake::manifest::Manifest;

use crate::args::build::Test;
use crate::commands::{print_json, print_line};
use crate::ending;
use crate::exit::{Exit, Failure};
use crate::invocation::{Invocation, clock, resolve};
use crate::platforms;

pub async fn run(invocation: &Invocation, args: &Test) -> Result<Exit, Failure> {
    let store = invocation.open_store_unless(args.dry_run).await?;
    let digest = resolve(&store, &args.image.reference).await?;
    let manifest = store.manifest(&digest).await?;
    if args.dry_run {
        print_dry_run(invocation, &manifest, &digest);
        return Ok(Exit::Done);
    }
    let lynis = lynis_if(args.audit)?;
    let tool = invocation.tool();
    let context = invocation.run_context(&clock, &tool);
    let checks = bake::stored_checks(&store, &manifest).await?;
    let image = (digest, &manifest);
    let testing = platforms::test(invocation, &store, image, &checks, lynis.as_ref(), &context);
    let tested = testing.await?;
    ending::of_test(&manifest.name(), &tested)
}

fn print_dry_run(invocation: &Invocation, manifest: &Manifest, digest: &Digest) {
    let (name, checks) = (manifest.name(), manifest.checks.len());
    if invocation.json {
        print_json(
            &serde_json::json!({"would_test": name, "manifest": digest, "checks_in_build": checks}),
        );
    } else {
        print_line(&format!(
            "would boot {name} ({digest}) and run its checks; its build recorded {checks}"
        ));
    }
}

/// Returns Lynis if an audit is requested. Fails if it is not installed.
pub fn lynis_if(audit: bool) -> Result<Option<Lynis>, Failure> {
    if !audit {
        return Ok(None);
    }
    let lynis = Lynis::default();
    match lynis.missing() {
        Some(path) => Err(Failure::usage(format!("{} is missing", path.display()))
            .hint("Run `apt-get install lynis`, or leave out --audit.")),
        None => Ok(Some(lynis)),
    }
}
