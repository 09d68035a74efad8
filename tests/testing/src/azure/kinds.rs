//! The kinds of resources: names, api-versions, naming rules and long-running styles.

use super::route::is;

/// The style of a long-running operation: what a client polls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    /// `Azure-AsyncOperation`, whose body contains a status.
    AsyncOperation,
    /// `Location`, which answers 202 until the end.
    Location,
    /// Both headers.
    Both,
    /// No header: the client polls the resource's `provisioningState`, or until it is gone.
    StateOnly,
}

/// A kind of resource.
#[derive(Debug)]
pub struct Kind {
    pub name: &'static str,
    pub versions: &'static [&'static str],
    /// The maximum length of a name, in characters.
    pub longest: usize,
    /// The characters allowed in names, in addition to letters and digits.
    pub marks: &'static str,
    pub put: Style,
    pub delete: Style,
    /// Query parameters of a GET and of a DELETE.
    pub queries: &'static [&'static str],
    /// Actions by POST, and `instanceView` by GET.
    pub actions: &'static [&'static str],
    /// Whether the resource has a location.
    pub located: bool,
    /// The schema type of a PATCH.
    pub patch: Option<&'static str>,
}

pub const RESOURCES: &[&str] = &["2021-04-01", "2025-04-01"];
pub const COMPUTE: &[&str] = &["2025-04-01", "2025-11-01", "2026-04-01"];
pub const NETWORK: &[&str] = &["2025-05-01", "2025-07-01", "2026-03-01"];
pub const GALLERY: &[&str] = &["2024-03-03", "2025-03-03", "2026-03-03"];
pub const DISKS: &[&str] = &["2025-01-02", "2026-03-02"];
pub const LOCKS: &[&str] = &["2020-05-01"];
pub const POLICIES: &[&str] = &["2023-03-01", "2024-10-01"];
pub const SKUS: &[&str] = &["2021-07-01"];
pub const SUBSCRIPTIONS: &[&str] = &["2022-12-01"];

const NETWORKED: Kind = Kind {
    name: "",
    versions: NETWORK,
    longest: 80,
    marks: "_.-",
    put: Style::AsyncOperation,
    delete: Style::Both,
    queries: &["$expand"],
    actions: &[],
    located: true,
    patch: None,
};

const COMPUTED: Kind = Kind {
    name: "",
    versions: COMPUTE,
    longest: 80,
    marks: "_.-",
    put: Style::Both,
    delete: Style::Both,
    queries: &["$expand"],
    actions: &[],
    located: true,
    patch: None,
};

pub static GROUP: Kind = Kind {
    name: "Microsoft.Resources/resourceGroups",
    versions: RESOURCES,
    longest: 90,
    marks: "_.-()",
    delete: Style::Location,
    queries: &["forceDeletionTypes"],
    ..COMPUTED
};

pub static KINDS: &[Kind] = &[
    Kind {
        name: "Microsoft.Network/networkSecurityGroups",
        ..NETWORKED
    },
    Kind {
        name: "Microsoft.Network/virtualNetworks",
        longest: 64,
        ..NETWORKED
    },
    Kind {
        name: "Microsoft.Network/virtualNetworks/subnets",
        located: false,
        ..NETWORKED
    },
    Kind {
        name: "Microsoft.Network/publicIPAddresses",
        ..NETWORKED
    },
    Kind {
        name: "Microsoft.Network/networkInterfaces",
        ..NETWORKED
    },
    Kind {
        name: "Microsoft.Network/natGateways",
        ..NETWORKED
    },
    Kind {
        name: "Microsoft.Compute/virtualMachines",
        longest: 64,
        marks: "-.",
        queries: &["$expand", "forceDeletion"],
        actions: &[
            "deallocate",
            "start",
            "powerOff",
            "generalize",
            "instanceView",
            "retrieveBootDiagnosticsData",
        ],
        patch: Some("VirtualMachineUpdate"),
        ..COMPUTED
    },
    Kind {
        name: "Microsoft.Compute/disks",
        versions: DISKS,
        ..COMPUTED
    },
    Kind {
        name: "Microsoft.Compute/snapshots",
        versions: DISKS,
        ..COMPUTED
    },
    Kind {
        name: "Microsoft.Compute/images",
        patch: Some("ImageUpdate"),
        ..COMPUTED
    },
    Kind {
        name: "Microsoft.Compute/galleries",
        versions: GALLERY,
        // Only names of galleries have no hyphen.
        marks: "_.",
        queries: &["$expand", "$select"],
        ..COMPUTED
    },
    Kind {
        name: "Microsoft.Compute/galleries/images",
        versions: GALLERY,
        ..COMPUTED
    },
    Kind {
        name: "Microsoft.Compute/galleries/images/versions",
        versions: GALLERY,
        longest: 32,
        marks: ".",
        queries: &["$expand", "bypassSoftDelete"],
        patch: Some("GalleryImageVersionUpdate"),
        ..COMPUTED
    },
    Kind {
        name: "Microsoft.Compute/virtualMachineScaleSets",
        longest: 64,
        queries: &["$expand", "forceDeletion"],
        actions: &["manualupgrade", "delete", "reimage", "instanceView"],
        patch: Some("VirtualMachineScaleSetUpdate"),
        ..COMPUTED
    },
    Kind {
        name: "Microsoft.Compute/virtualMachineScaleSets/virtualMachines",
        queries: &["$expand", "forceDeletion"],
        actions: &["reimage", "instanceView"],
        ..COMPUTED
    },
];

/// Returns the kind of this name.
pub fn kind(name: &str) -> Option<&'static Kind> {
    KINDS.iter().find(|kind| is(kind.name, name))
}

impl Kind {
    /// Returns the provider, such as `Microsoft.Compute`.
    pub fn namespace(&self) -> &'static str {
        self.name.split('/').next().unwrap_or_default()
    }

    /// Returns the query parameters that a request may have in addition to `api-version`.
    pub fn takes(&self, method: &str, action: Option<&str>) -> Vec<&'static str> {
        match (method, action) {
            ("GET", None) => self
                .queries
                .iter()
                .filter(|query| query.starts_with('$'))
                .copied()
                .collect(),
            ("DELETE", None) => self
                .queries
                .iter()
                .filter(|query| !query.starts_with('$'))
                .copied()
                .collect(),
            ("POST", Some("deallocate")) => vec!["forceDeallocate", "hibernate"],
            ("POST", Some("powerOff")) => vec!["skipShutdown"],
            ("POST", Some("delete")) => vec!["forceDeletion"],
            ("POST", Some("retrieveBootDiagnosticsData")) => vec!["sasUriExpirationTimeInMinutes"],
            _ => Vec::new(),
        }
    }

    /// Returns the reason why this is not a valid name.
    pub fn misnamed(&self, name: &str) -> Option<String> {
        let version = self.name.ends_with("images/versions");
        if version {
            let parts: Vec<&str> = name.split('.').collect();
            let number = |part: &&str| part.parse::<u32>().is_ok_and(|part| part <= 0x7fff_ffff);
            if parts.len() != 3 || !parts.iter().all(number) {
                let text = "must be Major.Minor.Patch, each a 32-bit integer";
                return Some(format!("The gallery image version name '{name}' {text}."));
            }
        }
        let fine = |c: char| c.is_ascii_alphanumeric() || self.marks.contains(c);
        let ends = name.ends_with(['.', '-']) && !self.marks.contains('(') || name.ends_with('.');
        if name.is_empty()
            || name.len() > self.longest
            || !name.chars().all(fine)
            || ends
            || name.starts_with(['.', '-'])
        {
            return Some(format!(
                "Resource name {name} is invalid. The name can be up to {} characters long and may only contain letters, digits and '{}'.",
                self.longest, self.marks
            ));
        }
        None
    }
}
