//! Reads `[output.azure]` into an [`AzureOutput`] that the machine's security type allows.
//! Azure is not contacted.

use super::values::{compute_name, group};
use super::{AzureMachine, AzureOutput, DiskController, GalleryOutput, Security};
use crate::definition::Problem;
use crate::definition::document::Table;
use crate::definition::variables::Variables;

/// Reads `[output.azure]` for a build on `machine`, which is `None` if its table is invalid.
pub(super) fn read(
    mut table: Table,
    variables: &Variables,
    machine: Option<&AzureMachine>,
) -> Result<AzureOutput, Problem> {
    table.reject_unknown(&[
        "resource_group",
        "managed_image",
        "zone_resilient",
        "gallery",
    ]);
    let at = table.at.clone();
    let found = table.found.clone();
    let temporary = machine.and_then(|machine| machine.resource_group.as_ref());
    let resource_group = table.required("resource_group", "a permanent resource group", |item| {
        let at = item.at.clone();
        let resource_group = group(item, variables)?;
        match temporary {
            Some(temporary) if temporary.eq_ignore_ascii_case(&resource_group) => Err(at
                .problem("the same group as `machine.azure.resource_group`; expected another one")
                .with_hint("Choose a group without temporary resources of builds.")),
            _ => Ok(resource_group),
        }
    });
    let trusted = machine.is_some_and(|machine| machine.security == Security::TrustedLaunch);
    let nvme = machine.is_some_and(|machine| machine.disk_controller == DiskController::Nvme);
    let mut zone_resilient = false;
    table.read_into("zone_resilient", &mut zone_resilient, |item| {
        variables.flag(item)
    });
    let mut managed_image = !trusted && !nvme;
    table.read_into("managed_image", &mut managed_image, |item| {
        variables.flag(item)
    });
    let gallery = found.ok_or_record(table.take_table("gallery")).flatten();
    let gallery = gallery.map(|table| gallery_output(table, variables, resource_group.as_deref()));
    let gallery = gallery.transpose();
    let has_gallery = !matches!(gallery, Ok(None | Some(None)));
    if managed_image && trusted {
        found.record(
            at.below("managed_image")
                .problem("a trusted-launch machine cannot become a managed image")
                .with_hint("Remove it and name a gallery, or use `security = \"standard\"`."),
        );
    }
    if managed_image && nvme {
        found.record(
            at.below("managed_image")
                .problem("a managed image does not support disks with `disk_controller = \"nvme\"`")
                .with_hint("Remove it and name a gallery, or use `disk_controller = \"scsi\"`."),
        );
    }
    if !managed_image && !has_gallery {
        found.record(
            at.problem("no output; expected a managed image or a gallery")
                .with_hint("Add `[output.azure.gallery]`, or `managed_image = true`."),
        );
    }
    Ok(AzureOutput {
        gallery: gallery?.flatten(),
        resource_group: resource_group.ok_or_else(|| at.already_reported())?,
        managed_image,
        zone_resilient,
    })
}

/// Reads `[output.azure.gallery]`. An empty name, as of a variable without a value, is no gallery.
fn gallery_output(
    mut table: Table,
    variables: &Variables,
    default_group: Option<&str>,
) -> Result<Option<GalleryOutput>, Problem> {
    table.reject_unknown(&[
        "resource_group",
        "name",
        "definition",
        "target_regions",
        "replicas",
        "exclude_from_latest",
    ]);
    let at = table.at.clone();
    let name = table.required("name", "the gallery", |item| {
        match variables.text(item.clone())?.as_str() {
            "" => Ok(None),
            _ => compute_name(item, variables, "a gallery", "_.").map(Some),
        }
    });
    let definition = table.required(
        "definition",
        "the image definition in the gallery",
        |item| compute_name(item, variables, "an image definition", "-_."),
    );
    let mut resource_group = default_group.unwrap_or_default().to_owned();
    table.read_into("resource_group", &mut resource_group, |item| {
        group(item, variables)
    });
    let mut target_regions = Vec::new();
    table.read_into("target_regions", &mut target_regions, |item| {
        let regions = variables.texts(item)?;
        Ok(regions.into_iter().map(|(_, region)| region).collect())
    });
    let mut replicas = 1;
    table.read_into("replicas", &mut replicas, |item| {
        variables.integer(item, 1, 100)
    });
    let mut exclude_from_latest = true;
    table.read_into("exclude_from_latest", &mut exclude_from_latest, |item| {
        variables.flag(item)
    });
    let (name, definition) = name.zip(definition).ok_or_else(|| at.already_reported())?;
    Ok(name.map(|name| GalleryOutput {
        resource_group,
        name,
        definition,
        target_regions,
        replicas,
        exclude_from_latest,
    }))
}
