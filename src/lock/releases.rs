//! Checks and looks up the releases of a definition, and returns their mirror and paths.

use std::path::Path;

use semver::Version;

use super::{LockError, Releases};
use crate::definition::platform::LockContext;
use crate::definition::{Definition, Location, Problem};
use crate::product::consul::changes::{VAULT_KEYS_RULE, refuses_vault_keys};
use crate::release::{self, LockedRelease, ReleaseMirror, ReleaseName};

/// Looks up releases at their mirror.
pub struct ReleaseServer;

impl Releases for ReleaseServer {
    async fn release(
        &self,
        source: &ReleaseMirror,
        name: ReleaseName<'_>,
        context: LockContext<'_>,
    ) -> Result<LockedRelease, LockError> {
        let LockContext {
            now,
            events,
            interrupt,
        } = context;
        Ok(release::resolve(source, name, now, events, interrupt).await?)
    }
}

/// Refuses releases that do not work together, unless `[lint.allow]` has the lint rule.
pub(super) fn check_releases(definition: &Definition) -> Result<(), Problem> {
    let releases = &definition.releases;
    let consul = releases.get("consul").filter(|version| {
        let version = Version::parse(version);
        version.is_ok_and(|version| refuses_vault_keys(&version))
    });
    let Some(consul) = consul else { return Ok(()) };
    if !releases.contains_key("vault") || definition.allowed.contains_key(VAULT_KEYS_RULE) {
        return Ok(());
    }
    let at = definition.releases_at.get("consul").cloned();
    let at = at.unwrap_or_else(|| Location::start_of(&definition.file).below("releases.consul"));
    Err(at
        .problem(format!(
            "Consul {consul} refuses keys that Vault writes, with a blank, `@`, `+` or `:`; expected an earlier version, or 1.22.0 or later"
        ))
        .with_hint(format!(
            "Use Consul 2.1.0. To accept the failing requests, add `\"{VAULT_KEYS_RULE}\"` and a reason to `[lint.allow]`."
        )))
}

/// Returns the release source of `definition`, with paths from the working directory.
pub(crate) fn release_mirror(definition: &Definition) -> ReleaseMirror {
    let wanted = &definition.release_source;
    ReleaseMirror {
        base: resolve_path(&definition.folder, &wanted.mirror),
        key_file: wanted
            .key_file
            .as_ref()
            .map(|path| definition.folder.join(path)),
        fingerprint: wanted.fingerprint.clone(),
    }
}

/// Joins a path with `folder`. Returns a URL unchanged.
pub(crate) fn resolve_path(folder: &Path, url: &str) -> String {
    if url.contains("://") {
        url.to_owned()
    } else {
        folder.join(url).to_string_lossy().into_owned()
    }
}

/// Makes a path below `folder` relative, so that a lock does not depend on its folder. Returns
/// other paths and URLs unchanged.
pub(crate) fn relative_path(folder: &Path, url: &str) -> String {
    Path::new(url)
        .strip_prefix(folder)
        .map_or_else(|_| url.to_owned(), |below| below.display().to_string())
}
