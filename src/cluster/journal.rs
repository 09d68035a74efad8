//! Reads lines of a node's journal, in the JSON form of journalctl.

use jiff::Timestamp;
use serde::Serialize;
use serde_json::Value;

/// A line of a node's journal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct JournalLine {
    /// The name of the node.
    pub node: String,
    /// The time at which the node got it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub time: Option<Timestamp>,
    /// The unit that it is from, or about.
    pub unit: String,
    /// The text.
    pub line: String,
}

impl JournalLine {
    /// Parses a line of `journalctl --output=json`. Returns `None` for other text.
    pub fn parse(node: &str, json: &str) -> Option<Self> {
        let fields: Value = serde_json::from_str(json).ok()?;
        let fields = fields.as_object()?;
        let text = |name: &str| fields.get(name).map(text).unwrap_or_default();
        let time = text("__REALTIME_TIMESTAMP").parse().ok();
        // Lines of systemd about a unit name it in another field.
        let about = Some(text("UNIT")).filter(|unit| !unit.is_empty());
        Some(Self {
            node: node.to_owned(),
            time: time.and_then(|time| Timestamp::from_microsecond(time).ok()),
            unit: about.unwrap_or_else(|| text("_SYSTEMD_UNIT")),
            line: text("MESSAGE"),
        })
    }
}

/// Returns a field as text. Text that is not UTF-8 is a list of bytes, and several values a list.
fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Array(items) => {
            let byte = |item: &Value| u8::try_from(item.as_u64()?).ok();
            match items.iter().map(byte).collect::<Option<Vec<u8>>>() {
                Some(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
                None => items.iter().map(text).collect::<Vec<_>>().join(" "),
            }
        }
        _ => String::new(),
    }
}
