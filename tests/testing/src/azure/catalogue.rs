//! The offers of Azure: sizes, marketplace images, quotas, locations and providers.

use serde_json::{Value, json};

use super::answer::{Answer, Refusal, Reply};
use super::call::Call;
use super::kinds::KINDS;
use super::route::Place;
use super::rules::PUBLIC_IP;
use super::scopes::paged;
use super::world::CloudState;

/// A VM size.
pub struct Size {
    pub name: &'static str,
    pub cores: u64,
    pub architecture: &'static str,
    /// `V1,V2`.
    pub generations: &'static str,
    /// `SCSI, NVMe`.
    pub controllers: &'static str,
}

impl Size {
    /// Returns the capability of this name.
    pub fn trusted_launch_disabled(&self) -> bool {
        self.architecture != "x64"
    }
}

const SIZES: &[Size] = &[
    Size {
        name: "Standard_B2s",
        cores: 2,
        architecture: "x64",
        generations: "V1,V2",
        controllers: "SCSI",
    },
    Size {
        name: "Standard_D2s_v5",
        cores: 2,
        architecture: "x64",
        generations: "V1,V2",
        controllers: "SCSI",
    },
    Size {
        name: "Standard_D4s_v5",
        cores: 4,
        architecture: "x64",
        generations: "V1,V2",
        controllers: "SCSI",
    },
    Size {
        name: "Standard_D16s_v5",
        cores: 16,
        architecture: "x64",
        generations: "V1,V2",
        controllers: "SCSI",
    },
    Size {
        name: "Standard_D2ps_v5",
        cores: 2,
        architecture: "Arm64",
        generations: "V2",
        controllers: "SCSI",
    },
    Size {
        name: "Standard_D2ds_v6",
        cores: 2,
        architecture: "x64",
        generations: "V2",
        controllers: "NVMe",
    },
    Size {
        name: "Standard_E2bds_v5",
        cores: 2,
        architecture: "x64",
        generations: "V1,V2",
        controllers: "SCSI, NVMe",
    },
];

pub fn size(name: &str) -> Option<&'static Size> {
    SIZES.iter().find(|size| size.name == name)
}

/// A marketplace image, with its versions in the order in which Azure lists them.
pub struct Product {
    publisher: &'static str,
    offer: &'static str,
    sku: &'static str,
    pub generation: &'static str,
    pub architecture: &'static str,
    pub security: &'static str,
    /// Disk controllers, or an empty text.
    pub controllers: &'static str,
    pub versions: &'static [&'static str],
    sold: bool,
    /// The time at which its publisher withdraws it.
    withdrawn: Option<&'static str>,
}

/// Azure sorts as text: `0.20250210.1000` comes before the older `0.20250210.999`.
const DEBIAN: &[&str] = &["0.20241004.1890", "0.20250210.1000", "0.20250210.999"];
const PRODUCTS: &[Product] = &[
    Product {
        publisher: "Debian",
        offer: "debian-12",
        sku: "12-gen2",
        generation: "V2",
        architecture: "x64",
        security: "TrustedLaunchSupported",
        controllers: "SCSI, NVMe",
        versions: DEBIAN,
        sold: false,
        withdrawn: None,
    },
    Product {
        publisher: "Debian",
        offer: "debian-12",
        sku: "12",
        generation: "V1",
        architecture: "x64",
        security: "",
        controllers: "",
        versions: DEBIAN,
        sold: false,
        withdrawn: None,
    },
    Product {
        publisher: "Debian",
        offer: "debian-12",
        sku: "12-arm64",
        generation: "V2",
        architecture: "Arm64",
        security: "",
        controllers: "",
        versions: DEBIAN,
        sold: false,
        withdrawn: None,
    },
    Product {
        publisher: "Debian",
        offer: "debian-13",
        sku: "13-gen2",
        generation: "V2",
        architecture: "x64",
        security: "TrustedLaunchSupported",
        controllers: "SCSI, NVMe",
        versions: &["0.20260811.2566"],
        sold: false,
        withdrawn: None,
    },
    Product {
        publisher: "Debian",
        offer: "debian-13",
        sku: "13",
        generation: "V1",
        architecture: "x64",
        security: "",
        controllers: "",
        versions: &["0.20260811.2566"],
        sold: false,
        withdrawn: None,
    },
    Product {
        publisher: "example-seller",
        offer: "hardened",
        sku: "paid",
        generation: "V2",
        architecture: "x64",
        security: "",
        controllers: "",
        versions: &["1.0.0"],
        sold: true,
        withdrawn: None,
    },
    Product {
        publisher: "Debian",
        offer: "debian-11",
        sku: "11-gen2",
        generation: "V2",
        architecture: "x64",
        security: "",
        controllers: "",
        versions: &["0.20240104.1616"],
        sold: false,
        withdrawn: Some("2027-01-31T00:00:00+00:00"),
    },
];

pub fn product(publisher: &str, offer: &str, sku: &str) -> Option<&'static Product> {
    let is = |a: &str, b: &str| a.eq_ignore_ascii_case(b);
    PRODUCTS
        .iter()
        .find(|it| is(it.publisher, publisher) && is(it.offer, offer) && is(it.sku, sku))
}

impl Product {
    /// Returns the highest version by its numbers.
    pub fn latest(&self) -> &'static str {
        let numbers = |version: &&&str| -> Vec<u64> {
            version
                .split('.')
                .map(|part| part.parse().unwrap_or(0))
                .collect()
        };
        self.versions.iter().max_by_key(numbers).expect("a version")
    }

    pub fn plan(&self) -> Option<Value> {
        self.sold.then(
            || json!({ "publisher": self.publisher, "product": self.offer, "name": self.sku }),
        )
    }
}

pub fn subscription(cloud: &CloudState) -> Reply {
    let id = &cloud.config.subscription;
    Reply::of(
        200,
        json!({ "id": format!("/subscriptions/{id}"), "subscriptionId": id,
        "tenantId": cloud.config.tenant, "displayName": "Simulated", "state": "Enabled" }),
    )
}

pub fn locations(cloud: &CloudState) -> Reply {
    let id = &cloud.config.subscription;
    let found: Vec<Value> = cloud
        .config
        .locations
        .iter()
        .map(|name| {
            json!({ "id": format!("/subscriptions/{id}/locations/{name}"), "name": name,
            "displayName": name, "type": "Region", "metadata": { "regionType": "Physical" } })
        })
        .collect();
    Reply::of(200, json!({ "value": found }))
}

/// Lists sizes in pages, optionally of one location.
pub fn skus(cloud: &CloudState, call: &Call) -> Answer {
    let filter = call.query.get("$filter").map_or("", String::as_str);
    let wanted = filter
        .strip_prefix("location eq '")
        .and_then(|rest| rest.strip_suffix('\''));
    if !filter.is_empty() && wanted.is_none() {
        let text = "Only a filter by location is supported.";
        return Err(Refusal::new(400, "InvalidFilterInQueryString", text));
    }
    let locations = cloud.config.locations.iter();
    let found = locations
        .filter(|location| wanted.is_none_or(|wanted| wanted.eq_ignore_ascii_case(location)))
        .flat_map(|location| SIZES.iter().map(move |size| sku(cloud, size, location)))
        .collect();
    Ok(paged(cloud, call, found))
}

fn sku(cloud: &CloudState, size: &Size, location: &str) -> Value {
    let capability = |name: &str, value: &str| json!({ "name": name, "value": value });
    let restricted = cloud.config.restricted.iter().any(|name| name == size.name);
    let restrictions = if restricted {
        json!([{ "type": "Location", "values": [location], "reasonCode": "NotAvailableForSubscription",
            "restrictionInfo": { "locations": [location] } }])
    } else {
        json!([])
    };
    let family = size.name.trim_start_matches("Standard_");
    json!({ "resourceType": "virtualMachines", "name": size.name, "tier": "Standard",
        "size": family, "family": "standardSimulatedFamily", "locations": [location],
        "locationInfo": [{ "location": location, "zones": ["1", "2", "3"] }],
        "capabilities": [capability("vCPUs", &size.cores.to_string()), capability("HyperVGenerations", size.generations),
            capability("CpuArchitectureType", size.architecture), capability("PremiumIO", "True"),
            capability("DiskControllerTypes", size.controllers),
            capability("LowPriorityCapable", "True"), capability("EphemeralOSDiskSupported", "False"),
            capability("TrustedLaunchDisabled", if size.trusted_launch_disabled() { "True" } else { "False" })],
        "restrictions": restrictions })
}

pub fn usages(cloud: &CloudState, call: &Call, namespace: &str) -> Answer {
    let location = call
        .path
        .split('/')
        .rev()
        .nth(1)
        .unwrap_or_default()
        .to_lowercase();
    if !cloud.config.locations.contains(&location) {
        let text = format!("The provided location '{location}' is not available.");
        return Err(Refusal::new(
            400,
            "LocationNotAvailableForResourceType",
            text,
        ));
    }
    let usage = |name: &str, shown: &str, now: u64, limit: u64| {
        json!({ "name": { "value": name, "localizedValue": shown }, "unit": "Count",
            "currentValue": now, "limit": limit })
    };
    let found = if namespace.eq_ignore_ascii_case("Microsoft.Network") {
        let limit = cloud.config.public_addresses as u64;
        let addresses = cloud
            .of_kind(PUBLIC_IP)
            .filter(|ip| ip.location() == location);
        let now = addresses.count() as u64;
        vec![
            usage("PublicIPAddresses", "Public IP Addresses", now, limit),
            usage(
                "StandardSkuPublicIpAddresses",
                "Public IPv4 Addresses - Standard",
                now,
                limit,
            ),
        ]
    } else {
        let now = super::rules::cores_used(cloud, &location);
        let limit = cloud.config.cores;
        vec![
            usage("cores", "Total Regional vCPUs", now, limit),
            usage(
                "standardSimulatedFamily",
                "Standard Simulated Family vCPUs",
                now,
                limit,
            ),
            usage("lowPriorityCores", "Total Regional Spot vCPUs", 0, limit),
        ]
    };
    Ok(Reply::of(200, json!({ "value": found })))
}

pub fn marketplace(cloud: &CloudState, call: &Call) -> Answer {
    let Place::Marketplace {
        location,
        publisher,
        offer,
        sku,
        version,
    } = &call.route.place
    else {
        unreachable!("dispatched by its place");
    };
    let unknown = |what: &str| {
        let text = format!("{what} was not found in {location}.");
        Refusal::new(404, "NotFound", text)
    };
    if !cloud.config.locations.contains(&location.to_lowercase()) {
        return Err(unknown("The location"));
    }
    let product = product(publisher, offer, sku).ok_or_else(|| unknown("Artifact: VMImage"))?;
    let id = |version: &str| {
        format!(
            "/Subscriptions/{}/Providers/Microsoft.Compute/Locations/{location}/Publishers/{publisher}/ArtifactTypes/VMImage/Offers/{offer}/Skus/{sku}/Versions/{version}",
            cloud.config.subscription
        )
    };
    let Some(version) = version else {
        let mut versions = product.versions.to_vec();
        if call
            .query
            .get("$orderby")
            .is_some_and(|order| order == "name desc")
        {
            versions.sort_unstable();
            versions.reverse();
        }
        let top = call.query.get("$top").and_then(|top| top.parse().ok());
        versions.truncate(top.unwrap_or(usize::MAX));
        let found: Vec<Value> = versions
            .iter()
            .map(|version| json!({ "location": location, "name": version, "id": id(version) }))
            .collect();
        // Only this list has no `value` and no pages.
        return Ok(Reply::of(200, json!(found)));
    };
    if !product.versions.contains(&version.as_str()) {
        return Err(unknown("Artifact: VMImage"));
    }
    let features: Vec<Value> = [
        ("SecurityType", product.security),
        ("DiskControllerTypes", product.controllers),
    ]
    .into_iter()
    .filter(|(_, value)| !value.is_empty())
    .map(|(name, value)| json!({ "name": name, "value": value }))
    .collect();
    let mut properties = json!({ "hyperVGeneration": product.generation, "architecture": product.architecture,
        "osDiskImage": { "operatingSystem": "Linux", "sizeInGb": 30 }, "dataDiskImages": [],
        "automaticOSUpgradeProperties": { "automaticOSUpgradeSupported": false }, "features": features,
        "disallowed": { "vmDiskType": "None" }, "imageDeprecationStatus": { "imageState": "Active" } });
    if let Some(plan) = product.plan() {
        properties["plan"] = plan;
    }
    if let Some(time) = product.withdrawn {
        properties["imageDeprecationStatus"] = json!({ "imageState": "ScheduledForDeprecation",
            "scheduledDeprecationTime": time,
            "alternativeOption": { "type": "Offer", "value": "Debian:debian-12" } });
    }
    Ok(Reply::of(
        200,
        json!({ "location": location, "name": version, "id": id(version), "properties": properties }),
    ))
}

fn known(namespace: &str) -> Option<&'static str> {
    let more = ["Microsoft.Resources", "Microsoft.Authorization"];
    let mut names = KINDS.iter().map(super::kinds::Kind::namespace).chain(more);
    names.find(|known| known.eq_ignore_ascii_case(namespace))
}

pub fn provider(cloud: &CloudState, namespace: &str) -> Answer {
    let Some(name) = known(namespace) else {
        let text = format!("The resource namespace '{namespace}' is invalid.");
        return Err(Refusal::new(404, "InvalidResourceNamespace", text));
    };
    let types: Vec<Value> = KINDS
        .iter()
        .filter(|kind| kind.namespace() == name)
        .map(|kind| {
            let versions: Vec<&str> = kind.versions.iter().rev().copied().collect();
            let name = kind.name.split_once('/').map_or(kind.name, |(_, rest)| rest);
            json!({ "resourceType": name, "apiVersions": versions, "locations": cloud.config.locations })
        })
        .collect();
    let missing = cloud.unregistered.contains(&name.to_lowercase());
    let state = if missing {
        "NotRegistered"
    } else {
        "Registered"
    };
    Ok(Reply::of(
        200,
        json!({ "id": format!("/subscriptions/{}/providers/{name}", cloud.config.subscription),
        "namespace": name, "registrationState": state, "resourceTypes": types }),
    ))
}

/// Registers a provider at once; Azure takes a minute or more.
pub fn register(cloud: &mut CloudState, namespace: &str) -> Answer {
    cloud.unregistered.remove(&namespace.to_lowercase());
    provider(cloud, namespace)
}
