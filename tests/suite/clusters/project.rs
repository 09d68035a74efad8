//! `validate`: clusters of a project against each other, and what a file alone does not show.

use super::*;

/// Writes a cluster of the project.
fn write(cluster: &TestCluster, name: &str, subnet: &str, port: u16) {
    let folder = cluster.recorded.path("clusters").join(name);
    fs::create_dir_all(&folder).unwrap();
    let text = DEFINITION.replace(
        "kind = \"machines\"",
        &format!("kind = \"machines\"\nsubnet = \"{subnet}\""),
    );
    let text = text.replace("kind = \"none\"", &format!("port = {port}"));
    fs::write(folder.join("cluster.toml"), text).unwrap();
}

#[test]
fn validate_compares_clusters_and_looks_for_what_they_name() {
    let cluster = TestCluster::new(DEFINITION);
    write(&cluster, "dev", "10.77.0.0/24", 8200);
    write(&cluster, "qa", "10.77.0.128/25", 8210);
    write(&cluster, "staging", "10.77.2.0/24", 8200);
    write(&cluster, "eu", "10.77.3.0/+24", 8230);
    write(&cluster, "us", "10.77.4.0/024", 8240);
    write(&cluster, "pinned", "10.77.5.0/24", 8250);
    let pinned = cluster.recorded.path("clusters/pinned/cluster.toml");
    let text = fs::read_to_string(&pinned).unwrap();
    let pin = "image = { pins = \"../../pins.json\", name = \"web:prod\" }";
    fs::write(
        &pinned,
        text.replacen("image = \"quickstart:prod\"", pin, 1),
    )
    .unwrap();
    fs::create_dir_all(cluster.recorded.path("clusters/empty")).unwrap();
    fs::create_dir_all(cluster.recorded.path("clusters/Not a name")).unwrap();
    let mut table = String::new();
    for arguments in [
        &["validate"][..],
        &["validate", "dev"],
        &["validate", "staging", "--json"],
    ] {
        table += &cluster.run(arguments);
    }
    insta::assert_snapshot!("validate", table);
}
