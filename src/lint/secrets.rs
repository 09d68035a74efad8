//! Secrets in a configuration, found by the name of a key, by its place, and by what a secret looks like.
//!
//! In: a tree, or a text. Out: the keys at which secrets are; never the secrets themselves.

use serde_json::Value;

use super::command;

/// What names of keys with a secret end in, in lower case and without `-`.
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

/// What a key that only speaks about secrets begins with.
const ABOUT: &[&str] = &[
    "enable_", "disable_", "allow_", "use_", "max_", "min_", "verify_",
];

/// What marks a secret that follows within a text: of a header, a flag, a query or a connection string.
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

/// How tokens begin that name their kind, and the fewest characters that follow.
const PREFIXES: &[(&str, usize)] = &[
    ("hvs.", 20),
    ("hvb.", 20),
    ("hvr.", 20),
    ("ghp_", 30),
    ("github_pat_", 30),
    ("glpat-", 18),
    ("xoxb-", 20),
];

/// Whether a key of this name has a secret for its value.
pub(super) fn is_secret_name(name: &str) -> bool {
    let name = name.to_ascii_lowercase().replace('-', "_");
    !ABOUT.iter().any(|prefix| name.starts_with(prefix))
        && SECRET_NAMES.iter().any(|secret| name.ends_with(secret))
}

/// Whether a text says where a secret comes from, or has a gap for it, and is none itself.
pub(super) fn is_placeholder(text: &str) -> bool {
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

/// Whether a text is a secret, or has one in it, whatever its key is called.
pub(super) fn has_secret(text: &str) -> bool {
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

/// A password in a URL, as in `postgres://user:password@host`, or before the address of MySQL.
pub(super) fn has_user_and_password(text: &str) -> bool {
    let Some((_, rest)) = text.split_once("://") else {
        return false;
    };
    let end = rest.find(['/', '?', ' ']).unwrap_or(rest.len());
    // A password may have a `/` in it, if it was not encoded.
    let user = rest[..end]
        .rsplit_once('@')
        .or_else(|| rest.rsplit_once('@'));
    user.and_then(|(user, _)| user.split_once(':'))
        .is_some_and(|(name, password)| {
            !name.contains(['/', '?', ' ']) && !is_placeholder(password)
        })
}

/// A JSON web token: header, claims and signature in base64.
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

/// Whether a text is JSON with a secret in it, as the body of a check or a piece of Envoy's configuration.
fn has_inner_secret(text: &str) -> bool {
    let is_json = text.trim_start().starts_with(['{', '[']);
    let inner = is_json
        .then(|| serde_json::from_str::<Value>(text).ok())
        .flatten();
    inner.is_some_and(|inner| !keys(&inner, &|_| None).is_empty())
}

/// Every key of a tree with a secret in it. `known` says of a path that it is one, or none, whatever its name.
pub(super) fn keys(root: &Value, known: &dyn Fn(&str) -> Option<bool>) -> Vec<String> {
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
            // A header as a pair.
            let header = ["name", "key"]
                .iter()
                .any(|key| text(key).is_some_and(is_secret_name));
            for (key, value) in all {
                let inner = match path {
                    "" => key.clone(),
                    path => format!("{path}.{key}"),
                };
                // What is below `tokens` are tokens by other names.
                let named = match name == "tokens" && key != "accessor_id" {
                    true => "token",
                    false if header && key == "value" => "authorization",
                    // Envoy's places of a text.
                    false if matches!(key.as_str(), "inline_string" | "inline_bytes") => name,
                    false => key,
                };
                walk(value, named, &inner, known, found);
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
            let line = matches!(name, "args" | "script") && command::is_command(text);
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
