//! What a bake on Azure starts from, runs on and leaves: `[base.azure]`, `[machine.azure]`, `[output.azure]`.
//!
//! In: the three tables. Out: an [`AzureSpec`] whose parts fit each other. Deliberately asks Azure nothing: whether a size,
//! an image or a group exists is seen by `lock` and by the builder's preflight.

mod machine;
mod output;
mod values;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::document::{Item, Table};
use super::problem::{Location, Problem, listed};
use super::variables::Variables;
use values::resource;

/// All that a definition says of Azure.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct AzureSpec {
    /// What the bake starts from.
    pub base: AzureBase,
    /// How its machines run.
    pub machine: AzureMachine,
    /// What it leaves.
    pub output: AzureOutput,
}

/// What a bake on Azure starts from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum AzureBase {
    /// An image of the marketplace.
    Marketplace {
        /// As in `Debian`.
        publisher: String,
        /// As in `debian-12`.
        offer: String,
        /// As in `12-gen2`.
        sku: String,
        /// As in `0.20260701.2512`, or `latest`, which the lock makes a number.
        version: String,
    },
    /// An image of a Compute Gallery.
    Gallery {
        /// The resource id of a definition, whose newest version is locked, or of a version.
        id: String,
    },
    /// A managed image.
    ManagedImage {
        /// Its resource id.
        id: String,
    },
}

/// How the machines of a bake on Azure run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AzureMachine {
    /// As in `westeurope`.
    pub location: String,
    /// As in `Standard_D2s_v5`.
    pub vm_size: String,
    /// The availability zone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub zone: Option<String>,
    /// Size of the disk in GiB; without one it is as large as the base.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disk_gib: Option<u32>,
    /// As in `Premium_LRS`.
    pub disk_type: String,
    /// Whether the machine has a virtual TPM and boots securely.
    pub security: Security,
    /// Whether it may be taken away at any time, for a lower price.
    pub spot: bool,
    /// A resource group that exists; without one a temporary group is made for each bake.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resource_group: Option<String>,
    /// The resource id of a subnet that exists; without one a network is made for each bake.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subnet: Option<String>,
    /// How it is reached.
    pub address: Address,
    /// Who may reach its SSH port: addresses or CIDR ranges. Needed where it is reached by a public address.
    pub allow_from: Vec<String>,
    /// Resource ids of user-assigned identities that the machine of the bake has.
    pub identities: Vec<String>,
    /// The port that the base's SSH server listens on.
    pub ssh_port: u16,
    /// How long the machine may take to answer on SSH, in seconds.
    pub boot_timeout_s: u64,
    /// Tags beside ours, on all that is made.
    pub tags: BTreeMap<String, String>,
}

/// Whether a machine has a virtual TPM and boots securely.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Security {
    /// Neither. The only kind that a managed image can be made of.
    Standard,
    /// Both. Its images start such machines only.
    TrustedLaunch,
}

/// How a machine is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Address {
    /// By a Standard public address, which is its way out as well.
    Public,
    /// By its address in a subnet that exists and has a way out of its own.
    Private,
}

/// What a bake on Azure leaves.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AzureOutput {
    /// The resource group of the managed image, which exists and outlives bakes.
    pub resource_group: String,
    /// Whether a managed image `NAME-VERSION` is left.
    pub managed_image: bool,
    /// Whether the managed image is kept in all zones of its region.
    pub zone_resilient: bool,
    /// The gallery version that is left.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gallery: Option<GalleryOutput>,
}

/// A version in a Compute Gallery.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GalleryOutput {
    /// The gallery's resource group, which exists.
    pub resource_group: String,
    /// The gallery, which exists.
    pub name: String,
    /// The image definition in it, which exists.
    pub definition: String,
    /// Where it is replicated to; the machine's location is among them always.
    pub target_regions: Vec<String>,
    /// Copies in each region.
    pub replicas: u32,
    /// Whether those who ask for the latest version do not get it.
    pub exclude_from_latest: bool,
}

/// Reads `[base.azure]`, `[machine.azure]` and `[output.azure]`: all of them, or none.
pub(super) fn read(
    start: &Location,
    tables: [Option<Table>; 3],
    variables: &Variables,
) -> Result<Option<AzureSpec>, Problem> {
    if tables.iter().all(Option::is_none) {
        return Ok(None);
    }
    let names = ["base.azure", "machine.azure", "output.azure"];
    let missing = names.iter().zip(&tables).find(|(_, table)| table.is_none());
    let [Some(of_base), Some(of_machine), Some(of_output)] = tables else {
        let (name, _) = missing.expect("one of them is missing");
        return Err(start
            .below(name)
            .problem("missing; a bake on Azure needs a base, a machine and an output")
            .hint(format!(
                "add `[{name}]`, or remove the other tables for azure"
            )));
    };
    let found = of_base.found.clone();
    let output_at = of_output.at.clone();
    let base = found.value(base(of_base, variables));
    let machine = found.value(machine::read(of_machine, variables));
    let output = output::read(of_output, variables, machine.as_ref());
    let output = found.value(output);
    let (base, (machine, output)) = base
        .zip(machine.zip(output))
        .ok_or_else(|| output_at.described())?;
    Ok(Some(AzureSpec {
        base,
        machine,
        output,
    }))
}

/// Refuses an image's name with which a managed image, `NAME-VERSION`, would have a name that is too long for Azure.
pub(super) fn image_name(start: &Location, name: &str, azure: &AzureSpec) -> Result<(), Problem> {
    let most = LONGEST_IMAGE_NAME - 1 - USUAL_VERSION.len();
    if !azure.output.managed_image || name.len() <= most {
        return Ok(());
    }
    Err(start
        .below("name")
        .problem(format!(
            "the image's name has {} characters, and its managed images would be called {name}-{USUAL_VERSION}, which is longer than the {LONGEST_IMAGE_NAME} that Azure takes; expected at most {most}",
            name.len()
        ))
        .hint("rename the folder, or set `managed_image = false` and name a gallery"))
}

/// The longest name of a managed image:
/// <https://learn.microsoft.com/azure/azure-resource-manager/management/resource-name-rules>.
pub const LONGEST_IMAGE_NAME: usize = 80;
/// A version as long as one that is chosen for an image may become.
const USUAL_VERSION: &str = "2026.1231.999";

const KINDS: [&str; 3] = ["marketplace", "gallery", "managed-image"];

/// Reads the base below `[base.azure]`.
fn base(mut table: Table, variables: &Variables) -> Result<AzureBase, Problem> {
    let kind = table.need("kind", "`marketplace`, `gallery` or `managed-image`")?;
    let at = kind.at.clone();
    let kind = variables.text(kind)?;
    if !KINDS.contains(&kind.as_str()) {
        return Err(at
            .problem(format!(
                "`{kind}` is no kind of base; expected one of {}",
                listed(KINDS)
            ))
            .did_you_mean(
                &kind,
                KINDS,
                "`marketplace` is where distributions publish theirs",
            ));
    }
    let at = table.at.clone();
    if kind == KINDS[0] {
        table.only(&["kind", "publisher", "offer", "sku", "version"]);
        let read = |key: &str, item: Item| {
            let at = item.at.clone();
            let text = variables.text(item)?;
            let plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
            if text.is_empty() || !text.chars().all(plain) {
                return Err(at
                    .problem(format!("`{text}` is no {key} of the marketplace; expected letters, digits, `-`, `_` and `.`"))
                    .hint("`az vm image list --all --publisher Debian` lists some"));
            }
            Ok(text)
        };
        let parts = ["publisher", "offer", "sku", "version"].map(|key| {
            table.required(key, "as `az vm image list` prints it", |item| {
                read(key, item)
            })
        });
        let [Some(publisher), Some(offer), Some(sku), Some(version)] = parts else {
            return Err(at.described());
        };
        return Ok(AzureBase::Marketplace {
            publisher,
            offer,
            sku,
            version,
        });
    }
    table.only(&["kind", "id"]);
    let id = table.need("id", "a resource id, `/subscriptions/…`")?;
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

/// Our own tags begin with this.
pub const TAG_PREFIX: &str = "vault-bake-";
