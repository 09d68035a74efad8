//! What the configuration files of all products share. They are JSON, generated from a version and
//! the inputs of a provisioner.
//! Secrets and settings of a single node are left to the first boot.

mod subnet;

use std::collections::BTreeMap;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value as Json;

pub(super) use subnet::Subnet;

/// An input with an invalid value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected {expected}, found `{found}`")]
pub struct InvalidInput {
    /// Name of the input.
    pub input: String,
    /// Value of the input.
    pub found: String,
    /// Description of valid values.
    pub expected: String,
}

/// Serializes a configuration as the text of its file.
pub(crate) fn to_json_text(configuration: &impl Serialize) -> String {
    let text = serde_json::to_string_pretty(configuration);
    format!("{}\n", text.expect("keys are texts, numbers finite"))
}

/// Reads the input `name`. `expected` describes its valid values.
pub(super) fn read<T: DeserializeOwned>(
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

/// Reads the input `name`, or returns the default of its type if the provisioner does not declare
/// it. `expected` describes its valid values.
pub(super) fn read_or_default<T: DeserializeOwned + Default>(
    inputs: &BTreeMap<String, Json>,
    name: &str,
    expected: &str,
) -> Result<T, InvalidInput> {
    match inputs.get(name) {
        Some(_) => read(inputs, name, expected),
        None => Ok(T::default()),
    }
}

/// Returns a template for the machine's private address, between `before` and `after`. The product
/// expands it at start: <https://pkg.go.dev/github.com/hashicorp/go-sockaddr/template>.
pub(super) fn private_address(before: &str, after: &str) -> String {
    format!("{before}{{{{ GetPrivateIP }}}}{after}")
}
