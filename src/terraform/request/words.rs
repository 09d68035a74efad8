//! The words of Azure's interface that tell where an image is named. Keys have no case.

/// Keys that have the id of an image.
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

/// Keys that have an object which names an image.
const REFERENCES: [&str; 5] = [
    "imagereference",
    "galleryimagereference",
    "sourceimagereference",
    "storageimagereference",
    "images",
];

/// Keys of such an object that have an id.
pub(super) const REFERENCE_IDS: [&str; 5] = [
    "id",
    "resourceid",
    "communitygalleryimageid",
    "sharedgalleryimageid",
    "virtualmachineimageid",
];

/// Keys of such an object that name an image of a marketplace, or of the service.
pub(super) const REFERENCE_NAMES: [&str; 5] =
    ["publisher", "offer", "sku", "version", "wellknownimagename"];

/// Keys below which an image may be: not known as a whole, they hide it.
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

/// The same where Terraform does not know them. In a template they are looked at where they are used.
const NAMED_VALUES: [&str; 3] = ["parameters", "variables", "value"];

/// Sections of a template that deploy nothing by themselves.
pub(super) const SECTIONS: [&str; 4] = ["parameters", "variables", "outputs", "functions"];

/// Services without machines. What a resource of another type may have is not known.
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

/// Types beside the machines of their service.
const BESIDE_MACHINES: [&str; 8] = [
    "microsoft.compute/availabilitysets",
    "microsoft.compute/diskencryptionsets",
    "microsoft.compute/hostgroups",
    "microsoft.compute/proximityplacementgroups",
    "microsoft.compute/sshpublickeys",
    "microsoft.compute/virtualmachines/extensions",
    "microsoft.compute/virtualmachines/runcommands",
    "microsoft.compute/virtualmachinescalesets/extensions",
];

/// What a text at a place is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ValueRole {
    /// An image.
    Image,
    /// A disk with a system on it, which says something where no image is named.
    Disk,
    /// A disk, snapshot or machine that a disk or an image is made from.
    Source,
}

/// The last keys of the way to such a place.
const PLACES: [(&[&str], ValueRole); 18] = [
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

/// Whether a key has an object that names an image.
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

/// Whether a request of this type, as in `Microsoft.Compute/virtualMachines@2025-04-01`, may name an image.
pub(in crate::terraform) fn may_name_images(kind: Option<&str>) -> bool {
    let Some(kind) = kind.map(str::to_ascii_lowercase) else {
        return true;
    };
    let (kind, _) = kind.split_once('@').unwrap_or((&kind, ""));
    let service = kind.split('/').next().unwrap_or_default();
    !WITHOUT_IMAGES.contains(&service) && !BESIDE_MACHINES.contains(&kind)
}

/// What is at `path`, whose places in lists do not count.
pub(super) fn place(path: &str) -> Option<ValueRole> {
    let is_index = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    let keys = path.rsplit('.').filter(|part| !is_index(part));
    let last: Vec<&str> = keys.take(3).collect();
    let fits = |wanted: &[&str]| {
        let mut pairs = wanted.iter().rev().zip(&last);
        wanted.len() <= last.len() && pairs.all(|(one, key)| key.eq_ignore_ascii_case(one))
    };
    let found = PLACES.iter().find(|(wanted, _)| fits(wanted));
    found.map(|(_, place)| *place)
}
