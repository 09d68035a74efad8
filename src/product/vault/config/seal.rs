//! Generates the seal of a Vault server: the service that encrypts Vault's root key.
//! Takes the inputs `seal` and `seal_…`.
//! Secrets are left to the node: it has a managed identity, or gets a token in `vault/env`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value as Json;

use crate::product::config::{InvalidInput, read_or_default};

/// A seal that unseals Vault without key shares.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Seal {
    AzureKeyVault(AzureKeyVault),
    Transit(Transit),
}

/// Keys: <https://developer.hashicorp.com/vault/docs/configuration/seal/azurekeyvault>.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct AzureKeyVault {
    vault_name: String,
    key_name: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    tenant_id: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    client_id: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    environment: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    resource: String,
}

/// Keys: <https://developer.hashicorp.com/vault/docs/configuration/seal/transit>.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Transit {
    address: String,
    mount_path: String,
    key_name: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    namespace: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    tls_ca_cert: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    tls_server_name: String,
}

#[derive(Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Kind {
    #[default]
    Shamir,
    AzureKeyVault,
    Transit,
}

/// The input of both seals.
const KEY: &str = "seal_key_name";

/// Inputs of `azurekeyvault` alone.
const AZURE: [&str; 5] = [
    "seal_vault_name",
    "seal_tenant_id",
    "seal_client_id",
    "seal_environment",
    "seal_resource",
];

/// Inputs of `transit` alone.
const TRANSIT: [&str; 5] = [
    "seal_address",
    "seal_mount_path",
    "seal_namespace",
    "seal_ca_cert",
    "seal_server_name",
];

impl Seal {
    /// Reads the inputs of a seal. Key shares need none.
    pub(super) fn read(inputs: &BTreeMap<String, Json>) -> Result<Option<Self>, InvalidInput> {
        let kinds = "one of `shamir`, `azurekeyvault`, `transit`";
        let kind: Kind = read_or_default(inputs, "seal", kinds)?;
        let text = |name: &str| read_or_default::<String>(inputs, name, "text");
        let required = |name: &str, what: &str| {
            let value = text(name)?;
            if value.is_empty() {
                return Err(refused(name, &value, format!("{what}, which `seal` needs")));
            }
            Ok(value)
        };
        let unused: Vec<&str> = match kind {
            Kind::Shamir => [&[KEY], &AZURE[..], &TRANSIT[..]].concat(),
            Kind::AzureKeyVault => TRANSIT.to_vec(),
            Kind::Transit => AZURE.to_vec(),
        };
        for name in unused {
            let value = text(name)?;
            if !value.is_empty() {
                let expected = "no value, as `seal` is of another kind";
                return Err(refused(name, &value, expected.to_owned()));
            }
        }
        Ok(match kind {
            Kind::Shamir => None,
            Kind::AzureKeyVault => Some(Self::AzureKeyVault(AzureKeyVault {
                vault_name: required("seal_vault_name", "the name of a Key Vault")?,
                key_name: required(KEY, "the name of a key")?,
                tenant_id: text("seal_tenant_id")?,
                client_id: text("seal_client_id")?,
                environment: text("seal_environment")?,
                resource: text("seal_resource")?,
            })),
            Kind::Transit => Some(Self::Transit(Transit {
                address: required("seal_address", "the address of another Vault")?,
                mount_path: match text("seal_mount_path")?.as_str() {
                    "" => "transit/".to_owned(),
                    path => path.to_owned(),
                },
                key_name: required(KEY, "the name of a key")?,
                namespace: text("seal_namespace")?,
                tls_ca_cert: text("seal_ca_cert")?,
                tls_server_name: text("seal_server_name")?,
            })),
        })
    }
}

fn refused(input: &str, found: &str, expected: String) -> InvalidInput {
    InvalidInput {
        input: input.to_owned(),
        found: found.to_owned(),
        expected,
    }
}
