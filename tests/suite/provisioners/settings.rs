//! The inputs of `vault` for its seal, metrics and plugins, and the bound of its audit log.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};
use vault_bake::definition::Definition;
use vault_bake::plan::lint::lint_steps;
use vault_bake::plan::plan_steps;
use vault_bake::provisioner::Provisioners;

use super::{changed_server, folder, read, rendered, skipped};

/// Returns what these inputs add to Vault's configuration, and the rules that find something.
fn added(inputs: &str) -> (String, Vec<&'static str>) {
    let place = tempfile::tempdir().unwrap();
    let image = changed_server(place.path(), "vault", inputs);
    let definition =
        Definition::load(&image, &BTreeMap::new(), &vault_bake::platform::all(None)).unwrap();
    let provisioners = Provisioners::load(&[folder()], &definition).unwrap();
    let steps = plan_steps(&definition, &provisioners).unwrap();
    let found = lint_steps(&steps, &definition.releases, &definition.allowed).unwrap();
    let mut files = steps.iter().flat_map(|step| &step.files);
    let file = files.find(|file| file.path == "configuration/vault.json");
    let mut file: Value = serde_json::from_slice(&file.unwrap().content).unwrap();
    let shipped: Value = serde_json::from_str(&rendered("configuration/vault.json", &[])).unwrap();
    for key in shipped.as_object().unwrap().keys() {
        file.as_object_mut().unwrap().remove(key);
    }
    let rules = found.iter().map(|finding| finding.rule);
    (format!("{file:#}"), rules.collect())
}

#[test]
fn a_seal_metrics_and_plugins_are_in_the_configuration() {
    assert_eq!(added(""), ("{}".to_owned(), vec!["vault.seal"]));
    let (azure, found) = added(
        "seal = \"azurekeyvault\", seal_vault_name = \"prod-vault\", seal_key_name = \"unseal\", \
         seal_client_id = \"3f2a8c1e-5b7d-4e90-a1c2-d3e4f5061728\", \
         telemetry_prometheus_retention_time = \"24h\", plugin_directory = \"/opt/vault/plugins\"",
    );
    assert_eq!(found, [""; 0]);
    insta::assert_snapshot!(azure, @r#"
    {
      "plugin_directory": "/opt/vault/plugins",
      "seal": {
        "azurekeyvault": {
          "client_id": "3f2a8c1e-5b7d-4e90-a1c2-d3e4f5061728",
          "key_name": "unseal",
          "vault_name": "prod-vault"
        }
      },
      "telemetry": {
        "disable_hostname": true,
        "prometheus_retention_time": "24h"
      }
    }
    "#);
    let (transit, found) = added(
        "seal = \"transit\", seal_address = \"https://vault.example:8200\", seal_key_name = \"unseal\", \
         seal_ca_cert = \"/etc/vault.d/transit-ca.pem\", \
         telemetry_prometheus_retention_time = \"30m\", telemetry_disable_hostname = false",
    );
    assert_eq!(found, [""; 0]);
    insta::assert_snapshot!(transit, @r#"
    {
      "seal": {
        "transit": {
          "address": "https://vault.example:8200",
          "key_name": "unseal",
          "mount_path": "transit/",
          "tls_ca_cert": "/etc/vault.d/transit-ca.pem"
        }
      },
      "telemetry": {
        "disable_hostname": false,
        "prometheus_retention_time": "30m"
      }
    }
    "#);
}

const ROTATION: &str = "templates/audit-log.conf";

/// Runs a program in a test.
#[expect(
    clippy::disallowed_methods,
    reason = "a test starts logrotate and the shell"
)]
fn command(program: &str) -> Command {
    Command::new(program)
}

fn names(folder: &Path) -> BTreeSet<String> {
    let entries = fs::read_dir(folder).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name());
    names
        .map(|name| name.to_string_lossy().into_owned())
        .collect()
}

/// The rendered configuration with the real logrotate: a file of 65 MiB without data, ten times.
#[test]
fn logrotate_bounds_the_audit_log() {
    let place = tempfile::tempdir().unwrap();
    let (logs, state) = (place.path().join("logs"), place.path().join("state"));
    fs::create_dir(&logs).unwrap();
    fs::create_dir(&state).unwrap();
    for folder in [&logs, &state] {
        fs::set_permissions(folder, fs::Permissions::from_mode(0o750)).unwrap();
    }
    let text = rendered(ROTATION, &[])
        .replace("/var/log/vault", &logs.display().to_string())
        .replace(
            "/var/lib/vault-bake-rotate-audit",
            &state.display().to_string(),
        );
    assert!(text.contains("9 files of 64 MiB"), "{text}");
    let configuration = place.path().join("audit-log.conf");
    fs::write(&configuration, text).unwrap();
    fs::set_permissions(&configuration, fs::Permissions::from_mode(0o644)).unwrap();
    let run = || {
        let mut logrotate = command("/usr/sbin/logrotate");
        logrotate.arg("--state").arg(state.join("state"));
        let output = logrotate.arg(&configuration).output().ok()?;
        let words = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{words}");
        Some(())
    };
    let log = logs.join("audit.log");
    let grow = |mib: u64| {
        let file = fs::File::create(&log).unwrap();
        file.set_len(mib << 20).unwrap();
    };
    if run().is_none() {
        skipped("logrotate is not installed");
        return;
    }
    grow(63);
    run().unwrap();
    assert_eq!(names(&logs), BTreeSet::from(["audit.log".to_owned()]));
    assert!(!state.join("rotated").exists());
    for _ in 0..10 {
        grow(65);
        run().unwrap();
        assert!(!log.exists(), "Vault makes its file itself");
        assert!(logs.join("audit.log.1").exists());
        fs::remove_file(state.join("rotated")).expect("the mark of a rotation");
    }
    let kept = (2..=8).map(|number| format!("audit.log.{number}.gz"));
    let kept: BTreeSet<String> = kept.chain(["audit.log.1".to_owned()]).collect();
    assert_eq!(names(&logs), kept);
}

/// A mark that stays makes the next run repeat the reload.
#[test]
fn vault_is_reloaded_after_a_rotation_until_that_succeeds() {
    let place = tempfile::tempdir().unwrap();
    let path = |name: &str| place.path().join(name);
    let script = read("vault/files/reopen-audit").replace(
        "/var/lib/vault-bake-rotate-audit/rotated",
        &path("rotated").display().to_string(),
    );
    fs::write(path("reopen-audit"), script).unwrap();
    let stub = "#!/bin/sh\necho \"$*\" >>\"$CALLS\"\ncase $1 in is-active) exit \"$ACTIVE\" ;; *) exit \"$RELOAD\" ;; esac\n";
    fs::write(path("systemctl"), stub).unwrap();
    fs::set_permissions(path("systemctl"), fs::Permissions::from_mode(0o755)).unwrap();
    let run = |marked: bool, active: &str, reload: &str| {
        if marked {
            fs::write(path("rotated"), "").unwrap();
        }
        fs::write(path("calls"), "").unwrap();
        let mut shell = command("/bin/sh");
        shell.arg(path("reopen-audit"));
        shell.env("PATH", format!("{}:/usr/bin:/bin", place.path().display()));
        shell.env("CALLS", path("calls"));
        let status = shell.env("ACTIVE", active).env("RELOAD", reload).status();
        let calls = fs::read_to_string(path("calls")).unwrap();
        let reloaded = calls.contains("reload vault.service");
        (
            status.unwrap().success(),
            reloaded,
            path("rotated").exists(),
        )
    };
    // Whether it ends with 0, whether Vault was reloaded, whether the mark is still there.
    assert_eq!(run(false, "0", "0"), (true, false, false));
    assert_eq!(run(true, "0", "1"), (false, true, true));
    assert_eq!(run(false, "0", "0"), (true, true, false));
    assert_eq!(run(true, "3", "1"), (true, false, false));
}

#[test]
fn the_audit_log_is_where_vault_may_write_and_logrotate_looks() {
    let root = folder();
    let page = fs::read_to_string(root.with_file_name("docs/hardening.md")).unwrap();
    let commands = page.lines().filter(|line| line.starts_with("vault audit"));
    let commands: Vec<&str> = commands.collect();
    assert_eq!(
        commands,
        ["vault audit enable file file_path=/var/log/vault/audit.log"]
    );
    // What `cluster up` enables.
    let cluster = fs::read_to_string(root.with_file_name("src/cluster/vault.rs")).unwrap();
    assert!(cluster.contains("AUDIT_LOG: &str = \"/var/log/vault/audit.log\";"));
    assert!(rendered(ROTATION, &[]).contains("\n/var/log/vault/*.log {\n"));
    let lines = |unit: &str, key: &str| -> Vec<String> {
        let text = read(format!("vault/files/{unit}"));
        let values = text.lines().filter_map(|line| line.strip_prefix(key));
        values.map(str::to_owned).collect()
    };
    let server = "vault.service";
    assert_eq!(lines(server, "ProtectSystem="), ["strict"]);
    assert_eq!(lines(server, "LogsDirectory="), ["vault"]);
    assert_eq!(lines(server, "ReadWritePaths="), [""; 0]);
    let rotation = "vault-bake-rotate-audit.service";
    let found = json!({
        "user": lines(rotation, "User="),
        "folders": [lines(rotation, "ReadWritePaths="), lines(rotation, "StateDirectory=")],
        "capabilities": lines(rotation, "CapabilityBoundingSet="),
        "network": lines(rotation, "PrivateNetwork="),
        "runs": lines(rotation, "ExecStart="),
        "runs as root": lines(rotation, "ExecStartPost=+"),
    });
    let expected = json!({
        "user": ["vault"],
        "folders": [["/var/log/vault"], ["vault-bake-rotate-audit"]],
        "capabilities": [""],
        "network": ["yes"],
        "runs": ["/usr/sbin/logrotate --state /var/lib/vault-bake-rotate-audit/state /etc/vault-bake/audit-log.conf"],
        "runs as root": ["/usr/lib/vault-bake/reopen-audit"],
    });
    assert_eq!(found, expected);
}
