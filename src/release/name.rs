//! Names a release: product, version, and the architecture of its programs.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The architecture of a processor.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub enum Architecture {
    /// 64-bit x86, Debian's `amd64`.
    #[default]
    #[serde(rename = "x86_64")]
    X86_64,
    /// 64-bit Arm, Debian's `arm64`.
    #[serde(rename = "aarch64")]
    Aarch64,
}

impl Architecture {
    /// Returns the name in manifests and lock files, which is that of Linux.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::X86_64 => "x86_64",
            Self::Aarch64 => "aarch64",
        }
    }

    /// Finds an architecture by its name in manifests.
    pub fn parse(name: &str) -> Option<Self> {
        let all = [Self::X86_64, Self::Aarch64];
        all.into_iter().find(|one| one.as_str() == name)
    }

    /// Returns the name in the files of releases: that of Go.
    pub(super) fn file_name(self) -> &'static str {
        match self {
            Self::X86_64 => "amd64",
            Self::Aarch64 => "arm64",
        }
    }

    /// Whether it is that of lock files without one.
    #[expect(
        clippy::trivially_copy_pass_by_ref,
        reason = "serde passes a reference"
    )]
    pub(super) fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

impl fmt::Display for Architecture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The name of a release.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReleaseName<'a> {
    /// The product, as in `vault`.
    pub product: &'a str,
    /// The version, spelled as on the server: `1.21.1`.
    pub version: &'a str,
    /// The architecture.
    pub architecture: Architecture,
}

impl ReleaseName<'_> {
    /// Returns the file name of the archive.
    pub(super) fn archive_file(&self) -> String {
        let (product, version) = (self.product, self.version);
        let architecture = self.architecture.file_name();
        format!("{product}_{version}_linux_{architecture}.zip")
    }
}
