//! Single values of Azure's tables: names, groups, resource ids, address ranges.
//!
//! In: an item. Out: text of the right form. Deliberately does not ask whether what it names exists.

use std::net::IpAddr;

use crate::definition::document::Item;
use crate::definition::problem::{Location, Problem};
use crate::definition::variables::Variables;

/// A name of letters, digits, `-`, `_` and `.`.
pub(super) fn plain(item: Item, variables: &Variables, expected: &str) -> Result<String, Problem> {
    let at = item.at.clone();
    let text = variables.text(item)?;
    let allowed = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    if !text.is_empty() && text.len() <= 80 && text.chars().all(allowed) {
        return Ok(text);
    }
    Err(at
        .problem(format!("`{text}` cannot be right; expected {expected}"))
        .hint("letters, digits, `-`, `_` and `.`, at most 80"))
}

/// A name of something in Microsoft.Compute: up to 80 letters, digits and characters of `beside`, a letter or digit at both
/// ends. Rules: <https://learn.microsoft.com/azure/azure-resource-manager/management/resource-name-rules>.
pub(super) fn compute_name(
    item: Item,
    variables: &Variables,
    what: &str,
    beside: &str,
) -> Result<String, Problem> {
    let at = item.at.clone();
    let text = variables.text(item)?;
    let allowed = |c: char| c.is_ascii_alphanumeric() || beside.contains(c);
    let end = |c: char| c.is_ascii_alphanumeric();
    if text.len() <= 80 && text.chars().all(allowed) && text.starts_with(end) && text.ends_with(end)
    {
        return Ok(text);
    }
    let marks: Vec<String> = beside.chars().map(|mark| format!("`{mark}`")).collect();
    Err(at
        .problem(format!(
            "`{text}` cannot name {what}; expected up to 80 letters, digits, {}, a letter or digit at both ends",
            marks.join(", ")
        ))
        .hint("its name alone, not its id"))
}

/// Rules: <https://learn.microsoft.com/azure/azure-resource-manager/management/resource-name-rules>.
pub(super) fn group(item: Item, variables: &Variables) -> Result<String, Problem> {
    let at = item.at.clone();
    let text = variables.text(item)?;
    let allowed = |c: char| c.is_ascii_alphanumeric() || "-_.()".contains(c);
    let good = (1..=90).contains(&text.len()) && text.chars().all(allowed) && !text.ends_with('.');
    if good {
        return Ok(text);
    }
    Err(at
        .problem(format!(
            "`{text}` is no resource group; expected up to 90 letters, digits, `-`, `_`, `.`, `(` and `)`, not ending with `.`"
        ))
        .hint("its name alone, not its id"))
}

/// A resource id of a type whose last parts are as `fits` says.
pub(super) fn resource(
    item: Item,
    variables: &Variables,
    expected: &str,
    fits: impl Fn(&[&str]) -> bool,
) -> Result<String, Problem> {
    let at = item.at.clone();
    let text = variables.text(item)?;
    let parts: Vec<&str> = text.split('/').skip(1).collect();
    let good = match parts.as_slice() {
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
    if good {
        return Ok(text);
    }
    Err(at
        .problem(format!("`{text}` is no resource id of {expected}"))
        .hint("as in \"/subscriptions/…/resourceGroups/…/providers/…\""))
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
        .hint("the whole world is no range: a bake is open to whoever runs it alone"))
}
