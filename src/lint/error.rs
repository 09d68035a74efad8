//! Configurations that cannot be read.

use std::path::PathBuf;

use super::Product;
use crate::hcl1::Position;

/// A configuration that cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum LintError {
    /// A file cannot be opened.
    #[error("{}: {error}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// Why.
        error: std::io::Error,
    },
    /// It is neither HCL 1 nor JSON, or sets something twice.
    #[error("{file}:{at}: {why}")]
    Syntax {
        /// Whose file it is.
        product: Product,
        /// The file.
        file: String,
        /// The place in it.
        at: Position,
        /// What is wrong there.
        why: String,
    },
    /// A rule that is allowed to be broken is none.
    #[error("`{0}` is no rule of the linter; `vault-bake lint --rules` lists them")]
    Rule(String),
    /// There is nothing to look at.
    #[error("{}: no file ends in .hcl or .json; name the file itself, or the folder that {product} is given", path.display())]
    Nothing {
        /// The folder.
        path: PathBuf,
        /// Whose.
        product: &'static str,
    },
}

impl LintError {
    /// How a bake goes on in spite of it.
    pub fn hint(&self) -> Option<String> {
        let Self::Syntax { product, .. } = self else {
            return None;
        };
        Some(format!(
            "Correct the file. If {} reads it as it is, leave it unchecked: add `\"{}\" = \"the reason\"` to `[lint.allow]` in image.toml",
            product.title(),
            product.unreadable()
        ))
    }
}
