//! Renewed archives: a running node accepts them, and only those of its own authority.

#![expect(
    clippy::disallowed_methods,
    reason = "the program checks certificates by the real time"
)]

use jiff::Timestamp;
use vault_bake::identity::{Identity, Products, check, renew};
use vault_bake::wait::Interrupt;

use super::archives::{authority, vault_node};
use crate::provisioners::identity::Node;

#[tokio::test]
async fn a_running_node_takes_a_renewed_archive() {
    let Some(node) = Node::new() else { return };
    let (authority, interrupt) = (authority(), Interrupt::default());
    let old = vault_node(&authority).await;
    let (taken, words) = node.take(old.expose().as_bytes());
    assert!(taken, "{words}");
    let now = Timestamp::now();
    let new = renew(old.expose().as_bytes(), &authority, 100, now, &interrupt)
        .await
        .unwrap();
    let before = node.files();
    let (taken, words) = node.renew(new.expose().as_bytes());
    assert!(taken, "{words}");
    let after = node.files();
    let changed = after.iter().filter(|(name, text)| before[*name] != **text);
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
    let products = Products::of_archive(new.expose().as_bytes()).unwrap();
    let checked = check(new.expose().as_bytes(), products, &interrupt)
        .await
        .unwrap();
    assert_eq!(checked.not_after.duration_since(now).as_hours(), 99);
    let vault = checked.vault.unwrap();
    assert_eq!(vault.names, ["vault.service.consul", "localhost"]);
}

#[tokio::test]
async fn another_authority_and_another_file_are_refused() {
    let (mine, other, interrupt) = (authority(), authority(), Interrupt::default());
    let (old, now) = (vault_node(&mine).await, Timestamp::now());
    let refused = renew(old.expose().as_bytes(), &other, 24, now, &interrupt).await;
    insta::assert_snapshot!(refused.err().unwrap(), @"cannot renew the identity of dev-vault-1-1: consul/ca.pem is another authority");
    let temporary = Identity::generate("a", "dc1", "1.8.7", now).unwrap();
    assert!(
        renew(&temporary.to_tar(), &mine, 24, now, &interrupt)
            .await
            .is_err()
    );
    let refused = renew(b"hello", &mine, 24, now, &interrupt).await;
    insta::assert_snapshot!(refused.err().unwrap(), @"cannot read the identity archive: it is no tar file: failed to read entire block");
}
