//! Builds with the binary and QEMU VMs.

mod closed;
mod cluster;
mod ended;
mod faults;
mod identities;
mod layered;
mod leaving;
mod node;
mod rollouts;
mod running;

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::time::Instant;

use crate::project::{Shared, TestProject, output_text, watch_arguments};
use layered::{assert_same, did, tree};
use rollouts::RolloutImages;

use crate::nodes::Kind;

/// A text that no log, record or disk may contain.
const CANARY: &str = "canary-7hT2-xylophone";

#[tokio::test]
async fn the_quickstart_with_a_secret_is_baked_in_two_goes_and_tested() {
    let Some(project) = TestProject::open(&["python3", "/usr/sbin/debugfs"]).await else {
        return;
    };
    let secret = [("VB_VAR_token", CANARY)];
    project.define(
        "quick",
        &with_secret(&project, "echo halfway >/opt/half; exit 3"),
    );
    project.lock("quick").await;
    let plan = output_text(&project.run(&["plan", "quick"], &secret).await);
    assert!(
        plan.contains("secretive") && !plan.contains(CANARY),
        "{plan}"
    );

    let arguments = watch_arguments();
    let build = ["build", "quick", "--json"];
    let failed = project.run(&build, &secret).await;
    assert_eq!(failed.status.code(), Some(3), "{}", output_text(&failed));
    assert_eq!(did(&output_text(&failed)), "base consul vault secretive");
    project.assert_nothing_left().await;

    // QEMU aborts at the first start of the boot test. That says nothing about the image, so it
    // starts again.
    project.define("quick", &with_secret(&project, "test ! -e /opt/half"));
    project.lock("quick").await;
    let crashing = crashing_qemu(&project, 1);
    let built = project
        .run(
            &[&build[..], &["--fresh-boot"]].concat(),
            &[secret[0], ("PATH", &crashing)],
        )
        .await;
    assert_eq!(built.status.code(), Some(0), "{}", output_text(&built));
    assert_eq!(did(&output_text(&built)), "secretive harden seal");
    assert!(
        output_text(&built).contains("starting the VM again"),
        "{}",
        output_text(&built)
    );
    let arguments = arguments.stop();
    assert!(
        arguments.contains("qemu-system") && !arguments.contains(CANARY),
        "in an argument list"
    );
    for events in [output_text(&failed), output_text(&built)] {
        assert!(!events.contains(CANARY), "in an event");
        assert!(events.contains("it is [secret]"), "{events}");
    }
    project.assert_nothing_left().await;
    assert_eq!(project.files_with(CANARY), Vec::<String>::new());
    assert!(!project.raw_disk_has(CANARY).await, "on the captured disk");
    assert!(
        project
            .raw_disk_has(&vault_bake::digest::Digest::hash_bytes(CANARY).hex())
            .await,
        "the step had its secret"
    );
    assert_is_recorded(&project).await;

    // A build without the layer cache gives the same files.
    let continued = tree(&project.artifact_of("quick").await);
    assert!(continued.len() > 5_000, "{} files", continued.len());
    let cold = [&build[..], &["--no-cache", "--skip-test"]].concat();
    let cold = output_text(&project.run(&cold, &secret).await);
    assert_eq!(did(&cold), "base consul vault secretive harden seal");
    assert_same(&tree(&project.artifact_of("quick").await), &continued);
    identities::check(&project.artifact_of("quick").await, Kind::Fastest).await;
}

/// Returns the quickstart's definition with a step before the last two that prints a secret, and
/// then does `more`.
fn with_secret(project: &TestProject, more: &str) -> String {
    let variable = "[variables.token]\ntype = \"string\"\nsensitive = true\n\n[base.qemu]";
    let harden = "[[step]]\nprovisioner = \"harden\"";
    let step = format!(
        "[[step]]\nname = \"secretive\"\ninline = '''\nprintf %s \"$TOKEN\" | sha256sum | cut -c1-64 >/etc/seen\n\
         echo \"it is $TOKEN\"\nsleep 1\n{more}\n'''\nenv = {{ TOKEN = \"{{{{ var.token }}}}\" }}\n\n{harden}"
    );
    let definition = project.quickstart();
    let definition = definition.replace("[base.qemu]", variable);
    definition.replace(harden, &step)
}

/// Asserts that the one image passed its boot test, has fixture releases, and used the layer cache.
async fn assert_is_recorded(project: &TestProject) {
    let commands: [(&[&str], &[&str]); 5] = [
        (&["images"], &["tested", "FIXTURE RELEASES"]),
        (
            &["show", "quick", "--json"],
            &["\"official\":false", "\"secret\":\"token\""],
        ),
        (&["show", "quick"], &["cache entries"]),
        (&["doctor"], &["layer cache: 3 entries"]),
        (&["verify"], &["1 manifests, 1 tests"]),
    ];
    for (command, expected) in commands {
        let output = project.run(command, &[]).await;
        let text = output_text(&output);
        if command != ["doctor"] {
            assert_eq!(output.status.code(), Some(0), "{command:?}: {text}");
        }
        for words in expected {
            assert!(text.contains(words), "{command:?}, {words}: {text}");
        }
    }
}

/// Returns a search path with a QEMU that aborts at the first `times` starts of boot tests, after a
/// second.
#[expect(
    clippy::disallowed_methods,
    reason = "the search path of the tests is extended"
)]
fn crashing_qemu(project: &TestProject, times: u32) -> String {
    let tools = project.root().join("cache/tools");
    fs::create_dir_all(&tools).expect("a folder");
    let left = tools.join("left");
    fs::write(&left, times.to_string()).expect("a file");
    let text = format!(
        "#!/bin/sh\nulimit -c 0\nqemu=/usr/bin/qemu-system-x86_64\nleft=$(cat {left})\n\
         case \"$left $*\" in\n0*) exec $qemu \"$@\" ;;\n*serial-test*) ;;\n*) exec $qemu \"$@\" ;;\nesac\n\
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
async fn of_two_bakes_at_once_one_reboots_and_one_fails_by_what_its_seal_does_not_see() {
    let Some(project) = TestProject::open(&["python3"]).await else {
        return;
    };
    project.define("reboots", &project.small(&format!("{GROWN}{REBOOTS}")));
    // No check of the seal reads this path.
    let step = "[[step]]\nname = \"leaving\"\ninline = \"openssl genpkey -algorithm ed25519 -out /usr/share/left.pem\"\n";
    project.define("leaves", &project.small(step));
    project.lock("reboots").await;
    project.lock("leaves").await;
    let (reboots, leaves) = tokio::join!(
        project.run(&["build", "reboots", "--skip-test"], &[]),
        project.run(&["build", "leaves"], &[])
    );
    assert_eq!(reboots.status.code(), Some(0), "{}", output_text(&reboots));
    let text = output_text(&leaves);
    assert_eq!(leaves.status.code(), Some(4), "{text}");
    let found = "the leak scan found 1 problem on the captured disk:\n  disk.private-keys: /usr/share/left.pem\n";
    assert!(text.contains(found), "{text}");
    let images = output_text(&project.run(&["images"], &[]).await);
    assert_eq!(images.matches("untested").count(), 1, "{images}");
    let verified = project.run(&["verify"], &[]).await;
    assert_eq!(
        verified.status.code(),
        Some(0),
        "{}",
        output_text(&verified)
    );
    assert!(
        output_text(&verified).contains("1 manifests"),
        "{}",
        output_text(&verified)
    );
    project.assert_nothing_left().await;
}

/// Steps with a reboot between them. The work folder exists again afterwards.
const REBOOTS: &str =
    "[[step]]\nreboot = true\n\n[[step]]\ninline = \"test -d /run/vault-bake/work\"\n";

/// The root file system has what the VM's disk of 4 GiB has.
const GROWN: &str = "[[step]]\nname = \"grown\"\ninline = \"test $(df --output=size / | tail -n 1) -gt 3500000\"\n\n";

#[tokio::test]
async fn shipped_servers_are_baked_and_form_a_cluster() {
    let shared = Shared::wait(SERVERS).await;
    let Some(project) = TestProject::open_with_given(&["python3"]).await else {
        return;
    };
    bake_servers(&project).await;
    shared.publish(&project, &definitions(&project));
    drop(shared);
    form_a_cluster(&project, Kind::Fastest).await;
}

/// Runs alone on the computer, because it measures how long clients wait.
#[tokio::test]
async fn six_nodes_are_replaced_and_put_back_without_a_failed_request() {
    if !crate::nodes::containers_are_possible().await {
        return;
    }
    let Some(project) = servers().await else {
        return;
    };
    if let Some(images) = rollout_images(&project).await {
        running::check_rollouts(&project, &images).await;
    }
}

/// Makes nodes of the shipped servers.
async fn form_a_cluster(project: &TestProject, kind: Kind) {
    if kind == Kind::Fastest && crate::nodes::containers_are_possible().await {
        return running::check(project).await;
    }
    let vault = project.images("vault-server").await.remove(0);
    let (consul, vault) = (
        project.artifact_of("consul-server"),
        project.artifact_of(&vault),
    );
    cluster::check(&consul.await, &vault.await, project.consul(), kind).await;
}

/// There is no Key Vault here, so nodes take their identity from a disk, which has precedence.
const KEY_VAULTS: (&str, &str) = ("VB_VAR_key_vaults", "https://images.vault.azure.net");

/// The gateway of a cluster may ask servers of Consul, and of these nodes the second one.
const MANAGEMENT_SUBNETS: (&str, &str) = ("VB_VAR_management_subnets", "10.77.0.1/32,10.77.0.2/32");

/// The name of the project with the shipped servers that tests share.
const SERVERS: &str = "servers";

fn definitions(project: &TestProject) -> String {
    ["consul-server", "vault-server"]
        .map(|name| project.server(name))
        .concat()
}

/// Returns a project with the shipped servers, as another test built them if one did.
async fn servers() -> Option<TestProject> {
    let shared = Shared::wait(SERVERS).await;
    let project = TestProject::open_with_given(&["python3"]).await?;
    let definitions = definitions(&project);
    if !shared.copy_to(&project, &definitions) {
        bake_servers(&project).await;
        shared.publish(&project, &definitions);
    }
    Some(project)
}

/// Returns the images of the shipped servers, if there is a newer Vault.
#[expect(clippy::print_stderr, reason = "a skipped test says why")]
async fn rollout_images(project: &TestProject) -> Option<RolloutImages> {
    let vault = project.images("vault-server").await;
    let Ok([first, newer, last]) = <[String; 3]>::try_from(vault) else {
        eprintln!("SKIPPED: the releases have one version of Vault, and no other to roll out");
        return None;
    };
    let consul = project.images("consul-server").await.remove(0);
    Some(RolloutImages {
        consul,
        first,
        newer,
        last,
    })
}

/// Builds both shipped servers, tests one in a VM, and builds two more images of the other: with a
/// newer Vault, and with that and another configuration.
async fn bake_servers(project: &TestProject) {
    // Without ssh, a node's ssh port answers only if its memory has a key, as in a boot test.
    for (name, ssh, more) in [
        ("consul-server", "false", &["--json"][..]),
        ("vault-server", "true", &["--skip-test"]),
    ] {
        project.define(name, &project.server(name));
        project.lock(name).await;
        let variables = [KEY_VAULTS, MANAGEMENT_SUBNETS, ("VB_VAR_ssh", ssh)];
        let text = build(project, name, more, &variables).await;
        if ssh == "false" {
            // In the build VM, and in the VM of the boot test.
            let passed = r#""check":"harden.no-ssh""#;
            assert_eq!(text.matches(passed).count(), 2, "{text}");
            let skipped = "no ssh server starts on a node # SKIP";
            assert!(!text.contains(skipped), "{text}");
        }
    }
    let printed = output_text(&project.run(&["show", "consul-server", "--json"], &[]).await);
    for (id, looked_at) in [
        ("base.fetch-required", true),
        ("disk.gossip-keys", true),
        ("harden.audit-rules", true),
        ("consul.firewall", true),
        ("vault.binary", false),
    ] {
        let passed = format!(r#""id":"{id}","ok":true,"step""#);
        assert_eq!(printed.contains(&passed), looked_at, "{id}: {printed}");
    }
    if let Some(version) = project.newer_vault() {
        let (name, version) = ("vault-server", ("VB_VAR_vault_version", version));
        project.lock_with(name, &[version]).await;
        for ssh in ["true", "false"] {
            let variables = [KEY_VAULTS, MANAGEMENT_SUBNETS, version, ("VB_VAR_ssh", ssh)];
            build(project, name, &["--skip-test"], &variables).await;
        }
    }
    project.assert_nothing_left().await;
}

/// Builds an image. Returns what was printed.
#[expect(clippy::print_stderr, reason = "a test prints what it measured")]
async fn build(
    project: &TestProject,
    name: &str,
    more: &[&str],
    variables: &[(&str, &str)],
) -> String {
    let began = Instant::now();
    let arguments = [&["build", name], more].concat();
    let built = project.run(&arguments, variables).await;
    let text = output_text(&built);
    assert_eq!(built.status.code(), Some(0), "{text}");
    eprintln!("built {name}: {:.0} s", began.elapsed().as_secs_f32());
    text
}

#[tokio::test]
async fn a_wrong_byte_in_a_release_reaches_no_machine() {
    let Some(project) = TestProject::open(&["python3"]).await else {
        return;
    };
    project.define("quick", &project.quickstart());
    project.lock("quick").await;
    project.spoil_release();
    let built = project.run(&["build", "quick", "--json"], &[]).await;
    assert_eq!(built.status.code(), Some(7), "{}", output_text(&built));
    assert!(
        !output_text(&built).contains("\"stage\":\"upload\""),
        "nothing was uploaded"
    );
    project.assert_nothing_left().await;
}

mod exhaustive {
    use vault_bake::boot_test::MIN_HARDENING_INDEX;
    use vault_bake::platform::qemu::kvm_works;

    use super::*;
    use crate::project::audits;

    /// A rollout whose controllers are killed in a dozen steps.
    #[tokio::test]
    async fn controllers_killed_a_dozen_times_are_resumed_without_a_failed_request() {
        if !crate::nodes::containers_are_possible().await {
            return;
        }
        let Some(project) = servers().await else {
            return;
        };
        if let Some(images) = rollout_images(&project).await {
            running::check_kills(&project, &images).await;
        }
    }

    /// Rollouts in containers, with nodes that crash, hang and are cut off.
    #[tokio::test]
    async fn faults_during_rollouts_end_as_documented() {
        if !crate::nodes::containers_are_possible().await {
            return;
        }
        let Some(project) = servers().await else {
            return;
        };
        if let Some(images) = rollout_images(&project).await {
            running::check_faults(&project, &images).await;
        }
    }

    /// Nodes as VMs, with their own kernel and boot loader.
    #[tokio::test]
    async fn shipped_servers_form_a_cluster_of_vms() {
        if let Some(project) = servers().await {
            form_a_cluster(&project, Kind::Machines).await;
        }
    }

    /// `cluster` and `rollout` with nodes that are VMs.
    #[tokio::test]
    async fn a_cluster_of_vms_serves_and_its_vault_node_is_replaced() {
        if let Some(project) = servers().await {
            let images = rollout_images(&project).await;
            running::check_vms(&project, images.as_ref()).await;
        }
    }

    #[tokio::test]
    async fn vms_of_the_quickstart_take_and_refuse_identities() {
        let Some(project) = TestProject::open(&["python3"]).await else {
            return;
        };
        project.define("quick", &project.quickstart());
        project.lock("quick").await;
        let built = project.run(&["build", "quick", "--skip-test"], &[]).await;
        assert_eq!(built.status.code(), Some(0), "{}", output_text(&built));
        identities::check(&project.artifact(), Kind::Machines).await;
    }

    #[tokio::test]
    async fn two_bakes_of_an_image_at_once_with_a_reboot_do_not_disturb_each_other() {
        let Some(project) = TestProject::open(&[]).await else {
            return;
        };
        project.define("twin", &project.small(REBOOTS));
        project.lock("twin").await;
        let build = ["build", "twin", "--skip-test"];
        let (one, two) = tokio::join!(project.run(&build, &[]), project.run(&build, &[]));
        for built in [one, two] {
            assert_eq!(built.status.code(), Some(0), "{}", output_text(&built));
        }
        let images = output_text(&project.run(&["images"], &[]).await);
        assert_eq!(images.matches("untested").count(), 2, "{images}");
        assert_eq!(project.run(&["verify"], &[]).await.status.code(), Some(0));
        project.assert_nothing_left().await;
    }

    /// The release before the present one of Debian.
    #[tokio::test]
    async fn the_quickstart_is_baked_from_debian_12_and_tested() {
        let Some(project) = TestProject::open(&["python3"]).await else {
            return;
        };
        let present = project.quickstart();
        let earlier = present.replace("suite = \"trixie\"", "suite = \"bookworm\"");
        assert_ne!(earlier, present, "the shipped suite has another name");
        let release = "[[step]]\nname = \"release\"\ninline = \"grep -q VERSION_CODENAME=bookworm /etc/os-release\"\n\n";
        let (head, seal) = earlier.rsplit_once("[[step]]").expect("the seal");
        let earlier = format!("{head}{release}{GROWN}[[step]]{seal}");
        project.define("earlier", &earlier);
        project.lock("earlier").await;
        let text = build(&project, "earlier", &[], &[]).await;
        assert!(text.contains("checks passed"), "{text}");
        project.assert_nothing_left().await;
    }

    /// After one crash of QEMU there is a second start; after two crashes no test is recorded.
    #[tokio::test]
    async fn a_boot_test_whose_qemu_crashes_twice_is_an_error_and_no_test() {
        let Some(project) = TestProject::open(&["python3"]).await else {
            return;
        };
        project.define("quick", &project.quickstart());
        project.lock("quick").await;
        let built = project.run(&["build", "quick", "--skip-test"], &[]).await;
        assert_eq!(built.status.code(), Some(0), "{}", output_text(&built));
        let test = async |crashes| {
            let path = crashing_qemu(&project, crashes);
            let tested = project.run(&["test", "quick"], &[("PATH", &path)]).await;
            project.assert_nothing_left().await;
            (tested.status.code(), output_text(&tested))
        };
        let (exit, text) = test(2).await;
        assert_eq!(exit, Some(1), "{text}");
        let crashed =
            "cannot test the recorded image: test VM: the emulator was killed by signal 6";
        assert!(text.contains(crashed), "{text}");
        let (exit, text) = test(1).await;
        assert_eq!(exit, Some(0), "{text}");
        assert!(text.contains("starting the VM again"), "{text}");
        let verified = output_text(&project.run(&["verify"], &[]).await);
        assert!(verified.contains("1 manifests, 1 tests"), "{verified}");
    }

    /// Lynis starts thousands of programs, which takes some twenty minutes without KVM.
    #[tokio::test]
    #[expect(clippy::print_stderr, reason = "a skipped test says why")]
    async fn an_audit_says_how_hard_an_image_is_and_how_hard_its_base_was() {
        if !kvm_works() && !audits() {
            eprintln!(
                "SKIPPED: without KVM the audit takes twenty minutes; VAULT_BAKE_TEST_AUDIT=1 makes it"
            );
            return;
        }
        let Some(project) = TestProject::open(&["/usr/sbin/lynis"]).await else {
            return;
        };
        project.define("vault-server", &project.server("vault-server"));
        project.lock("vault-server").await;
        let built = project
            .run(&["build", "vault-server", "--audit"], &[])
            .await;
        assert_eq!(built.status.code(), Some(0), "{}", output_text(&built));
        let printed = output_text(&project.run(&["show", "vault-server"], &[]).await);
        let line = printed
            .lines()
            .find(|line| line.contains("hardening index"));
        let numbers = line
            .unwrap_or_else(|| panic!("{printed}"))
            .split(|c: char| !c.is_ascii_digit());
        let numbers: Vec<u32> = numbers.filter_map(|text| text.parse().ok()).collect();
        // Three numbers of the version.
        let [_, _, _, index, base, ..] = numbers[..] else {
            panic!("{printed}");
        };
        assert!(index >= MIN_HARDENING_INDEX && base < index, "{printed}");
        project.assert_nothing_left().await;
    }
}
