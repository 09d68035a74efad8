//! The output of `gc`: deletions and holds, the plan, the deletion, and the remaining records.

use super::channels::{assert_session, key_of, session};
use super::*;
use testing::recorded_store::{RecordedStore, bake};
use testing::sample::sample;
use vault_bake::digest::Digest;

/// Formats the output without values that depend on the user.
fn transcript(recorded: &RecordedStore, commands: &[&[&str]]) -> String {
    let outputs = commands
        .iter()
        .map(|arguments| recorded.transcript(arguments));
    let text = outputs.collect::<Vec<_>>().join("\n");
    let lines = text.lines();
    let same =
        lines.filter(|line| !line.contains("this machine, whose open files only root can read"));
    same.collect::<Vec<_>>().join("\n")
}

#[tokio::test]
async fn images_are_planned_to_go_and_removed_while_their_records_stay() {
    let recorded = RecordedStore::new(crate::VAULT_BAKE);
    let store = recorded.store().await;
    for version in ["1.0.0", "1.0.1", "1.0.2", "1.0.3"] {
        bake(&store, &sample(version, &format!("disk {version}"))).await;
    }
    key_of(&recorded.path(""));
    let list = "# what the fleet runs\nquickstart@1.0.2\nother@3.0.0\n";
    fs::write(recorded.path("in-use.txt"), list).unwrap();
    let gc = |more: &[&'static str]| {
        let rest = ["--min-age", "0", "--keep-generations", "1"];
        [&["gc"], more, &rest].concat()
    };
    let text = transcript(
        &recorded,
        &[
            &["gc"],
            &["promote", "quickstart@1.0.0", "prod"],
            &["pin", "quickstart:prod"],
            &["promote", "quickstart@1.0.3", "prod"],
            &gc(&[]),
            &gc(&["--in-use", "in-use.txt", "--pins", "vault-bake.pins.json"]),
            &gc(&["--plan", "--in-use", "in-use.txt"]),
            &["gc", "--apply", "11", "--in-use", "in-use.txt"],
            &gc(&["--plan", "--grace", "0", "--in-use", "in-use.txt"]),
            &[
                "gc",
                "--apply",
                "12",
                "--in-use",
                "in-use.txt",
                "--pins",
                "vault-bake.pins.json",
                "--json",
            ],
            &["gc", "--apply", "12"],
            &["gc", "--apply", "12", "--in-use", "in-use.txt"],
            &["gc", "--apply", "12", "--cache", "another"],
            &["gc", "--apply", "3"],
            &["resolve", "quickstart@1.0.1"],
            &["images"],
            &["images", "web"],
            &["promote", "quickstart@1.0.1", "prod"],
            &["rollback", "quickstart:prod", "--reason", "too slow"],
            &["verify", "--pins", "vault-bake.pins.json"],
            &["verify"],
        ],
    );
    assert_session("gc", &text);
}

#[tokio::test]
async fn a_pin_file_that_is_false_or_of_another_store_stops_everything() {
    let [recorded, other] = [(); 2].map(|()| RecordedStore::new(crate::VAULT_BAKE));
    for one in [&recorded, &other] {
        let store = one.store().await;
        for version in ["1.0.0", "1.0.1"] {
            bake(&store, &sample(version, &format!("disk {version}"))).await;
        }
        key_of(&one.path(""));
        for command in [
            &["promote", "quickstart@1.0.0", "prod"][..],
            &["pin", "quickstart:prod"],
        ] {
            let output = one.run(command, b"", true);
            assert_eq!(output.status.code(), Some(0), "{output:?}");
        }
    }
    let sound = fs::read_to_string(recorded.path("vault-bake.pins.json")).unwrap();
    let lie = sound.replace("\"1.0.0\"", "\"1.0.1\"");
    assert_ne!(lie, sound);
    fs::write(recorded.path("false.json"), lie).unwrap();
    fs::copy(
        other.path("vault-bake.pins.json"),
        recorded.path("foreign.json"),
    )
    .unwrap();
    let mut text = Vec::new();
    for (file, status) in [
        ("vault-bake.pins.json", 0),
        ("false.json", 7),
        ("foreign.json", 7),
    ] {
        for verb in [&["gc"][..], &["gc", "--plan", "--grace", "0"]] {
            let arguments = [verb, &["--min-age", "0", "--pins", file]].concat();
            let printed = transcript(&recorded, &[&arguments]);
            assert!(printed.ends_with(&format!("exit {status}")), "{printed}");
            text.extend((status > 0).then_some(printed));
        }
    }
    assert_session("gc_pins", &text.join("\n"));
}

#[test]
fn times_that_mean_nothing_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let commands: [&[&str]; 6] = [
        &["gc", "--min-age", "30"],
        &["gc", "--grace", "1w"],
        &["gc", "--min-age", "40000d"],
        &["gc", "--keep-generations", "0"],
        &["gc", "--plan", "--apply", "3"],
        &["gc", "--apply", "3", "--grace", "1h"],
    ];
    assert_session("gc_refusals", &session(folder.path(), &commands));
}

#[tokio::test]
async fn a_plan_knows_the_files_that_it_was_made_with() {
    let recorded = RecordedStore::new(crate::VAULT_BAKE);
    let store = recorded.store().await;
    for version in ["1.0.0", "1.0.1", "1.0.2"] {
        bake(&store, &sample(version, &format!("disk {version}"))).await;
    }
    key_of(&recorded.path(""));
    fs::write(recorded.path("in-use.txt"), "other@3.0.0\n").unwrap();
    fs::write(recorded.path("more.txt"), "quickstart@1.0.1\n").unwrap();
    let plan = [
        "gc",
        "--plan",
        "--grace",
        "0",
        "--min-age",
        "0",
        "--keep-generations",
        "1",
        "--pins",
        "vault-bake.pins.json",
        "--in-use",
        "in-use.txt",
    ];
    let mut text = transcript(
        &recorded,
        &[
            &["promote", "quickstart@1.0.0", "prod"],
            &["pin", "quickstart:prod"],
            &["promote", "quickstart@1.0.2", "prod"],
            &plan,
            // Another host does not have these processes.
            &["gc", "--apply", "9", "--cache", "another"],
        ],
    );
    // `gc --apply` reads the files again.
    fs::write(recorded.path("in-use.txt"), "quickstart@1.0.1\n").unwrap();
    text += "\n";
    text += &transcript(&recorded, &[&["gc", "--apply", "9"]]);
    fs::write(recorded.path("in-use.txt"), "other@3.0.0\n").unwrap();
    text += "\n";
    text += &transcript(
        &recorded,
        &[
            &["gc", "--apply", "9", "--in-use", "more.txt"],
            &["gc", "--apply", "9"],
        ],
    );
    assert_session("gc_sources", &text);
}

/// Writes the state of a cluster with a Vault node for each manifest.
fn write_cluster(clusters: &Path, name: &str, manifests: &[Digest]) {
    let node = |(number, manifest): (u32, &Digest)| {
        let node = serde_json::json!({
            "tier": "vault", "generation": 1, "number": number, "address": format!("10.77.0.{}", 30 + number),
            "reference": "quickstart:prod", "image": "quickstart", "version": "1.0.0", "manifest": manifest,
            "artifact": Digest::hash_bytes("a disk"), "firmware": "bios", "releases": { "vault": "1.15.6" },
        });
        (format!("{name}-vault-1-{number}"), node)
    };
    let nodes: serde_json::Map<_, _> = (1..).zip(manifests).map(node).collect();
    let state = serde_json::json!({
        "schema": 1, "id": format!("{name}-12345678"), "name": name, "created_at": "2026-11-22T19:30:00Z",
        "phase": "created", "platform": "containers", "subnet": "10.77.0.0/24", "nodes": nodes,
    });
    let folder = clusters.join(name);
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join("cluster.json"), state.to_string()).unwrap();
}

#[tokio::test]
async fn the_images_of_nodes_of_clusters_are_kept() {
    let recorded = RecordedStore::new(crate::VAULT_BAKE);
    let store = recorded.store().await;
    let mut manifests = Vec::new();
    for version in ["1.0.0", "1.0.1", "1.0.2", "1.0.3"] {
        manifests.push(bake(&store, &sample(version, &format!("disk {version}"))).await);
    }
    key_of(&recorded.path(""));
    let clusters = recorded.path(".local/state/vault-bake/clusters");
    let (first, second) = (manifests[0], manifests[1]);
    write_cluster(&clusters, "dev", &[first, first, second]);
    // The image of one node is in another store.
    write_cluster(
        &clusters,
        "qa",
        &[second, Digest::hash_bytes("another store")],
    );
    let dry_run = ["gc", "--min-age", "0"];
    let plan = ["gc", "--min-age", "0", "--plan", "--grace", "0"];
    let elsewhere = [&dry_run[..], &["--state", "elsewhere"]].concat();
    write_cluster(&recorded.path("elsewhere"), "own", &[manifests[2]]);
    let mut text = vec![transcript(&recorded, &[&dry_run, &elsewhere, &plan])];
    // A cluster that was removed meanwhile is no file that is missing.
    fs::remove_dir_all(clusters.join("qa")).unwrap();
    text.push(transcript(&recorded, &[&["gc", "--apply", "9"]]));
    // A cluster that was made meanwhile keeps its images.
    fs::remove_dir_all(clusters.join("dev")).unwrap();
    text.push(transcript(&recorded, &[&plan]));
    write_cluster(&clusters, "dev", &[first]);
    text.push(transcript(&recorded, &[&["gc", "--apply", "11"]]));
    // A state that this version cannot read may name any image.
    fs::write(clusters.join("dev/cluster.json"), "{}").unwrap();
    text.push(transcript(&recorded, &[&plan]));
    assert_session("gc_clusters", &text.join("\n"));
}
