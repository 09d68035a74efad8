//! A captured image as two nodes: what a node is by itself, which identities it believes, and what it does with one that holds.

use std::collections::BTreeMap;
use std::path::Path;

use jiff::{SignedDuration, Timestamp};
use vault_bake::builder::Machine as _;
use vault_bake::identity::{Identity, Leaf};
use vault_bake::secret::Secret;
use vault_bake::ssh::Reboot;

use super::node::{Authority, Node, disk};
use crate::qemu::{BOOT_DEADLINE, World};

/// What a node says of itself, once Consul has made its id.
const WHO: &str = r"
left=60
until [ -s /var/lib/consul/node-id ] || [ $left -eq 0 ]; do left=$((left - 1)); sleep 1; done
cat /etc/machine-id /etc/ssh/ssh_host_ed25519_key.pub /var/lib/consul/node-id
";

/// Both services, after each had its chance.
const SERVICES: &str = r"
systemctl reset-failed
systemctl restart vault-bake-identity.service || :
systemctl start consul.service vault.service || :
for unit in vault-bake-identity consul vault; do printf '%s: ' $unit; systemctl is-active $unit || :; done
";

/// Why there is no identity, in the node's own words.
const WHY: &str = "journalctl --boot --unit vault-bake-identity.service --output cat | grep 'identity refused' | tail -n 1";

/// Which certificates are served, and by which processes.
const SERVING: &str = r#"
served() { openssl s_client -connect 127.0.0.1:$1 </dev/null 2>/dev/null | openssl x509 -noout -fingerprint -sha256 2>/dev/null; }
for port in 8501 8200; do
    left=60
    until served $port || [ $left -eq 0 ]; do left=$((left - 1)); sleep 1; done
done
systemctl show --property=MainPID --value consul.service vault.service | grep .
"#;

/// Who listens where. The port of a DHCP client is open for a while only, and its own address is the machine's.
const LISTENING: &str = r"
for port in 8300 8501 8200; do
    left=60
    until ss -Hlnt sport = :$port | grep -q . || [ $left -eq 0 ]; do left=$((left - 1)); sleep 1; done
done
ss -Hlntu | awk '{print $1, $5}' | sed 's/%[a-z0-9]*//' | grep -v ':68$' | sort -u
";

impl Node {
    /// Gives it another identity while its services run, and says whether that was taken.
    async fn renewed(&self, world: &World, tar: Vec<u8>) -> bool {
        self.put(world, tar).await;
        let words = self.says(
            world,
            "systemctl reload vault-bake-identity.service && echo taken || echo refused\n",
        );
        words.await == "taken"
    }

    /// Gives it another identity, and says what became of it.
    async fn given(&self, world: &World, tar: Vec<u8>) -> (String, String) {
        self.put(world, tar).await;
        let services = self.says(world, SERVICES).await;
        (services, self.says(world, WHY).await)
    }
}

const ALL_DOWN: &str = "vault-bake-identity: failed\nconsul: inactive\nvault: inactive";
const ALL_UP: &str = "vault-bake-identity: active\nconsul: active\nvault: active";

fn new(now: Timestamp) -> Identity {
    Identity::throw_away("vault-bake-test", "dc1", "1.8.7", now).expect("an identity")
}

/// Identities that do not hold, by what is wrong with them.
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

/// The node ends with an identity that holds, and has taken new certificates without a restart of anything.
async fn judge_renewal(world: &World, node: &Node, now: Timestamp) {
    let authority = Authority::new();
    let mut identity = new(now);
    certify(&mut identity, &authority);
    assert_eq!(node.given(world, identity.to_tar()).await.0, ALL_UP);
    let before = node.says(world, SERVING).await;

    assert!(!node.renewed(world, new(now).to_tar()).await);
    let refused = node.says(world, "journalctl --boot --unit vault-bake-identity.service --output cat | grep 'not renewed' | tail -n 1");
    insta::assert_snapshot!(refused.await, @"vault-bake identity not renewed: consul/node.json is not what runs here; only certificates and their keys can be renewed, anything else needs a restart of vault-bake-identity.service");
    assert_eq!(
        node.says(world, SERVING).await,
        before,
        "what is refused changes nothing"
    );

    certify(&mut identity, &authority);
    assert!(node.renewed(world, identity.to_tar()).await);
    // Both were told; when they have read it is theirs to say.
    let mut after = String::new();
    for _ in 0..10 {
        after = node.says(world, &format!("sleep 3\n{SERVING}")).await;
        let lines = before.lines().zip(after.lines());
        let new: Vec<bool> = lines.map(|(before, after)| before != after).collect();
        if new == [true, true, false, false] {
            return;
        }
    }
    panic!("certificates are new, and processes are not:\n{before}\n{after}");
}

/// Starts the image at `artifact` twice.
#[expect(
    clippy::disallowed_methods,
    reason = "a node's clock is today's, and so are its certificates"
)]
pub async fn judge(artifact: &Path) {
    let Some(mut world) = World::begin("identities") else {
        return;
    };
    let disk = disk(artifact);
    let now = Timestamp::now();

    let mut machine = world.boot_with(&disk, "first", None).await;
    let node = Node::of(&world, &mut machine).await;
    assert_eq!(node.says(&world, SERVICES).await, ALL_DOWN);
    let mut words = vec![format!("none: {}", node.says(&world, WHY).await)];
    for (name, tar) in spoiled(now) {
        let (services, why) = node.given(&world, tar).await;
        assert_eq!(services, ALL_DOWN, "{name}: {why}");
        words.push(format!("{name}: {why}"));
    }
    insta::assert_snapshot!("identities_refused", words.join("\n"));
    judge_renewal(&world, &node, now).await;
    let first = node.says(&world, WHO).await;
    drop((node, machine));

    let identity = new(now).to_tar();
    let mut machine = world.boot_with(&disk, "second", Some(&identity)).await;
    let node = Node::of(&world, &mut machine).await;
    assert_eq!(node.says(&world, SERVICES).await, ALL_UP);
    let second = node.says(&world, WHO).await;
    let pairs: Vec<(&str, &str)> = first.lines().zip(second.lines()).collect();
    assert_eq!(pairs.len(), 3, "{first}\n{second}");
    for (one, other) in &pairs {
        assert_ne!(one, other, "two nodes have it in common");
    }
    insta::assert_snapshot!("listening", node.says(&world, LISTENING).await);

    let restart = Reboot::default();
    let rebooting = node.session.reboot(
        &restart,
        BOOT_DEADLINE,
        async || machine.died().map(|end| end.to_string()),
        &world.events,
        &world.interrupt,
    );
    let node = Node {
        session: rebooting.await.expect("it comes back"),
    };
    assert_eq!(node.says(&world, SERVICES).await, ALL_UP, "after a restart");
    assert_eq!(node.says(&world, WHO).await, second, "it is the same node");
    drop((node, machine));
    world.finish().await;
}
