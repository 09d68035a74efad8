//! `identity`, which takes a node's identity at first boot: refusals, messages, and installed
//! files.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    SanType,
};
use tempfile::TempDir;

use super::{folder, skipped};

/// The files of an archive, by name.
pub type Seed = BTreeMap<String, Vec<u8>>;

pub struct Authority(Issuer<'static, KeyPair>, pub String);

impl Authority {
    pub fn new() -> Self {
        let mut params = CertificateParams::new([]).unwrap();
        // A different name: a leaf with the same name would pass for self-signed.
        params.distinguished_name.push(DnType::CommonName, "CA");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let pem = params.self_signed(&key).unwrap().pem();
        Self(Issuer::new(params, key), pem)
    }

    /// Returns certificate and key for these names and for 127.0.0.1.
    pub fn issue(
        &self,
        names: &[&str],
        change: impl FnOnce(&mut CertificateParams),
    ) -> (String, String) {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = CertificateParams::new(names).unwrap();
        params
            .subject_alt_names
            .push(SanType::IpAddress([127, 0, 0, 1].into()));
        params.extended_key_usages = vec![
            ExtendedKeyUsagePurpose::ServerAuth,
            ExtendedKeyUsagePurpose::ClientAuth,
        ];
        change(&mut params);
        let key = KeyPair::generate().unwrap();
        (
            params.signed_by(&key, &self.0).unwrap().pem(),
            key.serialize_pem(),
        )
    }
}

const CONSUL_NAMES: [&str; 2] = ["server.dc1.consul", "localhost"];
const VAULT_NAMES: [&str; 2] = ["vault.service.consul", "localhost"];
const FRAGMENT: &str = r#"{"node_name": "vb-node-1", "datacenter": "dc1", "server": true, "bootstrap_expect": 1,
    "encrypt": "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=", "acl": {"tokens": {"agent": "t"}}}"#;

pub fn put(seed: &mut Seed, name: &str, content: impl Into<Vec<u8>>) {
    seed.insert(name.to_owned(), content.into());
}

fn put_pair(seed: &mut Seed, product: &str, pair: (String, String)) {
    put(seed, &format!("{product}/tls.crt"), pair.0);
    put(seed, &format!("{product}/tls.key"), pair.1);
}

pub fn good(authority: &Authority) -> Seed {
    let mut seed = Seed::new();
    put(
        &mut seed,
        "node.json",
        r#"{"schema":1,"node":"vb-node-1","datacenter":"dc1"}"#,
    );
    put(&mut seed, "consul/node.json", FRAGMENT);
    put(
        &mut seed,
        "vault/env",
        "CONSUL_HTTP_TOKEN=canary\nVAULT_LOG_LEVEL=debug\n",
    );
    for (product, names) in [("consul", CONSUL_NAMES), ("vault", VAULT_NAMES)] {
        put(
            &mut seed,
            &format!("{product}/ca.pem"),
            authority.1.as_str(),
        );
        put_pair(&mut seed, product, authority.issue(&names, |_| ()));
    }
    seed
}

pub fn archive(seed: &Seed) -> Vec<u8> {
    let mut tar = tar::Builder::new(Vec::new());
    for (name, content) in seed {
        let mut header = tar::Header::new_ustar();
        header.set_size(content.len() as u64);
        header.set_mode(0o600);
        // Written as bytes, as the library refuses some names.
        header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
        header.set_cksum();
        tar.append(&header, content.as_slice()).unwrap();
    }
    tar.into_inner().unwrap()
}

/// A node's `/run`, on a tmpfs of this host.
pub struct Node {
    pub run: TempDir,
    pub files: TempDir,
}

impl Node {
    /// Returns `None` if this host lacks a requirement of the program.
    pub fn new() -> Option<Self> {
        let there = |path| Path::new(path).exists();
        if !["/usr/bin/openssl", "/usr/bin/jq", "/dev/shm"]
            .into_iter()
            .all(there)
        {
            skipped("openssl, jq or /dev/shm is not here");
            return None;
        }
        let run = tempfile::tempdir_in("/dev/shm").unwrap();
        let files = tempfile::tempdir().unwrap();
        for product in ["consul", "vault"] {
            fs::write(files.path().join(format!("{product}.service")), "").unwrap();
        }
        // The groups of the services exist only in the image: this `install` ignores owners and
        // keeps modes.
        let install = files.path().join("install");
        fs::write(&install, INSTALL).unwrap();
        fs::set_permissions(&install, fs::Permissions::from_mode(0o755)).unwrap();
        let config = format!("seed_device='{}/seed'\nwait_s=0\n", files.path().display());
        fs::write(files.path().join("identity.conf"), config).unwrap();
        Some(Self { run, files })
    }

    /// Runs the program. Returns its messages, and whether it succeeded.
    pub fn take(&self, seed: &[u8]) -> (bool, String) {
        fs::write(self.files.path().join("seed"), seed).unwrap();
        self.take_fetched()
    }

    /// Runs a renewal. Returns its messages, and whether it succeeded.
    pub fn renew(&self, seed: &[u8]) -> (bool, String) {
        fs::write(self.files.path().join("seed"), seed).unwrap();
        self.run(&["renew"])
    }

    /// Runs the program with an archive that is already in `/run`.
    pub fn take_fetched(&self) -> (bool, String) {
        self.run(&[])
    }

    #[expect(clippy::disallowed_methods, reason = "a test runs the shipped program")]
    pub fn run(&self, arguments: &[&str]) -> (bool, String) {
        let files = self.files.path();
        let output = Command::new("sh")
            .arg(folder().join("base/files/identity"))
            .args(arguments)
            .env(
                "PATH",
                format!("{}:/usr/sbin:/usr/bin:/sbin:/bin", files.display()),
            )
            .env("VB_IDENTITY_CONFIG", files.join("identity.conf"))
            .env("VB_IDENTITY_RUN", self.run.path())
            .env("VB_IDENTITY_UNITS", files)
            .env("VB_IDENTITY_RULES", folder().join("base/files/identity.jq"))
            .output()
            .unwrap();
        let words = [output.stdout, output.stderr].concat();
        (
            output.status.success(),
            String::from_utf8(words).unwrap().trim().to_owned(),
        )
    }

    /// Returns the installed files, by name.
    pub fn files(&self) -> BTreeMap<String, String> {
        let names = self.left().into_iter();
        let names = names.map(|line| line.rsplit(' ').next().unwrap_or_default().to_owned());
        let read = |name: String| (fs::read_to_string(self.run.path().join(&name)), name);
        names
            .map(read)
            .map(|(text, name)| (name, text.unwrap()))
            .collect()
    }

    /// Returns everything below `/run`, with modes.
    pub fn left(&self) -> Vec<String> {
        let mut left = Vec::new();
        for folder in fs::read_dir(self.run.path()).unwrap() {
            let folder = folder.unwrap().path();
            for file in fs::read_dir(&folder).unwrap() {
                let file = file.unwrap().path();
                let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o7777;
                let name = file.strip_prefix(self.run.path()).unwrap();
                left.push(format!(
                    "{:o} {:o} {}",
                    mode(&folder),
                    mode(&file),
                    name.display()
                ));
            }
        }
        left.sort();
        left
    }
}

const INSTALL: &str = r#"#!/bin/sh
for word; do
    shift
    case $word in
        root | consul | vault | -o | -g) ;;
        *) set -- "$@" "$word" ;;
    esac
done
exec /usr/bin/install "$@"
"#;

#[test]
fn a_good_identity_is_handed_over() {
    let Some(node) = Node::new() else { return };
    let (content, words) = node.take(&archive(&good(&Authority::new())));
    assert!(content, "{words}");
    insta::assert_snapshot!(words, @"vault-bake identity taken: node vb-node-1 in datacenter dc1");
    insta::assert_snapshot!(node.left().join("\n"), @r"
    750 640 consul-secrets/node.json
    750 640 consul-tls/ca.pem
    750 640 consul-tls/tls.crt
    750 640 consul-tls/tls.key
    750 640 vault-secrets/env
    750 640 vault-tls/ca.pem
    750 640 vault-tls/consul-ca.pem
    750 640 vault-tls/tls.crt
    750 640 vault-tls/tls.key
    ");
}

/// Defects of a valid archive, by name.
pub fn spoiled() -> Vec<(&'static str, Seed)> {
    let (authority, other) = (Authority::new(), Authority::new());
    let good = good(&authority);
    let mut cases = Vec::new();
    let mut case = |name, change: &dyn Fn(&mut Seed)| {
        let mut seed = good.clone();
        change(&mut seed);
        cases.push((name, seed));
    };
    let fragment = |from: &str, to: &str| {
        assert!(FRAGMENT.contains(from));
        FRAGMENT.replace(from, to)
    };
    case("no key", &|seed| drop(seed.remove("consul/tls.key")));
    case("empty CA", &|seed| put(seed, "vault/ca.pem", ""));
    case("climbs out", &|seed| put(seed, "../etc/passwd", "x"));
    case("absolute", &|seed| put(seed, "/etc/passwd", "x"));
    case("unknown member", &|seed| put(seed, "vault/extra", "x"));
    case("two names in one", &|seed| {
        put(seed, "node.json consul/ca.pem", "x");
    });
    case("other schema", &|seed| {
        put(seed, "node.json", r#"{"schema":2}"#);
    });
    case("odd name", &|seed| {
        put(
            seed,
            "node.json",
            r#"{"schema":1,"node":"a b;c","datacenter":"dc1"}"#,
        );
    });
    case("other node", &|seed| {
        put(seed, "consul/node.json", fragment("vb-node-1", "vb-node-2"));
    });
    case("no gossip key", &|seed| {
        put(seed, "consul/node.json", fragment("encrypt", "encrypted"));
    });
    case("short gossip key", &|seed| {
        put(seed, "consul/node.json", fragment("AAEC", ""));
    });
    case("two gossip keys", &|seed| {
        put(
            seed,
            "consul/node.json",
            fragment("{\"node", "{\"encrypt\": \"\", \"node"),
        );
    });
    case("opens HTTP", &|seed| {
        put(
            seed,
            "consul/node.json",
            fragment("{\"node", "{\"ports\": {\"http\": 8500}, \"node"),
        );
    });
    case("allows all", &|seed| {
        put(
            seed,
            "consul/node.json",
            fragment("tokens", "default_policy"),
        );
    });
    case("no token", &|seed| {
        put(seed, "vault/env", "VAULT_LOG_LEVEL=debug\n");
    });
    case("empty token", &|seed| {
        put(seed, "vault/env", "CONSUL_HTTP_TOKEN=\n");
    });
    case("loader", &|seed| {
        put(seed, "vault/env", "CONSUL_HTTP_TOKEN=a\nLD_PRELOAD=/x\n");
    });
    case("no verification", &|seed| {
        put(
            seed,
            "vault/env",
            "CONSUL_HTTP_TOKEN=a\nVAULT_SKIP_VERIFY=1\n",
        );
    });
    case("another CA's", &|seed| {
        put_pair(seed, "vault", other.issue(&VAULT_NAMES, |_| ()));
    });
    case("another key", &|seed| {
        put(
            seed,
            "consul/tls.key",
            authority.issue(&CONSUL_NAMES, |_| ()).1,
        );
    });
    case("no server name", &|seed| {
        put_pair(seed, "consul", authority.issue(&["localhost"], |_| ()));
    });
    case("no service name", &|seed| {
        put_pair(seed, "vault", authority.issue(&["localhost"], |_| ()));
    });
    case("servers only", &|seed| {
        let server = vec![ExtendedKeyUsagePurpose::ServerAuth];
        put_pair(
            seed,
            "vault",
            authority.issue(&VAULT_NAMES, |params| params.extended_key_usages = server),
        );
    });
    case("expired", &|seed| {
        let past = rcgen::date_time_ymd(2020, 1, 2);
        put_pair(
            seed,
            "vault",
            authority.issue(&VAULT_NAMES, |params| params.not_after = past),
        );
    });
    cases
}

#[test]
fn a_spoiled_identity_is_refused_with_words_and_nothing_stays() {
    let Some(node) = Node::new() else { return };
    let mut table = String::new();
    for (name, seed) in spoiled() {
        let (content, words) = node.take(&archive(&seed));
        assert!(!content, "{name} was taken");
        assert_eq!(node.left(), Vec::<String>::new(), "{name} left something");
        assert!(!words.contains("canary"), "{name} shows a token: {words}");
        let _ = writeln!(
            table,
            "{name}: {}",
            words.trim_start_matches("vault-bake identity refused: ")
        );
    }
    for (name, seed) in [("empty device", vec![]), ("noise", vec![0xa5; 4096])] {
        let (content, words) = node.take(&seed);
        assert!(!content, "{name} was taken");
        let _ = writeln!(
            table,
            "{name}: {}",
            words.trim_start_matches("vault-bake identity refused: ")
        );
    }
    insta::assert_snapshot!(table);
}

/// A node that took an identity and then finds an invalid one must not keep the old one.
#[test]
fn a_refusal_takes_back_what_was_handed_over() {
    let Some(node) = Node::new() else { return };
    let mut seed = good(&Authority::new());
    assert!(node.take(&archive(&seed)).0);
    put(&mut seed, "vault/env", "");
    assert!(!node.take(&archive(&seed)).0);
    assert_eq!(node.left(), Vec::<String>::new());
}

#[test]
fn a_renewal_brings_certificates_and_keys_and_nothing_else() {
    let Some(node) = Node::new() else { return };
    let authority = Authority::new();
    let before = good(&authority);
    assert!(node.take(&archive(&before)).0);
    let old = node.files();
    fs::remove_file(node.files.path().join("seed")).unwrap();

    let renewed = good(&authority);
    assert!(!node.run(&["can-renew"]).0, "the disk was detached");
    let (content, words) = node.renew(&archive(&renewed));
    assert!(content, "{words}");
    insta::assert_snapshot!(words, @"vault-bake identity renewed: node vb-node-1 in datacenter dc1");
    assert!(node.run(&["can-renew"]).0);
    let new = node.files();
    assert!(old.keys().eq(new.keys()), "{new:?}");
    let changed = new.iter().filter(|(name, text)| old[*name] != **text);
    let changed: Vec<&str> = changed.map(|(name, _)| name.as_str()).collect();
    assert_eq!(
        changed,
        [
            "consul-tls/tls.crt",
            "consul-tls/tls.key",
            "vault-tls/tls.crt",
            "vault-tls/tls.key"
        ]
    );

    // After a rollout there are other servers to join, at the next start.
    let mut moved = renewed.clone();
    let join = FRAGMENT.replacen('{', r#"{"retry_join": ["10.0.0.9"], "#, 1);
    put(&mut moved, "consul/node.json", join);
    let (content, words) = node.renew(&archive(&moved));
    assert!(content, "{words}");
    let moved = node.files();
    let changed = moved.iter().filter(|(name, text)| new[*name] != **text);
    let changed: Vec<&str> = changed.map(|(name, _)| name.as_str()).collect();
    assert_eq!(changed, ["consul-secrets/node.json"]);
    let new = moved;

    // Any other difference, and any invalid archive, changes nothing.
    let mut table = String::new();
    let mut others = spoiled();
    let mut other = |name, member: &str, content: &str| {
        let mut seed = renewed.clone();
        put(&mut seed, member, content);
        others.push((name, seed));
    };
    other("new token", "vault/env", "CONSUL_HTTP_TOKEN=another\n");
    let key = FRAGMENT.replace("AAEC", "AQEC");
    other("new gossip key", "consul/node.json", &key);
    others.push(("new authority", good(&Authority::new())));
    for (name, seed) in others {
        let (content, words) = node.renew(&archive(&seed));
        assert!(!content, "{name} was taken");
        assert_eq!(node.files(), new, "{name} changed something");
        let why = words.strip_prefix("vault-bake identity not renewed: ");
        if name.starts_with("new ") {
            let _ = writeln!(table, "{name}: {}", why.unwrap());
        }
        assert!(why.is_some() && !words.contains("another"), "{words}");
    }
    // Nor does an image with a defect.
    fs::remove_file(node.files.path().join("identity.conf")).unwrap();
    for mode in ["renew", "can-renew"] {
        assert!(!node.run(&[mode]).0, "{mode}");
        assert_eq!(node.files(), new, "{mode} changed something");
    }
    insta::assert_snapshot!(table, @"
    new token: vault/env is not what runs here; only certificates and their keys can be renewed, anything else needs a restart of vault-bake-identity.service
    new gossip key: consul/node.json is not what runs here; only certificates and their keys can be renewed, anything else needs a restart of vault-bake-identity.service
    new authority: consul/ca.pem is not what runs here; only certificates and their keys can be renewed, anything else needs a restart of vault-bake-identity.service
    ");
}
