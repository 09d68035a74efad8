//! Whole bakes with the binary and real machines.

mod closed;
mod cluster;
mod ended;
mod identities;
mod layered;
mod leaving;
mod node;
pub mod shop;

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use shop::{Shop, said};
use vault_bake::builder::qemu::kvm_works;
use vault_bake::trial::LEAST_INDEX;

use crate::nodes::Kind;

/// What no log, record or disk may have.
const CANARY: &str = "canary-7hT2-xylophone";

#[tokio::test]
async fn the_quickstart_with_a_secret_is_baked_tested_and_tested_again() {
    let Some(shop) = Shop::open(&["python3"]).await else {
        return;
    };
    let mut definition = shop.quickstart();
    definition = definition.replace(
        "[base.qemu]",
        "[variables.token]\ntype = \"string\"\nsensitive = true\n\n[base.qemu]",
    );
    definition = definition.replace(
        "[[step]]\nprovisioner = \"harden\"",
        "[[step]]\nname = \"secretive\"\ninline = '''\nprintf %s \"$TOKEN\" | sha256sum | cut -c1-64 >/etc/seen\n\
         echo \"it is $TOKEN\"\nsleep 1\n'''\nenv = { TOKEN = \"{{ var.token }}\" }\n\n[[step]]\nprovisioner = \"harden\"",
    );
    shop.define("quick", &definition);
    shop.lock("quick").await;

    let plan = shop
        .run(&["plan", "quick"], &[("VB_VAR_token", CANARY)])
        .await;
    assert!(
        said(&plan).contains("secretive") && !said(&plan).contains(CANARY),
        "{}",
        said(&plan)
    );

    let arguments = shop.watch_arguments();
    let built = shop
        .run(&["build", "quick", "--json"], &[("VB_VAR_token", CANARY)])
        .await;
    assert_eq!(built.status.code(), Some(0), "{}", said(&built));
    assert!(!said(&built).contains(CANARY), "in an event");
    assert!(said(&built).contains("it is [secret]"));
    let arguments = arguments.stop();
    assert!(
        arguments.contains("qemu-system") && !arguments.contains(CANARY),
        "in an argument list"
    );
    shop.assert_nothing_left().await;
    assert_eq!(shop.files_with(CANARY), Vec::<String>::new());
    assert!(!shop.raw_disk_has(CANARY).await, "on the captured disk");
    assert!(
        shop.raw_disk_has(&vault_bake::digest::Digest::of(CANARY).hex())
            .await,
        "the step had its secret"
    );

    let images = said(&shop.run(&["images"], &[]).await);
    assert!(
        images.contains("tested") && images.contains("FIXTURE RELEASES"),
        "{images}"
    );
    let shown = said(&shop.run(&["show", "quick", "--json"], &[]).await);
    assert!(
        shown.contains("\"official\":false") && shown.contains("\"secret\":\"token\""),
        "{shown}"
    );

    // An emulator that crashes says nothing about the image: twice is an error and no test, once is followed by another start.
    let crashed = shop
        .run(&["test", "quick"], &[("PATH", &crashing_qemu(&shop, 2))])
        .await;
    let text = said(&crashed);
    assert_eq!(crashed.status.code(), Some(1), "{text}");
    assert!(
        text.contains("could not be tested: machine test: its emulator was ended by signal 6"),
        "{text}"
    );
    shop.assert_nothing_left().await;
    let again = shop
        .run(&["test", "quick"], &[("PATH", &crashing_qemu(&shop, 1))])
        .await;
    assert_eq!(again.status.code(), Some(0), "{}", said(&again));
    assert!(
        said(&again).contains("started once more"),
        "{}",
        said(&again)
    );
    let verified = shop.run(&["verify"], &[]).await;
    assert_eq!(verified.status.code(), Some(0), "{}", said(&verified));
    assert!(
        said(&verified).contains("1 manifests, 2 tests"),
        "{}",
        said(&verified)
    );
    shop.assert_nothing_left().await;
    identities::judge(&shop.artifact(), Kind::Fastest).await;
}

/// A search path with a QEMU that aborts after a second, so many times.
#[expect(
    clippy::disallowed_methods,
    reason = "the search path of the tests is extended"
)]
fn crashing_qemu(shop: &Shop, times: u32) -> String {
    let tools = shop.root().join("cache/tools");
    fs::create_dir_all(&tools).expect("a folder");
    let left = tools.join("left");
    fs::write(&left, times.to_string()).expect("a file");
    let text = format!(
        "#!/bin/sh\nulimit -c 0\nqemu=/usr/bin/qemu-system-x86_64\nleft=$(cat {left})\n[ \"$left\" -gt 0 ] || exec $qemu \"$@\"\n\
         echo $((left - 1)) >{left}\n$qemu \"$@\" &\nsleep 1\nkill -ABRT $!\nwait $!\nkill -ABRT $$\n",
        left = left.display()
    );
    let program = tools.join("qemu-system-x86_64");
    fs::write(&program, text).expect("a script");
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).expect("a program");
    let path = std::env::var("PATH").unwrap_or_default();
    format!("{}:{path}", tools.display())
}

#[tokio::test]
async fn two_bakes_at_once_with_a_restart_do_not_disturb_each_other() {
    let Some(shop) = Shop::open(&[]).await else {
        return;
    };
    shop.define(
        "twin",
        &shop.small(
            "[[step]]\nreboot = true\n\n[[step]]\ninline = \"test -d /run/vault-bake/work\"\n",
        ),
    );
    shop.lock("twin").await;
    let build = ["build", "twin", "--skip-test"];
    let (one, two) = tokio::join!(shop.run(&build, &[]), shop.run(&build, &[]));
    for built in [one, two] {
        assert_eq!(built.status.code(), Some(0), "{}", said(&built));
    }
    let images = said(&shop.run(&["images"], &[]).await);
    assert_eq!(images.matches("untested").count(), 2, "{images}");
    assert_eq!(shop.run(&["verify"], &[]).await.status.code(), Some(0));
    shop.assert_nothing_left().await;
}

#[tokio::test]
async fn shipped_servers_are_baked_and_form_a_cluster() {
    bake_a_cluster(Kind::Fastest).await;
}

/// Bakes both shipped servers, tests one in a VM, which starts by UEFI as shipped, and makes nodes of them.
async fn bake_a_cluster(kind: Kind) {
    let Some(shop) = Shop::open_with_given(&["python3"]).await else {
        return;
    };
    // There is no Key Vault here, so nodes take their identity from a disk, which comes first.
    let vaults = ("VB_VAR_key_vaults", "https://images.vault.azure.net");
    // Without ssh a node answers on its port of ssh only to who put a key into its memory, as a boot test does.
    for (name, ssh, more) in [
        ("consul-server", "false", &["--json"][..]),
        ("vault-server", "true", &["--skip-test"]),
    ] {
        shop.define(name, &shop.server(name));
        shop.lock(name).await;
        let variables = [vaults, ("VB_VAR_ssh", ssh)];
        let build = [&["build", name], more].concat();
        let built = shop.run(&build, &variables).await;
        let text = said(&built);
        assert_eq!(built.status.code(), Some(0), "{text}");
        if ssh == "false" {
            // In the build VM, and in the VM of the boot test.
            assert_eq!(
                text.matches(r#""check":"harden.no-ssh""#).count(),
                2,
                "{text}"
            );
            let skipped = "no ssh server starts on a node # SKIP";
            assert!(!text.contains(skipped), "{text}");
        }
    }
    let shown = said(&shop.run(&["show", "consul-server", "--json"], &[]).await);
    for (id, looked_at) in [
        ("base.fetch-required", true),
        ("disk.gossip-keys", true),
        ("harden.audit-rules", true),
        ("vault.binary", false),
    ] {
        let held = format!(r#""id":"{id}","ok":true,"step""#);
        assert_eq!(shown.contains(&held), looked_at, "{id}: {shown}");
    }
    shop.assert_nothing_left().await;
    let (consul, vault) = (
        shop.artifact_of("consul-server"),
        shop.artifact_of("vault-server"),
    );
    cluster::judge(&consul.await, &vault.await, shop.consul(), kind).await;
}

mod exhaustive {
    use super::*;

    /// Nodes as VMs, which have a kernel and a boot loader of their own.
    #[tokio::test]
    async fn shipped_servers_form_a_cluster_of_vms() {
        bake_a_cluster(Kind::Machines).await;
    }

    #[tokio::test]
    async fn vms_of_the_quickstart_take_and_refuse_identities() {
        let Some(shop) = Shop::open(&["python3"]).await else {
            return;
        };
        shop.define("quick", &shop.quickstart());
        shop.lock("quick").await;
        let built = shop.run(&["build", "quick", "--skip-test"], &[]).await;
        assert_eq!(built.status.code(), Some(0), "{}", said(&built));
        identities::judge(&shop.artifact(), Kind::Machines).await;
    }
}

/// Lynis starts thousands of programs, which takes some twenty minutes where machines are emulated.
#[tokio::test]
#[expect(clippy::print_stderr, reason = "a skipped test says why")]
async fn an_audit_says_how_hard_an_image_is_and_how_hard_its_base_was() {
    if !kvm_works() && !shop::audits() {
        eprintln!(
            "SKIPPED: without KVM the audit takes twenty minutes; VAULT_BAKE_TEST_AUDIT=1 makes it"
        );
        return;
    }
    let Some(shop) = Shop::open(&["/usr/sbin/lynis"]).await else {
        return;
    };
    shop.define("vault-server", &shop.server("vault-server"));
    shop.lock("vault-server").await;
    let built = shop.run(&["build", "vault-server", "--audit"], &[]).await;
    assert_eq!(built.status.code(), Some(0), "{}", said(&built));
    let shown = said(&shop.run(&["show", "vault-server"], &[]).await);
    let line = shown.lines().find(|line| line.contains("hardening index"));
    let numbers = line
        .unwrap_or_else(|| panic!("{shown}"))
        .split(|c: char| !c.is_ascii_digit());
    let numbers: Vec<u32> = numbers.filter_map(|text| text.parse().ok()).collect();
    // Three numbers are the version's.
    let [_, _, _, index, base, ..] = numbers[..] else {
        panic!("{shown}");
    };
    assert!(index >= LEAST_INDEX && base < index, "{shown}");
    shop.assert_nothing_left().await;
}

#[tokio::test]
async fn what_the_seal_does_not_see_is_found_on_the_disk() {
    let Some(shop) = Shop::open(&["python3"]).await else {
        return;
    };
    // Where no check of the machine's own looks. A key of the run is in no image at all, so the free blocks are clean.
    let step = "[[step]]\nname = \"leaving\"\ninline = \"openssl genpkey -algorithm ed25519 -out /usr/share/left.pem\"\n";
    shop.define("small", &shop.small(step));
    shop.lock("small").await;
    let built = shop.run(&["build", "small"], &[]).await;
    let text = said(&built);
    assert_eq!(built.status.code(), Some(4), "{text}");
    assert!(
        text.contains(
            "the captured disk is not clean, 1 found:\n  disk.private-keys: /usr/share/left.pem\n"
        ),
        "{text}"
    );
    let verified = said(&shop.run(&["verify"], &[]).await);
    assert!(verified.contains("0 manifests"), "{verified}");
    shop.assert_nothing_left().await;
}

#[tokio::test]
async fn a_wrong_byte_in_a_release_reaches_no_machine() {
    let Some(shop) = Shop::open(&["python3"]).await else {
        return;
    };
    shop.define("quick", &shop.quickstart());
    shop.lock("quick").await;
    shop.spoil_release();
    let built = shop.run(&["build", "quick", "--json"], &[]).await;
    assert_eq!(built.status.code(), Some(7), "{}", said(&built));
    assert!(
        !said(&built).contains("\"stage\":\"upload\""),
        "nothing was uploaded"
    );
    shop.assert_nothing_left().await;
}
