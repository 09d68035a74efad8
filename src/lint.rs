//! What would start and not be safe: rules about the effective configuration of a cluster's node.
//!
//! In: configuration files of Vault or Consul, HCL or JSON, or the ones that a plan puts into an image. Out: [`Finding`]s, each
//! with its reason, its source and its way out. Both products start with much that leaves a cluster open, and their own
//! validation does not object; so does nobody after them. Deliberately no check of what they refuse themselves.

mod address;
mod command;
mod consul;
mod document;
mod environment;
mod error;
mod finding;
mod join;
mod modes;
mod names;
mod overlay;
mod read;
mod secrets;
mod steps;
mod suites;
mod tree;
mod vault;

use std::fs;
use std::path::Path;

use semver::Version;
use serde_json::Value;

use document::{Located, Node};
pub use error::LintError;
pub use finding::{Finding, Severity};
pub use steps::{check_allowed, of_plan, of_steps};

use crate::hcl1::{Position, SyntaxError};
use crate::version_changes::VersionChange;

/// Whose configuration it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Product {
    /// A Consul agent, server or client.
    Consul,
    /// A Vault server.
    Vault,
}

impl Product {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Consul, Self::Vault];

    /// As in file names.
    pub fn name(self) -> &'static str {
        match self {
            Self::Consul => "consul",
            Self::Vault => "vault",
        }
    }

    /// As in sentences.
    pub fn title(self) -> &'static str {
        match self {
            Self::Consul => "Consul",
            Self::Vault => "Vault",
        }
    }

    /// What a definition allows instead of a rule, so that files of this product are left unchecked that cannot be read.
    pub fn unreadable(self) -> &'static str {
        match self {
            Self::Consul => "consul.unreadable",
            Self::Vault => "vault.unreadable",
        }
    }

    fn rules(self) -> impl Iterator<Item = &'static Rule> {
        let parts = match self {
            Self::Consul => consul::RULES,
            Self::Vault => vault::RULES,
        };
        parts.iter().copied().flatten()
    }
}

/// What a configuration is for: it decides what must be in it, and what must not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Part of an image. What is a node's own comes when it boots: secrets have no place here.
    Image,
    /// All that a node reads, also one that replaces another.
    Node,
    /// All that one of the first servers of a new cluster reads.
    Founder,
}

/// A rule: something that starts and is not safe.
pub struct Rule {
    /// Stable, as in `consul.gossip-key`.
    pub id: &'static str,
    /// Whether it stops a build.
    pub severity: Severity,
    /// Why it is not safe, in a sentence.
    pub reason: &'static str,
    /// Who says so.
    pub source: &'static str,
    /// What to write instead.
    pub fix: &'static str,
    check: fn(&Subject) -> Vec<Hit>,
}

/// All rules, Consul's first.
pub fn rules() -> impl Iterator<Item = &'static Rule> {
    Product::ALL.into_iter().flat_map(Product::rules)
}

/// The files of one product that a node reads together.
pub struct Configuration {
    product: Product,
    version: Option<Version>,
    role: Role,
    files: Vec<(String, Node)>,
    /// What its unit sets beside the files.
    environment: Vec<(String, Value)>,
}

/// What rules look at.
struct Subject<'a> {
    /// All files as one.
    root: &'a Value,
    /// Variables and their values.
    environment: &'a Value,
    files: usize,
    version: Option<&'a Version>,
    role: Role,
}

impl Subject<'_> {
    /// Whether it is for a version with this change. Of what nobody named the newest is thought.
    fn has(&self, change: &VersionChange) -> bool {
        self.version.is_none_or(|version| change.is_in(version))
    }
}

/// Where a rule is broken, and what stands there.
struct Hit {
    key: String,
    found: String,
}

fn hit(key: &str, found: impl Into<String>) -> Hit {
    Hit {
        key: key.to_owned(),
        found: found.into(),
    }
}

/// What stands at `key`, or that nothing does.
fn shown(root: &Value, key: &str) -> String {
    tree::at(root, key).map_or_else(|| "nothing".to_owned(), Value::to_string)
}

/// Those of `keys` that are set to `refused`.
fn must_not_be(root: &Value, refused: bool, keys: &[&str]) -> Vec<Hit> {
    let broken = keys
        .iter()
        .filter(|key| tree::is(root, key) == Some(refused));
    broken.map(|key| hit(key, shown(root, key))).collect()
}

impl Configuration {
    /// A configuration without files yet. `version` decides where versions differ; without one the newest is meant.
    pub fn new(product: Product, version: Option<Version>, role: Role) -> Self {
        Self {
            product,
            version,
            role,
            files: Vec::new(),
            environment: Vec::new(),
        }
    }

    /// Adds a file by its name and content, which are read as the product does.
    ///
    /// For Consul, one whose name ends in `.json` is JSON. Otherwise the first character decides: JSON starts with `{`.
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

    /// The same with bytes, which have to be UTF-8.
    pub fn add_bytes(&mut self, file: &str, bytes: &[u8]) -> Result<(), LintError> {
        match std::str::from_utf8(bytes) {
            Ok(text) => self.add(file, text),
            Err(error) => {
                let (good, _) = bytes.split_at(error.valid_up_to());
                Err(LintError::Syntax {
                    product: self.product,
                    file: file.to_owned(),
                    at: Position::START.after(&String::from_utf8_lossy(good)),
                    why: "cannot read this as text: expected UTF-8".to_owned(),
                })
            }
        }
    }

    /// Adds a file, or all of a folder that end in `.hcl` or `.json`, in the order of their names, as both products do.
    pub fn add_path(&mut self, path: &Path) -> Result<(), LintError> {
        let failed = |path: &Path| {
            let path = path.to_owned();
            |error| LintError::Io { path, error }
        };
        let mut files = vec![path.to_owned()];
        if path.is_dir() {
            let entries = fs::read_dir(path).map_err(failed(path))?;
            let all: Result<Vec<_>, _> = entries.map(|entry| Ok(entry?.path())).collect();
            files = all.map_err(failed(path))?;
            files.retain(|file| is_read(&file.to_string_lossy()));
            files.sort();
        }
        if !files
            .iter()
            .any(|file| is_configuration(&file.to_string_lossy()))
            && path.is_dir()
        {
            return Err(LintError::Nothing {
                path: path.to_owned(),
                product: self.product.name(),
            });
        }
        for file in files {
            let bytes = fs::read(&file).map_err(failed(&file))?;
            self.add_bytes(&file.display().to_string(), &bytes)?;
        }
        Ok(())
    }

    /// Applies every rule; findings stand in the order of the rules.
    pub fn lint(&self) -> Vec<Finding> {
        let mut document = Node::empty();
        for (_, node) in &self.files {
            document.merge(node.clone());
        }
        if self.product == Product::Vault {
            overlay::apply(&mut document, &self.environment, self.files.len());
        }
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
            role: self.role,
        };
        let broken = |rule: &'static Rule| {
            let hits = (rule.check)(&subject).into_iter();
            hits.map(move |hit| (rule, hit))
        };
        // Variables alone are part of a configuration: nothing is missing there.
        let alone = self.files.is_empty();
        let all = self.product.rules().flat_map(broken);
        let located = all.map(|(rule, hit)| (rule, document.locate(&hit.key), hit));
        let kept = located.filter(|(_, located, hit)| match self.variables_at(located) {
            // A variable is where secrets belong; in an image another rule finds it.
            Some(_) => hit.found != "a secret",
            None => !alone || environment.get(&hit.key).is_some(),
        });
        kept.map(|(rule, located, hit)| self.finding(rule, located, hit))
            .collect()
    }

    /// The file with the variable that sets what is at this place.
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
            // What is missing altogether belongs into any of the files; the last one counts.
            (None, None) => self.files.last().map(|(file, _)| file),
        };
        Finding {
            rule: rule.id,
            severity: rule.severity,
            file: file.cloned().unwrap_or_default(),
            line: located.place.map(|(_, line)| line),
            key: located.key,
            found: match secrets::has_user_and_password(&hit.found) {
                true => "an address with a password".to_owned(),
                false => hit.found,
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

/// Whether rules look at a file of a folder: configuration, or variables of the unit.
fn is_read(name: &str) -> bool {
    is_configuration(name) || environment::is_environment(name)
}
