//! The fields of Terraform resources that refer to images: one table, based on the schemas of the
//! providers.
//! A path names attributes from the resource inwards. Indexes of lists are omitted, and `**`
//! matches any path.

/// The kind of value in a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FieldRole {
    /// The id of an image, or the path or URL of its file.
    Image,
    /// A block that refers to an image, by `id` or by publisher, offer and so on.
    Reference,
    /// The name of an image of the provider.
    Named,
    /// An OS disk. The provider also computes it, so it matters only if the resource names no
    /// image.
    OsDisk,
    /// A disk, snapshot or machine that a disk or an image is created from.
    Source,
    /// A volume that a disk or a machine is created from. It is usually in the same plan, which
    /// then has its image.
    Volume,
    /// Like `Source`, but computed unless `create_option` imports a disk.
    Import,
    /// A block without an image. If it is unknown as a whole, the resource may be too.
    Block,
    /// The text of an ARM template.
    Template,
    /// The text of the parameters of an ARM template. The provider also computes it.
    Parameters,
    /// A template or definition outside of the plan.
    Elsewhere,
    /// The body of an Azure request, as an object or as text.
    Body,
}

/// The fields of resources whose type matches a pattern.
pub(super) struct Row {
    kinds: &'static [&'static str],
    /// Whether such a resource starts a machine, and so must have an image.
    boots: bool,
    fields: &'static [(&'static str, FieldRole)],
}

use FieldRole::{
    Block, Body, Elsewhere, Image, Import, Named, OsDisk, Parameters, Reference, Source, Template,
    Volume,
};

const TABLE: &[Row] = &[
    Row {
        kinds: &[
            "azurerm_linux_virtual_machine",
            "azurerm_windows_virtual_machine",
            "azurerm_linux_virtual_machine_scale_set",
            "azurerm_windows_virtual_machine_scale_set",
            "azurerm_orchestrated_virtual_machine_scale_set",
            "azurestack_linux_virtual_machine*",
            "azurestack_windows_virtual_machine*",
        ],
        boots: true,
        fields: &[
            ("source_image_id", Image),
            ("source_image_reference", Reference),
            ("os_managed_disk_id", OsDisk),
            ("os_disk", Block),
        ],
    },
    Row {
        kinds: &["azurerm_virtual_machine", "azurestack_virtual_machine"],
        boots: true,
        fields: &[
            ("storage_image_reference", Reference),
            ("storage_os_disk", Block),
            ("storage_os_disk.image_uri", Image),
            ("storage_os_disk.managed_disk_id", OsDisk),
            ("storage_os_disk.vhd_uri", OsDisk),
        ],
    },
    Row {
        kinds: &[
            "azurerm_virtual_machine_scale_set",
            "azurestack_virtual_machine_scale_set",
        ],
        boots: true,
        fields: &[
            ("storage_profile_image_reference", Reference),
            ("storage_profile_os_disk", Block),
            ("storage_profile_os_disk.image", Image),
        ],
    },
    Row {
        kinds: &["azurerm_managed_disk", "azurestack_managed_disk"],
        boots: false,
        fields: &[
            ("image_reference_id", Image),
            ("gallery_image_reference_id", Image),
            ("storage_image_reference", Reference),
            ("source_resource_id", Source),
            ("source_uri", Import),
        ],
    },
    Row {
        kinds: &["azurerm_snapshot"],
        boots: false,
        fields: &[("source_resource_id", Source), ("source_uri", Import)],
    },
    Row {
        kinds: &["azurerm_image", "azurestack_image"],
        boots: false,
        fields: &[
            ("source_virtual_machine_id", Source),
            ("os_disk", Block),
            ("os_disk.managed_disk_id", OsDisk),
            ("os_disk.blob_uri", OsDisk),
        ],
    },
    Row {
        kinds: &["azurerm_shared_image_version"],
        boots: false,
        fields: &[
            ("managed_image_id", Image),
            ("os_disk_snapshot_id", Source),
            ("blob_uri", Source),
        ],
    },
    Row {
        kinds: &["azurerm_virtual_machine_implicit_data_disk_from_source"],
        boots: false,
        fields: &[("source_resource_id", Source)],
    },
    Row {
        kinds: &["azurerm_batch_pool"],
        boots: true,
        fields: &[("storage_image_reference", Reference)],
    },
    Row {
        kinds: &["azurerm_kubernetes_cluster"],
        boots: false,
        fields: &[("default_node_pool.snapshot_id", Source)],
    },
    Row {
        kinds: &["azurerm_kubernetes_cluster_node_pool"],
        boots: false,
        fields: &[("snapshot_id", Source)],
    },
    Row {
        kinds: &[
            "azurerm_dev_test_linux_virtual_machine",
            "azurerm_dev_test_windows_virtual_machine",
        ],
        boots: true,
        fields: &[("gallery_image_reference", Reference)],
    },
    Row {
        kinds: &["azurerm_dev_center_dev_box_definition"],
        boots: false,
        fields: &[("image_reference_id", Image)],
    },
    Row {
        kinds: &["azurerm_managed_devops_pool"],
        boots: false,
        fields: &[("virtual_machine_scale_set_fabric.image", Reference)],
    },
    Row {
        kinds: &["azurerm_service_fabric_managed_cluster"],
        boots: false,
        fields: &[("node_type.vm_image_offer", Named)],
    },
    Row {
        kinds: &["azurerm_lab_service_lab"],
        boots: false,
        fields: &[("virtual_machine.image_reference", Reference)],
    },
    Row {
        kinds: &["azurerm_virtual_desktop_host_pool"],
        boots: false,
        fields: &[("vm_template", Body)],
    },
    Row {
        kinds: &[
            "azurerm_resource_group_template_deployment",
            "azurerm_subscription_template_deployment",
            "azurerm_management_group_template_deployment",
            "azurerm_tenant_template_deployment",
        ],
        boots: false,
        fields: &[
            ("template_content", Template),
            ("parameters_content", Parameters),
            ("template_spec_version_id", Elsewhere),
        ],
    },
    Row {
        kinds: &[
            "azurerm_template_deployment",
            "azurestack_template_deployment",
        ],
        boots: false,
        fields: &[
            ("template_body", Template),
            ("parameters_body", Parameters),
            ("parameters", Body),
        ],
    },
    Row {
        kinds: &["azurerm_managed_application"],
        boots: false,
        fields: &[("parameter_values", Body), ("parameters", Body)],
    },
    Row {
        kinds: &["azapi_*"],
        boots: false,
        fields: &[("body", Body), ("sensitive_body", Body)],
    },
    Row {
        kinds: &["libvirt_volume"],
        boots: false,
        fields: &[
            ("source", Image),
            ("create.content.url", Image),
            ("base_volume_id", Volume),
            ("base_volume_name", Volume),
            ("backing_store.path", Volume),
        ],
    },
    Row {
        kinds: &["libvirt_domain"],
        boots: false,
        fields: &[
            ("disk.file", Image),
            ("disk.url", Image),
            ("disk.volume_id", Volume),
            ("devices.disks.source.file.file", Image),
        ],
    },
    Row {
        kinds: &["openstack_images_image_v2"],
        boots: false,
        fields: &[("local_file_path", Image), ("image_source_url", Image)],
    },
    Row {
        kinds: &["nutanix_image"],
        boots: false,
        fields: &[("source_path", Image), ("source_uri", Image)],
    },
    Row {
        kinds: &["proxmox_virtual_environment_file"],
        boots: false,
        fields: &[("source_file.path", Image)],
    },
    Row {
        kinds: &["proxmox_virtual_environment_download_file"],
        boots: false,
        fields: &[("url", Image)],
    },
    // Resources that this table does not have yet.
    Row {
        kinds: &["azurerm_*", "azurestack_*"],
        boots: false,
        fields: &[
            ("**.source_image_id", Image),
            ("**.image_id", Image),
            ("**.custom_image_id", Image),
            ("**.gallery_image_id", Image),
            ("**.image_reference_id", Image),
            ("**.gallery_image_reference_id", Image),
            ("**.source_image_reference", Reference),
            ("**.storage_image_reference", Reference),
            ("**.gallery_image_reference", Reference),
            ("**.image_reference", Reference),
        ],
    },
];

/// Returns the fields of a resource type.
pub(super) fn fields(kind: &str) -> impl Iterator<Item = (&'static str, FieldRole)> {
    rows(kind).flat_map(|row| row.fields.iter().copied())
}

/// Whether a resource of this type starts a machine.
pub(super) fn boots(kind: &str) -> bool {
    rows(kind).any(|row| row.boots)
}

/// Whether the table contains this type, and not only its provider.
pub(super) fn is_known(kind: &str) -> bool {
    rows(kind).any(|row| row.fields.iter().any(|(path, _)| !path.starts_with("**")))
}

fn rows(kind: &str) -> impl Iterator<Item = &'static Row> {
    let is_match = move |row: &&'static Row| row.kinds.iter().any(|pattern| matches(pattern, kind));
    TABLE.iter().filter(is_match)
}

fn matches(pattern: &str, kind: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(head) => kind.starts_with(head),
        None => pattern == kind,
    }
}
