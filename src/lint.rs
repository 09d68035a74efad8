//! Lints configuration: it finds settings that a product accepts, but that are unsafe.
//! Takes HCL or JSON files, and a [`Profile`] of the product with its rules.
//! Returns [`Finding`]s with reason, source and fix.
//! Errors that a product reports itself are left to it.

pub(crate) mod address;
mod document;
pub(crate) mod environment;
mod error;
mod finding;
pub(crate) mod join;
pub(crate) mod modes;
mod names;
mod overlay;
mod profile;
mod read;
pub(crate) mod secrets;
pub(crate) mod suites;
pub(crate) mod tree;

use std::fs;
use std::path::Path;

use semver::Version;
use serde_json::Value;

use document::{Located, Node};
pub use error::LintError;
pub use finding::{Finding, Severity};
pub(crate) use names::Names;
pub(crate) use overlay::{Meaning, Override, Precedence};
pub use profile::Profile;
pub(crate) use profile::Repeated;

use crate::hcl1::{Position, SyntaxError};
use crate::version_changes::VersionChange;

/// The purpose of a configuration, which decides what it must and must not have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// The files of an image. They must not have secrets, which a node gets at boot.
    Image,
    /// All files of a node, including a node that replaces another.
    Node,
    /// All files of one of the first servers of a new cluster.
    Founder,
}

/// A rule about a setting that is accepted but unsafe.
pub struct Rule {
    /// Stable id, as in `consul.gossip-key`.
    pub id: &'static str,
    /// Severity of its findings.
    pub severity: Severity,
    /// Reason why the setting is unsafe, in a sentence.
    pub reason: &'static str,
    /// Address of the documentation.
    pub source: &'static str,
    /// Setting to write instead.
    pub fix: &'static str,
    pub(crate) check: fn(&Subject) -> Vec<Hit>,
}

/// The files of one product that a node reads together.
pub struct Configuration {
    product: &'static Profile,
    version: Option<Version>,
    /// Version of the agent that stores Vault's data, if it is known.
    consul: Option<Version>,
    role: Role,
    files: Vec<(String, Node)>,
    /// Variables that the unit sets, by file.
    environment: Vec<(String, Value)>,
}

/// The input of rules.
pub(crate) struct Subject<'a> {
    /// All files, merged.
    pub(crate) root: &'a Value,
    /// Variables of the unit by name.
    pub(crate) environment: &'a Value,
    pub(crate) files: usize,
    pub(crate) version: Option<&'a Version>,
    /// Version of the agent that stores Vault's data, if it is known.
    pub(crate) consul: Option<&'a Version>,
    pub(crate) role: Role,
}

impl Subject<'_> {
    /// Tells if the version has this change. Without a version, the newest is assumed.
    pub(crate) fn has(&self, change: &VersionChange) -> bool {
        self.version.is_none_or(|version| change.is_in(version))
    }
}

/// A key that breaks a rule, and its value.
pub(crate) struct Hit {
    pub(crate) key: String,
    pub(crate) found: String,
}

pub(crate) fn hit(key: &str, found: impl Into<String>) -> Hit {
    Hit {
        key: key.to_owned(),
        found: found.into(),
    }
}

/// Returns the value at `key` as text, or "nothing".
pub(crate) fn value_text(root: &Value, key: &str) -> String {
    tree::at(root, key).map_or_else(|| "nothing".to_owned(), Value::to_string)
}

/// Returns a hit for each of `keys` that is set to `refused`.
pub(crate) fn must_not_be(root: &Value, refused: bool, keys: &[&str]) -> Vec<Hit> {
    let broken = keys
        .iter()
        .filter(|key| tree::is(root, key) == Some(refused));
    broken.map(|key| hit(key, value_text(root, key))).collect()
}

impl Configuration {
    /// Creates a configuration without files. Without a `version`, the newest is assumed.
    pub fn new(product: impl Into<&'static Profile>, version: Option<Version>, role: Role) -> Self {
        Self {
            product: product.into(),
            version,
            consul: None,
            role,
            files: Vec::new(),
            environment: Vec::new(),
        }
    }

    /// Sets the version of the Consul agent that stores Vault's data.
    #[must_use]
    pub fn with_consul(self, consul: Option<Version>) -> Self {
        Self { consul, ..self }
    }

    /// Adds a file, which is parsed as its product does.
    ///
    /// A file is JSON if its first character is `{`. For some products, such as Consul, it is JSON
    /// too if its name ends in `.json`.
    pub fn add(&mut self, file: &str, text: &str) -> Result<(), LintError> {
        if environment::is_environment(file) {
            let variables = environment::parse(file, text);
            self.environment.push((file.to_owned(), variables));
            return Ok(());
        }
        let node = read::parse(self.product, self.files.len(), file, text);
        let node = node.map_err(|SyntaxError { at, why }| LintError::Syntax {
            product: self.product,
            file: file.to_owned(),
            at,
            why,
        })?;
        self.files.push((file.to_owned(), node));
        Ok(())
    }

    /// Adds a file, as [`Self::add`] does. Its content must be UTF-8.
    pub fn add_bytes(&mut self, file: &str, bytes: &[u8]) -> Result<(), LintError> {
        match std::str::from_utf8(bytes) {
            Ok(text) => self.add(file, text),
            Err(error) => {
                let (valid, _) = bytes.split_at(error.valid_up_to());
                Err(LintError::Syntax {
                    product: self.product,
                    file: file.to_owned(),
                    at: Position::START.after(&String::from_utf8_lossy(valid)),
                    why: "cannot read this as text: expected UTF-8".to_owned(),
                })
            }
        }
    }

    /// Adds a file, or all files of a folder that end in `.hcl` or `.json`, in the order of their
    /// names.
    pub fn add_path(&mut self, path: &Path) -> Result<(), LintError> {
        let failed = |path: &Path| {
            let path = path.to_owned();
            |error| LintError::Read { path, error }
        };
        let mut files = vec![path.to_owned()];
        if path.is_dir() {
            let entries = fs::read_dir(path).map_err(failed(path))?;
            let all: Result<Vec<_>, _> = entries.map(|entry| Ok(entry?.path())).collect();
            files = all.map_err(failed(path))?;
            files.retain(|file| is_linted(&file.to_string_lossy()));
            files.sort();
        }
        if !files
            .iter()
            .any(|file| is_configuration(&file.to_string_lossy()))
            && path.is_dir()
        {
            return Err(LintError::NoFiles {
                path: path.to_owned(),
                product: self.product.name,
            });
        }
        for file in files {
            let bytes = fs::read(&file).map_err(failed(&file))?;
            self.add_bytes(&file.display().to_string(), &bytes)?;
        }
        Ok(())
    }

    /// Tells if nothing was added.
    pub(crate) fn is_empty(&self) -> bool {
        self.files.is_empty() && self.environment.is_empty()
    }

    /// Applies all rules and returns the findings in the order of the rules.
    pub fn lint(&self) -> Vec<Finding> {
        let mut document = Node::empty();
        for (_, node) in &self.files {
            document.merge(node.clone());
        }
        overlay::apply(
            self.product.overrides,
            &mut document,
            &self.environment,
            self.files.len(),
        );
        let root = document.to_value();
        let variables = self
            .environment
            .iter()
            .filter_map(|(_, one)| one.as_object());
        let environment = Value::Object(variables.flat_map(Clone::clone).collect());
        let subject = Subject {
            root: &root,
            environment: &environment,
            files: self.files.len(),
            version: self.version.as_ref(),
            consul: self.consul.as_ref(),
            role: self.role,
        };
        let broken = |rule: &'static Rule| {
            let hits = (rule.check)(&subject).into_iter();
            hits.map(move |hit| (rule, hit))
        };
        // Without files the rest of the configuration is unknown, so nothing is reported as
        // missing.
        let only_variables = self.files.is_empty();
        let all = self.product.rules().flat_map(broken);
        let located = all.map(|(rule, hit)| (rule, document.locate(&hit.key), hit));
        let kept = located.filter(|(_, located, hit)| match self.variables_at(located) {
            // A variable may be a secret. In an image, another rule reports it.
            Some(_) => hit.found != "a secret",
            None => !only_variables || environment.get(&hit.key).is_some(),
        });
        kept.map(|(rule, located, hit)| self.finding(rule, located, hit))
            .collect()
    }

    /// Returns the file whose variable sets the value at this position.
    fn variables_at(&self, located: &Located) -> Option<&String> {
        let (file, _) = located.place?;
        let variables = self.environment.get(file.checked_sub(self.files.len())?);
        variables.map(|(file, _)| file)
    }

    fn finding(&self, rule: &'static Rule, mut located: Located, hit: Hit) -> Finding {
        let sets = |(_, variables): &&(String, Value)| variables.get(&hit.key).is_some();
        let of_variable = self.variables_at(&located);
        if of_variable.is_some() {
            located.key = located.spelled;
            located.place = None;
        }
        let file = match (located.place, self.environment.iter().rfind(sets)) {
            (Some((file, _)), _) => self.files.get(file).map(|(file, _)| file),
            (None, _) if of_variable.is_some() => of_variable,
            (None, Some((file, _))) => Some(file),
            // A missing key may be added to any file. The finding names the last one.
            (None, None) => self.files.last().map(|(file, _)| file),
        };
        Finding {
            rule: rule.id,
            severity: rule.severity,
            file: file.cloned().unwrap_or_default(),
            line: located.place.map(|(_, line)| line),
            key: located.key,
            found: if secrets::has_user_and_password(&hit.found) {
                "an address with a password".to_owned()
            } else {
                hit.found
            },
            reason: rule.reason,
            source: rule.source,
            fix: rule.fix,
        }
    }
}

fn is_configuration(name: &str) -> bool {
    [".hcl", ".json"].iter().any(|end| name.ends_with(end))
}

/// Tells if a file of a folder is configuration, or sets variables of the unit.
pub(crate) fn is_linted(name: &str) -> bool {
    is_configuration(name) || environment::is_environment(name)
}
