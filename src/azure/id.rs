//! The ids of resources.
//!
//! In: `/subscriptions/…` from an answer or a configuration, or the names of a new resource. Out: a [`ResourceId`] that
//! is compared as Azure does it, without regard to case, and shown as it was written. Deliberately knows no types.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::str::FromStr;

/// A resource group, or something in one, or in a subscription.
#[derive(Clone, Debug)]
pub struct ResourceId {
    /// The whole, as it was written: begins with a slash and does not end with one.
    whole: String,
}

/// Text that is no id of a resource.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is no id of a resource; expected /subscriptions/ID/resourceGroups/NAME[/providers/NAMESPACE/TYPE/NAME…]"
)]
pub struct IdError(String);

impl ResourceId {
    /// The resource group `name`.
    pub fn group(subscription: &str, name: &str) -> Self {
        Self {
            whole: format!("/subscriptions/{subscription}/resourceGroups/{name}"),
        }
    }

    /// A resource in this group: `kind` is `Microsoft.Compute/virtualMachines` or the like.
    #[must_use]
    pub fn resource(&self, kind: &str, name: &str) -> Self {
        Self {
            whole: format!("{}/providers/{kind}/{name}", self.whole),
        }
    }

    /// A child of this resource: `kind` is `subnets` or the like.
    #[must_use]
    pub fn child(&self, kind: &str, name: &str) -> Self {
        Self {
            whole: format!("{}/{kind}/{name}", self.whole),
        }
    }

    /// The subscription's id.
    pub fn subscription(&self) -> &str {
        self.after("subscriptions").unwrap_or_default()
    }

    /// The resource group's name, where it is in one.
    pub fn group_name(&self) -> Option<&str> {
        self.after("resourceGroups")
    }

    /// The id of the resource group that it is in, or is.
    pub fn in_group(&self) -> Option<Self> {
        Some(Self::group(self.subscription(), self.group_name()?))
    }

    /// `Microsoft.Compute/virtualMachines`, `Microsoft.Network/virtualNetworks/subnets`; of a group
    /// `Microsoft.Resources/resourceGroups`.
    pub fn kind(&self) -> String {
        kind_and_name(&self.whole).0
    }

    /// Its own name: the last part.
    pub fn name(&self) -> &str {
        self.whole.rsplit('/').next().unwrap_or_default()
    }

    /// The resource that this one is a child of.
    pub fn parent(&self) -> Option<Self> {
        let (_, inside) = split_providers(&self.whole)?;
        let parts = inside.split('/').count();
        let (above, _) = self.whole.rsplit_once('/')?.0.rsplit_once('/')?;
        (parts > 3).then(|| Self {
            whole: above.to_owned(),
        })
    }

    /// As it was written.
    pub fn as_str(&self) -> &str {
        &self.whole
    }

    fn after(&self, word: &str) -> Option<&str> {
        let mut parts = self.whole.split('/');
        parts.find(|part| part.eq_ignore_ascii_case(word))?;
        parts.next()
    }
}

/// Everything up to the last `/providers/`, and what is after it.
fn split_providers(path: &str) -> Option<(&str, &str)> {
    let lower = path.to_ascii_lowercase();
    let at = lower.rfind("/providers/")?;
    Some((&path[..at], &path[at + "/providers/".len()..]))
}

/// The type and the name of what is at `path`, as far as the path tells.
pub(super) fn kind_and_name(path: &str) -> (String, String) {
    let path = path.trim_end_matches('/');
    let last = path.rsplit('/').next().unwrap_or_default().to_owned();
    let Some((_, inside)) = split_providers(path) else {
        let mut parts = path.split('/').filter(|part| !part.is_empty()).rev();
        let group = parts.nth(1).filter(|part| {
            ["resourcegroups", "subscriptions"].contains(&part.to_ascii_lowercase().as_str())
        });
        return match group {
            Some(_) if path.split('/').count() > 3 => {
                (String::from("Microsoft.Resources/resourceGroups"), last)
            }
            Some(_) => (String::from("Microsoft.Resources/subscriptions"), last),
            None => (String::from("Microsoft.Resources"), last),
        };
    };
    let mut parts = inside.split('/');
    let mut kind = parts.next().unwrap_or_default().to_owned();
    let mut name = String::new();
    while let Some(one) = parts.next() {
        kind = format!("{kind}/{one}");
        if let Some(next) = parts.next() {
            let slash = if name.is_empty() { "" } else { "/" };
            name = format!("{name}{slash}{next}");
        }
    }
    (kind, name)
}

impl FromStr for ResourceId {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        let wrong = || IdError(text.to_owned());
        let path = text.strip_prefix('/').ok_or_else(wrong)?;
        let parts: Vec<&str> = path.trim_end_matches('/').split('/').collect();
        let allowed = |part: &&str| {
            !part.is_empty()
                && *part != ".."
                && *part != "."
                && part
                    .chars()
                    .all(|c| c.is_alphanumeric() || "-._()".contains(c))
        };
        let word = |at: usize, word: &str| {
            parts
                .get(at)
                .is_some_and(|part| part.eq_ignore_ascii_case(word))
        };
        let grouped = word(0, "subscriptions") && word(2, "resourceGroups");
        let direct = word(0, "subscriptions") && word(2, "providers");
        let inside = match (grouped, direct) {
            (true, _) if parts.len() == 4 => true,
            (true, _) => word(4, "providers") && parts.len() >= 8 && parts.len().is_multiple_of(2),
            (false, true) => parts.len() >= 6 && parts.len().is_multiple_of(2),
            (false, false) => false,
        };
        if inside && parts.iter().all(allowed) {
            Ok(Self {
                whole: format!("/{}", parts.join("/")),
            })
        } else {
            Err(wrong())
        }
    }
}

impl fmt::Display for ResourceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.whole)
    }
}

impl PartialEq for ResourceId {
    fn eq(&self, other: &Self) -> bool {
        self.whole.eq_ignore_ascii_case(&other.whole)
    }
}

impl Eq for ResourceId {}

impl Hash for ResourceId {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.whole.to_ascii_lowercase().hash(state);
    }
}
