//! Errors of the linter.

use std::path::PathBuf;

use super::Profile;
use crate::hcl1::Position;

/// A configuration that cannot be linted.
#[derive(Debug, thiserror::Error)]
pub enum LintError {
    /// A file or folder cannot be read.
    #[error("cannot read {}: {error}", path.display())]
    Read {
        /// Path of the file or folder.
        path: PathBuf,
        /// Error of the file system.
        error: std::io::Error,
    },
    /// A file is neither HCL 1 nor JSON, or sets a key twice.
    #[error("{file}:{at}: {why}")]
    Syntax {
        /// Product that reads the file.
        product: &'static Profile,
        /// Name of the file.
        file: String,
        /// Position of the error.
        at: Position,
        /// Description of the error.
        why: String,
    },
    /// A definition allows an unknown rule.
    #[error("`{0}` is no lint rule")]
    UnknownRule(String),
    /// A folder has no configuration.
    #[error("{}: no file ends in .hcl or .json", path.display())]
    NoFiles {
        /// Path of the folder.
        path: PathBuf,
        /// Name of the product.
        product: &'static str,
    },
}

impl LintError {
    /// Returns the way out as an imperative, if there is one.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Read { .. } => {
                Some("Name a readable file, or the folder that the product reads.".to_owned())
            }
            Self::Syntax { product, .. } => Some(format!(
                "Correct the file. If {} accepts it, skip the check: add `\"{}\" = \"the reason\"` to `[lint.allow]` in image.toml.",
                product.title, product.unparsed_rule_id
            )),
            Self::UnknownRule(_) => {
                Some("List the rules with `vault-bake lint --rules`.".to_owned())
            }
            Self::NoFiles { product, .. } => {
                Some(format!("Name a file, or the folder that {product} reads."))
            }
        }
    }
}
