//! Parses auto-join strings of go-discover: `provider=aws tag_key=role "secret_access_key"="…"`.

use super::secrets;

/// Keys with a path, or with the secret itself, which then is JSON. All other secrets have names
/// that [`secrets::is_secret_name`] knows.
const PATHS: &[&str] = &["credentials_file", "kubeconfig"];

/// Tells if a join string has a secret.
pub(crate) fn has_secret(text: &str) -> bool {
    pairs(text).iter().any(|(key, value)| {
        if secrets::is_placeholder(value) {
            return false;
        }
        if PATHS.contains(&key.as_str()) {
            value.starts_with('{')
        } else {
            secrets::is_secret_name(key) || secrets::has_user_and_password(value)
        }
    })
}

/// Returns keys and values. Backslashes and double quotes protect blanks. Other words are skipped.
fn pairs(text: &str) -> Vec<(String, String)> {
    let mut pairs = Vec::new();
    let mut part = (String::new(), None::<String>);
    let (mut quoted, mut escaped) = (false, false);
    for c in text.chars().chain([' ']) {
        match c {
            '\\' if !escaped && quoted => {
                escaped = true;
                continue;
            }
            '"' if !escaped => quoted = !quoted,
            '=' if !quoted && part.1.is_none() => part.1 = Some(String::new()),
            c if c.is_whitespace() && !quoted => {
                if let (key, Some(value)) = std::mem::take(&mut part) {
                    pairs.push((key, value));
                }
            }
            c => part.1.as_mut().unwrap_or(&mut part.0).push(c),
        }
        escaped = false;
    }
    if let (key, Some(value)) = part {
        pairs.push((key, value));
    }
    pairs
}
