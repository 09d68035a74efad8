//! The condition of a revocation: which manifests it concerns.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::digest::Digest;
use crate::manifest::ImageVersion;

/// The condition under which a manifest is revoked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "by", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Rule {
    /// Listed manifests.
    Manifests {
        /// Their digests.
        manifests: BTreeSet<Digest>,
    },
    /// A range of versions of images.
    Versions {
        /// The name of the image, in which `*` matches any text.
        image: String,
        /// The first revoked version. Absent: from the first one on.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        from: Option<ImageVersion>,
        /// The last revoked version. Absent: including all later ones.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        to: Option<ImageVersion>,
    },
    /// Images with an old release of a product.
    Release {
        /// The product, for example `vault`.
        product: String,
        /// The first version that is not revoked.
        below: String,
    },
    /// Images with this input: a release archive, a file, a script or a base.
    Input {
        /// The digest of the input.
        digest: Digest,
    },
    /// Images with an old Debian package.
    Package {
        /// The name of the package, or of its source package.
        name: String,
        /// The first version that is not revoked, in the order of Debian.
        below: String,
    },
}

impl Rule {
    /// Checks that the rule can match. Returns the defect otherwise.
    pub fn check(&self) -> Result<(), String> {
        match self {
            Self::Manifests { manifests } if manifests.is_empty() => {
                Err("it lists no manifest".to_owned())
            }
            Self::Versions {
                from: Some(from),
                to: Some(to),
                ..
            } if from > to => Err(format!("{from} comes after {to}")),
            Self::Release { below, .. } => match semver::Version::parse(below) {
                Ok(_) => Ok(()),
                Err(_) if semver::Version::parse(&format!("{below}.0")).is_ok() => Err(format!(
                    "`{below}` is not a complete version of a release, expected {below}.0"
                )),
                Err(error) => Err(format!(
                    "`{below}` is not a version of a release, expected for example 1.16.0: {error}"
                )),
            },
            _ => Ok(()),
        }
    }
}

impl std::fmt::Display for Rule {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Manifests { manifests } => {
                let digests: Vec<String> = manifests.iter().map(Digest::to_string).collect();
                f.write_str(&digests.join(", "))
            }
            Self::Versions { image, from, to } => {
                write!(f, "{image}")?;
                if let Some(from) = from {
                    write!(f, " from {from}")?;
                }
                to.map_or(Ok(()), |to| write!(f, " up to {to}"))
            }
            Self::Release { product, below } => write!(f, "images with {product} below {below}"),
            Self::Input { digest } => write!(f, "images that {digest} went into"),
            Self::Package { name, below } => {
                write!(f, "images with the package {name} below {below}")
            }
        }
    }
}
