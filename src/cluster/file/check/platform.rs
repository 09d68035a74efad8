//! Checks the tables `platform` and `front`: what runs the nodes, and what is before them.
//! Whether a platform works on this computer is left to the platforms.

use super::Checker;
use crate::azure::ResourceId;
use crate::cluster::file::raw::{PlatformName, RawFront, RawPlatform};
use crate::cluster::file::{AzurePlatform, Front, FrontKind, Platform, PlatformKind, Subnet, Tier};
use crate::product::vault::API_PORT as VAULT_PORT;

/// Size of virtual machines on Azure.
const VM_SIZE: &str = "Standard_D2s_v5";

/// The type of a subnet on Azure.
const SUBNET_KIND: &str = "Microsoft.Network/virtualNetworks/subnets";

impl Checker<'_> {
    pub(super) fn platform(&self, raw: RawPlatform) -> Option<Platform> {
        let subnet = match raw.subnet.parse::<Subnet>() {
            Ok(subnet) => Some(subnet),
            Err(error) => {
                let problem = self.at("platform.subnet").problem(error.to_string());
                self.record(problem.with_hint(error.hint().unwrap_or_default()));
                None
            }
        };
        let kind = match raw.kind {
            PlatformName::Azure => self.azure(raw).map(PlatformKind::Azure),
            local => {
                self.reject_azure_keys();
                Some(match local {
                    PlatformName::Containers => PlatformKind::Containers,
                    PlatformName::Machines => PlatformKind::Machines,
                    _ => PlatformKind::Auto,
                })
            }
        };
        Some(Platform {
            kind: kind?,
            subnet: subnet?,
        })
    }

    fn reject_azure_keys(&self) {
        let keys = [
            "resource_group",
            "location",
            "subnet_id",
            "vm_size",
            "zones",
        ];
        for key in keys.map(|key| format!("platform.{key}")) {
            if self.document.is_set(&key) {
                let problem = self
                    .at(&key)
                    .problem("only a platform of `kind = \"azure\"` has this key")
                    .with_hint("Remove it, or set `kind = \"azure\"`.");
                self.record_conflict(&["platform.kind"], problem);
            }
        }
    }

    fn azure(&self, raw: RawPlatform) -> Option<AzurePlatform> {
        let required = |key: &str, value: Option<String>, expected: &str| {
            let key = format!("platform.{key}");
            let value = self.document.required(&key, value, expected)?;
            self.text(&key, value)
        };
        let resource_group = required("resource_group", raw.resource_group, "a resource group");
        let location = required(
            "location",
            raw.location,
            "a location such as `\"westeurope\"`",
        );
        let subnet_id = required("subnet_id", raw.subnet_id, "the id of the nodes' subnet");
        let subnet_id = subnet_id.and_then(|id| self.subnet_id(&id));
        let vm_size = raw.vm_size.unwrap_or_else(|| VM_SIZE.to_owned());
        let zones = raw.zones.unwrap_or_default();
        for (index, zone) in zones.iter().enumerate() {
            if !matches!(zone.as_str(), "1" | "2" | "3") || zones[..index].contains(zone) {
                let key = format!("platform.zones[{}]", index + 1);
                let message = format!("`{zone}`; expected each of `1`, `2` and `3` at most once");
                let problem = self.at(&key).problem(message);
                self.record(problem.with_hint("Write `zones = [\"1\", \"2\", \"3\"]`."));
            }
        }
        Some(AzurePlatform {
            resource_group: resource_group?,
            location: location?,
            subnet_id: subnet_id?,
            vm_size: self.text("platform.vm_size", vm_size)?,
            zones,
        })
    }

    fn subnet_id(&self, given: &str) -> Option<ResourceId> {
        let id = given.parse::<ResourceId>().ok();
        let id = id.filter(|id| id.kind().eq_ignore_ascii_case(SUBNET_KIND));
        if id.is_none() {
            let message = format!(
                "`{given}` is no subnet; expected /subscriptions/ID/resourceGroups/NAME/providers/Microsoft.Network/virtualNetworks/NAME/subnets/NAME"
            );
            let problem = self.at("platform.subnet_id").problem(message);
            self.record(
                problem.with_hint("Print it with `az network vnet subnet show --query id`."),
            );
        }
        id
    }

    /// Checks that the network has addresses for all nodes and their replacements.
    pub(super) fn room(&self, subnet: Subnet, consul: &Tier, vault: &Tier) {
        let (servers, nodes) = (subnet.consul().count, subnet.vault().count);
        if consul.nodes < servers && vault.nodes * 2 <= nodes {
            return;
        }
        let problem = self.at("platform.subnet").problem(format!(
            "too small for {} Consul and {} Vault nodes with replacements; `{subnet}` has addresses for {} and {}",
            consul.nodes,
            vault.nodes,
            servers - 1,
            nodes / 2,
        ));
        let keys = ["platform.subnet", "consul.nodes", "vault.nodes"];
        self.record_conflict(&keys, problem.with_hint("Use a /27 or a larger network."));
    }

    pub(super) fn front(&self, raw: &RawFront, platform: PlatformName) -> Front {
        let on_azure = platform == PlatformName::Azure;
        let default = if on_azure {
            FrontKind::Azure
        } else {
            FrontKind::Haproxy
        };
        let kind = raw.kind.unwrap_or(default);
        let refused = match kind {
            FrontKind::Haproxy if on_azure => Some((
                "HAProxy runs on this computer, and the nodes on Azure; expected `azure` or `none`",
                "Write `azure`, or remove it.",
            )),
            FrontKind::Azure if !on_azure => Some((
                "only nodes on Azure have its load balancer; expected `haproxy` or `none`",
                "Write `haproxy`, or set `kind = \"azure\"` in `platform`.",
            )),
            _ => None,
        };
        if let Some((message, hint)) = refused {
            let problem = self.at("front.kind").problem(message).with_hint(hint);
            self.record_conflict(&["front.kind", "platform.kind"], problem);
        }
        if kind == FrontKind::None && raw.port.is_some() {
            let problem = self
                .at("front.port")
                .problem("without a front, there is no port");
            self.record(problem.with_hint("Remove it, or set another `kind`."));
        }
        let port = raw.port.unwrap_or(i64::from(VAULT_PORT));
        let port = self.number("front.port", port, &(1024..=65535));
        Front {
            kind,
            // A file with a refused number is not returned.
            port: port
                .and_then(|port| u16::try_from(port).ok())
                .unwrap_or(VAULT_PORT),
        }
    }
}
