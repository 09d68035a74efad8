//! Three nodes of a captured image: their own state, refused identities, and one accepted identity.

use std::collections::BTreeMap;
use std::path::Path;

use jiff::{SignedDuration, Timestamp};
use vault_bake::identity::{Identity, Leaf};
use vault_bake::secret::Secret;

use super::node::Authority;
use crate::nodes::{Down, Kind, Network, Node, Nodes};

/// Prints the state of a node, once Consul has made its id.
const WHO: &str = r"
left=60
until [ -s /var/lib/consul/node-id ] || [ $left -eq 0 ]; do left=$((left - 1)); sleep 1; done
cat /etc/machine-id /etc/ssh/ssh_host_ed25519_key.pub /var/lib/consul/node-id
";

/// Starts both services.
const SERVICES: &str = r"
systemctl reset-failed
systemctl restart vault-bake-identity.service || :
systemctl start consul.service vault.service || :
";

/// Prints the state of the three units.
const STATES: &str = r"
for unit in vault-bake-identity consul vault; do printf '%s: ' $unit; systemctl is-active $unit || :; done
";

/// Prints why there is no identity.
const WHY: &str = "journalctl --boot --unit vault-bake-identity.service --output cat | grep 'identity refused' | tail -n 1";

/// Prints which certificates are served, and by which processes.
const SERVING: &str = r#"
served() { openssl s_client -connect 127.0.0.1:$1 </dev/null 2>/dev/null | openssl x509 -noout -fingerprint -sha256 2>/dev/null; }
for port in 8501 8200; do
    left=60
    until served $port || [ $left -eq 0 ]; do left=$((left - 1)); sleep 1; done
done
systemctl show --property=MainPID --value consul.service vault.service | grep .
"#;

/// Prints the open ports by process. The port of a DHCP client is open only for a while.
const LISTENING: &str = r"
for port in 8300 8501 8200; do
    left=60
    until ss -Hlnt sport = :$port | grep -q . || [ $left -eq 0 ]; do left=$((left - 1)); sleep 1; done
done
ss -Hlntu | awk '{print $1, $5}' | sed 's/%[a-z0-9]*//' | grep -v ':68$' | sort -u
";

/// Gives a node another identity while its services run. Returns whether the node took it.
async fn renew(node: &Node, tar: Vec<u8>) -> bool {
    node.put(tar).await;
    let reload = "systemctl reload vault-bake-identity.service && echo taken || echo refused\n";
    node.says(reload).await == "taken"
}

/// Gives a node another identity and starts all units. Returns their states, and the reason.
async fn give(node: &Node, tar: Vec<u8>) -> (String, String) {
    node.put(tar).await;
    let states = node.says(&format!("{SERVICES}{STATES}")).await;
    (states, node.says(WHY).await)
}

const ALL_DOWN: &str = "vault-bake-identity: failed\nconsul: inactive\nvault: inactive";
const ALL_UP: &str = "vault-bake-identity: active\nconsul: active\nvault: active";

fn new(now: Timestamp) -> Identity {
    Identity::generate("vault-bake-test", "dc1", "1.8.7", now).expect("an identity")
}

/// Invalid identities, by their defect.
fn spoiled(now: Timestamp) -> BTreeMap<&'static str, Vec<u8>> {
    let other = new(now);
    let with = |change: &dyn Fn(&mut Identity)| {
        let mut identity = new(now);
        change(&mut identity);
        identity.to_tar()
    };
    let old = new(now - SignedDuration::from_hours(24));
    let with_keys = |keys: &str| {
        with(&|identity| {
            let fragment = identity.consul_fragment.expose();
            identity.consul_fragment =
                Secret::new(fragment.replacen('{', &format!("{{{keys},"), 1));
        })
    };
    BTreeMap::from([
        (
            "a key of the image in escapes",
            with_keys(r#""\u0076erify_incoming": false"#),
        ),
        (
            "a key of the image in capitals",
            with_keys(r#""VERIFY_INCOMING_HTTPS": false"#),
        ),
        ("expired certificates", old.to_tar()),
        (
            "another authority",
            with(&|identity| identity.ca_pem.clone_from(&other.ca_pem)),
        ),
        (
            "the key of another certificate",
            with(&|identity| identity.vault.key_pem = other.vault.key_pem.clone()),
        ),
        (
            "a name that is missing",
            with(&|identity| {
                identity.vault = Leaf {
                    certificate_pem: identity.consul.certificate_pem.clone(),
                    key_pem: identity.consul.key_pem.clone(),
                };
            }),
        ),
    ])
}

/// Gives the identity new certificates.
fn certify(identity: &mut Identity, authority: &Authority) {
    identity.ca_pem = authority.pem();
    let leaf = |name| {
        let (certificate_pem, key) = authority.issue(&[name, "localhost", "127.0.0.1"]);
        let key_pem = Secret::new(key);
        Leaf {
            certificate_pem,
            key_pem,
        }
    };
    identity.consul = leaf("server.dc1.consul");
    identity.vault = leaf("vault.service.consul");
}

/// Checks a node with a valid identity, which then takes new certificates without a restart.
async fn check_renewal(node: &Node, now: Timestamp) {
    let authority = Authority::new();
    let mut identity = new(now);
    certify(&mut identity, &authority);
    assert_eq!(give(node, identity.to_tar()).await.0, ALL_UP);
    let before = node.says(SERVING).await;

    assert!(!renew(node, new(now).to_tar()).await);
    let refused = "journalctl --boot --unit vault-bake-identity.service --output cat | grep 'not renewed' | tail -n 1";
    insta::assert_snapshot!(node.says(refused).await, @"vault-bake identity not renewed: consul/node.json is not what runs here; only certificates and their keys can be renewed, anything else needs a restart of vault-bake-identity.service");
    assert_eq!(
        node.says(SERVING).await,
        before,
        "what is refused changes nothing"
    );

    certify(&mut identity, &authority);
    assert!(renew(node, identity.to_tar()).await);
    // A reload returns before the services have read the new files.
    let mut after = String::new();
    for _ in 0..30 {
        after = node.says(&format!("sleep 1\n{SERVING}")).await;
        let lines = before.lines().zip(after.lines());
        let new: Vec<bool> = lines.map(|(before, after)| before != after).collect();
        if new == [true, true, false, false] {
            return;
        }
    }
    panic!("certificates are new, and processes are not:\n{before}\n{after}");
}

/// Starts the image at `artifact` three times.
#[expect(
    clippy::disallowed_methods,
    reason = "a node's clock is today's, and so are its certificates"
)]
pub async fn check(artifact: &Path, kind: Kind) {
    let Some(mut nodes) = Nodes::begin("identities", Network::Separate, kind).await else {
        return;
    };
    let image = nodes.image(artifact).await;
    let now = Timestamp::now();
    let mut refused = spoiled(now).into_iter();
    let (name, tar) = refused.next().expect("one at least");
    let mut without = nodes.start(&image, 1, None).await;
    let mut first = nodes.start(&image, 2, Some(tar)).await;
    let mut second = nodes.start(&image, 3, Some(new(now).to_tar())).await;

    first.booted().await;
    assert_eq!(first.says(STATES).await, ALL_DOWN, "{name}");
    let mut words = vec![format!("{name}: {}", first.says(WHY).await)];
    for (name, tar) in refused {
        let (states, why) = give(&first, tar).await;
        assert_eq!(states, ALL_DOWN, "{name}: {why}");
        words.push(format!("{name}: {why}"));
    }
    check_renewal(&first, now).await;
    let one = first.says(WHO).await;

    second.booted().await;
    assert_eq!(second.says(STATES).await, ALL_UP);
    let other = second.says(WHO).await;
    let pairs: Vec<(&str, &str)> = one.lines().zip(other.lines()).collect();
    assert_eq!(pairs.len(), 3, "{one}\n{other}");
    for (one, other) in &pairs {
        assert_ne!(one, other, "two nodes have it in common");
    }
    let listening = second.says(LISTENING).await;
    insta::assert_snapshot!("listening", listening.replace(&second.address(), "ADDRESS"));
    for down in [Down::InOrder, Down::Crash] {
        second.restart(down).await;
        assert_eq!(second.says(STATES).await, ALL_UP, "after a restart");
        assert_eq!(second.says(WHO).await, other, "it is the same node");
    }

    // The unit waited for an identity meanwhile.
    without.booted().await;
    assert_eq!(without.says(STATES).await, ALL_DOWN);
    words.insert(0, format!("none: {}", without.says(WHY).await));
    insta::assert_snapshot!("identities_refused", words.join("\n"));
    drop((without, first, second));
    nodes.finish().await;
}
