//! Quotes text for a POSIX shell.

/// Quotes `text` as one word of a POSIX shell.
pub fn quote(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

/// A malformed name or value of an environment variable.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidVariable {
    /// A malformed name.
    #[error(
        "`{0}` is not a valid variable name: expected letters, digits and `_`, not beginning with a digit"
    )]
    Name(String),
    /// A value with a NUL byte.
    #[error("the value of {0} contains a NUL byte")]
    Nul(String),
}

/// Returns a line of shell code that exports `value` as `name`.
pub fn export(name: &str, value: &str) -> Result<String, InvalidVariable> {
    let valid = !name.starts_with(|c: char| c.is_ascii_digit())
        && !name.is_empty()
        && name.bytes().all(|b| b == b'_' || b.is_ascii_alphanumeric());
    if !valid {
        return Err(InvalidVariable::Name(name.to_owned()));
    }
    if value.contains('\0') {
        return Err(InvalidVariable::Nul(name.to_owned()));
    }
    Ok(format!("export {name}={}\n", quote(value)))
}
