//! `lock`: resolves every input to an exact version and digest.

use std::collections::BTreeSet;
use std::path::PathBuf;

use vault_bake::definition::{BuilderKind, Definition};
use vault_bake::lock::{self, Bases, DEBIAN_KEYRING, Lock, Network};
use vault_bake::plan;

use crate::args::{Image, Releases};
use crate::azure;
use crate::commands::print_line;
use crate::exit::{Exit, Failure};
use crate::invocation::{Invocation, clock};

pub async fn run(
    session: &Invocation,
    image: &Image,
    releases: &Releases,
    builder: Option<BuilderKind>,
    dry_run: bool,
) -> Result<Exit, Failure> {
    session.check_cache()?;
    let (definition, _) = session.check_from(&image.image, &image.vars, releases)?;
    if let Some(builder) = builder {
        plan::has_base(&definition, builder)?;
    }
    let network = Network {
        keyring: PathBuf::from(DEBIAN_KEYRING),
        now: clock(),
        azure: match (&definition.azure, builder) {
            (Some(_), None | Some(BuilderKind::Azure)) => {
                azure::client_if_configured(session, "lock")?
            }
            _ => None,
        },
    };
    let path = path(image, &definition);
    let before = match builder {
        Some(_) if path.exists() => Some(Lock::load(&path)?),
        _ => None,
    };
    let bases = builder.map_or(Bases::All, |only| Bases::Only(only, before.as_ref()));
    let (events, interrupt) = (&session.events, &session.interrupt);
    let lock = lock::resolve(&definition, bases, &network, events, interrupt).await?;
    if dry_run {
        print_line(&lock.text());
        return Ok(Exit::Done);
    }
    lock.save(&path)?;
    warn_about_fixtures(session, &lock);
    session
        .events
        .note(format!("locked {} in {}", definition.name, path.display()));
    Ok(Exit::Done)
}

/// Where the lock of an image is.
pub fn path(image: &Image, definition: &Definition) -> PathBuf {
    image
        .lock_file
        .clone()
        .unwrap_or_else(|| definition.folder.join("image.lock"))
}

/// Says in one line where what is baked is not the vendor's own.
pub fn warn_about_fixtures(session: &Invocation, lock: &Lock) {
    let others = lock.releases.iter().filter(|release| !release.official);
    let names: Vec<String> = others
        .clone()
        .map(|release| format!("{} {}", release.product, release.version))
        .collect();
    let signers: BTreeSet<&str> = others
        .map(|release| release.primary_fingerprint.as_str())
        .collect();
    let signers: Vec<&str> = signers.into_iter().collect();
    if !names.is_empty() {
        session.events.warn(format!(
            "NOT HashiCorp's releases: {}; signed by {}",
            names.join(", "),
            signers.join(", ")
        ));
    }
}
