//! Errors before any work: problems of files, unusable folders, taken versions.

use super::*;
use crate::cli::records::recorded;

#[test]
fn all_problems_of_all_images_are_found_in_one_run() {
    let folder = project();
    let write = |path: &str, text: &str| {
        let path = folder.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    };
    let head = "schema = 1\ndescription = \"an image\"\nbase.qemu.kind = \"packages\"\n";
    write(
        "provisioners/own/provisioner.toml",
        "schema = 1\ndescription = \"own\"\n[inputs.name]\ntype = \"string\"\ndescription = \"A name\"\n[inputs.size]\ntype = \"integer\"\ndefault = 1\ndescription = \"A size\"\n",
    );
    write("provisioners/own/install.sh", "#!/bin/sh\ntrue\n");
    write(
        "provisioners/broken/provisioner.toml",
        "schema = 1\ndescripton = \"own\"\ntime_out = 1\n",
    );
    write("provisioners/broken/install.sh", "#!/bin/sh\ntrue\n");
    write(
        "provisioners/windows/provisioner.toml",
        "schema = 1\ndescription = \"own\"\n",
    );
    write("provisioners/windows/install.sh", "#!/bin/sh\r\ntrue\r\n");
    write(
        "images/all/image.toml",
        &format!(
            "{head}\n[machine.qemu]\nmemory = \"2G\"\n\n[[step]]\nprovisioner = \"own\"\ninputs = {{ nam = \"a\", size = \"big\", colour = \"red\" }}\n\n\
         [[step]]\nprovisioner = \"bsae\"\n\n[[step]]\nprovisioner = \"broken\"\n\n[[step]]\nprovisioner = \"windows\"\n\n[[step]]\nprovisioner = \"seal\"\n"
        ),
    );
    write(
        "images/order/image.toml",
        &format!(
            "{head}\n[[step]]\nprovisioner = \"seal\"\n\n[[step]]\nprovisioner = \"vault\"\n\n[[step]]\nprovisioner = \"base\"\n"
        ),
    );
    write(
        "images/syntax/image.toml",
        "schema = 1\ndescription = \"an image\n",
    );
    let cases: [&[&str]; 4] = [
        &["validate"],
        &["plan", "all"],
        &["lock", "order"],
        &["build", "all", "--json"],
    ];
    let transcripts =
        cases.map(|arguments| format_run(folder.path(), &run(folder.path(), arguments)));
    let filters = vec![
        (r#""elapsed_ms":\d+"#, r#""elapsed_ms":MS"#),
        (r#""time":"[^"]+""#, r#""time":"TIME""#),
        (r"provisioners/[0-9a-f]{12,}", "provisioners/SHIPPED"),
    ];
    insta::with_settings!({filters => filters}, {
        insta::assert_snapshot!(transcripts.join("\n"));
    });
}

#[test]
fn a_cache_or_a_store_that_cannot_be_used_is_named() {
    let folder = project();
    fs::write(folder.path().join("file"), "").unwrap();
    let cases: [&[&str]; 9] = [
        &["--cache", "/proc/nope", "build", "web"],
        &["--cache", "/sys", "build", "web"],
        &["--cache", "file", "build", "web"],
        &["--cache", "file/below", "lock", "web"],
        &["--cache", "/proc/nope", "validate", "web"],
        &["--cache", "/dev/full", "plan", "web"],
        &["--store", "/dev/full", "images"],
        &["--store", "file", "verify"],
        &["--store", "nothing", "images"],
    ];
    let transcripts = cases.map(|arguments| {
        let output = run(folder.path(), arguments);
        format!(
            "=== vault-bake {}\n{}",
            arguments.join(" "),
            format_run(folder.path(), &output)
        )
    });
    // The system's error for /sys depends on how it is mounted.
    let filters = vec![(r"(cannot use /sys as the cache: ).+", "${1}WHY")];
    insta::with_settings!({filters => filters}, {
        insta::assert_snapshot!(transcripts.join("\n"));
    });
}

#[tokio::test]
async fn a_version_that_is_taken_is_refused_before_lint_lock_and_bake() {
    let folder = tempfile::tempdir().unwrap();
    recorded(folder.path()).await;
    let image = folder.path().join("images/quickstart");
    fs::create_dir_all(&image).unwrap();
    let base = format!(
        "kind = \"cloud-image\"\nurl = \"https://example.invalid/base.qcow2\"\nsha512 = \"{}\"\n",
        "0".repeat(128)
    );
    let text = format!(
        "schema = 1\ndescription = \"an image\"\n[base.qemu]\n{base}\n[[step]]\nfile = \"open.json\"\ndestination = \"/etc/consul.d/open.json\"\n\n[[step]]\nprovisioner = \"seal\"\n"
    );
    // The linter has a finding too, but the version is checked first.
    fs::write(image.join("open.json"), r#"{"ports": {"http": 8500}}"#).unwrap();
    fs::write(image.join("image.toml"), text).unwrap();
    let definition =
        Definition::load(&image, &BTreeMap::new(), &vault_bake::platform::all(None)).unwrap();
    let lock = format!(
        "schema = 1\nwanted = \"{}\"\n[qemu]\n{base}",
        requested_releases(&definition, &vault_bake::platform::all(None))
    );
    fs::write(image.join("image.lock"), lock).unwrap();
    let cases: [&[&str]; 5] = [
        &["build", "quickstart", "--version", "1.0.1"],
        &["build", "quickstart", "--version", "1.0.1", "--dry-run"],
        &["build", "quickstart", "--version", "one"],
        &["build", "quickstart", "--version", "1.0.1", "--json"],
        &[
            "build",
            "quickstart",
            "--version",
            "1.0.3",
            "--store",
            "nothing",
        ],
    ];
    let transcripts = cases.map(|arguments| {
        let output = run(folder.path(), arguments);
        format!(
            "=== vault-bake {}\n{}",
            arguments.join(" "),
            format_run(folder.path(), &output)
        )
    });
    assert!(
        !folder.path().join(".cache/vault-bake/runs").exists(),
        "no run began"
    );
    let filters = vec![
        (r#""elapsed_ms":\d+"#, r#""elapsed_ms":MS"#),
        (r#""time":"[^"]+""#, r#""time":"TIME""#),
    ];
    insta::with_settings!({filters => filters}, {
        insta::assert_snapshot!(transcripts.join("\n"));
    });
}

#[test]
fn a_lock_and_a_flag_are_refused_as_a_plan_refuses_them() {
    let folder = project();
    fs::write(folder.path().join("key.asc"), "no key").unwrap();
    let fingerprint = |text| {
        [
            "lock",
            "web",
            "--release-key-file",
            "key.asc",
            "--release-fingerprint",
            text,
        ]
    };
    let cases: [&[&str]; 5] = [
        &["lock", "web", "--builder", "azure"],
        &["plan", "web", "--builder", "azure"],
        &fingerprint("34365D9472D7468F"),
        &fingerprint("nonsense"),
        &["lock", "web", "--release-key-file", "nothing.asc"],
    ];
    let transcripts = cases.map(|arguments| {
        let output = run(folder.path(), arguments);
        format!(
            "=== vault-bake {}\n{}",
            arguments.join(" "),
            format_run(folder.path(), &output)
        )
    });
    insta::assert_snapshot!(transcripts.join("\n"));
}
