//! Plans a build on Azure: checks that the locked image is that of the definition.

use serde_json::json;

use super::definition::{Address, AzureBase, AzureOutput, AzureSpec};
use super::locked_image::{ImageReference, LockedImage};
use crate::definition::platform::{
    Parts, PlannedBase, PlannedMachine, PlannedOutput, Target, TargetLines, Unplannable, word,
};
use crate::definition::{Definition, Location};

/// Plans a build of `definition`.
pub(super) fn plan(
    definition: &Definition,
    parts: &Parts,
    locked: &toml::Table,
) -> Result<Target, Unplannable> {
    let wanted = AzureSpec::of(parts).expect("what this platform read");
    if wanted.machine.address == Address::Public && wanted.machine.allow_from.is_empty() {
        let at = Location::start_of(&definition.file).below("machine.azure.allow_from");
        let problem = at
            .problem("empty; expected the addresses that builds are started from")
            .with_hint(
                "Add an address. For a variable, pass `--var azure_allow_from=203.0.113.7`.",
            );
        return Err(Unplannable::Problem(problem));
    }
    let locked = locked.clone().try_into::<LockedImage>().ok();
    let locked = locked.filter(|locked| is_version_of(&wanted.base, &locked.image));
    let Some(locked) = locked else {
        return Err(Unplannable::Lock("its image is not that of image.toml"));
    };
    let machine = &wanted.machine;
    let lines = TargetLines {
        base: vec![format!(
            "{}, {}, generation {}",
            locked.image,
            locked.arch,
            locked.generation.as_str()
        )],
        machine: format!(
            "{} in {}, {}, reached by its {} address, up to {} s to boot",
            machine.vm_size,
            machine.location,
            word(&machine.security),
            word(&machine.address),
            machine.boot_timeout_s
        ),
        output: output_lines(&wanted.output),
    };
    let content = "the content of the base, which is identified only by its id";
    let is_named = matches!(wanted.base, AzureBase::Marketplace { .. });
    let machine = PlannedMachine(parts.machine.clone());
    Ok(Target {
        architecture: locked.arch,
        base: PlannedBase {
            wanted: json!(wanted.base),
            locked: json!(locked),
        },
        test_machine: machine.clone(),
        machine,
        output: PlannedOutput(parts.output.clone()),
        downloads: true,
        not_pinned: (!is_named)
            .then(|| content.to_owned())
            .into_iter()
            .collect(),
        lines,
    })
}

fn output_lines(output: &AzureOutput) -> Vec<String> {
    let managed = output.managed_image;
    let managed = managed.then(|| format!("managed image in {}", output.resource_group));
    let version = output.gallery.as_ref().map(|gallery| {
        format!(
            "version of {}/{} in {}",
            gallery.name, gallery.definition, gallery.resource_group
        )
    });
    managed.into_iter().chain(version).collect()
}

/// Tells if `wanted` can be locked to `locked`.
fn is_version_of(wanted: &AzureBase, locked: &ImageReference) -> bool {
    match (wanted, locked) {
        (
            AzureBase::Marketplace {
                publisher,
                offer,
                sku,
                version,
            },
            ImageReference::Marketplace {
                publisher: locked_publisher,
                offer: locked_offer,
                sku: locked_sku,
                version: locked_version,
            },
        ) => {
            (publisher, offer, sku) == (locked_publisher, locked_offer, locked_sku)
                && (version == "latest" || version == locked_version)
        }
        // An image definition is locked to one of its versions.
        (AzureBase::Gallery { id }, ImageReference::Gallery { id: locked }) => {
            locked == id || locked.starts_with(&format!("{id}/versions/"))
        }
        (AzureBase::ManagedImage { id }, ImageReference::ManagedImage { id: locked }) => {
            id == locked
        }
        _ => false,
    }
}
