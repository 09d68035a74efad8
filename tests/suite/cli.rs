//! The command line: help, errors and exit statuses.

#![expect(
    clippy::disallowed_methods,
    reason = "these tests start the binary, as users do"
)]

pub(crate) mod channels;
mod early;
mod fetch;
mod gc;
mod help;
pub(crate) mod identity;
mod init;
mod needs;
mod records;
mod rollouts;
mod runs;
mod started;
mod team;
mod variables;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use vault_bake::definition::Definition;
use vault_bake::lock::requested_releases;

/// Runs the binary in `folder`, with store and cache below it.
fn run(folder: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_vault-bake"))
        .args(arguments)
        .current_dir(folder)
        .env_clear()
        .env("HOME", folder)
        .env("PATH", "/usr/bin:/bin")
        .env("COLUMNS", "100")
        .output()
        .unwrap()
}

/// Formats output and exit status, without the name of the folder.
fn format_run(folder: &Path, output: &Output) -> String {
    let text = |bytes: &[u8]| {
        String::from_utf8_lossy(bytes).replace(&folder.display().to_string(), "FOLDER")
    };
    format!(
        "exit {}\n--- stdout\n{}--- stderr\n{}",
        output.status.code().unwrap(),
        text(&output.stdout),
        text(&output.stderr)
    )
}

fn project() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let image = folder.path().join("images/web");
    fs::create_dir_all(&image).unwrap();
    let definition = "schema = 1\ndescription = \"a web server\"\nbase.qemu.kind = \"packages\"\n\n\
        [variables.greeting]\ntype = \"string\"\ndefault = \"hello\"\n\n\
        [[step]]\nname = \"greet\"\ninline = \"echo '{{ var.greeting }}' >/etc/motd\"\n\n[[step]]\nprovisioner = \"seal\"\n";
    fs::write(image.join("image.toml"), definition).unwrap();
    folder
}

#[test]
fn every_verb_explains_itself() {
    let folder = tempfile::tempdir().unwrap();
    let verbs = [
        "",
        "init",
        "cluster",
        "rollout",
        "validate",
        "lock",
        "lint",
        "plan",
        "build",
        "test",
        "images",
        "show",
        "sbom",
        "diff",
        "verify",
        "promote",
        "rollback",
        "channel",
        "revoke",
        "restore",
        "proposals",
        "sign",
        "complete",
        "pin",
        "resolve",
        "fetch",
        "check-plan",
        "identity",
        "store",
        "trust",
        "gc",
        "sweep",
        "doctor",
        "completions",
        "man",
    ];
    for verb in verbs {
        let arguments: Vec<&str> = [verb, "--help"]
            .into_iter()
            .filter(|word| !word.is_empty())
            .collect();
        let output = run(folder.path(), &arguments);
        assert!(output.status.success(), "{verb}");
        let name = if verb.is_empty() { "help" } else { verb };
        insta::assert_snapshot!(
            format!("help_{name}"),
            String::from_utf8_lossy(&output.stdout)
        );
    }
}

#[test]
fn errors_name_the_thing_and_the_way_out() {
    let folder = project();
    let cases: [(&str, &[&str]); 18] = [
        ("no verb", &[]),
        ("unknown verb", &["bake"]),
        ("unknown image", &["validate", "nothing"]),
        (
            "undeclared variable",
            &["validate", "web", "--var", "greting=hi"],
        ),
        ("not a variable", &["validate", "web", "--var", "greeting"]),
        ("valid", &["validate"]),
        ("valid as JSON", &["validate", "--json"]),
        ("no lock", &["plan", "web"]),
        ("no lock as JSON", &["build", "web", "--json"]),
        ("no store", &["images"]),
        ("not a reference", &["show", "web@one"]),
        ("nothing to prove", &["verify"]),
        ("nothing to sweep", &["sweep"]),
        ("nothing to test", &["test", "web"]),
        (
            "a store without TLS",
            &["images", "--store", "http://acme.example/images"],
        ),
        (
            "a store without a container",
            &["images", "--store", "https://acme.example"],
        ),
        (
            "a signature on the command line",
            &["images", "--store", "https://acme.example/images?sig=x"],
        ),
        (
            "a project's file with a slip",
            &["images", "--project", "slip"],
        ),
    ];
    fs::create_dir(folder.path().join("slip")).unwrap();
    fs::write(
        folder.path().join("slip/vault-bake.toml"),
        "[store]\nto = 1\n",
    )
    .unwrap();
    let mut table = Vec::new();
    for (case, arguments) in cases {
        let output = run(folder.path(), arguments);
        table.push(format!(
            "=== {case}: vault-bake {}\n{}",
            arguments.join(" "),
            format_run(folder.path(), &output)
        ));
    }
    let filters = vec![
        (r"sha256:[0-9a-f]{64}", "DIGEST"),
        (r#""elapsed_ms":\d+"#, r#""elapsed_ms":MS"#),
        (r#""time":"[^"]+""#, r#""time":"TIME""#),
    ];
    insta::with_settings!({filters => filters}, {
        insta::assert_snapshot!(table.join("\n"));
    });
}

#[test]
fn the_short_help_is_about_the_verb_alone() {
    let folder = tempfile::tempdir().unwrap();
    for verb in ["validate", "build", "images"] {
        let output = run(folder.path(), &[verb, "-h"]);
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(
            !text.contains("--signing-key") && text.contains("--help"),
            "{text}"
        );
    }
    insta::assert_snapshot!(String::from_utf8_lossy(
        &run(folder.path(), &["lock", "-h"]).stdout
    ));
}

#[test]
fn a_plan_needs_nothing_but_its_files() {
    let folder = project();
    let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("provisioners");
    assert!(shipped.join("seal/install.sh").is_file());
    let index = "[[qemu.index]]\nmirror = \"http://deb.debian.org/debian\"\nsuite = \"trixie\"\ndate = \"2026-11-01T00:00:00Z\"\n";
    let lock = folder.path().join("images/web/image.lock");
    fs::write(&lock, format!("schema = 1\nwanted = \"sha256:{}\"\n[qemu]\nkind = \"packages\"\n{index}sha256 = \"sha256:{}\"\n", "0".repeat(64), "1".repeat(64))).unwrap();
    let output = run(folder.path(), &["plan", "web"]);
    assert_eq!(output.status.code(), Some(2));
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(
        text.contains("made for another definition") && text.contains("vault-bake lock web"),
        "{text}"
    );
}

#[test]
fn nothing_unsafe_is_built_without_a_reason() {
    let folder = project();
    let image = folder.path().join("images/web");
    fs::write(image.join("open.json"), r#"{"ports": {"http": 8500}}"#).unwrap();
    let file = image.join("image.toml");
    let text = fs::read_to_string(&file).unwrap();
    let step = "[[step]]\nfile = \"open.json\"\ndestination = \"/etc/consul.d/open.json\"\n\n[[step]]\nprovisioner";
    let text = text.replace("[[step]]\nprovisioner", step);
    let base = format!(
        "kind = \"cloud-image\"\nurl = \"https://example.org/base.qcow2\"\nsha512 = \"{}\"\n",
        "0".repeat(128)
    );
    let text = text.replace(
        "base.qemu.kind = \"packages\"\n",
        &format!("[base.qemu]\n{base}"),
    );
    let lint = |text: &str| {
        fs::write(&file, text).unwrap();
        let definition =
            Definition::load(&image, &BTreeMap::new(), &vault_bake::platform::all(None)).unwrap();
        let lock = format!(
            "schema = 1\nwanted = \"{}\"\n[qemu]\n{base}",
            requested_releases(&definition, &vault_bake::platform::all(None))
        );
        fs::write(image.join("image.lock"), lock).unwrap();
        let build = run(folder.path(), &["build", "web", "--dry-run"]);
        let lint = run(folder.path(), &["lint", "web"]);
        (
            build.status.code().unwrap(),
            format_run(folder.path(), &build),
            format_run(folder.path(), &lint),
        )
    };
    let (code, build, found) = lint(&text);
    assert_eq!(code, 6, "{build}");
    insta::assert_snapshot!("lint_web", found);
    assert!(
        build.contains("the configuration of web is unsafe:") && build.contains("[lint.allow]"),
        "{build}"
    );

    let lines = found.lines().map(str::trim_start);
    let rules = lines
        .filter(|line| line.starts_with("consul."))
        .filter_map(|line| line.split(':').next());
    let rules: BTreeSet<&str> = rules.collect();
    let allowed: String = rules
        .iter()
        .map(|rule| format!("\"{rule}\" = \"a test\"\n"))
        .collect();
    let (code, build, found) = lint(&text.replace(
        "[[step]]\nname",
        &format!("[lint.allow]\n{allowed}\n[[step]]\nname"),
    ));
    assert_eq!(code, 0, "{build}");
    assert!(found.contains("exit 0"), "{found}");
}

/// A file that the linter cannot read stops a build. The error has its line and a hint.
#[test]
fn a_build_with_an_unreadable_file_has_a_hint() {
    let folder = project();
    let image = folder.path().join("images/web");
    fs::write(image.join("vault.hcl"), "ui = true\nlistener = var.tcp\n").unwrap();
    let file = image.join("image.toml");
    let text = fs::read_to_string(&file).unwrap();
    let step = "[[step]]\nfile = \"vault.hcl\"\ndestination = \"/etc/vault.d/vault.hcl\"\n\n[[step]]\nprovisioner";
    let text = text.replace("[[step]]\nprovisioner", step);
    let base = format!(
        "kind = \"cloud-image\"\nurl = \"https://example.org/base.qcow2\"\nsha512 = \"{}\"\n",
        "0".repeat(128)
    );
    let text = text.replace(
        "base.qemu.kind = \"packages\"\n",
        &format!("[base.qemu]\n{base}"),
    );
    let built = |text: &str| {
        fs::write(&file, text).unwrap();
        let definition =
            Definition::load(&image, &BTreeMap::new(), &vault_bake::platform::all(None)).unwrap();
        let lock = format!(
            "schema = 1\nwanted = \"{}\"\n[qemu]\n{base}",
            requested_releases(&definition, &vault_bake::platform::all(None))
        );
        fs::write(image.join("image.lock"), lock).unwrap();
        let build = run(folder.path(), &["build", "web", "--dry-run"]);
        (build.status.code(), format_run(folder.path(), &build))
    };
    let (code, refused) = built(&text);
    assert_eq!(code, Some(2), "{refused}");
    insta::assert_snapshot!("lint_unreadable_build", refused);
    let allow = "[lint.allow]\n\"vault.unreadable\" = \"a test\"\n\n[[step]]\nname";
    let (code, allowed) = built(&text.replace("[[step]]\nname", allow));
    assert_eq!(code, Some(0), "{allowed}");
    let note = "is not checked: a test";
    assert!(allowed.contains(note), "{allowed}");
    let lint = |flags: &[&str]| {
        let lint = run(folder.path(), &[&["lint", "web"][..], flags].concat());
        (lint.status.code(), format_run(folder.path(), &lint))
    };
    let (code, text) = lint(&[]);
    assert!(code == Some(0) && text.contains(note), "{text}");
    assert!(
        text.contains("1 note") && !text.contains("nothing found"),
        "{text}"
    );
    let (code, json) = lint(&["--json"]);
    assert!(
        code == Some(0) && json.contains("\"is not checked: a test\""),
        "{json}"
    );
}

/// Both name the version: `lint` for files of a node, `lock` before it looks anything up.
#[test]
fn vault_on_a_consul_that_refuses_its_keys_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let image = folder.path().join("images/web");
    fs::create_dir_all(&image).unwrap();
    let steps = "[[step]]\nprovisioner = \"seal\"\n";
    let base = "base.qemu.kind = \"packages\"\n";
    let releases = "releases = { consul = \"1.21.5\", vault = \"2.2.2\" }\n";
    let text = format!("schema = 1\ndescription = \"d\"\n{base}{releases}{steps}");
    fs::write(image.join("image.toml"), text).unwrap();
    let lock = run(folder.path(), &["lock", "web"]);
    let printed = format_run(folder.path(), &lock);
    assert_eq!(lock.status.code(), Some(2), "{printed}");
    assert!(
        printed.contains("releases.consul: Consul 1.21.5 refuses keys"),
        "{printed}"
    );
    assert!(!image.join("image.lock").exists());

    let vault = "storage \"consul\" {\n  scheme = \"https\"\n}\n";
    fs::write(folder.path().join("vault.hcl"), vault).unwrap();
    let lint = |version: &str| {
        let lint = ["lint", "--vault", "vault.hcl", "--consul-version", version];
        format_run(folder.path(), &run(folder.path(), &lint))
    };
    let rule = "vault.storage-consul-keys";
    let (found, newer) = (lint("1.21.5"), lint("1.22.0"));
    assert!(
        found.contains(rule) && !newer.contains(rule),
        "{found}{newer}"
    );
    let images = ["lint", "--consul-version", "1.21.5"];
    assert_eq!(run(folder.path(), &images).status.code(), Some(2));
}

#[test]
fn doctor_says_what_is_missing_and_where_to_get_it() {
    let folder = tempfile::tempdir().unwrap();
    let empty = folder.path().join("bin");
    fs::create_dir(&empty).unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_vault-bake"))
        .arg("doctor")
        .env_clear()
        .env("HOME", folder.path())
        .env("PATH", &empty)
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(1));
    assert!(
        text.contains("missing  qemu-system-x86_64: runs the temporary VMs"),
        "{text}"
    );
    assert!(
        text.contains("get it: apt-get install qemu-system-x86"),
        "{text}"
    );
}

#[test]
fn completions_know_the_verbs() {
    let folder = tempfile::tempdir().unwrap();
    for shell in ["bash", "zsh", "fish"] {
        let output = run(folder.path(), &["completions", shell]);
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(
            text.contains("sweep") && text.contains("on-error"),
            "{shell}"
        );
    }
}

#[test]
fn a_reader_that_has_enough_of_a_completion_script_ends_nothing() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let mut child = Command::new(env!("CARGO_BIN_EXE_vault-bake"))
            .args(["completions", shell])
            .stdout(std::process::Stdio::piped())
            .stderr(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        // The commands close the pipe early, as `head -c0` does.
        drop(child.stdout.take());
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{shell}");
        assert_eq!(String::from_utf8_lossy(&output.stderr), "", "{shell}");
    }
}

#[test]
fn an_interrupt_ends_a_wait_for_a_service_that_says_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let store = format!("http://{}/account/images", silent.local_addr().unwrap());
    let child = Command::new(env!("CARGO_BIN_EXE_vault-bake"))
        .args(["verify", "--store", &store])
        .env_clear()
        .env("HOME", folder.path())
        .env("VAULT_BAKE_STORE_SAS", "sig=canary")
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let _held = silent.accept().unwrap();
    let pid = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(130));
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(
        text.contains("error: interrupted") && !text.contains("canary"),
        "{text}"
    );
}
