//! What the linter knows of a product: how it reads its files, and the rules about it.

use std::fmt;

use super::Rule;
use super::names::Names;
use super::overlay::Override;

/// The end of each [`Profile::unparsed_rule_id`].
pub(super) const UNPARSED: &str = ".unreadable";

/// A product, as the linter sees it.
pub struct Profile {
    /// The name as in file names: `vault`.
    pub name: &'static str,
    /// The name as in sentences: `Vault`.
    pub title: &'static str,
    /// The id that a definition allows to skip files that cannot be parsed: `vault.unreadable`.
    pub unparsed_rule_id: &'static str,
    /// The address of the documentation of its configuration.
    pub source: &'static str,
    /// The rules, in the order of their findings.
    pub(crate) rules: &'static [&'static [Rule]],
    pub(crate) names: Names,
    /// Whether a file whose name ends in `.json` is JSON, whatever its first character is.
    pub(crate) detects_json_by_name: bool,
    pub(crate) repeated: Repeated,
    /// Environment variables that set keys.
    pub(crate) overrides: &'static [Override],
}

/// What a product does with a key that a file sets twice.
#[derive(Debug)]
pub(crate) struct Repeated {
    pub(crate) in_hcl: &'static str,
    pub(crate) in_json: &'static str,
    /// If the key is spelled in another way the second time.
    pub(crate) other_spelling: &'static str,
}

impl Profile {
    /// Returns the rules, in the order of their findings.
    pub fn rules(&self) -> impl Iterator<Item = &'static Rule> + use<> {
        self.rules.iter().copied().flatten()
    }
}

impl fmt::Debug for Profile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}
