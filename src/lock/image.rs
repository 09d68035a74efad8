//! An image on Azure, exactly: what a bake there starts from.

use std::fmt;

use serde::{Deserialize, Serialize};

/// An image on Azure, exactly, with what decides which machines can start from it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LockedImage {
    /// Which.
    pub image: ImageReference,
    /// How it starts.
    pub generation: VmGeneration,
    /// As in `x86_64` or `aarch64`.
    pub arch: String,
    /// What Azure says of its security, as in `TrustedLaunchSupported`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub security: Option<String>,
    /// What has to be bought with it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plan: Option<PurchasePlan>,
}

/// Which image.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum ImageReference {
    /// Of the marketplace.
    Marketplace {
        /// As in `Debian`.
        publisher: String,
        /// As in `debian-12`.
        offer: String,
        /// As in `12-gen2`.
        sku: String,
        /// A number, never `latest`.
        version: String,
    },
    /// A version in a gallery.
    Gallery {
        /// Its resource id.
        id: String,
    },
    /// A managed image.
    ManagedImage {
        /// Its resource id.
        id: String,
    },
}

/// How a machine on Azure starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum VmGeneration {
    /// By BIOS.
    V1,
    /// By UEFI.
    V2,
}

/// What has to be bought with an image of the marketplace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PurchasePlan {
    /// The plan.
    pub name: String,
    /// Of this product.
    pub product: String,
    /// Of this publisher.
    pub publisher: String,
}

impl fmt::Display for ImageReference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Marketplace {
                publisher,
                offer,
                sku,
                version,
            } => write!(f, "{publisher}:{offer}:{sku}:{version}"),
            Self::Gallery { id } | Self::ManagedImage { id } => f.write_str(id),
        }
    }
}

impl VmGeneration {
    /// As Azure writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::V1 => "V1",
            Self::V2 => "V2",
        }
    }
}
