//! Temporary identities: certificates as OpenSSL verifies them, and archives as a node reads them.

#![expect(
    clippy::unwrap_used,
    reason = "a test whose preparation fails has failed"
)]

mod archives;
mod authority;
mod external;
mod renewal;

use std::collections::BTreeMap;
use std::io::Read as _;

use jiff::{SignedDuration, Timestamp};
use openssl::ec::EcKey;
use openssl::nid::Nid;
use openssl::pkey::PKey;
use openssl::stack::Stack;
use openssl::x509::store::X509StoreBuilder;
use openssl::x509::verify::X509VerifyParam;
use openssl::x509::{X509, X509PurposeId, X509StoreContext};
use serde_json::Value;
use vault_bake::identity::{BACKDATED_H, Identity, Leaf, VALID_H};

fn now() -> Timestamp {
    "2026-11-22T19:18:17Z".parse().unwrap()
}

fn identity() -> Identity {
    Identity::generate("vb-node-1", "dc1", "1.21.1", now()).unwrap()
}

fn certificate(pem: &str) -> X509 {
    X509::from_pem(pem.as_bytes()).unwrap()
}

/// Returns whether OpenSSL trusts `leaf` through `ca` at `at`, for this purpose and host.
fn trusted(ca: &str, leaf: &Leaf, at: Timestamp, purpose: X509PurposeId, host: &str) -> bool {
    let mut store = X509StoreBuilder::new().unwrap();
    store.add_cert(certificate(ca)).unwrap();
    store.set_purpose(purpose).unwrap();
    let mut param = X509VerifyParam::new().unwrap();
    param.set_time(at.as_second());
    match host.parse() {
        Ok(address) => param.set_ip(address).unwrap(),
        Err(_) => param.set_host(host).unwrap(),
    }
    store.set_param(&param).unwrap();
    let mut context = X509StoreContext::new().unwrap();
    context
        .init(
            &store.build(),
            &certificate(&leaf.certificate_pem),
            &Stack::new().unwrap(),
            openssl::x509::X509StoreContextRef::verify_cert,
        )
        .unwrap()
}

#[test]
fn certificates_are_trusted_where_they_should_be() {
    let (identity, other) = (identity(), identity());
    // Owner, CA, age in hours, purpose, host, and whether that is trusted.
    let table = "
        consul own      0 server server.dc1.consul    yes
        consul own      0 server localhost            yes
        consul own      0 server 127.0.0.1            yes
        consul own      0 client localhost            yes
        vault  own      0 server vault.service.consul yes
        vault  own      0 server 127.0.0.1            yes
        vault  own      0 client localhost            yes
        consul own     11 server localhost            yes
        consul own      0 server vault.service.consul no
        consul own      0 server server.dc2.consul    no
        vault  own      0 server 10.0.2.15            no
        consul another  0 server localhost            no
        consul own     13 server localhost            no
        consul own     -2 server localhost            no
        consul own      0 crl    localhost            no
    ";
    for row in table.lines().filter(|row| !row.trim().is_empty()) {
        let [whose, by, hours, purpose, host, expected] = row
            .split_whitespace()
            .collect::<Vec<_>>()
            .try_into()
            .unwrap();
        let leaf = if whose == "consul" {
            &identity.consul
        } else {
            &identity.vault
        };
        let ca = if by == "own" {
            &identity.ca_pem
        } else {
            &other.ca_pem
        };
        let at = now() + SignedDuration::from_hours(hours.parse().unwrap());
        let purpose = match purpose {
            "server" => X509PurposeId::SSL_SERVER,
            "client" => X509PurposeId::SSL_CLIENT,
            _ => X509PurposeId::CRL_SIGN,
        };
        assert_eq!(
            trusted(ca, leaf, at, purpose, host),
            expected == "yes",
            "{row}"
        );
    }
    assert_eq!((BACKDATED_H, VALID_H), (1, 12));
}

#[test]
fn keys_belong_to_their_certificates_and_are_p256() {
    let identity = identity();
    for leaf in [&identity.consul, &identity.vault] {
        let key = PKey::private_key_from_pem(leaf.key_pem.expose().as_bytes()).unwrap();
        let public = certificate(&leaf.certificate_pem).public_key().unwrap();
        assert!(key.public_eq(&public));
        let curve = EcKey::try_from(key).unwrap().group().curve_name();
        assert_eq!(curve, Some(Nid::X9_62_PRIME256V1));
    }
    let ca = certificate(&identity.ca_pem);
    assert!(ca.verify(&ca.public_key().unwrap()).unwrap());
    assert_eq!(ca.pathlen(), Some(0));
}

#[test]
fn the_certificates_as_openssl_prints_them() {
    let identity = identity();
    let text = |pem: &str| String::from_utf8(certificate(pem).to_text().unwrap()).unwrap();
    let whole = [
        &identity.ca_pem,
        &identity.consul.certificate_pem,
        &identity.vault.certificate_pem,
    ]
    .map(|pem| text(pem))
    .join("\n");
    let kept: Vec<&str> = whole
        .lines()
        .filter(|line| {
            let line = line.trim();
            let hex = line.chars().all(|c| c.is_ascii_hexdigit() || c == ':');
            !hex || line.is_empty()
        })
        .collect();
    insta::assert_snapshot!("certificates", kept.join("\n"));
}

#[test]
fn nothing_is_made_twice() {
    let (a, b) = (identity(), identity());
    for (one, other) in a.secrets().into_iter().zip(b.secrets()) {
        assert!(one.expose() != other.expose());
    }
    let serials = [
        &a.ca_pem,
        &a.consul.certificate_pem,
        &a.vault.certificate_pem,
        &b.ca_pem,
    ]
    .map(|pem| {
        certificate(pem)
            .serial_number()
            .to_bn()
            .unwrap()
            .to_hex_str()
            .unwrap()
            .to_string()
    });
    let distinct: std::collections::BTreeSet<_> = serials.iter().collect();
    assert_eq!(distinct.len(), serials.len());
}

/// Returns the files of the archive: path to mode and content.
fn unpack(archive: &[u8]) -> BTreeMap<String, (u32, String)> {
    let mut files = BTreeMap::new();
    for entry in tar::Archive::new(archive).entries().unwrap() {
        let mut entry = entry.unwrap();
        let path = entry.path().unwrap().display().to_string();
        assert_eq!(entry.header().uid().unwrap(), 0);
        assert_eq!(
            entry.header().mtime().unwrap(),
            u64::try_from(now().as_second()).unwrap()
        );
        let mode = entry.header().mode().unwrap();
        let mut content = String::new();
        entry.read_to_string(&mut content).unwrap();
        assert!(files.insert(path, (mode, content)).is_none());
    }
    files
}

#[test]
fn the_archive_has_all_files_of_a_node() {
    let identity = identity();
    let archive = identity.to_tar();
    assert_eq!(archive, identity.to_tar());
    assert_eq!(archive.len() % 512, 0);
    let files = unpack(&archive);
    let modes: Vec<String> = files
        .iter()
        .map(|(path, (mode, _))| format!("{mode:04o} {path}"))
        .collect();
    insta::assert_snapshot!(modes.join("\n"), @r#"
0644 consul/ca.pem
0600 consul/node.json
0644 consul/tls.crt
0600 consul/tls.key
0644 node.json
0644 vault/ca.pem
0600 vault/env
0644 vault/tls.crt
0600 vault/tls.key
"#);
    insta::assert_snapshot!(files["node.json"].1, @r#"{"datacenter":"dc1","node":"vb-node-1","schema":1}"#);
    assert_eq!(files["consul/ca.pem"].1, identity.ca_pem);
    assert_eq!(files["vault/tls.key"].1, identity.vault.key_pem.expose());
    // With key shares, Vault starts without the key service that its image may name.
    let token = identity.management_token.expose();
    let env = format!("CONSUL_HTTP_TOKEN={token}\nVAULT_SEAL_TYPE=shamir\n");
    assert_eq!(files["vault/env"].1, env);
    let key = openssl::base64::decode_block(identity.gossip_key.expose()).unwrap();
    assert_eq!(key.len(), 32);
    let token = uuid::Uuid::parse_str(identity.management_token.expose()).unwrap();
    assert_eq!(token.get_version_num(), 4);
}

#[test]
fn an_archive_on_a_disk_ends_where_it_ends() {
    // The node reads the raw disk, which is longer than the archive.
    let mut disk = identity().to_tar();
    disk.resize(1 << 20, 0);
    assert_eq!(unpack(&disk).len(), 9);
}

#[test]
fn the_fragment_suits_the_version_of_consul() {
    let fragment = |version: &str| {
        let identity = Identity::generate("vb-node-1", "dc1", version, now()).unwrap();
        identity
            .consul_fragment
            .expose()
            .replace(identity.gossip_key.expose(), "GOSSIP")
            .replace(identity.management_token.expose(), "TOKEN")
    };
    insta::assert_snapshot!(fragment("1.21.1"), @r#"
{
  "node_name": "vb-node-1",
  "datacenter": "dc1",
  "server": true,
  "bootstrap_expect": 1,
  "retry_join": [],
  "encrypt": "GOSSIP",
  "acl": {
    "tokens": {
      "agent": "TOKEN",
      "initial_management": "TOKEN"
    }
  }
}
"#);
    for (version, name) in [
        ("1.8.7", "master"),
        ("1.10.12", "master"),
        ("1.11.0-rc1", "initial_management"),
        ("1.11.0", "initial_management"),
        ("1.22.0+ent", "initial_management"),
    ] {
        let value: Value = serde_json::from_str(&fragment(version)).unwrap();
        assert_eq!(value["acl"]["tokens"][name], "TOKEN", "{version}");
    }
}

#[test]
fn refused_names_and_versions() {
    let cases = [
        ("", "dc1", "1.21.1"),
        ("Node", "dc1", "1.21.1"),
        ("a.b", "dc1", "1.21.1"),
        ("-a", "dc1", "1.21.1"),
        ("a", "dc 1", "1.21.1"),
        ("a", "dc1", "latest"),
        ("a", "dc1", "1.21"),
    ];
    let refusals: Vec<String> = cases
        .into_iter()
        .filter_map(|(node, datacenter, version)| {
            Identity::generate(node, datacenter, version, now()).err()
        })
        .map(|error| error.to_string())
        .collect();
    assert_eq!(refusals.len(), cases.len());
    insta::assert_snapshot!("refused_identities", refusals.join("\n"));
}
