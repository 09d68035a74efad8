//! The question that Terraform's data source `external` asks: one JSON object of texts on standard input.

use serde_json::Value;

use super::ResolveError;
use crate::canonical;

/// No question is larger than this, in bytes.
const MAX_BYTES: usize = 64 * 1024;

/// What is asked for. All absent is a question, too: then the command line has to say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Query {
    /// The name of a pin.
    pub pin: Option<String>,
    /// The pin file.
    pub pins_file: Option<String>,
    /// A reference, for the store.
    pub reference: Option<String>,
    /// The target.
    pub target: Option<String>,
}

impl Query {
    /// The most bytes that are worth reading: one more than a question may have.
    pub const READ_BYTES: u64 = MAX_BYTES as u64 + 1;

    /// Reads a question.
    pub fn parse(bytes: &[u8]) -> Result<Self, ResolveError> {
        let wrong = |why: String| {
            ResolveError::Form(format!(
                "standard input: {why}; expected what Terraform's data source `external` sends: one JSON object of texts"
            ))
        };
        let value = canonical::parse_any_layout(bytes, MAX_BYTES);
        let value = value.map_err(|error| wrong(error.to_string()))?;
        let Value::Object(object) = value else {
            return Err(wrong("no object".to_owned()));
        };
        let mut query = Self::default();
        for (key, value) in object {
            let Value::String(value) = value else {
                return Err(wrong(format!("`{key}` is no text")));
            };
            let place = match key.as_str() {
                "pin" => &mut query.pin,
                "pins_file" => &mut query.pins_file,
                "ref" => &mut query.reference,
                "target" => &mut query.target,
                _ => {
                    return Err(wrong(format!(
                        "`{key}` is not known; there is pin, pins_file, ref, target"
                    )));
                }
            };
            *place = Some(value);
        }
        Ok(query)
    }
}
