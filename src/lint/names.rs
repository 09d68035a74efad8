//! Normalizes keys as a product does: case and aliases.

/// How a product compares the keys of its files.
#[derive(Debug)]
pub(crate) struct Names {
    /// Blocks whose keys, but not labels, are compared with case.
    pub(crate) exact: &'static [&'static str],
    /// Keys with names of the user below them.
    pub(crate) of_user: &'static [&'static str],
    /// Other spellings of keys, and the keys.
    pub(crate) aliases: &'static [(&'static str, &'static str)],
    /// Keys with one object, which files may write as a block or a list of one.
    pub(crate) sections: &'static [&'static str],
    /// Sections that are lists unless they are at the top of a file.
    pub(crate) top_sections: &'static [&'static str],
}

/// The keys above an object, which decide how its keys are compared.
#[derive(Clone, Debug)]
pub(super) struct Scope {
    names: &'static Names,
    /// First of the keys.
    top: Option<String>,
    depth: usize,
    exact: bool,
}

impl Scope {
    /// Creates the scope of a file.
    pub(super) fn root(names: &'static Names) -> Self {
        Self {
            names,
            top: None,
            depth: 0,
            exact: false,
        }
    }

    /// Returns the scope of the object at `key`.
    pub(super) fn below(&self, key: &str) -> Self {
        let key = self.name(key);
        let depth = self.depth + 1;
        let top = self.top.clone().unwrap_or_else(|| key.clone());
        let is_exact = self.names.of_user.contains(&key.as_str())
            || depth > 1 && self.names.exact.contains(&top.as_str());
        Self {
            names: self.names,
            top: Some(top),
            depth,
            exact: self.exact || is_exact,
        }
    }

    /// Returns the product's name of `key` in this object.
    pub(super) fn name(&self, key: &str) -> String {
        if self.exact {
            return key.to_owned();
        }
        // Go's comparison without case also equates this letter with `s`.
        let key = key.to_lowercase().replace('ſ', "s");
        let mut aliases = self.names.aliases.iter();
        let alias = aliases.find(|(alias, _)| *alias == key);
        alias.map_or(key, |(_, name)| (*name).to_owned())
    }

    /// Tells if `name` has one object, not a list.
    pub(super) fn is_section(&self, name: &str) -> bool {
        let is_list = self.depth > 0 && self.names.top_sections.contains(&name);
        !is_list && !self.exact && self.names.sections.contains(&name)
    }
}
