//! The secrets of a cluster: private files, programs, and one value for each name.

#![expect(
    clippy::disallowed_methods,
    reason = "identities have the real time, and the test starts the binary"
)]

use std::fmt::Write as _;
use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use semver::Version;
use vault_bake::cluster::file::ClusterFile;
use vault_bake::cluster::identities::{
    Identities, IdentitiesError, common_secrets, make_secrets, node_secrets,
};
use vault_bake::cluster::policies;
use vault_bake::cluster::secrets::{
    SecretError, SecretName, SecretStore, private_folder, replace_private_file,
};
use vault_bake::hcl1;
use vault_bake::secret::Secret;
use vault_bake::wait::Interrupt;

fn mode(path: &Path) -> u32 {
    fs::symlink_metadata(path).unwrap().permissions().mode() & 0o7777
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

async fn get(store: &SecretStore, name: &SecretName) -> Result<Option<String>, SecretError> {
    let found = store.get(name, &Interrupt::default()).await?;
    Ok(found.map(|secret| secret.expose().to_owned()))
}

async fn put(store: &SecretStore, name: &SecretName, value: &str) -> Result<(), SecretError> {
    store
        .put(name, &Secret::new(value), &Interrupt::default())
        .await
}

/// Two programs that keep secrets in a folder, as documented.
fn commands(folder: &Path) -> SecretStore {
    let script = |text: &str| ["sh", "-c", text, &folder.display().to_string()].map(str::to_owned);
    let fetch = script(r#"[ -e "$0/$1" ] || exit 3; cat "$0/$1""#);
    let store = script(r#"set -C; cat >"$0/$1""#);
    SecretStore::commands(fetch.to_vec(), store.to_vec())
}

#[tokio::test]
async fn a_name_gets_one_value() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("state/secrets");
    let (kept, behind) = (folder.path().join("kept"), SecretName::VaultInit);
    fs::create_dir(&kept).unwrap();
    for store in [SecretStore::folder(&root).unwrap(), commands(&kept)] {
        let name = SecretName::ConsulAgent("dev-consul-1-1".to_owned());
        assert_eq!(get(&store, &name).await.unwrap(), None);
        put(&store, &name, "one").await.unwrap();
        // Tools add a line feed.
        put(&store, &name, "one\n").await.unwrap();
        let refused = put(&store, &name, "two").await.unwrap_err();
        assert_eq!(
            refused.to_string(),
            "cannot store the secret consul-agent-dev-consul-1-1: it already has another value"
        );
        assert_eq!(get(&store, &name).await.unwrap().as_deref(), Some("one"));
        let make = || Ok::<_, SecretError>(Secret::new("{\"lines\": [\n1]}\n"));
        let made = store
            .get_or_create(&behind, make, &Interrupt::default())
            .await
            .unwrap();
        assert_eq!(made.expose(), "{\"lines\": [\n1]}");
        let never = || -> Result<Secret, SecretError> { panic!("it is there") };
        let again = store
            .get_or_create(&behind, never, &Interrupt::default())
            .await
            .unwrap();
        assert!(again == made);
    }
    assert_eq!(
        [mode(&root), mode(&root.join("vault-init"))],
        [0o700, 0o600]
    );
    assert_eq!(mode(&folder.path().join("state")), 0o700);
    let store = SecretStore::folder(&root).unwrap();
    for _ in 0..2 {
        assert!(store.remove(&behind).unwrap());
        assert_eq!(get(&store, &behind).await.unwrap(), None);
    }
    assert!(!commands(&kept).remove(&behind).unwrap());
    assert!(get(&commands(&kept), &behind).await.unwrap().is_some());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_many_at_once_all_get_the_value_of_the_first() {
    let folder = tempfile::tempdir().unwrap();
    let store = Arc::new(SecretStore::folder(folder.path().join("secrets")).unwrap());
    for round in 0..30 {
        let name = SecretName::ConsulAgent(format!("node-{round}"));
        let tasks = (0..8).map(|task| {
            let (store, name) = (Arc::clone(&store), name.clone());
            tokio::spawn(async move {
                let make = || Ok::<_, SecretError>(Secret::new(format!("value of {task}")));
                let made = store
                    .get_or_create(&name, make, &Interrupt::default())
                    .await;
                made.unwrap().expose().to_owned()
            })
        });
        let mut values = Vec::new();
        for task in tasks.collect::<Vec<_>>() {
            values.push(task.await.unwrap());
        }
        values.dedup();
        assert_eq!(values.len(), 1, "{values:?}");
    }
    // No temporary file stays.
    assert_eq!(
        fs::read_dir(folder.path().join("secrets")).unwrap().count(),
        30
    );
}

#[tokio::test]
async fn what_others_can_read_or_replace_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("secrets");
    let store = SecretStore::folder(&root).unwrap();
    assert!(!root.exists(), "the first secret makes the folder");
    private_folder(&root).unwrap();
    let name = SecretName::GossipKey;
    let file = root.join("gossip-key");
    let mut table = String::new();
    let mut row = |case: &str, error: SecretError| {
        let hint = error.hint().unwrap_or_default();
        let text = format!("{case}: {error}\n  {hint}");
        let text = text.replace(&folder.path().display().to_string(), "FOLDER");
        let _ = writeln!(table, "{}", text.trim_end());
    };
    for exposed in [0o640, 0o604, 0o620, 0o601] {
        fs::write(&file, "secret").unwrap();
        set_mode(&file, exposed);
        row(
            &format!("file {exposed:o}"),
            get(&store, &name).await.unwrap_err(),
        );
    }
    set_mode(&file, 0o400);
    assert!(get(&store, &name).await.unwrap().is_some());
    for (case, content) in [
        ("empty", &b"\n"[..]),
        ("no text", b"\xff"),
        ("large", &[b'a'; 1 << 21]),
    ] {
        fs::remove_file(&file).unwrap();
        fs::write(&file, content).unwrap();
        set_mode(&file, 0o600);
        row(case, get(&store, &name).await.unwrap_err());
    }
    fs::rename(&file, root.join("other")).unwrap();
    symlink("other", &file).unwrap();
    row("link", get(&store, &name).await.unwrap_err());
    // A link is not followed on create either.
    fs::remove_file(root.join("other")).unwrap();
    row("dangling link", put(&store, &name, "x").await.unwrap_err());
    assert!(!root.join("other").exists());
    fs::remove_file(&file).unwrap();
    fs::create_dir(&file).unwrap();
    row("a folder", get(&store, &name).await.unwrap_err());

    for exposed in [0o750, 0o701, 0o777] {
        set_mode(&root, exposed);
        row(
            &format!("folder {exposed:o}"),
            SecretStore::folder(&root).err().unwrap(),
        );
    }
    set_mode(&root, 0o700);
    symlink(&root, folder.path().join("link")).unwrap();
    row(
        "link to a folder",
        SecretStore::folder(folder.path().join("link"))
            .err()
            .unwrap(),
    );
    fs::write(folder.path().join("file"), "").unwrap();
    row(
        "a file as folder",
        SecretStore::folder(folder.path().join("file"))
            .err()
            .unwrap(),
    );
    for own in ["vault-init", "consul-agent-x", "../x", "", ".x", "a/b"] {
        row(
            &format!("own {own:?}"),
            get(&store, &SecretName::Own(own.to_owned()))
                .await
                .unwrap_err(),
        );
    }
    let node = SecretName::VaultConsul("../../x".to_owned());
    row("a node", get(&store, &node).await.unwrap_err());
    insta::assert_snapshot!(table);
    assert_eq!(
        get(&store, &SecretName::Own("transit-token".to_owned()))
            .await
            .unwrap(),
        None
    );
}

/// A file that is replaced keeps its mode, also if the old one was readable.
#[test]
fn a_private_file_is_replaced_whole() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.tar");
    fs::write(&path, "old").unwrap();
    set_mode(&path, 0o644);
    replace_private_file(&path, &Secret::new("new")).unwrap();
    assert_eq!(
        (mode(&path), fs::read_to_string(&path).unwrap().as_str()),
        (0o600, "new")
    );
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
}

#[tokio::test]
async fn a_program_that_fails_is_never_an_absent_secret() {
    let folder = tempfile::tempdir().unwrap();
    let kept = folder.path().join("kept");
    let script = |text: &str| ["sh", "-c", text].map(str::to_owned).to_vec();
    let absent = "exit 3";
    let cases = [
        (
            "fetch fails",
            "echo no network >&2; exit 1",
            "cat >/dev/null",
        ),
        ("fetch is killed", "kill -9 $$", "cat >/dev/null"),
        ("fetch prints nothing", ":", "cat >/dev/null"),
        ("store fails", absent, "cat >&2; exit 1"),
        ("store keeps nothing", absent, "cat >/dev/null"),
    ];
    let mut table = String::new();
    for (case, fetch, store) in cases {
        let fetch = format!("echo $0 >>{}; {fetch}", kept.display());
        let store = SecretStore::commands(script(&fetch), script(store));
        let error = put(&store, &SecretName::VaultInit, "very-secret")
            .await
            .unwrap_err();
        let _ = writeln!(
            table,
            "{case}: {error}\n  {}",
            error.hint().unwrap_or_default()
        );
    }
    let none = SecretStore::commands(vec!["/no/such/program".into()], vec![]);
    let error = get(&none, &SecretName::VaultInit).await.unwrap_err();
    let _ = writeln!(
        table,
        "no program: {error}\n  {}",
        error.hint().unwrap_or_default()
    );
    assert!(!table.contains("very-secret"));
    insta::assert_snapshot!(table);
    let named = fs::read_to_string(&kept).unwrap();
    assert!(named.lines().all(|name| name == "vault-init"), "{named}");

    let interrupt = Interrupt::default();
    interrupt.raise();
    let slow = SecretStore::commands(script("sleep 60"), script("sleep 60"));
    let ended = slow.get(&SecretName::VaultInit, &interrupt).await;
    assert!(matches!(ended, Err(SecretError::Interrupted(_))));
}

const CLUSTER: &str = "schema = 1\ndatacenter = \"dc1\"\n\
    [consul]\nimage = \"quickstart:prod\"\nnodes = 3\n\
    [vault]\nimage = \"quickstart:prod\"\nnodes = 2\n";

fn cluster(folder: &Path, more: &str) -> ClusterFile {
    let folder = folder.join("clusters/dev");
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join("cluster.toml"), format!("{CLUSTER}{more}")).unwrap();
    ClusterFile::load(&folder).unwrap()
}

/// A command that was killed after any of its secrets ends with the same identities.
#[tokio::test]
async fn identities_of_a_repeated_run_have_the_secrets_of_the_first() {
    let folder = tempfile::tempdir().unwrap();
    let file = cluster(folder.path(), "");
    let (consul, now, interrupt) = (
        Version::new(1, 8, 7),
        Timestamp::now(),
        Interrupt::default(),
    );
    let secrets = folder.path().join("secrets");
    let make = async || {
        let store = SecretStore::folder(&secrets).unwrap();
        make_all(&file, &store, |_| false).await.unwrap();
        let identities = Identities::open(&file, &store, &consul, now, &interrupt)
            .await
            .unwrap();
        for node in Identities::first_nodes(&file) {
            identities.make(&node, &Default::default()).await.unwrap();
        }
    };
    let read = || -> std::collections::BTreeMap<String, String> {
        let entries = fs::read_dir(&secrets).unwrap().map(Result::unwrap);
        entries
            .map(|entry| {
                let name = entry.file_name().into_string().unwrap();
                (name, fs::read_to_string(entry.path()).unwrap())
            })
            .collect()
    };
    make().await;
    let all = read();
    assert_eq!(
        all.keys().map(String::as_str).collect::<Vec<_>>(),
        [
            "authority-certificate",
            "authority-key",
            "consul-agent-dev-consul-1-1",
            "consul-agent-dev-consul-1-2",
            "consul-agent-dev-consul-1-3",
            "consul-agent-dev-vault-1-1",
            "consul-agent-dev-vault-1-2",
            "consul-management",
            "gossip-key",
            "vault-consul-dev-vault-1-1",
            "vault-consul-dev-vault-1-2",
        ]
    );
    make().await;
    assert_eq!(read(), all, "a second run changes nothing");
    // Each single secret that was not stored yet is made again, and the others stay.
    for name in all.keys() {
        // A certificate without its key is not one of ours.
        if name == "authority-key" {
            continue;
        }
        fs::remove_file(secrets.join(name)).unwrap();
        make().await;
        let mut again = read();
        assert!(again.remove(name).is_some());
        let mut others = all.clone();
        others.remove(name);
        assert_eq!(again, others, "{name}");
        fs::write(secrets.join(name), &all[name]).unwrap();
    }
    fs::remove_file(secrets.join("authority-key")).unwrap();
    let store = SecretStore::folder(&secrets).unwrap();
    let refused = make_all(&file, &store, |_| false).await.unwrap_err();
    let text = format!("{refused}\n{}", refused.hint().unwrap());
    let text = text.replace(&folder.path().display().to_string(), "FOLDER");
    insta::assert_snapshot!(text, @"
    cannot find the secret `authority-key` of cluster dev: FOLDER/secrets has no such secret
    Take its value from a backup, and store it in FOLDER/secrets/authority-key, with mode 0600: the nodes use it.
    ");
    assert!(!secrets.join("authority-key").exists(), "nothing is stored");
    fs::write(secrets.join("authority-key"), &all["authority-key"]).unwrap();
    set_mode(&secrets.join("authority-key"), 0o600);

    // A secret that was made before is not made again, and none that is new is stored with it.
    fs::remove_file(secrets.join("gossip-key")).unwrap();
    for name in all.keys().filter(|name| *name != "gossip-key") {
        fs::remove_file(secrets.join(name)).unwrap();
        let was_made = |secret: &SecretName| secret.to_string() == *name;
        let refused = make_all(&file, &store, was_made).await.unwrap_err();
        assert!(
            refused.to_string().contains(&format!("`{name}`")),
            "{refused}"
        );
        let mut others = all.clone();
        others.retain(|other, _| other != name && other != "gossip-key");
        assert_eq!(read(), others, "{name}: something was stored");
        fs::write(secrets.join(name), &all[name]).unwrap();
        set_mode(&secrets.join(name), 0o600);
    }
}

/// Makes the secrets of the first nodes, unless `was_made` says that a lost one was made.
async fn make_all(
    file: &ClusterFile,
    store: &SecretStore,
    was_made: impl Fn(&SecretName) -> bool,
) -> Result<(), IdentitiesError> {
    let mut needed = common_secrets(file);
    for node in Identities::first_nodes(file) {
        let name = file.node_name(node.tier, node.generation, node.number);
        needed.extend(node_secrets(node.tier, &name));
    }
    let now = Timestamp::now();
    make_secrets(file, &needed, was_made, store, now, &Interrupt::default()).await
}

/// Killed at any moment, `identity make` leaves whole secrets that never change.
#[test]
fn a_killed_identity_make_leaves_whole_secrets_and_whole_archives() {
    let folder = tempfile::tempdir().unwrap();
    cluster(folder.path(), "");
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let image = crate::cli::identity::with_consul(folder.path());
    runtime.block_on(image);
    let command = || {
        let mut command = std::process::Command::new(crate::VAULT_BAKE);
        command
            .args([
                "identity",
                "make",
                "dev",
                "--to",
                "out",
                "--secrets",
                "secrets",
            ])
            .current_dir(folder.path())
            .env_clear()
            .env("HOME", folder.path())
            .env("PATH", "/usr/bin:/bin")
            .stdout(std::process::Stdio::null());
        command
    };
    let mut first = std::collections::BTreeMap::new();
    let mut kills = 0;
    for step in 0..40 {
        let mut child = command().spawn().unwrap();
        std::thread::sleep(Duration::from_millis(step * 12));
        child.kill().unwrap();
        kills += u32::from(!child.wait().unwrap().success());
        for entry in fs::read_dir(folder.path().join("secrets"))
            .into_iter()
            .flatten()
        {
            let entry = entry.unwrap();
            let name = entry.file_name().into_string().unwrap();
            let text = fs::read_to_string(entry.path()).unwrap();
            assert!(!text.is_empty() && !name.starts_with('.'), "{name}");
            let known = first.entry(name.clone()).or_insert_with(|| text.clone());
            assert_eq!(*known, text, "{name} changed");
        }
    }
    println!(
        "killed {kills} times, with {} secrets at the end",
        first.len()
    );
    assert!(command().status().unwrap().success());
    let names = fs::read_dir(folder.path().join("out")).unwrap();
    let archives = names.filter(|entry| {
        let name = entry.as_ref().unwrap().file_name();
        name.to_str().unwrap().ends_with(".tar")
    });
    assert_eq!(archives.count(), 5);
}

#[tokio::test]
async fn a_variable_gets_its_secret_or_the_name_of_it_is_missing() {
    let folder = tempfile::tempdir().unwrap();
    let more = "[unseal]\nkind = \"transit\"\n[unseal.env]\nVAULT_ADDR = \"https://vault.example:8200\"\n\
        VAULT_TOKEN = \"secret:transit-token\"\nVAULT_TRANSIT_SEAL_KEY_NAME = \"unseal\"\n\
        VAULT_TRANSIT_SEAL_MOUNT_PATH = \"transit/\"\n";
    let file = cluster(folder.path(), more);
    let (consul, now, interrupt) = (
        Version::new(1, 8, 7),
        Timestamp::now(),
        Interrupt::default(),
    );
    let store = SecretStore::folder(folder.path().join("secrets")).unwrap();
    make_all(&file, &store, |_| false).await.unwrap();
    let identities = Identities::open(&file, &store, &consul, now, &interrupt)
        .await
        .unwrap();
    let node = Identities::first_nodes(&file).pop().unwrap();
    let refused = identities
        .make(&node, &Default::default())
        .await
        .err()
        .unwrap();
    let text = format!("{refused}\n{}", refused.hint().unwrap());
    let text = text.replace(&folder.path().display().to_string(), "FOLDER");
    insta::assert_snapshot!(text, @"
    cannot make the identity of dev-vault-1-2: the secret `transit-token` of VAULT_TOKEN is absent
    Store it in FOLDER/secrets/transit-token, with mode 0600.
    ");
    put(
        &store,
        &SecretName::Own("transit-token".to_owned()),
        "hvs.x",
    )
    .await
    .unwrap();
    let made = identities.make(&node, &Default::default()).await.unwrap();
    for line in [
        "VAULT_TOKEN=hvs.x\n",
        "VAULT_SEAL_TYPE=transit\n",
        "VAULT_ADDR=https://vault.example:8200\n",
    ] {
        assert!(made.archive.expose().contains(line), "{line}");
    }
}

#[test]
fn policies_are_hcl_and_name_their_node_alone() {
    let all = [
        policies::agent("dev-vault-1-1"),
        policies::vault("dev-vault-1-1"),
        policies::operator("dev"),
    ];
    let mut text = String::new();
    for policy in all {
        hcl1::parse_hcl(&policy.rules).unwrap();
        let _ = writeln!(text, "# {}\n{}", policy.name, policy.rules);
    }
    insta::assert_snapshot!(text);
}
