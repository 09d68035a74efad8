//! What is lost is named with the way out, and nothing is made in its place.

use std::fmt::Write as _;
use std::process::{Child, Stdio};

use testing::recorded_store::{bake, with};
use testing::rollout::{begin, image, plan, record};
use uuid::Uuid;
use vault_bake::cluster::renew;
use vault_bake::manifest::Tool;
use vault_bake::rollout::{self, Options};
use vault_bake::secret::Secret;

use super::*;

/// Programs that keep the secrets.
const COMMANDS: &str = "[identity]\nsecrets = { fetch = [\"pass-get\"], store = [\"pass-put\"] }\n";

async fn start_rollout(cluster: &TestCluster, store: &Store<Dir>) -> String {
    let tool = Tool {
        version: "1.0.0".into(),
        binary_sha256: None,
    };
    let options = Options {
        to: Vec::new(),
        unseal_shares: Vec::new(),
        all_nodes: true,
        max_surge: None,
        soak_s: 0,
        stop_before_hand_over: false,
        require_no_failure: false,
        allow_version_jump: None,
        allow_unpromoted: false,
        take_over: false,
        tool: &tool,
    };
    let (events, interrupt) = (Events::silent(), Interrupt::default());
    let (images, context) = (images(store), context(&events, &interrupt));
    let opened = cluster.cluster();
    let started = rollout::start(&opened, &images, &options, &context);
    let error = started.await.unwrap_err();
    let hint = error.hint().unwrap_or_default();
    cluster.plain(&format!("{error}\n  {hint}\n"))
}

/// A backup of `cluster.json` has the nodes of its day. After a rollout they are gone.
#[tokio::test]
async fn a_state_from_before_a_rollout_is_refused() {
    let cluster = TestCluster::new(DEFINITION);
    cluster.found().await;
    let store = cluster.recorded.store().await;
    let image_of = |version| with(version, "1.20.0", "1.8.7");
    let (old, new) = (
        bake(&store, &image_of("1.0.0")).await,
        bake(&store, &image_of("1.0.1")).await,
    );
    let plan = store.put_object(&plan(new, &[old, new])).await.unwrap();
    let mut begun = begin(1, plan, false);
    begun.cluster = cluster.id();
    let beginning = store.begin_rollout(Uuid::now_v7(), begun, now()).await;
    beginning.unwrap();
    let history = store.history().await.unwrap();
    let open = history.open_rollout(&cluster.id()).unwrap();
    let (from, to) = (
        image("quickstart", "1.0.0", old),
        image("quickstart", "1.0.1", new),
    );
    let mut done = record(history.rollout_epochs(open), plan, from, to);
    done.cluster.id = cluster.id();
    store.put_rollout(&done, now()).await.unwrap();

    let refused = cluster.text(&cluster.up(&store).await);
    insta::assert_snapshot!(refused, @"
    cannot use STATE/cluster.json: it is older than the rollout dev-ID@1 of cluster dev
      It names nodes that are gone, and not those that run. Restore the file and the secrets from a backup that is newer than the rollout dev-ID@1: `vault-bake rollout show dev-ID@1` prints its end. Without one, run `vault-bake cluster down dev --force`, then `vault-bake cluster up dev`: the cluster begins anew, without its data.
    ");
    assert_eq!(start_rollout(&cluster, &store).await, refused);
    for arguments in [["rollout", "plan", "dev"], ["cluster", "renew", "dev"]] {
        let run = cluster.run(&arguments);
        assert!(run.ends_with("exit 6\n"), "{run}");
    }
    let status = cluster.run(&["cluster", "status", "dev"]);
    let problem = status.lines().find(|line| line.starts_with("problem: "));
    insta::assert_snapshot!(problem.unwrap_or(&status), @"problem: cannot use STATE/cluster.json: it is older than the rollout dev-ID@1 of cluster dev");
    assert!(status.ends_with("exit 1\n"), "{status}");

    let mut state = cluster.folder.require().unwrap();
    state.epoch = 1;
    cluster.folder.write(&state).unwrap();
    // Not `up`, which would start the network of the nodes.
    let other = cluster.run(&["rollout", "plan", "dev"]);
    assert!(!other.contains("is older than"), "{other}");
}

/// Also of a cluster whose state is from before the names of its secrets were in it.
#[tokio::test]
async fn a_lost_secret_of_a_cluster_is_named_and_not_made_again() {
    for has_names in [true, false] {
        let cluster = TestCluster::new(DEFINITION);
        cluster.found().await;
        if !has_names {
            let mut state = cluster.folder.require().unwrap();
            state.secrets.clear();
            cluster.folder.write(&state).unwrap();
        }
        let store = cluster.recorded.store().await;
        let (events, interrupt) = (Events::silent(), Interrupt::default());
        let context = context(&events, &interrupt);
        let before = files(&cluster.path("secrets"));
        assert_eq!(before.len(), 8);
        for (path, value) in &before {
            let name = path.file_name().unwrap().to_str().unwrap();
            fs::rename(path, cluster.path("moved")).unwrap();
            let refused = renew::<Dir>(&cluster.cluster(), None, &context)
                .await
                .unwrap_err();
            let renewing = cluster.text(&refused);
            assert!(renewing.contains(&format!("`{name}`")), "{renewing}");
            assert_eq!(cluster.text(&cluster.up(&store).await), renewing);
            assert_eq!(start_rollout(&cluster, &store).await, renewing);
            if name == "gossip-key" {
                insta::allow_duplicates! {
                    insta::assert_snapshot!(renewing, @"
                    cannot find the secret `gossip-key` of cluster dev: STATE/secrets has no such secret
                      Take its value from a backup, and store it in STATE/secrets/gossip-key, with mode 0600: the nodes use it. Without one, run `vault-bake cluster down dev --force`, then `vault-bake cluster up dev`: the cluster begins anew, without its data.
                    ");
                }
            }
            let mut others = before.clone();
            others.remove(path);
            assert_eq!(files(&cluster.path("secrets")), others, "{name}");
            fs::rename(cluster.path("moved"), path).unwrap();
            assert_eq!(&fs::read(path).unwrap(), value);
        }
    }
}

#[tokio::test]
async fn a_lost_secret_behind_commands_is_named_with_the_command() {
    let mut cluster = TestCluster::new(&format!("{DEFINITION}{COMMANDS}"));
    cluster.found().await;
    let fetch = ["sh", "-c", "exit 3"].map(str::to_owned).to_vec();
    cluster.secrets = SecretStore::commands(fetch, vec!["pass-put".to_owned()]);
    let (events, interrupt) = (Events::silent(), Interrupt::default());
    let refused = renew::<Dir>(&cluster.cluster(), None, &context(&events, &interrupt)).await;
    insta::assert_snapshot!(cluster.text(&refused.unwrap_err()), @"
    cannot find the secret `authority-key` of cluster dev: `sh` has no such secret
      Take its value from a backup, and store it with `pass-put`, under the name authority-key: the nodes use it. Without one, run `vault-bake cluster down dev --force`, then `vault-bake cluster up dev`: the cluster begins anew, without its data.
    ");
}

/// A process with the argument of a cluster's VMs.
fn process(id: &str) -> Child {
    let mut command = Command::new("sh");
    let script = "read line";
    command
        .args(["-c", script, &format!("null,id=vault-bake-{id}")])
        .stdin(Stdio::piped());
    command.spawn().unwrap()
}

#[tokio::test]
async fn a_cluster_whose_state_is_lost_is_not_founded_anew() {
    let mut table = String::new();
    let interrupt = Interrupt::default();
    for case in ["vault-init", "vault-operator", "nodes", "process"] {
        let cluster = TestCluster::new(DEFINITION);
        let store = cluster.recorded.store().await;
        cluster.found().await;
        let mut child = None;
        match case {
            "nodes" => fs::create_dir_all(cluster.path("nodes/dev-vault-1-1")).unwrap(),
            "process" => child = Some(process(&cluster.id())),
            "vault-init" => {
                let (name, value) = (SecretName::VaultInit, Secret::new("shares"));
                cluster
                    .secrets
                    .put(&name, &value, &interrupt)
                    .await
                    .unwrap();
            }
            _ => {
                let (name, value) = (SecretName::VaultOperator, Secret::new("a token"));
                cluster
                    .secrets
                    .put(&name, &value, &interrupt)
                    .await
                    .unwrap();
            }
        }
        fs::remove_file(cluster.path("cluster.json")).unwrap();
        let before = files(cluster.folder.path());
        let _ = writeln!(table, "{case}: {}", cluster.text(&cluster.up(&store).await));
        let _ = writeln!(table, "{}", cluster.run(&["cluster", "down", "dev"]));
        assert_eq!(files(cluster.folder.path()), before);
        let _ = writeln!(
            table,
            "{}",
            cluster.run(&["cluster", "down", "dev", "--force"])
        );
        assert!(!cluster.folder.path().exists(), "{table}");
        if let Some(child) = &mut child {
            assert!(!child.wait().unwrap().success(), "it was ended");
        }
    }
    // What `down` cannot remove is named, too.
    let mut cluster = TestCluster::new(&format!("{DEFINITION}{COMMANDS}"));
    let store = cluster.recorded.store().await;
    let fetch = ["sh", "-c", "echo shares"].map(str::to_owned).to_vec();
    cluster.secrets = SecretStore::commands(fetch, vec!["pass-put".to_owned()]);
    let _ = write!(
        table,
        "commands: {}",
        cluster.text(&cluster.up(&store).await)
    );
    insta::assert_snapshot!("lost_state", table);
}

#[tokio::test]
async fn a_damaged_state_is_named_with_the_way_out() {
    let cluster = TestCluster::new(DEFINITION);
    let store = cluster.recorded.store().await;
    cluster.found().await;
    let whole = fs::read(cluster.path("cluster.json")).unwrap();
    let newer = String::from_utf8(whole.clone()).unwrap();
    let newer = newer.replace("\"schema\": 1", "\"schema\": 2");
    let mut table = String::new();
    for (case, content) in [
        ("empty", &b""[..]),
        ("no state", b"{}"),
        ("cut off", &whole[..100]),
        ("not UTF-8", b"{\"schema\": 1, \"id\": \"\xff\"}"),
        ("newer", newer.as_bytes()),
    ] {
        fs::write(cluster.path("cluster.json"), content).unwrap();
        let before = files(cluster.folder.path());
        let text = cluster.text(&cluster.up(&store).await);
        let _ = writeln!(table, "{case}: {text}");
        for arguments in [["cluster", "status", "dev"], ["cluster", "down", "dev"]] {
            let run = cluster.run(&arguments);
            let error = text.lines().next().unwrap();
            assert!(run.contains(error), "{run}");
        }
        assert_eq!(files(cluster.folder.path()), before, "{case}");
    }
    let refused = cluster.run(&["cluster", "down", "dev", "--force"]);
    assert!(refused.contains("exit 1"), "a newer state: {refused}");
    fs::write(cluster.path("cluster.json"), "damaged").unwrap();
    table += &cluster.run(&["cluster", "down", "dev", "--force"]);
    assert!(!cluster.folder.path().exists(), "{table}");
    insta::assert_snapshot!("damaged_state", table);
}

#[test]
fn commands_make_nothing_for_a_cluster_that_never_ran() {
    let cluster = TestCluster::new(DEFINITION);
    let project = cluster.recorded.path("");
    let before = files(&project);
    let mut table = String::new();
    for arguments in [
        &["cluster", "status", "dev"][..],
        &["cluster", "env", "dev"],
        &["cluster", "renew", "dev"],
        &["cluster", "down", "dev"],
        &["cluster", "logs", "dev-vault-1-1"],
        &["cluster", "shell", "dev-vault-1-1"],
    ] {
        table += &cluster.run(arguments);
        assert_eq!(files(&project), before, "{arguments:?}");
        assert!(!project.join(".local").exists(), "{arguments:?}");
    }
    insta::assert_snapshot!("never_ran", table);
}
