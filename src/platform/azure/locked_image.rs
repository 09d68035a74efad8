//! The locked base of a build on Azure.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::release::Architecture;

/// A locked image on Azure, with the properties that decide which VMs can start from it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LockedImage {
    /// Exact version of the image.
    pub image: ImageReference,
    /// VM generation of the image.
    pub generation: VmGeneration,
    /// Architecture of its programs.
    pub arch: Architecture,
    /// Azure's `SecurityType` of the image, as in `TrustedLaunchSupported`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub security: Option<String>,
    /// Controllers that the image supports for its disks, as in `NVMe`. Empty if it names none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub disk_controllers: Vec<String>,
    /// Purchase plan that the image requires.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plan: Option<PurchasePlan>,
}

/// The exact version of an image.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum ImageReference {
    /// An image of the marketplace.
    Marketplace {
        /// Publisher, as in `Debian`.
        publisher: String,
        /// Offer, as in `debian-13`.
        offer: String,
        /// Plan of the offer, as in `12-gen2`.
        sku: String,
        /// Version as a number, not `latest`.
        version: String,
    },
    /// A version in a gallery.
    Gallery {
        /// Resource id of the version.
        id: String,
    },
    /// A managed image.
    ManagedImage {
        /// Resource id of the image.
        id: String,
    },
}

/// The generation of a VM on Azure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum VmGeneration {
    /// Generation 1, which boots by BIOS.
    V1,
    /// Generation 2, which boots by UEFI.
    V2,
}

/// The purchase plan of a marketplace image.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PurchasePlan {
    /// Name of the plan.
    pub name: String,
    /// Product of the plan.
    pub product: String,
    /// Publisher of the product.
    pub publisher: String,
}

impl fmt::Display for PurchasePlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.publisher, self.product, self.name)
    }
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
    /// Returns Azure's name of the generation.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::V1 => "V1",
            Self::V2 => "V2",
        }
    }
}
