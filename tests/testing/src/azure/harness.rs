//! The setup of a build on Azure: a simulated subscription with decoys, a builder and a client.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;
use vault_bake::azure::{
    ArmClient, ArmOptions, Auth, AzureTransport, Cloud, CredentialSource, ResourceId,
};
use vault_bake::bake::{Baked, Failed, Tested};
use vault_bake::definition::platform::{PlannedBase, PlannedMachine, PlannedOutput};
use vault_bake::digest::Digest;
use vault_bake::event::{Event, Events};
use vault_bake::platform::azure::{
    Address, Azure, AzureBase, AzureMachine, AzureOutput, Cleaner, DiskController, GalleryOutput,
    ImageReference, Job, LockedImage, Security, VmGeneration,
};
use vault_bake::release::Architecture;
use vault_bake::secret::Secret;
use vault_bake::wait::{Interrupt, TimeScale};

use super::sshd_machines::SshdMachines;
use super::{Config, Decoys, ResourceView, Simulator};
use crate::harness::{FakeBuilderHarness, clock, steps};
use crate::sshd::own_name;

/// The default factor of all pauses and deadlines.
const PACE: f64 = 0.005;
/// The resource group of the images.
pub const IMAGE_GROUP: &str = "images";
/// The expiry of temporary resources, far after every test.
const EXPIRES: &str = "2099-01-01T00:00:00Z";

/// A build in a subscription, and the access to it.
pub struct AzureBakeSetup {
    pub harness: FakeBuilderHarness,
    pub machine: AzureMachine,
    pub output: AzureOutput,
    pub base: LockedImage,
    /// The address of the simulator.
    pub url: String,
    /// The factor of all pauses and deadlines.
    pub time_scale: f64,
    pub request_timeout: Duration,
    client: Arc<reqwest::Client>,
}

/// A build setup with its simulated subscription.
pub struct AzureHarness {
    pub folder: TempDir,
    pub simulator: Simulator,
    pub setup: AzureBakeSetup,
    /// The ids of the resources that existed before, in lower case.
    existing: BTreeSet<String>,
    decoys: Decoys,
}

impl std::ops::Deref for AzureHarness {
    type Target = AzureBakeSetup;

    fn deref(&self) -> &AzureBakeSetup {
        &self.setup
    }
}

impl std::ops::DerefMut for AzureHarness {
    fn deref_mut(&mut self) -> &mut AzureBakeSetup {
        &mut self.setup
    }
}

/// Returns the machine of a minimal definition.
pub fn machine() -> AzureMachine {
    AzureMachine {
        location: "westeurope".to_owned(),
        vm_size: "Standard_D2s_v5".to_owned(),
        zone: None,
        disk_gib: None,
        disk_type: "StandardSSD_LRS".to_owned(),
        security: Security::Standard,
        disk_controller: DiskController::Scsi,
        spot: false,
        resource_group: None,
        subnet: None,
        address: Address::Public,
        allow_from: vec!["127.0.0.1".to_owned()],
        identities: Vec::new(),
        ssh_port: 2222,
        boot_timeout_s: 60,
        tags: [("team".to_owned(), "vault".to_owned())].into(),
    }
}

pub fn base(sku: &str, generation: VmGeneration) -> LockedImage {
    LockedImage {
        image: ImageReference::Marketplace {
            publisher: "Debian".to_owned(),
            offer: "debian-12".to_owned(),
            sku: sku.to_owned(),
            version: "0.20250210.1000".to_owned(),
        },
        generation,
        arch: match sku.contains("arm64") {
            true => Architecture::Aarch64,
            false => Architecture::X86_64,
        },
        security: (sku == "12-gen2").then(|| "TrustedLaunchSupported".to_owned()),
        disk_controllers: Vec::new(),
        plan: None,
    }
}

pub fn gallery() -> GalleryOutput {
    GalleryOutput {
        resource_group: IMAGE_GROUP.to_owned(),
        name: "gallery".to_owned(),
        definition: "quickstart".to_owned(),
        target_regions: vec!["westeurope".to_owned(), "northeurope".to_owned()],
        replicas: 1,
        exclude_from_latest: true,
    }
}

impl AzureBakeSetup {
    /// Returns a setup in `root` for the subscription at `url`, with the CA `ca_pem`.
    pub fn new(root: &Path, url: &str, ca_pem: &str) -> Self {
        let base_image = base("12", VmGeneration::V1);
        let mut harness = FakeBuilderHarness::new(root, steps());
        harness.plan.platform = "azure";
        harness.plan.target.base = PlannedBase {
            wanted: json!(AzureBase::Marketplace {
                publisher: "Debian".to_owned(),
                offer: "debian-12".to_owned(),
                sku: "12".to_owned(),
                version: "latest".to_owned(),
            }),
            locked: json!(base_image),
        };
        harness.version = Some("1.2.3".parse().expect("a version"));
        let certificate = reqwest::Certificate::from_pem(ca_pem.as_bytes());
        let client = reqwest::Client::builder()
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .tls_certs_only([certificate.expect("a certificate")]);
        Self {
            harness,
            machine: machine(),
            output: AzureOutput {
                resource_group: IMAGE_GROUP.to_owned(),
                managed_image: true,
                zone_resilient: false,
                gallery: None,
            },
            base: base_image,
            url: url.to_owned(),
            time_scale: PACE,
            // Long enough for a busy computer.
            request_timeout: Duration::from_secs(10),
            client: Arc::new(client.build().expect("a client")),
        }
    }

    /// Returns an ARM client of the subscription.
    pub fn arm(&self) -> ArmClient {
        let url = &self.url;
        let options = ArmOptions {
            auth: Auth {
                source: CredentialSource::ClientSecret {
                    tenant: Config::default().tenant,
                    client: Config::default().client_id,
                    secret: Secret::new(Config::default().client_secret),
                },
                cloud: Cloud::custom(url, url, "127.0.0.1", None).expect("a cloud"),
                transport: AzureTransport {
                    http_client: Some(self.client.clone()),
                    now: clock,
                    time_scale: TimeScale::scaled(self.time_scale),
                },
            },
            subscription: Config::default().subscription,
            run: "test".to_owned(),
            request_timeout: self.request_timeout,
        };
        ArmClient::new(options, &Events::silent(), &Interrupt::default()).expect("a client")
    }

    fn builder(&self) -> Azure {
        let job = Job {
            machine: self.machine.clone(),
            output: self.output.clone(),
            image: self.harness.plan.image.clone(),
            version: self.harness.version.expect("a version").to_string(),
            user: own_name(),
            expires: EXPIRES.to_owned(),
        };
        Azure::new(self.arm(), job)
    }

    /// Runs a build; `hook` receives every event first.
    pub async fn bake(
        &mut self,
        hook: impl Fn(&Event) + Send + Sync + 'static,
    ) -> Result<Baked, Failed> {
        let target = &mut self.harness.plan.target;
        target.machine = PlannedMachine(json!(self.machine));
        target.test_machine = target.machine.clone();
        target.output = PlannedOutput(json!(self.output));
        target.base.locked = json!(self.base);
        let store = self.harness.store().await;
        self.harness.bake_with(&self.builder(), &store, hook).await
    }

    /// Tests a recorded image.
    pub async fn retest(&self, manifest: Digest) -> Result<Tested, Failed> {
        let store = self.harness.store().await;
        self.harness
            .test_image_with(&self.builder(), &store, manifest)
            .await
    }

    /// Sweeps by the journals of dead runs.
    pub async fn sweep(&self) -> Vec<vault_bake::teardown::SweptRun> {
        let cleaner = Cleaner::new(&self.arm());
        self.harness.sweep_in(Some(&cleaner)).await
    }
}

fn ids(simulator: &Simulator) -> BTreeSet<String> {
    let shown = simulator.resources().into_iter();
    shown.map(|one| one.id.to_ascii_lowercase()).collect()
}

impl AzureHarness {
    /// Returns a subscription with the group of the images and decoys.
    pub fn new(config: Config) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let simulator = Simulator::start(Config {
            machines: Arc::new(SshdMachines::default()),
            ..config
        });
        simulator.put_group(IMAGE_GROUP);
        // The run tag of another run, the expiry tag alone, and a tag of the definition.
        let decoys = simulator.plant_decoys(
            "vault-bake-019aad5f",
            &[
                json!({}),
                json!({ "vault-bake-id": "019aad5f-0a00-7000-8000-00000000000f" }),
                json!({ "vault-bake-expires": "2020-01-01T00:00:00Z" }),
                json!({ "team": "vault" }),
            ],
        );
        let existing = ids(&simulator);
        let setup = AzureBakeSetup::new(folder.path(), &simulator.url(), simulator.ca_pem());
        Self {
            folder,
            existing,
            simulator,
            setup,
            decoys,
        }
    }

    /// Adds a network on loopback, and uses its private addresses for the VMs.
    pub async fn with_subnet(&mut self) {
        let arm = self.arm();
        let group = ResourceId::group(arm.subscription(), IMAGE_GROUP);
        let network = group.resource("Microsoft.Network/virtualNetworks", "ours");
        let prefix = format!("127.210.{}.0/24", std::process::id() % 250);
        let body = json!({ "location": "westeurope", "properties": {
            "addressSpace": { "addressPrefixes": [prefix] },
            "subnets": [{ "name": "bakes", "properties": { "addressPrefix": prefix } }],
        } });
        let started = arm
            .put(&network, "2025-05-01", &body)
            .await
            .expect("a start");
        let made = started.finish(Duration::from_secs(60)).await;
        made.expect("a network");
        self.machine.subnet = Some(network.child("subnets", "bakes").to_string());
        self.machine.address = Address::Private;
        self.machine.allow_from.clear();
    }

    /// Adds a gallery with a definition, and outputs versions to it.
    pub async fn with_gallery(&mut self, generation: &str, features: Value) {
        self.with_paid_gallery(generation, features, Value::Null)
            .await;
    }

    /// Works like [`Self::with_gallery`]; the definition has a purchase plan unless it is null.
    pub async fn with_paid_gallery(&mut self, generation: &str, features: Value, plan: Value) {
        let wanted = gallery();
        let architecture = match self.base.arch {
            Architecture::X86_64 => "x64",
            Architecture::Aarch64 => "Arm64",
        };
        let arm = self.arm();
        let group = ResourceId::group(arm.subscription(), IMAGE_GROUP);
        let gallery = group.resource("Microsoft.Compute/galleries", &wanted.name);
        let definition = gallery.child("images", &wanted.definition);
        let bodies = [
            (
                &gallery,
                json!({ "location": "westeurope", "properties": {} }),
            ),
            (
                &definition,
                json!({ "location": "westeurope", "properties": {
                    "osType": "Linux", "osState": "Generalized", "hyperVGeneration": generation,
                    "architecture": architecture, "features": features,
                    "identifier": { "publisher": "us", "offer": "vault", "sku": "node" },
                } }),
            ),
        ];
        for (id, mut body) in bodies {
            if id == &definition && !plan.is_null() {
                body["properties"]["purchasePlan"] = plan.clone();
            }
            let started = arm.put(id, "2024-03-03", &body).await.expect("a start");
            let made = started.finish(Duration::from_secs(60)).await;
            made.expect("a part of the gallery");
        }
        self.output.gallery = Some(wanted);
        self.mark_existing();
    }

    /// Counts all current resources as existing before the build.
    pub fn mark_existing(&mut self) {
        self.existing = ids(&self.simulator);
    }

    /// Returns the resources that did not exist before.
    pub fn new_resources(&self) -> Vec<ResourceView> {
        let mut shown = self.simulator.resources();
        shown.retain(|one| !self.existing.contains(&one.id.to_ascii_lowercase()));
        shown
    }

    /// Returns the types and names of the resources that did not exist before.
    pub fn new_resource_names(&self) -> Vec<String> {
        let name = |one: ResourceView| {
            let name = one.id.rsplit('/').next().unwrap_or_default().to_owned();
            format!("{} {name}", one.kind)
        };
        self.new_resources().into_iter().map(name).collect()
    }

    /// Panics if a request was invalid, or if a foreign resource was changed.
    pub fn assert_no_violations(&self) {
        assert_eq!(self.simulator.violations(), Vec::<String>::new());
        let touched = self.simulator.touched(&self.decoys);
        assert_eq!(touched, Vec::<String>::new(), "foreign resources changed");
    }
}
