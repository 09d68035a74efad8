//! What commands print about clusters, nodes and their journals.

use testing::recorded_store::{bake, with};
use testing::rollout::{CLUSTER, append_begin};
use vault_bake::cluster::JournalLine;
use vault_bake::cluster::state::OpenRollout;

use super::*;

#[tokio::test]
async fn an_unknown_cluster_or_node_is_named_with_those_that_exist() {
    let cluster = TestCluster::new(DEFINITION);
    let other = cluster.recorded.path("clusters/qa");
    fs::create_dir_all(&other).unwrap();
    fs::write(other.join("cluster.toml"), DEFINITION).unwrap();
    let mut table = String::new();
    let all: [&[&str]; 8] = [
        &["cluster", "up", "prod"],
        &["cluster", "status", "prod"],
        &["cluster", "env", "prod"],
        &["cluster", "renew", "prod"],
        &["rollout", "status", "prod"],
        &["cluster", "down", "prod"],
        &["cluster", "logs", "prod"],
        &["cluster", "shell", "prod"],
    ];
    for arguments in all {
        table += &cluster.run(arguments);
    }
    cluster.found().await;
    table += "with nodes of dev:\n";
    for arguments in &all[5..] {
        table += &cluster.run(arguments);
    }
    // A damaged state of another cluster hides no node.
    let damaged = cluster.folder.path().with_file_name("old-12345678");
    fs::create_dir_all(&damaged).unwrap();
    fs::write(damaged.join("cluster.json"), "damaged").unwrap();
    table += "with a damaged cluster:\n";
    table += &cluster.run(&["cluster", "logs", "dev-vault-1-1"]);
    table += &cluster.run(&["cluster", "logs", "old-vault-1-1"]);
    fs::remove_dir_all(cluster.recorded.path("clusters")).unwrap();
    table += "without a definition:\n";
    table += &cluster.run(&["cluster", "status", "prod"]);
    let table = table.replace(damaged.to_str().unwrap(), "OLD");
    insta::assert_snapshot!("unknown", table);
}

#[tokio::test]
async fn the_status_has_one_line_about_an_open_rollout() {
    let cluster = TestCluster::new(DEFINITION);
    cluster.found().await;
    let mut state = cluster.folder.require().unwrap();
    state.id = CLUSTER.to_owned();
    cluster.folder.write(&state).unwrap();
    let open = OpenRollout {
        plan: Digest::hash_bytes("a plan"),
        epoch: 3,
    };
    let none = cluster.run(&["cluster", "status", "dev"]);
    assert!(!none.contains("rollout"), "{none}");
    // One that this computer controls, as its state has it.
    state.rollout = Some(open);
    cluster.folder.write(&state).unwrap();
    let text = cluster.run(&["cluster", "status", "dev"]);
    let line = text.lines().find(|line| line.contains("rollout")).unwrap();
    insta::assert_snapshot!(line, @"a rollout is open, epoch 3: `vault-bake rollout status dev` prints its steps");
    // One of another computer, from the store.
    let store = cluster.recorded.store().await;
    let manifest = bake(&store, &with("1.0.0", "1.20.0", "1.8.7")).await;
    state.rollout = None;
    for node in state.nodes.values_mut() {
        node.manifest = manifest;
    }
    cluster.folder.write(&state).unwrap();
    let plan = testing::rollout::plan(manifest, &[manifest]);
    let plan = store.put_object(&plan).await.unwrap();
    append_begin(&store, 1, plan, false).await;
    let status = cluster
        .recorded
        .run(&["cluster", "status", "dev", "--json"], b"", true);
    let status: serde_json::Value = serde_json::from_slice(&status.stdout).unwrap();
    assert_eq!(
        status["rollout"],
        serde_json::json!({ "plan": plan, "epoch": 1 })
    );
}

/// The image of the servers has Vault, too.
#[tokio::test]
async fn without_a_load_balancer_clients_get_the_address_of_a_vault_node() {
    let cluster = TestCluster::new(DEFINITION);
    cluster.found().await;
    let env = cluster.run(&["cluster", "env", "dev"]);
    assert!(
        env.contains("VAULT_ADDR='https://10.77.0.31:8200'"),
        "{env}"
    );
    let mut state = cluster.folder.require().unwrap();
    state.nodes.remove("dev-vault-1-1");
    cluster.folder.write(&state).unwrap();
    insta::assert_snapshot!(cluster.run(&["cluster", "env", "dev"]), @"
    $ vault-bake cluster env dev
    error: cannot find the address of cluster dev: it has no Vault
    hint: Run `vault-bake cluster up dev`.
    exit 2
    ");
}

#[tokio::test]
async fn one_thing_is_not_several() {
    let cluster = TestCluster::new(DEFINITION);
    cluster.found().await;
    let mut state = cluster.folder.require().unwrap();
    state.nodes.remove("dev-vault-1-1");
    cluster.folder.write(&state).unwrap();
    let status = cluster.run(&["cluster", "status", "dev"]);
    let store = cluster.recorded.store().await;
    fs::write(
        cluster.recorded.path("clusters/dev/cluster.toml"),
        DEFINITION.replace("nodes = 1\n[platform]", "nodes = 3\n[platform]"),
    )
    .unwrap();
    let more = TestCluster {
        file: ClusterFile::load(&cluster.recorded.path("clusters/dev")).unwrap(),
        ..cluster
    };
    state
        .nodes
        .insert("dev-vault-1-1".to_owned(), node(TierName::Vault, 31));
    more.folder.write(&state).unwrap();
    let refused = more.text(&more.up(&store).await);
    let valid = more.run(&["validate", "dev"]);
    let head = status.lines().find(|line| line.contains("cluster dev:"));
    let head = head.unwrap().split_once(" (").unwrap().0;
    insta::assert_snapshot!(format!("{head}\n{refused}{valid}"), @r"
    cluster dev: 0 of 1 node serves
    cannot change cluster dev: it has 1 node of the tier vault, and cluster.toml has 3
      Set `nodes = 1` in [vault].
    $ vault-bake validate dev
    dev: valid, 1 Consul and 3 Vault nodes
    exit 0
    ");
}

#[test]
fn lines_of_a_journal_are_read_in_every_form() {
    let lines = [
        r#"{"__REALTIME_TIMESTAMP":"1795953262000000","_SYSTEMD_UNIT":"vault.service","MESSAGE":"==> Vault server started!","PRIORITY":"6"}"#,
        r#"{"__REALTIME_TIMESTAMP":"1795953262000001","_SYSTEMD_UNIT":"init.scope","UNIT":"consul.service","MESSAGE":"Started Consul."}"#,
        r#"{"__REALTIME_TIMESTAMP":"never","_SYSTEMD_UNIT":"vault.service","MESSAGE":[102,255,27]}"#,
        r#"{"MESSAGE":["two","values"]}"#,
        r#"{"MESSAGE":null}"#,
        "-- No entries --",
        "[]",
    ];
    let read = lines.map(|line| match JournalLine::parse("dev-vault-1-1", line) {
        Some(line) => serde_json::to_string(&line).unwrap(),
        None => "no line of a journal".to_owned(),
    });
    insta::assert_snapshot!(read.join("\n"), @r#"
    {"node":"dev-vault-1-1","time":"2026-11-29T11:54:22Z","unit":"vault.service","line":"==> Vault server started!"}
    {"node":"dev-vault-1-1","time":"2026-11-29T11:54:22.000001Z","unit":"consul.service","line":"Started Consul."}
    {"node":"dev-vault-1-1","unit":"vault.service","line":"f�\u001b"}
    {"node":"dev-vault-1-1","unit":"","line":"two values"}
    {"node":"dev-vault-1-1","unit":"","line":""}
    no line of a journal
    no line of a journal
    "#);
}
