//! The keys of the Azure API that can refer to images. Keys are case-insensitive.

/// Keys with the id of an image.
const IDS: [&str; 9] = [
    "imageid",
    "sourceimageid",
    "customimageid",
    "galleryimageid",
    "imagereferenceid",
    "galleryimagereferenceid",
    "managedimageid",
    "imageuri",
    "imageversionid",
];

/// Keys with an object that refers to an image.
const REFERENCES: [&str; 5] = [
    "imagereference",
    "galleryimagereference",
    "sourceimagereference",
    "storageimagereference",
    "images",
];

/// Keys of such an object that contain an id.
pub(super) const REFERENCE_IDS: [&str; 5] = [
    "id",
    "resourceid",
    "communitygalleryimageid",
    "sharedgalleryimageid",
    "virtualmachineimageid",
];

/// Keys of such an object that identify an image of a marketplace or of the service.
pub(super) const REFERENCE_NAMES: [&str; 5] =
    ["publisher", "offer", "sku", "version", "wellknownimagename"];

/// Keys that may contain an image. If their value is unknown, so is the image.
const HIDING: [&str; 23] = [
    "properties",
    "storageprofile",
    "virtualmachineprofile",
    "basevirtualmachineprofile",
    "creationdata",
    "osdisk",
    "osdiskimage",
    "source",
    "sourcevirtualmachine",
    "template",
    "templatelink",
    "resources",
    "deploymentconfiguration",
    "virtualmachineconfiguration",
    "fabricprofile",
    "agentpoolprofiles",
    "nodetypes",
    "vmprofile",
    "vmtemplate",
    "image",
    "sourceresourceid",
    "sourceuri",
    "snapshotid",
];

/// The same, if Terraform does not know them. In a template they are evaluated at their use.
const NAMED_VALUES: [&str; 3] = ["parameters", "variables", "value"];

/// The sections of a template that deploy nothing.
pub(super) const SECTIONS: [&str; 4] = ["parameters", "variables", "outputs", "functions"];

/// Services without machines. Resources of other types may refer to images.
const WITHOUT_IMAGES: [&str; 17] = [
    "microsoft.network",
    "microsoft.storage",
    "microsoft.keyvault",
    "microsoft.authorization",
    "microsoft.insights",
    "microsoft.operationalinsights",
    "microsoft.managedidentity",
    "microsoft.eventgrid",
    "microsoft.eventhub",
    "microsoft.servicebus",
    "microsoft.web",
    "microsoft.sql",
    "microsoft.app",
    "microsoft.documentdb",
    "microsoft.cache",
    "microsoft.containerregistry",
    "microsoft.containerinstance",
];

/// Types without an image in services with machines.
const WITHOUT_IMAGE_TYPES: [&str; 8] = [
    "microsoft.compute/availabilitysets",
    "microsoft.compute/diskencryptionsets",
    "microsoft.compute/hostgroups",
    "microsoft.compute/proximityplacementgroups",
    "microsoft.compute/sshpublickeys",
    "microsoft.compute/virtualmachines/extensions",
    "microsoft.compute/virtualmachines/runcommands",
    "microsoft.compute/virtualmachinescalesets/extensions",
];

/// The kind of value at a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ValueRole {
    /// An image.
    Image,
    /// An OS disk. It matters only if the resource names no image.
    Disk,
    /// A disk, snapshot or machine that a disk or an image is created from.
    Source,
}

/// The last keys of paths with such a value.
const ROLES: [(&[&str], ValueRole); 18] = [
    (&["osdisk", "image"], ValueRole::Image),
    (&["osdisk", "image", "uri"], ValueRole::Image),
    (&["source", "communitygalleryimageid"], ValueRole::Image),
    (&["osdisk", "manageddisk"], ValueRole::Disk),
    (&["osdisk", "manageddisk", "id"], ValueRole::Disk),
    (&["osdisk", "vhd"], ValueRole::Disk),
    (&["osdisk", "vhd", "uri"], ValueRole::Disk),
    (&["osdisk", "snapshot"], ValueRole::Disk),
    (&["osdisk", "snapshot", "id"], ValueRole::Disk),
    (&["osdisk", "bloburi"], ValueRole::Disk),
    (&["creationdata", "sourceresourceid"], ValueRole::Source),
    (&["creationdata", "sourceuri"], ValueRole::Source),
    (&["creationdata", "elasticsanresourceid"], ValueRole::Source),
    (&["sourceresource", "id"], ValueRole::Source),
    (&["sourcevirtualmachine", "id"], ValueRole::Source),
    (&["source", "virtualmachineid"], ValueRole::Source),
    (&["source", "id"], ValueRole::Source),
    (&["source", "uri"], ValueRole::Source),
];

fn is_in(list: &[&str], key: &str) -> bool {
    list.iter().any(|one| key.eq_ignore_ascii_case(one))
}

/// Whether a key has the id of an image.
pub(super) fn is_id(key: &str) -> bool {
    is_in(&IDS, key)
}

/// Whether a key has an object that refers to an image.
pub(super) fn is_reference(key: &str) -> bool {
    is_in(&REFERENCES, key)
}

/// Whether an image may be below a key.
pub(super) fn hides(key: &str) -> bool {
    is_in(&HIDING, key)
}

/// Whether a key has values that are used elsewhere.
pub(super) fn names_values(key: &str) -> bool {
    is_in(&NAMED_VALUES, key)
}

/// Whether a request of this type, such as `Microsoft.Compute/virtualMachines@2025-04-01`, may
/// refer to an image.
pub(in crate::terraform) fn may_name_images(kind: Option<&str>) -> bool {
    let Some(kind) = kind.map(str::to_ascii_lowercase) else {
        return true;
    };
    let (kind, _) = kind.split_once('@').unwrap_or((&kind, ""));
    let service = kind.split('/').next().unwrap_or_default();
    !WITHOUT_IMAGES.contains(&service) && !WITHOUT_IMAGE_TYPES.contains(&kind)
}

/// Returns the kind of value at `path`, ignoring indexes of lists.
pub(super) fn role(path: &str) -> Option<ValueRole> {
    let is_index = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    let keys = path.rsplit('.').filter(|part| !is_index(part));
    let last: Vec<&str> = keys.take(3).collect();
    let ends_with = |suffix: &[&str]| {
        let mut pairs = suffix.iter().rev().zip(&last);
        suffix.len() <= last.len() && pairs.all(|(one, key)| key.eq_ignore_ascii_case(one))
    };
    let found = ROLES.iter().find(|(suffix, _)| ends_with(suffix));
    found.map(|(_, role)| *role)
}
