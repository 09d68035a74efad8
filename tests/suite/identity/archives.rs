//! Archives of nodes, judged by the program of the image: each that is made passes, each defect is
//! refused with the words of the node.

#![expect(
    clippy::disallowed_methods,
    reason = "the program checks certificates by the real time"
)]

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::IpAddr;

use flate2::Compression;
use flate2::write::GzEncoder;
use jiff::{SignedDuration, Timestamp};
use proptest::prelude::*;
use semver::Version;
use vault_bake::identity::{
    Authority, CheckedIdentity, ConsulNode, IdentityError, NodeIdentity, Products, Request,
    VaultNode, check, new_gossip_key, new_token,
};
use vault_bake::secret::Secret;
use vault_bake::wait::Interrupt;

use crate::provisioners::identity::{self as node, Node, archive, good, spoiled};

const BOTH: Products = Products {
    consul: true,
    vault: true,
};

pub fn authority() -> Authority {
    let valid = SignedDuration::from_hours(24 * 365);
    Authority::generate("a test", Timestamp::now(), valid).unwrap()
}

fn consul(version: &str) -> ConsulNode {
    ConsulNode {
        version: Version::parse(version).unwrap(),
        server: false,
        bootstrap_expect: None,
        retry_join: vec!["10.77.0.11".to_owned()],
        bind_addr: None,
        advertise_addr: None,
        gossip_key: new_gossip_key().unwrap(),
        agent_token: new_token().unwrap(),
        initial_management: None,
    }
}

/// A folder that stayed would have the secrets of a node.
#[test]
fn a_check_that_loses_its_reader_removes_its_folder() {
    const CHECK: &str = include_str!("../../../src/identity/check.sh");
    const PROGRAM: &str = include_str!("../../../provisioners/base/files/identity");
    const RULES: &str = include_str!("../../../provisioners/base/files/identity.jq");
    let archive = format!("no archive {}", std::process::id());
    // As after a kill of vault-bake: a refusal is printed, and no process reads it.
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let mut child = std::process::Command::new("sh")
        .args(["-c", CHECK, "identity", PROGRAM, RULES, "consul vault"])
        .stdin(std::process::Stdio::piped())
        .stdout(writer.try_clone().unwrap())
        .stderr(writer)
        .spawn()
        .unwrap();
    let mut input = child.stdin.take().unwrap();
    std::io::Write::write_all(&mut input, archive.as_bytes()).unwrap();
    drop(input);
    let status = child.wait().unwrap();
    assert_eq!(status.code(), Some(143), "{status}");
    for entry in std::fs::read_dir("/dev/shm").unwrap().flatten() {
        let seed = std::fs::read(entry.path().join("seed")).unwrap_or_default();
        assert_ne!(seed, archive.as_bytes(), "{entry:?}");
    }
}

async fn made(
    authority: &Authority,
    node: &str,
    datacenter: &str,
    settings: Option<&ConsulNode>,
    vault: Option<&VaultNode>,
) -> Result<Secret, IdentityError> {
    let (now, interrupt) = (Timestamp::now(), Interrupt::default());
    let mut identity = NodeIdentity::new(node, datacenter, authority, now)?;
    if let Some(settings) = settings {
        let request = Request::consul(settings.server.then_some(datacenter), None, 720);
        let leaf = authority.issue(&request, now, &interrupt).await?;
        identity = identity.consul(leaf, settings)?;
    }
    if let Some(settings) = vault {
        let request = Request::vault(None, 720);
        let leaf = authority.issue(&request, now, &interrupt).await?;
        identity = identity.vault(leaf, settings)?;
    }
    Ok(identity.to_tar())
}

/// An archive of a Vault node.
pub async fn vault_node(authority: &Authority) -> Secret {
    let vault = VaultNode::new(&new_token().unwrap(), "10.77.0.31".parse().unwrap());
    let consul = consul("1.8.7");
    let archive = made(
        authority,
        "dev-vault-1-1",
        "dc1",
        Some(&consul),
        Some(&vault),
    );
    archive.await.unwrap()
}

async fn judged(archive: &[u8], products: Products) -> Result<CheckedIdentity, IdentityError> {
    check(archive, products, &Interrupt::default()).await
}

/// Whether this computer has what the program needs.
fn is_possible() -> bool {
    Node::new().is_some()
}

#[tokio::test]
async fn a_checked_archive_says_what_is_in_it() {
    if !is_possible() {
        return;
    }
    let authority = authority();
    let server = ConsulNode {
        server: true,
        bootstrap_expect: Some(3),
        initial_management: Some(new_token().unwrap()),
        ..consul("1.8.7")
    };
    let archive = made(&authority, "dev-consul-1-1", "dc1", Some(&server), None)
        .await
        .unwrap();
    let bytes = archive.expose().as_bytes();
    let products = Products::of_archive(bytes).unwrap();
    assert_eq!((products.consul, products.vault), (true, false));
    let checked = judged(bytes, products).await.unwrap();
    assert_eq!(
        (checked.node.as_str(), checked.datacenter.as_str()),
        ("dev-consul-1-1", "dc1")
    );
    assert!(checked.server && checked.vault.is_none());
    let consul = checked.consul.unwrap();
    assert_eq!(consul.names, ["server.dc1.consul", "localhost"]);
    // Certificates have no fractions of a second.
    assert_eq!(
        checked.authority_not_after.as_second(),
        authority.expires_at().as_second()
    );
    assert_eq!(checked.not_after, consul.not_after);
    let left = consul.not_after.duration_since(Timestamp::now()).as_hours();
    assert_eq!(left, 719);

    let archive = vault_node(&authority).await;
    let mut packed = GzEncoder::new(Vec::new(), Compression::default());
    std::io::Write::write_all(&mut packed, archive.expose().as_bytes()).unwrap();
    let packed = packed.finish().unwrap();
    // A secret of Azure Key Vault has at most 25,000 characters.
    assert!(archive.expose().len().div_ceil(3) * 4 < 25_000);
    for bytes in [archive.expose().as_bytes(), &packed] {
        let checked = judged(bytes, Products::of_archive(bytes).unwrap())
            .await
            .unwrap();
        assert!(!checked.server && checked.consul.is_some());
        assert_eq!(checked.vault.unwrap().names[0], "vault.service.consul");
    }
}

#[tokio::test]
async fn the_check_refuses_what_a_node_refuses_with_the_same_words() {
    let Some(node) = Node::new() else { return };
    let mut cases: Vec<(&str, Vec<u8>)> = spoiled()
        .into_iter()
        .map(|(name, seed)| (name, archive(&seed)))
        .collect();
    cases.push(("noise", vec![0xa5; 4096]));
    cases.push(("a good one", archive(&good(&node::Authority::new()))));
    for (name, bytes) in cases {
        let (taken, words) = node.take(&bytes);
        match judged(&bytes, BOTH).await {
            Ok(checked) => {
                assert!(taken, "{name}");
                assert_eq!(checked.node, "vb-node-1");
            }
            Err(IdentityError::Refused(reason)) => {
                // The path of the device is another one.
                assert!(
                    !taken && words.ends_with(&reason),
                    "{name}: {reason}\n{words}"
                );
            }
            Err(error) => panic!("{name}: {error}"),
        }
    }
}

#[tokio::test]
async fn an_archive_lacks_what_another_image_needs() {
    if !is_possible() {
        return;
    }
    let archive = made(&authority(), "a", "dc1", Some(&consul("1.8.7")), None)
        .await
        .unwrap();
    let refused = judged(archive.expose().as_bytes(), BOTH).await.unwrap_err();
    insta::assert_snapshot!(refused, @"cannot accept the identity archive: the seed lacks vault/ca.pem");
    let large = vec![0; 17 << 20];
    insta::assert_snapshot!(judged(&large, BOTH).await.unwrap_err(), @"cannot read the identity archive: it has more than 16 MiB");
    let interrupt = Interrupt::default();
    interrupt.raise();
    let ended = check(archive.expose().as_bytes(), BOTH, &interrupt).await;
    assert!(ended.unwrap_err().is_interrupt());
}

/// Values that a node would refuse are not packed.
#[tokio::test]
async fn a_wrong_value_is_refused_before_an_archive_is_made() {
    let authority = authority();
    let token = new_token().unwrap();
    let with = |change: &dyn Fn(&mut ConsulNode)| {
        let mut settings = consul("1.8.7");
        change(&mut settings);
        settings
    };
    let address = |text: &str| Some(text.parse::<IpAddr>().unwrap());
    let consul_cases = [
        (
            "a short gossip key",
            with(&|it| it.gossip_key = Secret::new("AAAA")),
        ),
        (
            "a gossip key of 33 bytes",
            with(&|it| it.gossip_key = Secret::new("A".repeat(44))),
        ),
        (
            "an empty token",
            with(&|it| it.agent_token = Secret::new("")),
        ),
        (
            "a token with a blank",
            with(&|it| it.agent_token = Secret::new("a b")),
        ),
        (
            "a client that founds",
            with(&|it| it.bootstrap_expect = Some(1)),
        ),
        (
            "no servers",
            with(&|it| (it.server, it.bootstrap_expect) = (true, Some(0))),
        ),
        ("loopback", with(&|it| it.bind_addr = address("127.0.0.1"))),
        ("a wildcard", with(&|it| it.advertise_addr = address("::"))),
        (
            "a mapped loopback",
            with(&|it| it.advertise_addr = address("::ffff:127.0.0.1")),
        ),
        (
            "an empty address",
            with(&|it| it.retry_join = vec![String::new()]),
        ),
        (
            "two lines",
            with(&|it| it.retry_join = vec!["a\nb".to_owned()]),
        ),
    ];
    let mut table = String::new();
    for (case, settings) in consul_cases {
        let refused = made(&authority, "a", "dc1", Some(&settings), None)
            .await
            .err();
        let _ = writeln!(table, "{case}: {}", refused.unwrap());
    }
    let vault = |name: &str, value: &str| {
        VaultNode::new(&token, "10.0.0.4".parse().unwrap()).with(name, Secret::new(value))
    };
    let vault_cases = [
        (
            "another line",
            vault("VAULT_LOG_LEVEL", "info\nLD_PRELOAD=/x"),
        ),
        ("a quote", vault("VAULT_LOG_LEVEL", "\"info\"")),
        ("a blank at the end", vault("VAULT_LOG_LEVEL", "info ")),
        ("an empty value", vault("VAULT_LOG_LEVEL", "")),
        ("a name with a line", vault("A=1\nB", "x")),
        ("a small name", vault("vault_log_level", "info")),
        ("no token", vault("CONSUL_HTTP_TOKEN", "")),
    ];
    for (case, settings) in vault_cases {
        let refused = made(&authority, "a", "dc1", None, Some(&settings))
            .await
            .err();
        let _ = writeln!(table, "{case}: {}", refused.unwrap());
    }
    for (node, datacenter) in [("A", "dc1"), ("a", "dc.1")] {
        let refused = made(&authority, node, datacenter, None, None).await.err();
        let _ = writeln!(table, "{node} in {datacenter}: {}", refused.unwrap());
    }
    insta::assert_snapshot!(table);
}

/// Names, values and addresses, good ones and odd ones.
#[derive(Clone, Debug)]
struct Drawn {
    node: String,
    datacenter: String,
    version: &'static str,
    founders: Option<Option<u8>>,
    join: Vec<String>,
    address: Option<IpAddr>,
    /// Of the agent, for management, and of Vault if there is one.
    tokens: (String, Option<String>, Option<String>),
    variables: BTreeMap<&'static str, String>,
}

impl Drawn {
    fn consul(&self) -> ConsulNode {
        ConsulNode {
            server: self.founders.is_some(),
            bootstrap_expect: self.founders.flatten(),
            retry_join: self.join.clone(),
            bind_addr: self.address,
            advertise_addr: self.address,
            agent_token: Secret::new(self.tokens.0.as_str()),
            initial_management: self.tokens.1.as_deref().map(Secret::new),
            ..consul(self.version)
        }
    }

    fn vault(&self) -> Option<VaultNode> {
        let token = Secret::new(self.tokens.2.as_deref()?);
        let node = VaultNode::new(&token, "10.77.0.31".parse().unwrap());
        let variables = self.variables.iter();
        Some(variables.fold(node, |node, (name, value)| {
            node.with(*name, Secret::new(value.as_str()))
        }))
    }
}

fn drawn() -> impl Strategy<Value = Drawn> {
    let label = "[a-z0-9]([a-z0-9-]{0,30}[a-z0-9])?";
    let address = prop_oneof![
        any::<[u8; 4]>().prop_map(IpAddr::from),
        any::<[u8; 16]>().prop_map(IpAddr::from),
        Just("10.77.0.31".parse().unwrap()),
    ];
    let token = || {
        prop_oneof![
            "[!-~]{1,12}",
            "[0-9a-f-]{36}",
            "[0-9a-f-]{36}",
            "[ -~]{0,3}"
        ]
    };
    let version = prop::sample::select(vec!["1.8.7", "1.10.12", "1.11.0", "1.22.4"]);
    let variable = prop::sample::select(vec![
        "VAULT_DISABLE_MLOCK",
        "VAULT_LOG_LEVEL",
        "VAULT_SEAL_TYPE",
        "VAULT_TOKEN",
        "AZURE_CLIENT_SECRET",
        "VAULT_TRANSIT_SEAL_KEY_NAME",
    ]);
    let value = prop_oneof!["[a-z]{1,9}", "[a-z]{1,9}", "[ -~]{0,20}"];
    let join = prop_oneof!["[a-z0-9.]{1,30}", "[a-z0-9.]{1,30}", "[ -~]{0,40}"];
    let names = (label, label, version);
    let agent = (
        prop::option::of(prop::option::of(0..5_u8)),
        prop::collection::vec(join, 0..3),
        prop::option::of(address),
    );
    let tokens = (
        token(),
        prop::option::of(token()),
        prop::option::of(token()),
    );
    let variables = prop::collection::btree_map(variable, value, 0..3);
    (names, agent, tokens, variables).prop_map(
        |((node, datacenter, version), (founders, join, address), tokens, variables)| Drawn {
            node,
            datacenter,
            version,
            founders,
            join,
            address,
            tokens,
            variables,
        },
    )
}

/// Every archive that is made is accepted, whatever its values are.
#[test]
fn every_archive_that_is_made_is_accepted() {
    if !is_possible() {
        return;
    }
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let authority = authority();
    let counts = std::cell::Cell::new(BTreeMap::from([(true, 0), (false, 0)]));
    let config = ProptestConfig {
        cases: 30,
        failure_persistence: None,
        ..ProptestConfig::default()
    };
    proptest!(config, |(drawn in drawn())| {
        let (consul, vault) = (drawn.consul(), drawn.vault());
        let making = made(&authority, &drawn.node, &drawn.datacenter, Some(&consul), vault.as_ref());
        let archive = runtime.block_on(making);
        let mut seen = counts.take();
        *seen.entry(archive.is_ok()).or_default() += 1;
        counts.set(seen);
        if let Ok(archive) = archive {
            let products = Products { consul: true, vault: vault.is_some() };
            let checked = runtime.block_on(judged(archive.expose().as_bytes(), products));
            let checked = checked.map_err(|error| TestCaseError::fail(error.to_string()))?;
            prop_assert_eq!(&checked.node, &drawn.node);
            prop_assert_eq!(checked.server, consul.server);
        }
    });
    let counts = counts.take();
    println!(
        "{} archives were made and accepted, {} refused before",
        counts[&true], counts[&false]
    );
    assert!(counts[&true] > 2 && counts[&false] > 2, "{counts:?}");
}
