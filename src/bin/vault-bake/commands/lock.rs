//! `lock`: resolves every input of an image to an exact version and digest.

use std::collections::BTreeSet;
use std::path::PathBuf;

use vault_bake::definition::Definition;
use vault_bake::definition::platform::LockContext;
use vault_bake::lock::{self, Bases, Lock, ReleaseServer};
use vault_bake::plan;

use crate::args::{Image, build};
use crate::commands::print_line;
use crate::exit::{Exit, Failure};
use crate::invocation::{Invocation, clock};
use crate::platforms;

pub async fn run(invocation: &Invocation, args: &build::Lock) -> Result<Exit, Failure> {
    invocation.check_cache()?;
    let (definition, _) = invocation.check_with_releases(&args.image, &args.releases)?;
    let builder = args.builder.map(build::BuilderName::as_str);
    if let Some(builder) = builder {
        plan::has_base(&definition, builder)?;
    }
    let platforms = platforms::to_lock(invocation, &definition, args.builder)?;
    let path = path(&args.image, &definition);
    let previous = match builder {
        Some(_) if path.exists() => Some(Lock::load(&path, &platforms)?),
        _ => None,
    };
    let bases = builder.map_or(Bases::All, |only| Bases::Only(only, previous.as_ref()));
    let context = LockContext {
        now: clock(),
        events: &invocation.events,
        interrupt: &invocation.interrupt,
    };
    let lock = lock::resolve(&definition, &platforms, bases, &ReleaseServer, context).await?;
    if args.dry_run {
        print_line(&lock.text());
        return Ok(Exit::Done);
    }
    lock.save(&path)?;
    warn_about_fixtures(invocation, &lock);
    let locked = format!("locked {} in {}", definition.name, path.display());
    invocation.events.note(locked);
    Ok(Exit::Done)
}

/// Returns the path of an image's lock file.
pub fn path(image: &Image, definition: &Definition) -> PathBuf {
    image
        .lock_file
        .clone()
        .unwrap_or_else(|| definition.folder.join("image.lock"))
}

/// Warns in one line about releases that HashiCorp did not sign.
pub fn warn_about_fixtures(invocation: &Invocation, lock: &Lock) {
    let fixtures = lock.releases.iter().filter(|release| !release.official);
    let names: Vec<String> = fixtures
        .clone()
        .map(|release| format!("{} {}", release.product, release.version))
        .collect();
    let signers: BTreeSet<&str> = fixtures
        .map(|release| release.primary_fingerprint.as_str())
        .collect();
    let signers: Vec<&str> = signers.into_iter().collect();
    if !names.is_empty() {
        invocation.events.warn(format!(
            "NOT HashiCorp's releases: {}; signed by {}",
            names.join(", "),
            signers.join(", ")
        ));
    }
}
