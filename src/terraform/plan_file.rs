//! Reads the JSON of a Terraform plan, in the encodings that shells write.

use serde_json::Value;

/// Why the input is not a plan that may be applied.
#[derive(Debug, thiserror::Error)]
#[error("cannot use the Terraform plan {what}: {why}")]
pub struct PlanFileError {
    /// The name of the input.
    pub what: String,
    /// The defect.
    pub why: String,
    hint: &'static str,
}

impl PlanFileError {
    /// Returns what to do about it, as an imperative.
    pub fn hint(&self) -> Option<String> {
        Some(self.hint.to_owned())
    }
}

/// The hint for all defects without one of their own.
const SHOW_JSON: &str = "Run `terraform show -json PLANFILE`, and pass its output.";

/// A defect of a plan, and the way out.
pub(super) struct PlanDefect {
    why: String,
    hint: &'static str,
}

impl PlanDefect {
    fn new(why: &str, hint: &'static str) -> Self {
        Self {
            why: why.to_owned(),
            hint,
        }
    }

    /// Returns the error about the input `what`.
    pub(super) fn of_input(self, what: &str) -> PlanFileError {
        PlanFileError {
            what: what.to_owned(),
            why: self.why,
            hint: self.hint,
        }
    }
}

impl From<String> for PlanDefect {
    fn from(why: String) -> Self {
        Self {
            why,
            hint: SHOW_JSON,
        }
    }
}

impl From<&str> for PlanDefect {
    fn from(why: &str) -> Self {
        why.to_owned().into()
    }
}

/// Reads a plan, and checks that it is complete.
pub(super) fn read(bytes: &[u8]) -> Result<Value, PlanDefect> {
    let text = decode(bytes)?;
    let plan: Value = serde_json::from_str(&text).map_err(|error| {
        if is_log(&text) {
            "it is the log of `terraform plan -json`, not a plan".to_owned()
        } else {
            format!("it is not JSON: {error}")
        }
    })?;
    if !plan.is_object() {
        return Err("it is not an object".into());
    }
    let version = plan["format_version"].as_str();
    let version = version.ok_or("it has no `format_version`")?;
    if !matches!(version.split('.').next(), Some("0" | "1")) {
        return Err(format!("`format_version` is {version:?}, expected 1.x").into());
    }
    if !matches!(plan["errored"], Value::Null | Value::Bool(false)) {
        return Err(PlanDefect::new(
            "`errored` is true: Terraform could not finish it, so it cannot be applied",
            "Fix the configuration, and plan again.",
        ));
    }
    let parts = ["planned_values", "resource_changes", "deferred_changes"];
    if parts.iter().all(|part| plan[part].is_null()) {
        return Err(match plan.get("values") {
            Some(_) => "it is a state, not a plan".into(),
            None => "it has neither `planned_values` nor `resource_changes`".into(),
        });
    }
    Ok(plan)
}

/// Decodes the text. PowerShell's `>` writes UTF-16 or a byte order mark.
fn decode(bytes: &[u8]) -> Result<String, PlanDefect> {
    let utf16 = |bytes: &[u8], unit: fn([u8; 2]) -> u16| {
        let (pairs, rest) = bytes.as_chunks::<2>();
        let units: Vec<u16> = pairs.iter().map(|pair| unit(*pair)).collect();
        match (String::from_utf16(&units), rest.is_empty()) {
            (Ok(text), true) => Ok(text),
            _ => Err(PlanDefect::new("it is damaged UTF-16", SAVE_AS_UTF8)),
        }
    };
    match bytes {
        [0xff, 0xfe, 0, 0, ..] | [0, 0, 0xfe, 0xff, ..] => {
            Err(PlanDefect::new("it is UTF-32", SAVE_AS_UTF8))
        }
        [0xff, 0xfe, rest @ ..] => utf16(rest, u16::from_le_bytes),
        [0xfe, 0xff, rest @ ..] => utf16(rest, u16::from_be_bytes),
        // Without a byte order mark, the zero bytes show the encoding: JSON begins with an ASCII
        // character.
        [first, 0, ..] if *first != 0 => utf16(bytes, u16::from_le_bytes),
        [0, second, ..] if *second != 0 => utf16(bytes, u16::from_be_bytes),
        [b'P', b'K', 3, 4, ..] => Err("it is the plan file itself, not its JSON".into()),
        [0xef, 0xbb, 0xbf, rest @ ..] => utf8(rest),
        _ => utf8(bytes),
    }
}

const SAVE_AS_UTF8: &str = "Save it as UTF-8.";

fn utf8(bytes: &[u8]) -> Result<String, PlanDefect> {
    let text = String::from_utf8(bytes.to_vec());
    text.map_err(|error| format!("it is neither UTF-8 nor UTF-16: {}", error.utf8_error()).into())
}

/// Whether the text has one JSON object on each line.
fn is_log(text: &str) -> bool {
    let first = text.lines().next().unwrap_or_default();
    let first: Option<Value> = serde_json::from_str(first).ok();
    first.is_some_and(|line| line.get("@level").is_some())
}
