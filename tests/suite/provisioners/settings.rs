//! The inputs of `vault` for its seal, metrics and plugins.

use std::collections::BTreeMap;

use serde_json::Value;
use vault_bake::definition::Definition;
use vault_bake::lint::lint_steps;
use vault_bake::plan::plan_steps;
use vault_bake::provisioner::Provisioners;

use super::{changed_server, folder, rendered};

/// Returns what these inputs add to Vault's configuration, and the rules that find something.
fn added(inputs: &str) -> (String, Vec<&'static str>) {
    let place = tempfile::tempdir().unwrap();
    let image = changed_server(place.path(), "vault", inputs);
    let definition = Definition::load(&image, &BTreeMap::new()).unwrap();
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
