//! Checks the form of values in Azure's tables: names, groups, resource ids, address ranges.
//! It is not checked that the named resources exist.

use std::net::IpAddr;

use crate::definition::document::Item;
use crate::definition::variables::Variables;
use crate::definition::{Location, Problem};

/// Reads a name of letters, digits, `-`, `_` and `.`.
pub(super) fn plain(item: Item, variables: &Variables, expected: &str) -> Result<String, Problem> {
    let at = item.at.clone();
    let text = variables.text(item)?;
    let allowed = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    if !text.is_empty() && text.len() <= 80 && text.chars().all(allowed) {
        return Ok(text);
    }
    Err(at
        .problem(format!("`{text}` is no valid name; expected {expected}"))
        .with_hint("Use up to 80 letters, digits, `-`, `_` and `.`."))
}

/// Reads the name of a resource of Microsoft.Compute: up to 80 letters, digits and characters of
/// `punctuation`, with a letter or digit at both ends:
/// <https://learn.microsoft.com/azure/azure-resource-manager/management/resource-name-rules>.
pub(super) fn compute_name(
    item: Item,
    variables: &Variables,
    what: &str,
    punctuation: &str,
) -> Result<String, Problem> {
    let at = item.at.clone();
    let text = variables.text(item)?;
    let allowed = |c: char| c.is_ascii_alphanumeric() || punctuation.contains(c);
    let end = |c: char| c.is_ascii_alphanumeric();
    if text.len() <= 80 && text.chars().all(allowed) && text.starts_with(end) && text.ends_with(end)
    {
        return Ok(text);
    }
    let characters: Vec<String> = punctuation
        .chars()
        .map(|character| format!("`{character}`"))
        .collect();
    Err(at
        .problem(format!(
            "`{text}` cannot name {what}; expected up to 80 letters, digits, {}, a letter or digit at both ends",
            characters.join(", ")
        ))
        .with_hint("Write the name, not the resource id."))
}

/// Reads the name of a resource group:
/// <https://learn.microsoft.com/azure/azure-resource-manager/management/resource-name-rules>.
pub(super) fn group(item: Item, variables: &Variables) -> Result<String, Problem> {
    let at = item.at.clone();
    let text = variables.text(item)?;
    let allowed = |c: char| c.is_ascii_alphanumeric() || "-_.()".contains(c);
    let is_valid =
        (1..=90).contains(&text.len()) && text.chars().all(allowed) && !text.ends_with('.');
    if is_valid {
        return Ok(text);
    }
    Err(at
        .problem(format!(
            "`{text}` is no resource group; expected up to 90 letters, digits, `-`, `_`, `.`, `(` and `)`, not ending with `.`"
        ))
        .with_hint("Write the name, not the resource id."))
}

/// Reads a resource id whose types below the provider are accepted by `fits`.
pub(super) fn resource(
    item: Item,
    variables: &Variables,
    expected: &str,
    fits: impl Fn(&[&str]) -> bool,
) -> Result<String, Problem> {
    let at = item.at.clone();
    let text = variables.text(item)?;
    let parts: Vec<&str> = text.split('/').skip(1).collect();
    let is_valid = match parts.as_slice() {
        [
            "subscriptions",
            _,
            "resourceGroups" | "resourcegroups",
            _,
            "providers",
            provider,
            rest @ ..,
        ] if text.starts_with('/') && rest.len() % 2 == 0 => {
            let kinds: Vec<&str> = rest.iter().step_by(2).copied().collect();
            expected.starts_with(provider)
                && fits(&kinds)
                && parts.iter().all(|part| !part.is_empty())
        }
        _ => false,
    };
    if is_valid {
        return Ok(text);
    }
    Err(at
        .problem(format!("`{text}` is no resource id of {expected}"))
        .with_hint("Write a resource id: \"/subscriptions/…/resourceGroups/…/providers/…\"."))
}

pub(super) fn range(at: &Location, text: String) -> Result<String, Problem> {
    let (address, bits) = match text.split_once('/') {
        Some((address, bits)) => (address, bits.parse::<u8>().ok()),
        None => (text.as_str(), Some(0)),
    };
    let address = address.parse::<IpAddr>().ok();
    let fits = match (address, bits) {
        (Some(IpAddr::V4(_)), Some(bits)) => bits <= 32,
        (Some(IpAddr::V6(_)), Some(bits)) => bits <= 128,
        _ => false,
    };
    let anywhere = matches!(bits, Some(0)) && text.contains('/');
    if fits && !anywhere {
        return Ok(text);
    }
    Err(at
        .problem(format!(
            "`{text}` is no address or range; expected as in `203.0.113.7` or `203.0.113.0/29`"
        ))
        .with_hint("Write the addresses that builds are started from. A range of all addresses is refused."))
}
