//! Rules for membership of a cluster: gossip, joining and leaving.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::{is_configured_by_servers, must_be};
use crate::lint::tree::{is, number, text};
use crate::lint::{Role, Rule, Severity, hit, must_not_be, value_text};

pub(super) const RULES: &[Rule] = &[
    Rule {
        id: "consul.gossip-key",
        severity: Severity::Unsafe,
        reason: "without a key, gossip is plaintext and any machine can join it; the agent starts without a warning",
        source: page!("encryption"),
        fix: "set `encrypt` to the output of `consul keygen`, in the fragment that the node gets at boot",
        check: |s| match (s.role, text(s.root, "encrypt")) {
            (Role::Node | Role::Founder, None) if !is_configured_by_servers(s) => {
                vec![hit("encrypt", "nothing")]
            }
            _ => Vec::new(),
        },
    },
    Rule {
        id: "consul.gossip-key-length",
        severity: Severity::Unsafe,
        reason: "a key of 16 or 24 bytes is accepted, but weaker than the other encryption",
        source: page!("encryption"),
        fix: "use 32 bytes: `consul keygen`",
        check: |s| {
            let key =
                text(s.root, "encrypt").map(|key| STANDARD.decode(key).map_or(0, |key| key.len()));
            // The finding shows only the length of the key.
            key.filter(|length| *length != 32)
                .map(|length| hit("encrypt", format!("{length} bytes of base64")))
                .into_iter()
                .collect()
        },
    },
    Rule {
        id: "consul.gossip-verified",
        severity: Severity::Unsafe,
        reason: "plaintext gossip is accepted or sent although there is a key; this is meant only for the introduction of the key",
        source: page!("encryption"),
        fix: "remove both, or set them to true",
        check: |s| {
            must_not_be(
                s.root,
                false,
                &["encrypt_verify_incoming", "encrypt_verify_outgoing"],
            )
        },
    },
    Rule {
        id: "consul.keyring-on-disk",
        severity: Severity::Unsafe,
        reason: "the gossip key is written to the data folder, and Consul then ignores `encrypt`",
        source: page!("general"),
        fix: "set `disable_keyring_file` to true",
        check: |s| must_be(s, true, "disable_keyring_file"),
    },
    Rule {
        id: "consul.bootstrap-expect",
        severity: Severity::Unsafe,
        reason: "a server that replaces another could found a second cluster next to the running one",
        source: page!("bootstrap"),
        fix: "remove it; only the first servers of a new cluster have it, in their fragment",
        check: |s| {
            let mut hits = match is(s.root, "bootstrap") {
                Some(true) => vec![hit("bootstrap", "true")],
                _ => Vec::new(),
            };
            if s.role != Role::Founder
                && number(s.root, "bootstrap_expect").is_some_and(|count| count > 0)
            {
                hits.push(hit(
                    "bootstrap_expect",
                    value_text(s.root, "bootstrap_expect"),
                ));
            }
            hits
        },
    },
    Rule {
        id: "consul.leave-on-terminate",
        severity: Severity::Unsafe,
        reason: "a server that restarts leaves the cluster; if two servers restart, the cluster loses its majority",
        source: page!("general"),
        fix: "set `leave_on_terminate` to false",
        check: |s| match is(s.root, "server") {
            Some(true) => must_not_be(s.root, true, &["leave_on_terminate"]),
            _ => Vec::new(),
        },
    },
];
