//! Parses the query of Terraform's data source `external`: one JSON object of texts on standard
//! input.

use serde_json::Value;

use super::ResolveError;
use crate::canonical;

/// The largest query, in bytes.
const MAX_BYTES: usize = 64 * 1024;

/// A query. Absent fields come from the command line.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Query {
    /// The name of a pin.
    pub pin: Option<String>,
    /// The path of the pin file.
    pub pins_file: Option<String>,
    /// A reference to an image in the store.
    pub reference: Option<String>,
    /// The target.
    pub target: Option<String>,
}

impl Query {
    /// The number of bytes to read: one more than the largest query.
    pub const READ_BYTES: u64 = MAX_BYTES as u64 + 1;

    /// Parses a query.
    pub fn parse(bytes: &[u8]) -> Result<Self, ResolveError> {
        let wrong = |why: String| ResolveError::Form {
            why: format!("cannot parse the query on standard input: {why}"),
            hint: Some(
                "Send one JSON object of texts, as Terraform's data source `external` does."
                    .to_owned(),
            ),
        };
        let value = canonical::parse_any_layout(bytes, MAX_BYTES);
        let value = value.map_err(|error| wrong(error.to_string()))?;
        let Value::Object(object) = value else {
            return Err(wrong("it is not an object".to_owned()));
        };
        let mut query = Self::default();
        for (key, value) in object {
            let Value::String(value) = value else {
                return Err(wrong(format!("`{key}` is not a text")));
            };
            let field = match key.as_str() {
                "pin" => &mut query.pin,
                "pins_file" => &mut query.pins_file,
                "ref" => &mut query.reference,
                "target" => &mut query.target,
                _ => {
                    return Err(wrong(format!(
                        "unknown key `{key}`, expected pin, pins_file, ref or target"
                    )));
                }
            };
            *field = Some(value);
        }
        Ok(query)
    }
}
