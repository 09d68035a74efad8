//! `init` and `cluster init`: new projects and clusters, all of their files or none.

use vault_bake::cluster::file::ClusterFile;

use super::*;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Returns the files below a folder, without those of the user, with their content.
fn files(folder: &Path) -> BTreeMap<String, String> {
    let mut files = BTreeMap::new();
    let mut left = vec![folder.to_owned()];
    while let Some(next) = left.pop() {
        for entry in fs::read_dir(next).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                left.push(path);
            } else {
                let name = path.strip_prefix(folder).unwrap().display().to_string();
                files.insert(name, fs::read_to_string(&path).unwrap());
            }
        }
    }
    files.retain(|name, _| !name.starts_with(".cache"));
    files
}

fn initialised() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let output = run(folder.path(), &["init"]);
    let text = format_run(folder.path(), &output);
    assert_eq!(output.status.code(), Some(0), "{text}");
    folder
}

fn lines<'a>(text: &'a str, start: &str) -> Vec<&'a str> {
    let lines = text.lines().map(str::trim_start);
    lines.filter(|line| line.starts_with(start)).collect()
}

/// Panics if the binary refuses the arguments of a command.
fn assert_parses(folder: &Path, command: &str) {
    let arguments: Vec<&str> = command
        .split_whitespace()
        .skip(1)
        .chain(["--help"])
        .collect();
    let output = run(folder, &arguments);
    let text = format_run(folder, &output);
    assert_eq!(output.status.code(), Some(0), "{command}\n{text}");
}

#[test]
fn a_new_project_is_valid_and_names_the_next_commands() {
    let folder = tempfile::tempdir().unwrap();
    let output = run(folder.path(), &["init", "made/here"]);
    insta::assert_snapshot!("init", format_run(folder.path(), &output));
    let project = folder.path().join("made/here");
    for arguments in [&["validate"][..], &["lint"]] {
        let output = run(&project, arguments);
        let text = format_run(&project, &output);
        assert_eq!(output.status.code(), Some(0), "{text}");
        assert!(
            text.contains("--- stderr\n") && text.ends_with("--- stderr\n"),
            "{text}"
        );
    }
    let output = String::from_utf8(output.stdout).unwrap();
    let next = lines(&output, "vault-bake ");
    assert!(next.len() > 6, "{output}");
    assert!(next.iter().any(|line| line.contains("cluster up")));
    for command in next {
        assert_parses(&project, command);
    }
}

#[test]
fn a_new_project_as_json_is_one_line() {
    let folder = tempfile::tempdir().unwrap();
    let output = run(folder.path(), &["init", "--json"]);
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let written: BTreeSet<String> = files(folder.path()).into_keys().collect();
    let reported: BTreeSet<String> = serde_json::from_value(report["files"].clone()).unwrap();
    assert_eq!(reported, written);
    assert!(report["next"].as_array().unwrap().len() > 5);
}

#[test]
fn the_images_of_a_new_project_are_the_shipped_ones() {
    let folder = initialised();
    let written = files(folder.path());
    let shipped = |image: &str| {
        let path = format!("images/{image}/image.toml");
        (fs::read_to_string(root().join(&path)).unwrap(), path)
    };
    let (vault, path) = shipped("vault-server");
    assert_eq!(written[&path], vault);
    let (consul, path) = shipped("consul-server");
    let header = "[variables.management_subnets]\n";
    let (_, table) = consul.split_once(header).unwrap();
    // Consul servers of the new project can be asked from the network of its cluster.
    let definition = Definition::load(
        &folder.path().join(&path),
        &BTreeMap::new(),
        &vault_bake::platform::all(None),
    )
    .unwrap();
    let subnets = &definition.variables["management_subnets"];
    let subnets = serde_json::to_string(subnets).unwrap();
    assert!(subnets.contains("10.77.0.0/24"), "{subnets}");
    assert!(
        table.contains("default = []"),
        "the shipped image is open to nothing"
    );
    let changed = consul.lines().zip(written[&path].lines());
    let changed = changed.filter(|(shipped, written)| shipped != written);
    assert_eq!(changed.count(), 1, "only the default differs");
}

#[test]
fn the_cluster_of_a_new_project_has_the_defaults_of_the_format() {
    let folder = initialised();
    let file = folder.path().join("clusters/dev/cluster.toml");
    let text = fs::read_to_string(&file).unwrap();
    let cluster = ClusterFile::parse(&file, &text).unwrap();
    let tiers = text.lines().filter(|line| line.starts_with("image = "));
    let tiers: Vec<&str> = tiers.collect();
    let least = format!(
        "schema = 1\n[consul]\n{}\n[vault]\n{}\n",
        tiers[0], tiers[1]
    );
    assert_eq!(cluster, ClusterFile::parse(&file, &least).unwrap());

    // Editors read the schema that the first line names.
    let schema = text
        .lines()
        .next()
        .unwrap()
        .strip_prefix("#:schema ")
        .unwrap();
    let schema = fs::read_to_string(file.parent().unwrap().join(schema)).unwrap();
    let schema: serde_json::Value = serde_json::from_str(&schema).unwrap();
    assert_eq!(schema, ClusterFile::json_schema());
    let value: serde_json::Value = toml::from_str(&text).unwrap();
    assert!(jsonschema::draft202012::is_valid(&schema, &value));
}

#[test]
fn the_workflow_of_a_new_project_runs_commands_that_exist_and_has_no_secret() {
    let folder = initialised();
    let workflow = &files(folder.path())[".github/workflows/images.yml"];
    let commands = workflow.replace("run: vault-bake", "\nvault-bake");
    let commands = lines(&commands, "vault-bake ");
    assert!(commands.len() >= 6, "{workflow}");
    for command in &commands {
        assert_parses(folder.path(), command);
    }
    for part in ["validate", "lint", "plan", "build"] {
        let all: Vec<&&str> = commands.iter().filter(|line| line.contains(part)).collect();
        assert!(!all.is_empty(), "{part}");
    }
    assert!(!workflow.contains("secrets."), "{workflow}");
    assert!(workflow.contains("permissions:\n  contents: read\n"));
    for action in lines(workflow, "- uses: ") {
        let (_, commit) = action.split_once('@').unwrap();
        let commit = commit.split_whitespace().next().unwrap();
        assert!(commit.len() == 40, "not pinned: {action}");
    }
    let yaml = "import sys, yaml; yaml.safe_load(sys.stdin)['jobs']['images']['steps'][0]";
    let has_yaml = Command::new("python3").args(["-c", "import yaml"]).output();
    if !has_yaml.is_ok_and(|output| output.status.success()) {
        println!("SKIPPED: python3-yaml is missing; the workflow is not parsed");
        return;
    }
    let file = fs::File::open(folder.path().join(".github/workflows/images.yml")).unwrap();
    let parsed = Command::new("python3")
        .args(["-c", yaml])
        .stdin(file)
        .output();
    let parsed = parsed.unwrap();
    let error = String::from_utf8_lossy(&parsed.stderr).into_owned();
    assert!(parsed.status.success(), "{error}");
}

#[test]
fn init_changes_no_file_and_writes_all_or_nothing() {
    let folder = initialised();
    let before = files(folder.path());
    let all: Vec<&String> = before.keys().collect();
    assert_eq!(all.len(), 6, "{all:?}");
    let output = run(folder.path(), &["init"]);
    insta::assert_snapshot!("init_again", format_run(folder.path(), &output));
    assert_eq!(files(folder.path()), before);

    // Any one of them is enough, also a link to nowhere.
    for (index, name) in all.iter().enumerate() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join(name);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        if index % 2 == 0 {
            fs::write(&file, "mine").unwrap();
        } else {
            std::os::unix::fs::symlink("nowhere", &file).unwrap();
        }
        let output = run(folder.path(), &["init"]);
        let text = format_run(folder.path(), &output);
        assert_eq!(output.status.code(), Some(6), "{text}");
        assert!(text.contains(name.as_str()), "{text}");
        let found = fs::read_dir(folder.path()).unwrap();
        let found = found.filter(|entry| entry.as_ref().unwrap().file_name() != ".cache");
        assert_eq!(found.count(), 1, "{name}: something was written");
    }
}

#[test]
fn an_init_that_cannot_write_a_file_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    // The images come last, and cannot be written.
    fs::write(folder.path().join("images"), "a file").unwrap();
    let output = run(folder.path(), &["init"]);
    let text = format_run(folder.path(), &output);
    assert_eq!(output.status.code(), Some(1), "{text}");
    let error = "cannot write images/consul-server/image.toml: ";
    assert!(text.contains(error), "{text}");
    let left: Vec<String> = files(folder.path()).into_keys().collect();
    assert_eq!(left, ["images"], "{text}");
    assert!(!folder.path().join("clusters").exists(), "{text}");
}

#[test]
fn a_new_cluster_shares_no_subnet_and_no_port_with_another() {
    let folder = initialised();
    let mut runs = Vec::new();
    for name in ["staging", "eu-1"] {
        let output = run(folder.path(), &["cluster", "init", name]);
        runs.push(format_run(folder.path(), &output));
    }
    // Below the project too, and next to a network that the user chose.
    let mine = folder.path().join("clusters/eu-1/cluster.toml");
    let text = fs::read_to_string(&mine).unwrap();
    fs::write(&mine, text.replace("10.77.2.0/24", "10.77.3.128/25")).unwrap();
    let output = run(
        &folder.path().join("images"),
        &["cluster", "init", "qa", "--json"],
    );
    runs.push(format_run(folder.path(), &output));
    let text = runs.join("\n");
    insta::assert_snapshot!("cluster_init", text);

    let load = |name: &str| ClusterFile::load(&folder.path().join("clusters").join(name)).unwrap();
    let clusters: Vec<ClusterFile> = ["dev", "staging", "eu-1", "qa"].map(load).into();
    for (index, cluster) in clusters.iter().enumerate() {
        for other in &clusters[..index] {
            assert_ne!(cluster.front.port, other.front.port);
            let subnets = (cluster.platform.subnet, other.platform.subnet);
            assert!(!subnets.0.overlaps(subnets.1), "{subnets:?}");
        }
    }
    let output = run(folder.path(), &["validate"]);
    assert_eq!(output.status.code(), Some(0));
}

#[test]
fn a_cluster_that_cannot_be_added_says_why() {
    let folder = initialised();
    let before = files(folder.path());
    let mut table = Vec::new();
    let mut refused = |at: &Path, arguments: &[&str]| {
        let output = run(at, arguments);
        let text = format_run(folder.path(), &output);
        table.push(format!("{}\n{text}", arguments.join(" ")));
    };
    refused(folder.path(), &["cluster", "init", "dev"]);
    refused(folder.path(), &["cluster", "init", "Dev_1"]);
    refused(folder.path(), &["cluster", "init", "../dev"]);
    let empty = folder.path().join("clusters");
    refused(&empty, &["cluster", "init", "new", "--project", "."]);
    assert_eq!(files(folder.path()), before);
    let broken = folder.path().join("clusters/dev/cluster.toml");
    fs::write(&broken, "schema = 1\n").unwrap();
    refused(folder.path(), &["cluster", "init", "new"]);
    insta::assert_snapshot!("cluster_init_refused", table.join("\n"));
}

#[test]
fn validate_checks_clusters_too() {
    let folder = initialised();
    let mut table = Vec::new();
    let mut check = |arguments: &[&str]| {
        let output = run(folder.path(), arguments);
        let text = format_run(folder.path(), &output);
        table.push(format!("{}\n{text}", arguments.join(" ")));
    };
    check(&["validate"]);
    check(&["validate", "dev"]);
    check(&["validate", "clusters/dev", "--json"]);
    check(&["validate", "vault-server", "dev"]);
    check(&["validate", "nothing"]);
    let image = folder.path().join("images/dev");
    fs::create_dir(&image).unwrap();
    fs::write(image.join("image.toml"), "schema = 1\n").unwrap();
    let cluster = folder.path().join("clusters/dev/cluster.toml");
    let text = fs::read_to_string(&cluster).unwrap();
    fs::write(&cluster, text.replace("nodes = 3", "nodes = 2")).unwrap();
    check(&["validate", "dev"]);
    check(&["validate", "dev", "--json"]);
    fs::remove_file(&cluster).unwrap();
    fs::create_dir(&cluster).unwrap();
    check(&["validate"]);
    check(&["validate", "dev"]);
    fs::remove_dir(&cluster).unwrap();
    fs::write(&cluster, [0xff]).unwrap();
    check(&["validate", "clusters/dev"]);
    insta::assert_snapshot!("validate_clusters", table.join("\n"));
}

#[test]
fn targets_of_a_rollout_are_checked_before_its_cluster() {
    let folder = initialised();
    let mut table = Vec::new();
    for targets in [&["--to", "vault-server"][..], &["--soak", "999999999999"]] {
        let arguments = [&["rollout", "start", "dev"], targets].concat();
        let output = run(folder.path(), &arguments);
        let text = format_run(folder.path(), &output);
        table.push(format!("{}\n{text}", arguments.join(" ")));
    }
    insta::assert_snapshot!("rollout_targets", table.join("\n"));
}
