//! `identity`: archives are made, checked, renewed and refused, and no output has a secret.

use std::os::unix::fs::PermissionsExt as _;

use super::channels::{session, tested};
use super::*;
use crate::provisioners::identity::{Authority, Node, archive, good, put};

/// A cluster of the images in [`tested`].
pub const CLUSTER: &str = r#"schema = 1
datacenter = "dc1"
[consul]
image = "quickstart:prod"
nodes = 3
[vault]
image = "quickstart:prod"
nodes = 1
"#;

/// Makes a store whose channel `quickstart:prod` has an image with Consul.
pub async fn with_consul(root: &Path) {
    tested(root).await;
    let promoted = run(root, &["promote", "quickstart@1.0.1", "prod"]);
    assert!(promoted.status.success(), "{promoted:?}");
}

fn write_cluster(root: &Path, text: &str) {
    fs::create_dir_all(root.join("clusters/dev")).unwrap();
    fs::create_dir_all(root.join("images")).unwrap();
    fs::write(root.join("clusters/dev/cluster.toml"), text).unwrap();
}

fn assert_identities(name: &str, text: &str) {
    insta::with_settings!({filters => vec![
        (r"sha256:[0-9a-f]{64}", "DIGEST"),
        (r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\dZ", "TIME"),
        (r"dev-[0-9a-f]{8}", "dev-HASH"),
    ]}, {
        insta::assert_snapshot!(name, text);
    });
}

#[tokio::test]
async fn identities_are_made_checked_and_renewed_without_a_secret_in_any_output() {
    if Node::new().is_none() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    with_consul(root).await;
    write_cluster(root, CLUSTER);
    let check = "out/dev-consul-1-1.tar";
    let text = session(
        root,
        &[
            &["identity", "renew", "dev", "--to", "images"],
            &["identity", "make", "dev", "--to", "out"],
            &["identity", "check", check],
            &["identity", "check", "out/dev-vault-1-1.tar"],
            &["identity", "check", check, "--json"],
            &["identity", "check", check, "--valid-h", "719"],
            &["identity", "check", check, "--valid-h", "800"],
            &["identity", "renew", "dev", "--to", "out"],
            &["identity", "make", "dev", "--to", "out", "--json"],
            &["identity", "check", "clusters/dev/cluster.toml"],
            &["identity", "check", "nothing.tar"],
            &["identity", "make", "prod", "--to", "out"],
        ],
    );
    assert_identities("identities", &text);
    let state = root.join(".local/state/vault-bake/clusters");
    let state = fs::read_dir(state).unwrap().next().unwrap().unwrap().path();
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    let secrets = state.join("secrets");
    for folder in [&secrets, &root.join("out")] {
        assert_eq!(mode(folder), 0o700);
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            assert_eq!(mode(&path), 0o600, "{}", path.display());
            let content = fs::read_to_string(&path).unwrap();
            let lines = content.lines().filter(|line| line.len() > 20);
            for line in lines.filter(|line| !line.starts_with("-----")) {
                assert!(!text.contains(line), "{} is printed", path.display());
            }
        }
    }
}

/// Changes to the state that a second command must refuse.
#[tokio::test]
async fn a_cluster_whose_secrets_or_image_do_not_fit_is_refused() {
    if Node::new().is_none() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    with_consul(root).await;
    write_cluster(root, CLUSTER);
    let make: &[&str] = &[
        "identity",
        "make",
        "dev",
        "--to",
        "out",
        "--secrets",
        "secrets",
    ];
    let renew: &[&str] = &[
        "identity",
        "renew",
        "dev",
        "--to",
        "out",
        "--secrets",
        "secrets",
    ];
    let mut text = session(root, &[make]);
    fs::set_permissions(root.join("secrets"), fs::Permissions::from_mode(0o755)).unwrap();
    text += &session(root, &[make]);
    fs::set_permissions(root.join("secrets"), fs::Permissions::from_mode(0o700)).unwrap();
    for name in ["authority-key", "authority-certificate"] {
        fs::remove_file(root.join("secrets").join(name)).unwrap();
    }
    // A new authority is no renewal: nodes would refuse its certificates.
    text += &session(root, &[renew]);
    assert!(!root.join("secrets/authority-key").exists());
    text += &session(
        root,
        &[&[
            "identity",
            "make",
            "dev",
            "--to",
            "new",
            "--secrets",
            "secrets",
        ]],
    );
    text += &session(root, &[renew]);
    write_cluster(root, &CLUSTER.replace("quickstart:prod", "quickstart:qa"));
    text += &session(root, &[make]);
    let commands = "[identity]\nsecrets = { fetch = [\"false\"], store = [\"false\"] }\n";
    write_cluster(root, &format!("{CLUSTER}{commands}"));
    text += &session(root, &[make, &make[..5]]);
    let signed = "[identity]\nauthority = { certificate = \"ca.pem\", command = [\"false\"] }\n";
    write_cluster(root, &format!("{CLUSTER}{signed}"));
    fs::write(root.join("clusters/dev/ca.pem"), Authority::new().1).unwrap();
    text += &session(root, &[make]);
    assert_identities("identities_refused", &text);
}

#[test]
fn an_archive_that_a_node_would_refuse_ends_with_4() {
    if Node::new().is_none() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let mut seed = good(&Authority::new());
    put(
        &mut seed,
        "vault/env",
        "CONSUL_HTTP_TOKEN=canary\nVAULT_SKIP_VERIFY=1\n",
    );
    fs::write(folder.path().join("seed.tar"), archive(&seed)).unwrap();
    let path = folder.path().join("bin");
    fs::create_dir(&path).unwrap();
    let text = session(folder.path(), &[&["identity", "check", "seed.tar"]]);
    assert!(!text.contains("canary"));
    // Without the programs that it needs, it names them.
    for name in ["sh", "tar"] {
        std::os::unix::fs::symlink(format!("/bin/{name}"), path.join(name)).unwrap();
    }
    let output = Command::new(crate::VAULT_BAKE)
        .args(["identity", "check", "seed.tar"])
        .current_dir(folder.path())
        .env_clear()
        .env("HOME", folder.path())
        .env("PATH", &path)
        .output()
        .unwrap();
    insta::assert_snapshot!(text + &format_run(folder.path(), &output), @"
    $ vault-bake identity check seed.tar
    exit 4
    --- stdout
    --- stderr
    error: cannot accept the identity archive: vault/env gives VAULT_SKIP_VERIFY, which belongs to the image alone: certificates are always checked
    hint: Make the archive again. docs/identity.md has its rules.
    exit 1
    --- stdout
    --- stderr
    error: cannot check the identity archive: missing programs: jq openssl
    hint: Install the packages jq, openssl and tar.
    ");
}
