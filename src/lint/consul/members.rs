//! Who belongs to the cluster: gossip, access control, secrets, joining and leaving.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::{SECURITY, must_be};
use crate::lint::tree::{at, is, number, text, texts};
use crate::lint::{Role, Rule, hit, must_not_be, shown};

pub(in crate::lint) const RULES: &[Rule] = &[
    Rule {
        id: "consul.gossip-key",
        reason: "without a key, gossip goes in clear and anybody may join it; the agent starts all the same",
        source: page!("encryption"),
        fix: "set `encrypt` to what `consul keygen` prints, in the fragment that the node gets when it boots",
        check: |s| match (s.role, text(s.root, "encrypt")) {
            (Role::Node | Role::Founder, None) => vec![hit("encrypt", "nothing")],
            _ => Vec::new(),
        },
    },
    Rule {
        id: "consul.gossip-key-length",
        reason: "a key of 16 or 24 bytes is accepted and weaker than the rest",
        source: page!("encryption"),
        fix: "use 32 bytes: `consul keygen`",
        check: |s| {
            let key =
                text(s.root, "encrypt").map(|key| STANDARD.decode(key).map_or(0, |key| key.len()));
            // The key itself is never shown.
            key.filter(|length| *length != 32)
                .map(|length| hit("encrypt", format!("{length} bytes of base64")))
                .into_iter()
                .collect()
        },
    },
    Rule {
        id: "consul.gossip-verified",
        reason: "gossip in clear is accepted or sent although there is a key; meant for the hour of its introduction alone",
        source: page!("encryption"),
        fix: "leave both out or set them to true",
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
        reason: "the gossip key is written to the data folder, and from then on Consul ignores the one that it is given",
        source: page!("general"),
        fix: "set `disable_keyring_file` to true",
        check: |s| must_be(s, true, "disable_keyring_file"),
    },
    Rule {
        id: "consul.secret-in-image",
        reason: "an image is copied, and all its nodes would have the same secret",
        source: SECURITY,
        fix: "leave it out; it comes in a fragment in tmpfs when the node boots",
        check: |s| {
            let keys = [
                "encrypt",
                "acl.tokens",
                "auto_config.intro_token",
                "connect.ca_config.private_key",
            ];
            let there = |key: &&str| s.role == Role::Image && at(s.root, key).is_some();
            // Nor is what stands there shown.
            keys.into_iter()
                .filter(there)
                .map(|key| hit(key, "a secret"))
                .collect()
        },
    },
    Rule {
        id: "consul.join-secret",
        reason: "a client's secret or an account's key in a join string is readable in the file, in logs and by the API",
        source: "https://developer.hashicorp.com/consul/docs/deploy/server/cloud-auto-join",
        fix: "give the machine a managed identity, which needs no secret",
        check: |s| {
            let joins = ["retry_join", "retry_join_wan", "start_join"];
            let secret = |text: &str| {
                [
                    "secret_access_key=",
                    "secret_key=",
                    "password=",
                    "api_token=",
                    "credentials_file=",
                ]
                .iter()
                .any(|part| text.contains(part))
            };
            let hits = joins
                .into_iter()
                .filter(|key| texts(s.root, key).into_iter().any(secret));
            hits.map(|key| hit(key, "a secret")).collect()
        },
    },
    Rule {
        id: "consul.acl-enabled",
        reason: "without access control everybody who reaches the API may read and change everything, Vault's storage included",
        source: page!("acl"),
        fix: "set `acl.enabled` to true",
        check: |s| must_be(s, true, "acl.enabled"),
    },
    Rule {
        id: "consul.acl-default-deny",
        reason: "what no rule speaks of is allowed; that is the default",
        source: page!("acl"),
        fix: "set `acl.default_policy` to \"deny\"",
        check: |s| match text(s.root, "acl.default_policy") {
            Some("deny") => Vec::new(),
            found => vec![hit("acl.default_policy", found.unwrap_or("nothing"))],
        },
    },
    Rule {
        id: "consul.acl-down-policy",
        reason: "while no server answers, everything is allowed",
        source: page!("acl"),
        fix: "set `acl.down_policy` to \"extend-cache\" or \"deny\"",
        check: |s| match text(s.root, "acl.down_policy") {
            Some("allow") => vec![hit("acl.down_policy", "allow")],
            _ => Vec::new(),
        },
    },
    Rule {
        id: "consul.token-persistence",
        reason: "tokens that are set by the API are written to the disk",
        source: page!("acl"),
        fix: "set `acl.enable_token_persistence` to false, and give tokens at boot",
        check: |s| must_not_be(s.root, true, &["acl.enable_token_persistence"]),
    },
    Rule {
        id: "consul.bootstrap-expect",
        reason: "a server that replaces another could found a second cluster beside the running one",
        source: page!("bootstrap"),
        fix: "leave it out; only the first servers of a new cluster have it, in their own fragment",
        check: |s| {
            let mut hits = match is(s.root, "bootstrap") {
                Some(true) => vec![hit("bootstrap", "true")],
                _ => Vec::new(),
            };
            if s.role != Role::Founder
                && number(s.root, "bootstrap_expect").is_some_and(|count| count > 0)
            {
                hits.push(hit("bootstrap_expect", shown(s.root, "bootstrap_expect")));
            }
            hits
        },
    },
    Rule {
        id: "consul.leave-on-terminate",
        reason: "a server that is restarted leaves the cluster, and two of them take its majority along",
        source: page!("general"),
        fix: "set `leave_on_terminate` to false",
        check: |s| match is(s.root, "server") {
            Some(true) => must_not_be(s.root, true, &["leave_on_terminate"]),
            _ => Vec::new(),
        },
    },
];
