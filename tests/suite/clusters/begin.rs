//! What is checked before a cluster begins.

use std::fmt::Write as _;
use std::net::{IpAddr, TcpListener};

use serde_json::json;
use testing::recorded_store::{bake, promote, with};
use vault_bake::product::consul::config::answers;

use super::*;

#[tokio::test]
async fn a_port_that_another_program_has_is_named_before_anything_is_made() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let front = format!("kind = \"haproxy\"\nport = {port}");
    let cluster = TestCluster::new(&DEFINITION.replace("kind = \"none\"", &front));
    let store = cluster.recorded.store().await;
    let text = cluster.text(&cluster.up(&store).await);
    insta::assert_snapshot!(text.replace(&port.to_string(), "PORT"), @"
    cannot listen on 127.0.0.1:PORT, the `front.port` of cluster dev: Address already in use (os error 98)
      Set another `port` in [front] of clusters/dev/cluster.toml, or end the program that `ss -ltnp sport = PORT` lists.
    ");
    assert!(!cluster.folder.path().exists());
}

#[tokio::test]
async fn an_image_whose_consul_would_not_answer_is_refused_before_anything_starts() {
    let mut table = String::new();
    for (case, subnets) in [
        ("another subnet", json!(["10.77.1.0/24"])),
        ("none", json!([])),
        ("this subnet", json!(["10.77.1.0/24", "10.77.0.0/24"])),
        ("a larger one", json!(["10.0.0.0/8"])),
        ("the controller", json!(["10.77.0.1/32"])),
        ("another form", json!("10.77.0.0/24")),
    ] {
        // Without an image for Vault, no cluster begins in any case.
        let vault = "[vault]\nimage = \"quickstart:none\"";
        let definition = DEFINITION.replace("[vault]\nimage = \"quickstart:prod\"", vault);
        let cluster = TestCluster::new(&definition);
        let store = cluster.recorded.store().await;
        let mut manifest = with("1.0.0", "1.20.0", "1.8.7");
        manifest
            .variables
            .insert("management_subnets".to_owned(), subnets);
        promote(&store, &bake(&store, &manifest).await).await;
        let text = cluster.text(&cluster.up(&store).await);
        let is_refused = !cluster.path("images").exists();
        let text = match text.contains("management_subnets") {
            true => text.as_str(),
            false => "accepted\n",
        };
        let _ = write!(table, "{case}: {text}");
        assert_eq!(is_refused, text != "accepted\n", "{table}");
    }
    insta::assert_snapshot!(table, @r#"
    another subnet: cannot use quickstart@1.0.0 for the nodes of consul: its `management_subnets` are 10.77.1.0/24; the nodes are in 10.77.0.0/24
      Add "10.77.0.0/24" to `management_subnets` in images/quickstart/image.toml and build the image again, or set `subnet` in [platform] of clusters/dev/cluster.toml.
    none: cannot use quickstart@1.0.0 for the nodes of consul: its `management_subnets` name no subnet; the nodes are in 10.77.0.0/24
      Add "10.77.0.0/24" to `management_subnets` in images/quickstart/image.toml and build the image again, or set `subnet` in [platform] of clusters/dev/cluster.toml.
    this subnet: accepted
    a larger one: accepted
    the controller: accepted
    another form: accepted
    "#);
}

#[test]
fn an_address_is_in_a_subnet_of_its_kind_alone() {
    let table = [
        ("10.77.0.0/24", "10.77.0.1", true),
        ("10.77.0.1/32", "10.77.0.1", true),
        ("10.77.0.2/32", "10.77.0.1", false),
        ("10.77.1.0/24", "10.77.0.1", false),
        ("10.0.0.0/8", "10.77.0.1", true),
        ("fd00:9::/64", "10.77.0.1", false),
        ("fd00:9::/64", "fd00:9::1", true),
        ("no subnet", "10.77.0.1", false),
    ];
    for (subnet, address, expected) in table {
        let address: IpAddr = address.parse().unwrap();
        assert_eq!(answers(&[subnet.to_owned()], address), expected, "{subnet}");
    }
}

/// A cluster without a node has nothing that fixes its addresses or its platform.
#[tokio::test]
async fn a_refused_up_fixes_nothing() {
    let cluster = TestCluster::new(DEFINITION);
    let store = cluster.recorded.store().await;
    let first = cluster.text(&cluster.up(&store).await);
    assert!(first.contains("quickstart:prod"), "{first}");
    let path = cluster.recorded.path("clusters/dev/cluster.toml");
    let moved = "kind = \"containers\"\nsubnet = \"10.88.0.0/24\"";
    fs::write(&path, DEFINITION.replace("kind = \"machines\"", moved)).unwrap();
    let other = TestCluster {
        file: ClusterFile::load(path.parent().unwrap()).unwrap(),
        ..cluster
    };
    assert_eq!(other.text(&other.up(&store).await), first);
    let state = other.folder.require().unwrap();
    assert_eq!(
        (state.platform.name(), state.subnet.to_string().as_str()),
        ("containers", "10.88.0.0/24")
    );
    insta::assert_snapshot!(
        other.run(&["cluster", "status", "dev"]) + &other.run(&["cluster", "env", "dev"]),
        @r"
    $ vault-bake cluster status dev
    cluster dev has no node yet: `vault-bake cluster up dev` makes them
    exit 1
    $ vault-bake cluster env dev
    error: cannot print how to reach cluster dev: it is not complete
    hint: Run `vault-bake cluster up dev`.
    exit 6
    "
    );
}

/// `up` finds what `validate` does, before it makes anything.
#[test]
fn a_subnet_of_another_cluster_is_refused() {
    let cluster = TestCluster::new(DEFINITION);
    let other = cluster.recorded.path("clusters/qa");
    fs::create_dir_all(&other).unwrap();
    fs::write(other.join("cluster.toml"), DEFINITION).unwrap();
    insta::assert_snapshot!(cluster.run(&["cluster", "up", "dev"]), @r#"
    $ vault-bake cluster up dev
    error: FOLDER/clusters/dev/cluster.toml:8: platform.subnet: 10.77.0.0/24 overlaps 10.77.0.0/24 of FOLDER/clusters/qa/cluster.toml; expected a subnet of its own
    hint: Write `subnet = "10.77.1.0/24"`.
    exit 2
    "#);
    assert!(!cluster.folder.path().exists());
}
