//! `lock`: resolves every input to an exact version and digest.

use std::path::PathBuf;

use vault_bake::definition::{BuilderKind, Definition};
use vault_bake::lock::{self, Bases, DEBIAN_KEYRING, Lock, Network};

use crate::args::{Image, Releases};
use crate::azure;
use crate::commands::print_line;
use crate::exit::{Exit, Failure};
use crate::world::{Session, clock};

pub async fn run(
    session: &Session,
    image: &Image,
    releases: &Releases,
    builder: Option<BuilderKind>,
    dry_run: bool,
) -> Result<Exit, Failure> {
    let definition = session.load_from(&image.image, &image.vars, releases)?;
    let network = Network {
        keyring: PathBuf::from(DEBIAN_KEYRING),
        now: clock(),
        azure: match (&definition.azure, builder) {
            (Some(_), None | Some(BuilderKind::Azure)) => azure::door_if_any(session, "lock")?,
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
    warn_of_fixtures(session, &lock);
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

/// Says loudly where what is baked is not the vendor's own.
pub fn warn_of_fixtures(session: &Session, lock: &Lock) {
    for release in lock.releases.iter().filter(|release| !release.official) {
        session.events.warn(format!(
            "{} {} is NOT HashiCorp's: it is signed by {} ({}), and the manifest will say so",
            release.product, release.version, release.primary_fingerprint, release.signer
        ));
    }
}
