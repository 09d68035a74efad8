//! Reads `[base.azure]`, `[machine.azure]` and `[output.azure]` into a consistent [`AzureSpec`].
//! Azure is not contacted: `lock` and the builder's preflight check that sizes, images and groups
//! exist.

mod machine;
mod output;
mod values;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::definition::document::{Item, Table};
use crate::definition::platform::{Parts, Reading, Tables};
use crate::definition::variables::Variables;
use crate::definition::{Location, Problem, quoted_list};
use values::resource;

/// The Azure part of a definition.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct AzureSpec {
    /// Image that the build starts from.
    pub base: AzureBase,
    /// Shape and network of the build VM.
    pub machine: AzureMachine,
    /// Images that the build creates.
    pub output: AzureOutput,
}

/// The image that a build on Azure starts from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum AzureBase {
    /// An image of the marketplace.
    Marketplace {
        /// Publisher, as in `Debian`.
        publisher: String,
        /// Offer, as in `debian-13`.
        offer: String,
        /// Plan of the offer, as in `12-gen2`.
        sku: String,
        /// Version, as in `0.20260701.2512`. The lock file replaces `latest` by a number.
        version: String,
    },
    /// An image of a Compute Gallery.
    Gallery {
        /// Resource id of a version, or of an image definition, whose newest version is locked.
        id: String,
    },
    /// A managed image.
    ManagedImage {
        /// Resource id of the image.
        id: String,
    },
}

/// Shape and network of the build VM on Azure.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AzureMachine {
    /// Region, as in `westeurope`.
    pub location: String,
    /// Size of the VM, as in `Standard_D2s_v5`.
    pub vm_size: String,
    /// Availability zone, as in `1`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub zone: Option<String>,
    /// Size of the disk in GiB. `None` keeps the size of the base.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disk_gib: Option<u32>,
    /// Storage type of the disk, as in `Premium_LRS`.
    pub disk_type: String,
    /// Security type of the VM.
    pub security: Security,
    /// Controller of the VM's disks.
    #[serde(default, skip_serializing_if = "DiskController::is_scsi")]
    pub disk_controller: DiskController,
    /// Whether the VM is a spot VM: cheaper, but Azure may evict it at any time.
    pub spot: bool,
    /// Existing resource group. `None` creates a temporary group for each build.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resource_group: Option<String>,
    /// Resource id of an existing subnet. `None` creates a network for each build.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subnet: Option<String>,
    /// Kind of address that SSH connects to.
    pub address: Address,
    /// Addresses or CIDR ranges that may connect to the SSH port. Required for a public address.
    pub allow_from: Vec<String>,
    /// Resource ids of the VM's user-assigned identities.
    pub identities: Vec<String>,
    /// Port of the base's SSH server.
    pub ssh_port: u16,
    /// Longest time until the VM answers on SSH, in seconds.
    pub boot_timeout_s: u64,
    /// Further tags of all resources of the build.
    pub tags: BTreeMap<String, String>,
}

/// The security type of a VM.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Security {
    /// Neither virtual TPM nor secure boot. A managed image requires this type.
    Standard,
    /// Virtual TPM and secure boot. Images of such a VM start VMs of the same type only.
    TrustedLaunch,
}

/// The controller of a VM's disks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DiskController {
    /// SCSI, which newer sizes no longer have.
    #[default]
    Scsi,
    /// `NVMe`, which base and image definition must support.
    Nvme,
}

impl DiskController {
    // Plans without `NVMe` keep the digest that they had before this key.
    fn is_scsi(&self) -> bool {
        *self == Self::Scsi
    }

    /// Returns Azure's name of the controller.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Scsi => "SCSI",
            Self::Nvme => "NVMe",
        }
    }
}

/// The kind of address that SSH connects to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Address {
    /// A Standard public address, which the VM also uses for outbound connections.
    Public,
    /// An address in an existing subnet, which must provide outbound connections.
    Private,
}

/// The images that a build on Azure creates.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AzureOutput {
    /// Existing resource group of the managed image.
    pub resource_group: String,
    /// Whether to create a managed image `NAME-VERSION`.
    pub managed_image: bool,
    /// Whether the managed image is stored in all zones of its region.
    pub zone_resilient: bool,
    /// Gallery version to create.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gallery: Option<GalleryOutput>,
}

/// The version that a build creates in a Compute Gallery.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GalleryOutput {
    /// Existing resource group of the gallery.
    pub resource_group: String,
    /// Existing gallery.
    pub name: String,
    /// Existing image definition of the gallery.
    pub definition: String,
    /// Regions to replicate to, besides the region of the machine.
    pub target_regions: Vec<String>,
    /// Number of copies in each region.
    pub replicas: u32,
    /// Whether a request for the latest version skips this one.
    pub exclude_from_latest: bool,
}

/// Reads `[base.azure]`, `[machine.azure]` and `[output.azure]`, of which all or none are set.
pub(super) fn read(tables: Tables, reading: &Reading<'_>) -> Result<Option<Parts>, Problem> {
    if tables.is_empty() {
        return Ok(None);
    }
    let Reading {
        start, variables, ..
    } = *reading;
    let tables = [tables.base, tables.machine, tables.output];
    let names = ["base.azure", "machine.azure", "output.azure"];
    let missing = names.iter().zip(&tables).find(|(_, table)| table.is_none());
    let [Some(base_table), Some(machine_table), Some(output_table)] = tables else {
        let (name, _) = missing.expect("one of them is missing");
        return Err(start
            .below(name)
            .problem("missing; a build on Azure needs a base, a machine and an output")
            .with_hint(format!(
                "Add `[{name}]`, or remove the other tables for azure."
            )));
    };
    let found = base_table.found.clone();
    let output_at = output_table.at.clone();
    let base = found.ok_or_record(base(base_table, variables));
    let machine = found.ok_or_record(machine::read(machine_table, variables));
    let output = output::read(output_table, variables, machine.as_ref());
    let output = found.ok_or_record(output);
    let (base, (machine, output)) = base
        .zip(machine.zip(output))
        .ok_or_else(|| output_at.already_reported())?;
    found.ok_or_record(image_name(start, reading.image, &output));
    Ok(Some(Parts {
        base: json!(base),
        machine: json!(machine),
        output: json!(output),
    }))
}

impl AzureSpec {
    /// Returns the tables of a definition in their own types.
    pub fn of(parts: &Parts) -> serde_json::Result<Self> {
        Ok(Self {
            base: AzureBase::deserialize(&parts.base)?,
            machine: AzureMachine::deserialize(&parts.machine)?,
            output: AzureOutput::deserialize(&parts.output)?,
        })
    }
}

/// Refuses an image whose managed images, `NAME-VERSION`, would have too long a name for Azure.
fn image_name(start: &Location, name: &str, output: &AzureOutput) -> Result<(), Problem> {
    let limit = LONGEST_IMAGE_NAME - 1 - USUAL_VERSION.len();
    if !output.managed_image || name.len() <= limit {
        return Ok(());
    }
    Err(start
        .below("name")
        .problem(format!(
            "the image's name has {} characters, so a managed image would be called {name}-{USUAL_VERSION}, which exceeds Azure's limit of {LONGEST_IMAGE_NAME}; expected at most {limit}",
            name.len()
        ))
        .with_hint("Rename the folder, or set `managed_image = false` and name a gallery."))
}

/// Longest name of a managed image, in characters:
/// <https://learn.microsoft.com/azure/azure-resource-manager/management/resource-name-rules>.
pub const LONGEST_IMAGE_NAME: usize = 80;
/// Example of the longest version that vault-bake chooses for an image.
const USUAL_VERSION: &str = "2026.1231.999";

const KINDS: [&str; 3] = ["marketplace", "gallery", "managed-image"];

/// Reads the base below `[base.azure]`.
fn base(mut table: Table, variables: &Variables) -> Result<AzureBase, Problem> {
    let kind = table.require("kind", "`marketplace`, `gallery` or `managed-image`")?;
    let at = kind.at.clone();
    let kind = variables.text(kind)?;
    if !KINDS.contains(&kind.as_str()) {
        return Err(at
            .problem(format!(
                "`{kind}` is no kind of base; expected one of {}",
                quoted_list(KINDS)
            ))
            .with_suggestion(
                &kind,
                KINDS,
                "For an image of a distribution, write `marketplace`.",
            ));
    }
    let at = table.at.clone();
    if kind == KINDS[0] {
        table.reject_unknown(&["kind", "publisher", "offer", "sku", "version"]);
        let read = |key: &str, item: Item| {
            let at = item.at.clone();
            let text = variables.text(item)?;
            let plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
            if text.is_empty() || !text.chars().all(plain) {
                return Err(at
                    .problem(format!("`{text}` is no {key} of the marketplace; expected letters, digits, `-`, `_` and `.`"))
                    .with_hint("List images with `az vm image list --all --publisher Debian`."));
            }
            Ok(text)
        };
        let parts = ["publisher", "offer", "sku", "version"].map(|key| {
            table.required(key, "as `az vm image list` prints it", |item| {
                read(key, item)
            })
        });
        let [Some(publisher), Some(offer), Some(sku), Some(version)] = parts else {
            return Err(at.already_reported());
        };
        return Ok(AzureBase::Marketplace {
            publisher,
            offer,
            sku,
            version,
        });
    }
    table.reject_unknown(&["kind", "id"]);
    let id = table.require("id", "a resource id, `/subscriptions/…`")?;
    Ok(if kind == KINDS[1] {
        let types = "Microsoft.Compute/galleries/images[/versions]";
        let id = resource(id, variables, types, |kinds| {
            matches!(
                kinds,
                ["galleries", "images"] | ["galleries", "images", "versions"]
            )
        })?;
        AzureBase::Gallery { id }
    } else {
        let id = resource(id, variables, "Microsoft.Compute/images", |kinds| {
            kinds == ["images"]
        })?;
        AzureBase::ManagedImage { id }
    })
}

/// Prefix of the tags that vault-bake sets.
pub const TAG_PREFIX: &str = "vault-bake-";
