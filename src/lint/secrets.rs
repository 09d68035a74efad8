//! Finds secrets in a configuration by the name of a key, its path, and the form of its value.
//! Returns the keys, not the secrets.

mod command;

use serde_json::Value;

/// Endings of key names whose value is a secret, in lower case and with `_` for `-`.
const SECRET_NAMES: &[&str] = &[
    "token",
    "tokens",
    "password",
    "passwd",
    "passphrase",
    "passcode",
    "secret",
    "secrets",
    "secret_id",
    "secret_key",
    "secret_access_key",
    "access_key_secret",
    "private_key",
    "privatekey",
    "secretkey",
    "secretid",
    "api_key",
    "apikey",
    "auth_key",
    "authkey",
    "account_key",
    "accountkey",
    "shared_key",
    "signing_key",
    "encryption_key",
    "client_key_data",
    "authorization",
    "proxy_authorization",
    "cookie",
    "basic_auth",
    "bearer",
];

/// Beginnings of key names whose value is an option, not a secret.
const OPTION_PREFIXES: &[&str] = &[
    "enable_", "disable_", "allow_", "use_", "max_", "min_", "verify_",
];

/// Texts before a secret in a header, flag, query or connection string.
const MARKERS: &[&str] = &[
    "x-consul-token:",
    "x-vault-token:",
    "authorization:",
    "token=",
    "password=",
    "passwd=",
    "pwd=",
    "secret=",
    "secret_key=",
    "api_key=",
];

/// Prefixes of tokens, with the minimum number of characters that follow.
const PREFIXES: &[(&str, usize)] = &[
    ("hvs.", 20),
    ("hvb.", 20),
    ("hvr.", 20),
    ("ghp_", 30),
    ("github_pat_", 30),
    ("glpat-", 18),
    ("xoxb-", 20),
];

/// Tells if the value of a key with this name is a secret.
pub(crate) fn is_secret_name(name: &str) -> bool {
    let name = name.to_ascii_lowercase().replace('-', "_");
    !OPTION_PREFIXES
        .iter()
        .any(|prefix| name.starts_with(prefix))
        && SECRET_NAMES.iter().any(|secret| name.ends_with(secret))
}

/// Tells if a text is a placeholder, or a reference to a secret, and not a secret.
pub(crate) fn is_placeholder(text: &str) -> bool {
    let text = text.trim();
    let within = |open: &str, close: &str| text.starts_with(open) && text.ends_with(close);
    text.is_empty()
        || text.chars().all(|c| matches!(c, '.' | '*' | '…'))
        || text.starts_with("env://")
        || text.starts_with("file://")
        || within("${", "}")
        || within("{{", "}}")
        || within("<", ">")
        || (text.starts_with('$') && text[1..].chars().all(|c| c == '_' || c.is_alphanumeric()))
}

/// Tells if a text is or contains a secret, independent of the name of its key.
pub(crate) fn has_secret(text: &str) -> bool {
    text.contains("PRIVATE KEY-----")
        || has_user_and_password(text)
        || is_web_token(text)
        || has_marked_secret(text)
        || PREFIXES.iter().any(|(prefix, least)| {
            text.strip_prefix(prefix)
                .is_some_and(|rest| rest.len() >= *least)
        })
        || ["Bearer ", "Basic "].iter().any(|scheme| {
            text.strip_prefix(scheme)
                .is_some_and(|rest| !is_placeholder(rest))
        })
}

/// Tells if a URL has a password, as in `postgres://user:password@host`.
pub(crate) fn has_user_and_password(text: &str) -> bool {
    let Some((_, rest)) = text.split_once("://") else {
        return false;
    };
    let end = rest.find(['/', '?', ' ']).unwrap_or(rest.len());
    // A password that is not encoded may have a `/`.
    let user = rest[..end]
        .rsplit_once('@')
        .or_else(|| rest.rsplit_once('@'));
    user.and_then(|(user, _)| user.split_once(':'))
        .is_some_and(|(name, password)| {
            !name.contains(['/', '?', ' ']) && !is_placeholder(password)
        })
}

/// Tells if a text is a JSON web token: header, claims and signature in base64.
fn is_web_token(text: &str) -> bool {
    let parts: Vec<&str> = text.split('.').collect();
    parts.len() == 3 && parts[0].starts_with("eyJ") && parts[1].starts_with("eyJ")
}

fn has_marked_secret(text: &str) -> bool {
    let lower = text.to_ascii_lowercase();
    let follows = |marker: &&str| {
        lower.match_indices(*marker).any(|(at, _)| {
            let rest = text[at + marker.len()..].trim_start();
            let rest = rest.trim_start_matches(['"', '\'']);
            let end = rest.find([' ', '&', ';', '"', '\'']).unwrap_or(rest.len());
            !is_placeholder(&rest[..end]) && !rest.starts_with(['=', '$', '{', '<'])
        })
    };
    MARKERS.iter().any(follows)
}

/// Tells if a text is JSON with a secret, such as the body of a check or configuration of Envoy.
fn has_inner_secret(text: &str) -> bool {
    let is_json = text.trim_start().starts_with(['{', '[']);
    let inner = is_json
        .then(|| serde_json::from_str::<Value>(text).ok())
        .flatten();
    inner.is_some_and(|inner| !keys(&inner, &|_| None).is_empty())
}

/// Returns every key of a tree whose value has a secret. `known` decides for a path, independent of
/// its name.
pub(crate) fn keys(root: &Value, known: &dyn Fn(&str) -> Option<bool>) -> Vec<String> {
    let mut found = Vec::new();
    walk(root, "", "", known, &mut found);
    found
}

fn walk(
    value: &Value,
    name: &str,
    path: &str,
    known: &dyn Fn(&str) -> Option<bool>,
    found: &mut Vec<String>,
) {
    let known_here = known(path);
    if known_here == Some(false) {
        return;
    }
    match value {
        Value::Object(all) => {
            let text = |key: &str| all.get(key).and_then(Value::as_str);
            // A header as an object with name and value.
            let header = ["name", "key"]
                .iter()
                .any(|key| text(key).is_some_and(is_secret_name));
            for (key, value) in all {
                let inner = match path {
                    "" => key.clone(),
                    path => format!("{path}.{key}"),
                };
                // All values below `tokens` are tokens, except this id.
                let kind = if name == "tokens" && key != "accessor_id" {
                    "token"
                } else if header && key == "value" {
                    "authorization"
                } else if matches!(key.as_str(), "inline_string" | "inline_bytes") {
                    // Envoy wraps texts in these keys.
                    name
                } else {
                    key
                };
                walk(value, kind, &inner, known, found);
            }
        }
        Value::Array(all) => {
            if name.eq_ignore_ascii_case("args") {
                let words = all.iter().map(|word| word.as_str().unwrap_or_default());
                let secret = command::secret_words(&words.collect::<Vec<_>>());
                found.extend(secret.iter().map(|at| format!("{path}[{at}]")));
            }
            for (at, value) in all.iter().enumerate() {
                walk(value, name, &format!("{path}[{at}]"), known, found);
            }
        }
        Value::String(text) => {
            let named = known_here == Some(true) || is_secret_name(name);
            let flag = matches!(text.as_str(), "true" | "false");
            let line = matches!(name, "args" | "script") && command::has_secret(text);
            let secret = (named && !flag && !is_placeholder(text)) || line || has_secret(text);
            if (secret || has_inner_secret(text)) && !found.iter().any(|one| one == path) {
                found.push(path.to_owned());
            }
        }
        Value::Number(_) if name.ends_with("password") || known_here == Some(true) => {
            found.push(path.to_owned());
        }
        _ => {}
    }
}
