//! The configuration of Vault and of Consul, as typed values that become the files of an image.
//!
//! In: a product, its version, the inputs of the provisioner that installs it. Out: the text of its file, JSON, with the
//! keys that this version knows: what differs between versions is in [`crate::changes`]. Deliberately holds no secret and nothing of a single node:
//! both come at first boot.

pub mod consul;
pub mod vault;

use std::collections::BTreeMap;

use semver::Version;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value as Json;

/// An input that does not fit.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected {expected}, found `{found}`")]
pub struct InvalidInput {
    /// The input.
    pub input: String,
    /// What was given.
    pub found: String,
    /// What may be.
    pub expected: String,
}

/// The products that have a configuration here.
pub const PRODUCTS: [&str; 2] = ["consul", "vault"];

/// The configuration of `product` at `version`: the name of its file, and the text. Only for [`PRODUCTS`].
pub fn file(
    product: &str,
    version: &Version,
    inputs: &BTreeMap<String, Json>,
) -> Result<(String, String), InvalidInput> {
    let text = match product {
        "consul" => text(&consul::Agent::hardened(
            version,
            consul::Inputs::read(inputs)?,
        )),
        _ => text(&vault::Server::hardened(vault::Inputs::read(inputs)?)),
    };
    Ok((format!("{product}.json"), text))
}

/// A value as the text of a file.
pub fn text(configuration: &impl Serialize) -> String {
    let text = serde_json::to_string_pretty(configuration);
    format!("{}\n", text.expect("keys are texts, numbers finite"))
}

/// The input `name`, as what it has to be; `expected` says which values it may have.
fn read<T: DeserializeOwned>(
    inputs: &BTreeMap<String, Json>,
    name: &str,
    expected: &str,
) -> Result<T, InvalidInput> {
    let given = inputs.get(name).unwrap_or(&Json::Null);
    serde_json::from_value(given.clone()).map_err(|_| InvalidInput {
        input: name.to_owned(),
        found: given
            .as_str()
            .map_or_else(|| given.to_string(), ToOwned::to_owned),
        expected: expected.to_owned(),
    })
}

/// Where go-sockaddr puts the machine's private address when the product starts, with `before` and `after` around it:
/// <https://pkg.go.dev/github.com/hashicorp/go-sockaddr/template>.
fn private_address(before: &str, after: &str) -> String {
    format!("{before}{{{{ GetPrivateIP }}}}{after}")
}
