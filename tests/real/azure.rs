//! Azure from end to end, with real machines behind the simulator and a real Azurite: baked there, recorded there, started
//! from what was captured, checked.

#[path = "../azure/qemu.rs"]
mod qemu_machines;

pub use crate::simulator;

use std::sync::Arc;

use simulator::{Config, Simulator};

use crate::azurite::{azurite, sas};
use crate::bake::shop::{Shop, said};
use qemu_machines::QemuMachines;

/// What the quickstart needs, and what reads custom data.
const PACKAGES: [&str; 5] = ["nftables", "openssl", "python3", "systemd-timesyncd", "cloud-init"];

const TABLES: &str = r#"
[base.azure]
kind = "marketplace"
publisher = "Debian"
offer = "debian-12"
sku = "12"
version = "latest"

[machine.azure]
location = "westeurope"
allow_from = ["127.0.0.1"]
ssh_port = 2222

[output.azure]
resource_group = "images"
"#;

#[tokio::test]
async fn a_bake_on_azure_ends_with_a_tested_image_and_nothing_else() {
    let Some(mut shop) = Shop::open(&["mformat", "mcopy"]).await else {
        return;
    };
    let Some(azurite) = azurite() else { return };
    let Some(base) = crate::qemu::base_with(&PACKAGES).await else {
        return;
    };
    let simulator = Simulator::start(Config {
        machines: Arc::new(QemuMachines::new(&base)),
        ..Config::default()
    });
    simulator.group("images", "westeurope");
    simulator.decoys();
    azurite.container("endtoend").await;
    shop.store = azurite.url("endtoend");
    let definition = shop.quickstart();
    let (head, steps) = definition.split_at(definition.find("[base.qemu]").expect("a base"));
    let (_, steps) = steps.split_at(steps.find("[releases]").expect("releases"));
    let (releases, steps) = steps.split_at(steps.find("[machine.qemu]").expect("a machine"));
    let (_, steps) = steps.split_at(steps.find("[[step]]").expect("steps"));
    shop.define("quick", &format!("{head}{TABLES}\n{releases}\n{steps}"));
    shop.configure(&simulator.project_file());
    let ca = shop.root().join("ca.pem");
    std::fs::write(&ca, simulator.ca_pem()).expect("a certificate");
    let environment = simulator.environment();
    let mut environment: Vec<(&str, &str)> = environment
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_str()))
        .collect();
    let (ca, signature) = (ca.display().to_string(), sas());
    environment.push(("SSL_CERT_FILE", &ca));
    environment.push(("VAULT_BAKE_STORE_SAS", &signature));

    let locked = shop.run(&["lock", "quick"], &environment).await;
    assert!(locked.status.success(), "{}", said(&locked));
    let built = shop.run(&["build", "quick", "--builder", "azure", "--json"], &environment).await;
    assert_eq!(built.status.code(), Some(0), "{}", said(&built));
    assert_eq!(simulator.violations(), Vec::<String>::new());
    simulator.decoys_untouched().expect("what is not ours");
    let left = simulator.ours();
    assert_eq!(left.len(), 1, "the image alone: {left:?}");
    shop.assert_nothing_left().await;

    for (arguments, expected) in [
        (vec!["show", "quick"], "azure-managed-image"),
        (vec!["images"], "tested"),
        (vec!["verify"], "1 manifests, 1 tests"),
        (vec!["test", "quick"], ""),
        (vec!["sweep"], "nothing to sweep"),
    ] {
        let output = shop.run(&arguments, &environment).await;
        assert_eq!(output.status.code(), Some(0), "{arguments:?}: {}", said(&output));
        assert!(said(&output).contains(expected), "{arguments:?}: {}", said(&output));
    }
    assert_eq!(simulator.violations(), Vec::<String>::new());
    assert_eq!(simulator.ours(), left);
}
