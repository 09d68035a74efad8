//! Builds on simulated Azure with QEMU VMs, and records in Azurite.
//! The captured image is booted and checked.

mod machines;

use std::path::Path;
use std::sync::Arc;

use serde_json::json;

use crate::azurite::server::{azurite, sas};
use crate::project::{TestProject, output_text};
use machines::QemuMachines;
use testing::azure::{Config, Simulator};

/// The packages of the quickstart, and cloud-init, which reads custom data and needs `resize2fs`.
const PACKAGES: [&str; 8] = [
    "jq",
    "logrotate",
    "nftables",
    "openssl",
    "python3",
    "systemd-timesyncd",
    "cloud-init",
    "e2fsprogs",
];

/// The shipped definition for the VMs behind the simulator, which start by BIOS.
fn definition(project: &TestProject) -> String {
    let mut text = project.quickstart();
    for (shipped, here) in [
        ("sku = \"13-gen2\"", "sku = \"13\""),
        ("[output.azure]", "ssh_port = 2222\n\n[output.azure]"),
    ] {
        assert!(text.contains(shipped), "it has no {shipped} any more");
        text = text.replace(shipped, here);
    }
    text
}

/// Returns the resources that the test did not make before.
fn left(simulator: &Simulator, given: &[String]) -> Vec<String> {
    let printed = simulator.resources().into_iter().map(|one| one.id);
    printed.filter(|id| !given.contains(id)).collect()
}

fn write(path: &Path, text: &str) {
    let folder = path.parent().expect("a folder");
    std::fs::create_dir_all(folder).expect("a folder");
    std::fs::write(path, text).expect("a file");
}

mod exhaustive {
    use super::*;

    #[tokio::test]
    async fn a_bake_on_azure_ends_with_a_tested_image_and_nothing_else() {
        let Some(mut project) = TestProject::open(&["mformat", "mcopy"]).await else {
            return;
        };
        let Some(azurite) = azurite() else { return };
        let Some(base) = crate::qemu::base_with("azure-base", &PACKAGES).await else {
            return;
        };
        let config = Config {
            machines: Arc::new(QemuMachines::new(&base)),
            ..Config::default()
        };
        let (tenant, client, secret) = (
            config.tenant.clone(),
            config.client_id.clone(),
            config.client_secret.clone(),
        );
        let simulator = Simulator::start(config);
        simulator.put_group("images");
        let decoys = simulator.plant_decoys(
            "vault-bake-quick",
            &[json!({}), json!({ "vault-bake-id": "another" })],
        );
        let given: Vec<String> = simulator
            .resources()
            .into_iter()
            .map(|one| one.id)
            .collect();
        azurite.container("endtoend").await;
        project.store = azurite.url("endtoend");
        project.define("quick", &definition(&project));
        project.configure(&format!(
            "[azure]\nsubscription = \"{}\"\ncredential = \"client-secret\"\n\n\
             [azure.endpoints]\nmanagement = \"{1}\"\nauthority = \"{1}\"\nblob_suffix = \"127.0.0.1\"\n",
            simulator.subscription(),
            simulator.url()
        ));
        let ca = project.root().join("config/ca.pem");
        write(&ca, simulator.ca_pem());
        let (ca, signature) = (ca.display().to_string(), sas("endtoend", "rcwl"));
        let environment: [(&str, &str); 6] = [
            ("VB_VAR_azure_allow_from", "127.0.0.1"),
            ("AZURE_TENANT_ID", &tenant),
            ("AZURE_CLIENT_ID", &client),
            ("AZURE_CLIENT_SECRET", &secret),
            ("SSL_CERT_FILE", &ca),
            ("VAULT_BAKE_STORE_SAS", &signature),
        ];

        let locked = project.run(&["lock", "quick"], &environment).await;
        assert!(locked.status.success(), "{}", output_text(&locked));
        let build = ["build", "quick", "--builder", "azure", "--json"];
        let built = project.run(&build, &environment).await;
        assert_eq!(built.status.code(), Some(0), "{}", output_text(&built));
        assert_eq!(simulator.violations(), Vec::<String>::new());
        assert_eq!(simulator.touched(&decoys), Vec::<String>::new());
        let image = left(&simulator, &given);
        assert!(
            image.len() == 1 && image[0].contains("/images/quick-"),
            "the image alone: {image:?}"
        );
        project.assert_nothing_left().await;

        let commands: [(&[&str], &str); 5] = [
            (&["show", "quick"], "azure-managed-image"),
            (&["images"], "tested"),
            (&["verify"], "1 manifests, 1 tests"),
            (&["test", "quick"], "passed"),
            (&["sweep"], ""),
        ];
        for (arguments, expected) in commands {
            let output = project.run(arguments, &environment).await;
            let text = output_text(&output);
            assert_eq!(output.status.code(), Some(0), "{arguments:?}: {text}");
            assert!(text.contains(expected), "{arguments:?}: {text}");
        }
        assert_eq!(simulator.violations(), Vec::<String>::new());
        assert_eq!(simulator.touched(&decoys), Vec::<String>::new());
        assert_eq!(left(&simulator, &given), image);
    }
}
