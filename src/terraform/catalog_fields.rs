//! Where images stand in the resources of a plan: one table, after the schemas of the providers.
//!
//! A path names attributes from the resource inwards; places in lists and sets are left out, and `**` stands for any way.

/// What stands at a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// The id of an image, or a path or address of its file.
    Image,
    /// A block that names an image, by its `id` or by publisher, offer and the like.
    Reference,
    /// The name of an image that the provider has.
    Named,
    /// A disk with a system on it. The provider computes it as well, so it says something only where no image is named.
    OsDisk,
    /// A disk, snapshot or machine that a disk or an image is made from.
    Source,
    /// A volume that a disk or a machine is made from, mostly one of the same plan, at which its image is looked up.
    Volume,
    /// What `Source` is, and computed where `create_option` does not import a disk.
    Import,
    /// A block without an image of its own that is never unknown as a whole, unless all about the machine is.
    Block,
    /// The text of an ARM template.
    Template,
    /// The text of the parameters of an ARM template. The provider computes it as well.
    Parameters,
    /// A template or definition that is not in the plan.
    Elsewhere,
    /// A request to Azure, as an object or as text.
    Body,
}

/// Places of the resources whose type a pattern fits.
pub(super) struct Row {
    kinds: &'static [&'static str],
    /// Whether such a resource starts a machine, so that it has an image.
    boots: bool,
    places: &'static [(&'static str, Role)],
}

use Role::{
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
        places: &[
            ("source_image_id", Image),
            ("source_image_reference", Reference),
            ("os_managed_disk_id", OsDisk),
            ("os_disk", Block),
        ],
    },
    Row {
        kinds: &["azurerm_virtual_machine", "azurestack_virtual_machine"],
        boots: true,
        places: &[
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
        places: &[
            ("storage_profile_image_reference", Reference),
            ("storage_profile_os_disk", Block),
            ("storage_profile_os_disk.image", Image),
        ],
    },
    Row {
        kinds: &["azurerm_managed_disk", "azurestack_managed_disk"],
        boots: false,
        places: &[
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
        places: &[("source_resource_id", Source), ("source_uri", Import)],
    },
    Row {
        kinds: &["azurerm_image", "azurestack_image"],
        boots: false,
        places: &[
            ("source_virtual_machine_id", Source),
            ("os_disk", Block),
            ("os_disk.managed_disk_id", OsDisk),
            ("os_disk.blob_uri", OsDisk),
        ],
    },
    Row {
        kinds: &["azurerm_shared_image_version"],
        boots: false,
        places: &[
            ("managed_image_id", Image),
            ("os_disk_snapshot_id", Source),
            ("blob_uri", Source),
        ],
    },
    Row {
        kinds: &["azurerm_virtual_machine_implicit_data_disk_from_source"],
        boots: false,
        places: &[("source_resource_id", Source)],
    },
    Row {
        kinds: &["azurerm_batch_pool"],
        boots: true,
        places: &[("storage_image_reference", Reference)],
    },
    Row {
        kinds: &["azurerm_kubernetes_cluster"],
        boots: false,
        places: &[("default_node_pool.snapshot_id", Source)],
    },
    Row {
        kinds: &["azurerm_kubernetes_cluster_node_pool"],
        boots: false,
        places: &[("snapshot_id", Source)],
    },
    Row {
        kinds: &[
            "azurerm_dev_test_linux_virtual_machine",
            "azurerm_dev_test_windows_virtual_machine",
        ],
        boots: true,
        places: &[("gallery_image_reference", Reference)],
    },
    Row {
        kinds: &["azurerm_dev_center_dev_box_definition"],
        boots: false,
        places: &[("image_reference_id", Image)],
    },
    Row {
        kinds: &["azurerm_managed_devops_pool"],
        boots: false,
        places: &[("virtual_machine_scale_set_fabric.image", Reference)],
    },
    Row {
        kinds: &["azurerm_service_fabric_managed_cluster"],
        boots: false,
        places: &[("node_type.vm_image_offer", Named)],
    },
    Row {
        kinds: &["azurerm_lab_service_lab"],
        boots: false,
        places: &[("virtual_machine.image_reference", Reference)],
    },
    Row {
        kinds: &["azurerm_virtual_desktop_host_pool"],
        boots: false,
        places: &[("vm_template", Body)],
    },
    Row {
        kinds: &[
            "azurerm_resource_group_template_deployment",
            "azurerm_subscription_template_deployment",
            "azurerm_management_group_template_deployment",
            "azurerm_tenant_template_deployment",
        ],
        boots: false,
        places: &[
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
        places: &[
            ("template_body", Template),
            ("parameters_body", Parameters),
            ("parameters", Body),
        ],
    },
    Row {
        kinds: &["azurerm_managed_application"],
        boots: false,
        places: &[("parameter_values", Body), ("parameters", Body)],
    },
    Row {
        kinds: &["azapi_*"],
        boots: false,
        places: &[("body", Body), ("sensitive_body", Body)],
    },
    Row {
        kinds: &["libvirt_volume"],
        boots: false,
        places: &[
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
        places: &[
            ("disk.file", Image),
            ("disk.url", Image),
            ("disk.volume_id", Volume),
            ("devices.disks.source.file.file", Image),
        ],
    },
    Row {
        kinds: &["openstack_images_image_v2"],
        boots: false,
        places: &[("local_file_path", Image), ("image_source_url", Image)],
    },
    Row {
        kinds: &["nutanix_image"],
        boots: false,
        places: &[("source_path", Image), ("source_uri", Image)],
    },
    Row {
        kinds: &["proxmox_virtual_environment_file"],
        boots: false,
        places: &[("source_file.path", Image)],
    },
    Row {
        kinds: &["proxmox_virtual_environment_download_file"],
        boots: false,
        places: &[("url", Image)],
    },
    // Resources that this table does not know yet.
    Row {
        kinds: &["azurerm_*", "azurestack_*"],
        boots: false,
        places: &[
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

/// The places of a type of resources.
pub(super) fn places(kind: &str) -> impl Iterator<Item = (&'static str, Role)> {
    rows(kind).flat_map(|row| row.places.iter().copied())
}

/// Whether a resource of this type starts a machine.
pub(super) fn boots(kind: &str) -> bool {
    rows(kind).any(|row| row.boots)
}

/// Whether the table names this type, by more than its provider.
pub(super) fn is_known(kind: &str) -> bool {
    rows(kind).any(|row| row.places.iter().any(|(path, _)| !path.starts_with("**")))
}

fn rows(kind: &str) -> impl Iterator<Item = &'static Row> {
    let fits = move |row: &&'static Row| row.kinds.iter().any(|pattern| fits(pattern, kind));
    TABLE.iter().filter(fits)
}

fn fits(pattern: &str, kind: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(head) => kind.starts_with(head),
        None => pattern == kind,
    }
}
