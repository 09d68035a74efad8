//! Strings of cloud auto-join, as go-discover reads them: `provider=aws tag_key=role "secret_access_key"="…"`.

use super::secrets;

/// What providers of go-discover call a secret, beside the names that say so themselves.
///
/// aws, azure: `secret_access_key`; aws: `session_token`; aliyun, tencentcloud: `access_key_secret`; digitalocean, linode: `api_token`;
/// os, scaleway: `token`; os, vsphere: `password`; softlayer: `api_key`; packet: `auth_token`. Those of gce and k8s are paths.
const PATHS: &[&str] = &["credentials_file", "kubeconfig"];

/// Whether a join string has a secret in it. An address has none.
pub(super) fn has_secret(text: &str) -> bool {
    pairs(text).iter().any(|(key, value)| {
        if secrets::is_placeholder(value) {
            return false;
        }
        match PATHS.contains(&key.as_str()) {
            true => value.starts_with('{'),
            false => secrets::is_secret_name(key) || secrets::has_user_and_password(value),
        }
    })
}

/// The keys and values. A backslash and double quotes keep blanks together; everything but an assignment is left out.
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
