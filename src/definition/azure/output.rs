//! What a bake on Azure leaves: `[output.azure]`.
//!
//! In: the table, and the machine that it is made of. Out: an [`AzureOutput`] that such a machine can leave. Deliberately
//! asks Azure nothing.

use super::values::{group, plain};
use super::{AzureMachine, AzureOutput, GalleryOutput, Security};
use crate::definition::document::Table;
use crate::definition::problem::Problem;
use crate::definition::variables::Variables;

/// Reads `[output.azure]`, for a bake on `machine`.
pub(super) fn read(
    mut table: Table,
    variables: &Variables,
    machine: &AzureMachine,
) -> Result<AzureOutput, Problem> {
    table.only(&[
        "resource_group",
        "managed_image",
        "zone_resilient",
        "gallery",
    ])?;
    let at = table.at.clone();
    let item = table.need("resource_group", "a resource group that outlives bakes")?;
    let group_at = item.at.clone();
    let resource_group = group(item, variables)?;
    if machine
        .resource_group
        .as_ref()
        .is_some_and(|temporary| temporary.eq_ignore_ascii_case(&resource_group))
    {
        return Err(group_at
            .problem("it is the group that bakes run in; expected another one")
            .hint("what a bake leaves must not be where its temporary resources are"));
    }
    let mut flag_or = |key: &str, default: bool| match table.take(key) {
        Some(item) => variables.flag(item),
        None => Ok(default),
    };
    let zone_resilient = flag_or("zone_resilient", false)?;
    let managed_image = flag_or("managed_image", machine.security == Security::Standard)?;
    let gallery = table.take_table("gallery")?;
    let gallery = gallery.map(|table| gallery_output(table, variables, &resource_group));
    let gallery = gallery.transpose()?;
    if managed_image && machine.security == Security::TrustedLaunch {
        return Err(at
            .below("managed_image")
            .problem("no managed image can be made of a trusted-launch machine")
            .hint("leave it out and name a gallery, or use `security = \"standard\"`"));
    }
    if !managed_image && gallery.is_none() {
        return Err(at
            .problem("nothing would be left of a bake; expected a managed image or a gallery")
            .hint("add `[output.azure.gallery]`, or `managed_image = true`"));
    }
    Ok(AzureOutput {
        resource_group,
        managed_image,
        zone_resilient,
        gallery,
    })
}

fn gallery_output(
    mut table: Table,
    variables: &Variables,
    default_group: &str,
) -> Result<GalleryOutput, Problem> {
    table.only(&[
        "resource_group",
        "name",
        "definition",
        "target_regions",
        "replicas",
        "exclude_from_latest",
    ])?;
    let mut gallery = GalleryOutput {
        resource_group: default_group.to_owned(),
        name: plain(table.need("name", "the gallery")?, variables, "a gallery")?,
        definition: plain(
            table.need("definition", "the image definition in the gallery")?,
            variables,
            "an image definition",
        )?,
        target_regions: Vec::new(),
        replicas: 1,
        exclude_from_latest: true,
    };
    if let Some(item) = table.take("resource_group") {
        gallery.resource_group = group(item, variables)?;
    }
    if let Some(item) = table.take("target_regions") {
        let regions = variables.texts(item)?;
        gallery.target_regions = regions.into_iter().map(|(_, region)| region).collect();
    }
    if let Some(item) = table.take("replicas") {
        gallery.replicas = variables.integer(item, 1, 100)?;
    }
    if let Some(item) = table.take("exclude_from_latest") {
        gallery.exclude_from_latest = variables.flag(item)?;
    }
    Ok(gallery)
}
