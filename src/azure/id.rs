//! Takes ids of resources as text, or the names of a new resource; returns a [`ResourceId`].
//!
//! Ids compare without regard to case, as in Azure, and print as they were written.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::str::FromStr;

/// The id of a resource group, or of a resource in a group or a subscription.
#[derive(Clone, Debug)]
pub struct ResourceId {
    /// The id as it was written, with a slash at its start and none at its end.
    path: String,
}

/// The error of text that is not the id of a resource.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is not a resource id; expected /subscriptions/ID/resourceGroups/NAME[/providers/NAMESPACE/TYPE/NAME…]"
)]
pub struct IdError(String);

impl ResourceId {
    /// Returns the id of the resource group `name`.
    pub fn group(subscription: &str, name: &str) -> Self {
        Self {
            path: format!("/subscriptions/{subscription}/resourceGroups/{name}"),
        }
    }

    /// Returns the id of a resource in this group. `kind` is a type such as
    /// `Microsoft.Compute/virtualMachines`.
    #[must_use]
    pub fn resource(&self, kind: &str, name: &str) -> Self {
        Self {
            path: format!("{}/providers/{kind}/{name}", self.path),
        }
    }

    /// Returns the id of a child of this resource. `kind` is a type such as `subnets`.
    #[must_use]
    pub fn child(&self, kind: &str, name: &str) -> Self {
        Self {
            path: format!("{}/{kind}/{name}", self.path),
        }
    }

    /// Returns the subscription's id.
    pub fn subscription(&self) -> &str {
        self.segment_after("subscriptions").unwrap_or_default()
    }

    /// Returns the resource group's name, if the resource is in a group.
    pub fn group_name(&self) -> Option<&str> {
        self.segment_after("resourceGroups")
    }

    /// Returns the id of the resource group that contains the resource, or that it is.
    pub fn resource_group(&self) -> Option<Self> {
        Some(Self::group(self.subscription(), self.group_name()?))
    }

    /// Returns the type, such as `Microsoft.Network/virtualNetworks/subnets`.
    /// The type of a group is `Microsoft.Resources/resourceGroups`.
    pub fn kind(&self) -> String {
        kind_and_name(&self.path).0
    }

    /// Returns the last segment: the resource's own name.
    pub fn name(&self) -> &str {
        self.path.rsplit('/').next().unwrap_or_default()
    }

    /// Returns the id of the parent, if this is a child resource.
    pub fn parent(&self) -> Option<Self> {
        let (_, inside) = split_providers(&self.path)?;
        let parts = inside.split('/').count();
        let (parent, _) = self.path.rsplit_once('/')?.0.rsplit_once('/')?;
        (parts > 3).then(|| Self {
            path: parent.to_owned(),
        })
    }

    /// Returns the id as it was written.
    pub fn as_str(&self) -> &str {
        &self.path
    }

    fn segment_after(&self, word: &str) -> Option<&str> {
        let mut parts = self.path.split('/');
        parts.find(|part| part.eq_ignore_ascii_case(word))?;
        parts.next()
    }
}

/// Splits a path at its last `/providers/`.
fn split_providers(path: &str) -> Option<(&str, &str)> {
    let lower = path.to_ascii_lowercase();
    let at = lower.rfind("/providers/")?;
    Some((&path[..at], &path[at + "/providers/".len()..]))
}

/// Returns the type and the name of the resource at `path`, as far as the path shows them.
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
    while let Some(segment) = parts.next() {
        kind = format!("{kind}/{segment}");
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
        let invalid = || IdError(text.to_owned());
        let path = text.strip_prefix('/').ok_or_else(invalid)?;
        let parts: Vec<&str> = path.trim_end_matches('/').split('/').collect();
        let allowed = |part: &&str| {
            !part.is_empty()
                && *part != ".."
                && *part != "."
                && part
                    .chars()
                    .all(|c| c.is_alphanumeric() || "-._()".contains(c))
        };
        let has_keyword = |at: usize, word: &str| {
            parts
                .get(at)
                .is_some_and(|part| part.eq_ignore_ascii_case(word))
        };
        let grouped = has_keyword(0, "subscriptions") && has_keyword(2, "resourceGroups");
        let direct = has_keyword(0, "subscriptions") && has_keyword(2, "providers");
        let is_valid = match (grouped, direct) {
            (true, _) if parts.len() == 4 => true,
            (true, _) => {
                has_keyword(4, "providers") && parts.len() >= 8 && parts.len().is_multiple_of(2)
            }
            (false, true) => parts.len() >= 6 && parts.len().is_multiple_of(2),
            (false, false) => false,
        };
        if is_valid && parts.iter().all(allowed) {
            Ok(Self {
                path: format!("/{}", parts.join("/")),
            })
        } else {
            Err(invalid())
        }
    }
}

impl fmt::Display for ResourceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.path)
    }
}

impl PartialEq for ResourceId {
    fn eq(&self, other: &Self) -> bool {
        self.path.eq_ignore_ascii_case(&other.path)
    }
}

impl Eq for ResourceId {}

impl Hash for ResourceId {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.path.to_ascii_lowercase().hash(state);
    }
}
