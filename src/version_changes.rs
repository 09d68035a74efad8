//! A change of a product's configuration that begins with a version. The products list theirs.
//! Generated configuration and lint rules both use it.

use semver::Version;

/// A change of a product's configuration.
#[derive(Debug, PartialEq, Eq)]
pub struct VersionChange {
    /// Product and subject of the change, as templates name it.
    pub name: &'static str,
    /// First version with the change.
    pub since: Version,
    /// Description of the change.
    pub what: &'static str,
    /// Address of the documentation.
    pub source: &'static str,
}

impl VersionChange {
    /// Tells if `version` has the change. Pre-releases and builds count as their version.
    pub fn is_in(&self, version: &Version) -> bool {
        let numbers = |version: &Version| (version.major, version.minor, version.patch);
        numbers(version) >= numbers(&self.since)
    }
}
