//! Reading a plan's file, as Terraform and people's shells write it.
//!
//! In: bytes. Out: the JSON of a plan that Terraform finished, or why it is none.

use serde_json::Value;

/// What was read is no plan that may be applied.
#[derive(Debug, thiserror::Error)]
#[error(
    "{what}: {why}; expected what `terraform show -json PLANFILE` prints: an object with `format_version`, and with \
     `planned_values` or `resource_changes`"
)]
pub struct PlanFileError {
    /// The file.
    pub what: String,
    /// What is wrong.
    pub why: String,
}

impl PlanFileError {
    /// Returns what to do about it, as an imperative, if there is something to do.
    pub fn hint(&self) -> Option<String> {
        None
    }
}

/// Reads a plan.
pub(super) fn read(bytes: &[u8]) -> Result<Value, String> {
    let text = decode(bytes)?;
    let plan: Value = serde_json::from_str(&text).map_err(|error| match is_log(&text) {
        true => "the log of `terraform plan -json`, not a plan".to_owned(),
        false => format!("not JSON: {error}"),
    })?;
    if !plan.is_object() {
        return Err("not an object".to_owned());
    }
    let version = plan["format_version"].as_str();
    let version = version.ok_or("no `format_version`")?;
    if !matches!(version.split('.').next(), Some("0" | "1")) {
        return Err(format!("`format_version` is {version:?}, not 1.x"));
    }
    if !matches!(plan["errored"], Value::Null | Value::Bool(false)) {
        return Err(
            "`errored` is true: Terraform could not finish this plan, so it is not whole and cannot be applied; mend the \
             configuration and plan again"
                .to_owned(),
        );
    }
    let parts = ["planned_values", "resource_changes", "deferred_changes"];
    if parts.iter().all(|part| plan[part].is_null()) {
        return Err(match plan.get("values") {
            Some(_) => "a state, not a plan".to_owned(),
            None => "neither `planned_values` nor `resource_changes`".to_owned(),
        });
    }
    Ok(plan)
}

/// The text. PowerShell's `>` writes UTF-16 or a byte order mark.
fn decode(bytes: &[u8]) -> Result<String, String> {
    let utf16 = |bytes: &[u8], unit: fn([u8; 2]) -> u16| {
        let (pairs, rest) = bytes.as_chunks::<2>();
        let units: Vec<u16> = pairs.iter().map(|pair| unit(*pair)).collect();
        match (String::from_utf16(&units), rest.is_empty()) {
            (Ok(text), true) => Ok(text),
            _ => Err("UTF-16 that is cut or broken: save it as UTF-8".to_owned()),
        }
    };
    match bytes {
        [0xff, 0xfe, 0, 0, ..] | [0, 0, 0xfe, 0xff, ..] => {
            Err("UTF-32: save it as UTF-8".to_owned())
        }
        [0xff, 0xfe, rest @ ..] => utf16(rest, u16::from_le_bytes),
        [0xfe, 0xff, rest @ ..] => utf16(rest, u16::from_be_bytes),
        // Without a mark, a brace tells: JSON begins with a character of ASCII.
        [first, 0, ..] if *first != 0 => utf16(bytes, u16::from_le_bytes),
        [0, second, ..] if *second != 0 => utf16(bytes, u16::from_be_bytes),
        [b'P', b'K', 3, 4, ..] => Err("the plan file itself, not its JSON".to_owned()),
        [0xef, 0xbb, 0xbf, rest @ ..] => utf8(rest),
        _ => utf8(bytes),
    }
}

fn utf8(bytes: &[u8]) -> Result<String, String> {
    let text = String::from_utf8(bytes.to_vec());
    text.map_err(|error| format!("neither UTF-8 nor UTF-16: {}", error.utf8_error()))
}

/// Whether it is a line of JSON for each message.
fn is_log(text: &str) -> bool {
    let first = text.lines().next().unwrap_or_default();
    let first: Option<Value> = serde_json::from_str(first).ok();
    first.is_some_and(|line| line.get("@level").is_some())
}
