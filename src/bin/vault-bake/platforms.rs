//! The platforms in this program: only this file names them all.
//! Creates their clients and builders from the project file and the environment. Secrets come from
//! the environment only.

use std::time::Duration;

use jiff::SignedDuration;
use serde::de::DeserializeOwned;
use serde_json::Value as Json;
use vault_bake::azure::{ArmClient, ArmOptions, Auth, AzureTransport, CredentialSource};
use vault_bake::bake::{self, BakeError, BakeOptions, Baked, Tested, bake};
use vault_bake::boot_test::CheckSet;
use vault_bake::build_record::date;
use vault_bake::builder::{BuilderError, Requirement};
use vault_bake::definition::Definition;
use vault_bake::definition::platform::Platforms;
use vault_bake::digest::Digest;
use vault_bake::guest_steps::Lynis;
use vault_bake::manifest::{ImageVersion, Manifest};
use vault_bake::plan::Plan;
use vault_bake::platform;
pub use vault_bake::platform::azure::Expired;
use vault_bake::platform::azure::{
    Azure, AzureMachine, AzureOutput, Cleaner, Job, LONGEST_IMAGE_NAME, sweep_expired,
};
use vault_bake::platform::qemu::{self, OutputSpec, Qemu, QemuOptions};
use vault_bake::project_file::Subscription;
use vault_bake::run_context::RunContext;
use vault_bake::store::{AnyBackend, Store};

use crate::args::build::{Build, BuilderName};
use crate::commands::doctor;
use crate::exit::{Exit, Failure};
use crate::invocation::{Invocation, clock};
use crate::store_location;

/// The environment variable with the subscription, used if the project file has none.
const SUBSCRIPTION: &str = "AZURE_SUBSCRIPTION_ID";

/// Time limit of one request.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(60);

/// Age at which `sweep` may delete resources of a build.
const LIFETIME: SignedDuration = SignedDuration::from_hours(12);

/// Returns a client for the subscription, or `None` if no subscription is configured.
fn client_if_configured(invocation: &Invocation, run: &str) -> Result<Option<ArmClient>, Failure> {
    let project_file = store_location::project_file(&invocation.project)?;
    let Subscription {
        id,
        credential: who,
        cloud,
    } = project_file.subscription;
    let environment = store_location::environment();
    let Some(subscription) = id.or_else(|| environment.get(SUBSCRIPTION).cloned()) else {
        return Ok(None);
    };
    let cloud = store_location::with_authority(cloud.cloud()?, &environment)?;
    let options = ArmOptions {
        auth: Auth {
            source: CredentialSource::choose(&who, &environment)?,
            cloud,
            transport: AzureTransport::real(clock),
        },
        subscription,
        run: run.to_owned(),
        request_timeout: REQUEST_TIMEOUT,
    };
    let client = ArmClient::new(options, &invocation.events, &invocation.interrupt)?;
    Ok(Some(client))
}

/// Returns a client for the configured subscription.
fn client(invocation: &Invocation, run: &str) -> Result<ArmClient, Failure> {
    client_if_configured(invocation, run)?.ok_or_else(|| {
        Failure::usage("no Azure subscription is configured").hint(format!(
            "Set {SUBSCRIPTION}, or `subscription` in `[azure]` of vault-bake.toml."
        ))
    })
}

/// The clouds in which builds leave something, as far as they are configured.
pub struct Clouds {
    azure: Option<ArmClient>,
}

impl Clouds {
    /// Creates the clients that delete leftovers.
    pub fn to_sweep(invocation: &Invocation) -> Result<Self, Failure> {
        Ok(Self {
            azure: client_if_configured(invocation, "sweep")?,
        })
    }

    /// Returns what deletes the resources of journals.
    pub fn cleaner(&self) -> Option<Cleaner> {
        self.azure.as_ref().map(Cleaner::new)
    }

    /// Deletes the resources of builds that ended long ago.
    pub async fn sweep_expired(
        &self,
        invocation: &Invocation,
        dry_run: bool,
    ) -> Result<Vec<Expired>, Failure> {
        let Some(client) = &self.azure else {
            return Ok(Vec::new());
        };
        let sweeping = sweep_expired(client, clock(), dry_run, &invocation.events).await;
        sweeping
            .map_err(|error| Failure::new(Exit::Failed, error.to_string()).maybe_hint(error.hint()))
    }
}

/// Returns the platforms, to lock the bases of `definition`: all, or the one of `only`.
pub fn to_lock(
    invocation: &Invocation,
    definition: &Definition,
    only: Option<BuilderName>,
) -> Result<Platforms, Failure> {
    let is_wanted = only.is_none_or(|only| only == BuilderName::Azure);
    let needs_azure = is_wanted && definition.parts(BuilderName::Azure.as_str()).is_some();
    let client = if needs_azure {
        client_if_configured(invocation, "lock")?
    } else {
        None
    };
    Ok(platform::all(client))
}

/// Returns the programs that this computer needs to build the plan.
pub fn build_requirements(invocation: &Invocation, plan: &Plan) -> Vec<Requirement> {
    let options = QemuOptions::new(&invocation.cache);
    qemu::build_requirements(&options, &plan.target.base)
}

/// Fails if an image of this version would have too long a name.
pub fn check_version(plan: &Plan, version: ImageVersion) -> Result<(), Failure> {
    if plan.platform != BuilderName::Azure.as_str() {
        return Ok(());
    }
    let output: AzureOutput = own(&plan.target.output.0)?;
    let name = format!("{}-{version}", plan.image);
    if !output.managed_image || name.len() <= LONGEST_IMAGE_NAME {
        return Ok(());
    }
    let message = format!(
        "{name} has {} characters; a managed image's name has at most {LONGEST_IMAGE_NAME}",
        name.len()
    );
    Err(Failure::usage(message).hint("Pass a shorter --version."))
}

/// Builds the plan of `options` on its platform.
pub async fn build(
    invocation: &Invocation,
    args: &Build,
    store: &Store<AnyBackend>,
    mut options: BakeOptions<'_>,
    context: &RunContext<'_>,
) -> Result<Baked, Failure> {
    let plan = options.plan;
    let output = &plan.target.output.0;
    match named(plan.platform, &plan.image)? {
        BuilderName::Azure => {
            // The version is part of the names of images on Azure, so it is chosen first.
            let version = match options.version {
                Some(version) => version,
                None => store.next_version(&plan.image, date(clock())).await?,
            };
            options.version = Some(version);
            let machine = own(&plan.target.machine.0)?;
            let (image, version) = (plan.image.as_str(), version.to_string());
            let builder = azure_builder(invocation, image, &version, machine, own(output)?)?;
            Ok(bake(&builder, store, &options, context).await?)
        }
        BuilderName::Qemu => {
            let mut qemu_options = QemuOptions::new(&invocation.cache);
            qemu_options.layers = args.layer_rules();
            qemu_options.use_snapshots = !args.fresh_boot;
            qemu_options.compression = own::<OutputSpec>(output)?.compression;
            Ok(bake(&Qemu::new(qemu_options), store, &options, context).await?)
        }
    }
}

/// Finds the platform of an image.
fn named(platform: &str, image: &str) -> Result<BuilderName, Failure> {
    let all = [BuilderName::Qemu, BuilderName::Azure];
    let found = all.into_iter().find(|one| one.as_str() == platform);
    found.ok_or_else(|| {
        Failure::usage(format!("{image} is for `{platform}`, which is unknown"))
            .hint("Use the version of vault-bake that built it, or a newer one.")
    })
}

/// Returns a value of a platform in its own type.
fn own<T: DeserializeOwned>(value: &Json) -> Result<T, Failure> {
    let parsed = T::deserialize(value).map_err(|_| BuilderError::WrongBuilder);
    Ok(parsed.map_err(BakeError::from)?)
}

/// Boots the image of a manifest on its platform, and runs its checks.
pub async fn test(
    invocation: &Invocation,
    store: &Store<AnyBackend>,
    (digest, manifest): (Digest, &Manifest),
    checks: &CheckSet,
    lynis: Option<&Lynis>,
    context: &RunContext<'_>,
) -> Result<Tested, Failure> {
    // A file is booted here, also that of another builder.
    let is_file = manifest
        .outputs
        .first()
        .is_some_and(|one| one.file.is_some());
    let platform = match is_file {
        true => BuilderName::Qemu,
        false => named(&manifest.builder.name, &manifest.name())?,
    };
    match platform {
        BuilderName::Azure => {
            let builder = azure_tester(invocation, manifest, own(&checks.machine.0)?)?;
            Ok(bake::test(&builder, store, digest, lynis, context).await?)
        }
        BuilderName::Qemu => {
            let options = QemuOptions::new(&invocation.cache);
            let requirements = qemu::test_requirements(&options, checks.firmware, checks.access);
            doctor::require(&format!("test {}", manifest.name()), &requirements)?;
            Ok(bake::test(&Qemu::new(options), store, digest, lynis, context).await?)
        }
    }
}

/// Returns a builder for one version of an image.
fn azure_builder(
    invocation: &Invocation,
    image: &str,
    version: &str,
    machine: AzureMachine,
    output: AzureOutput,
) -> Result<Azure, Failure> {
    let expires = (clock() + LIFETIME).strftime("%Y-%m-%dT%H:%M:%SZ");
    let job = Job {
        machine,
        output,
        image: image.to_owned(),
        version: version.to_owned(),
        user: "root".to_owned(),
        expires: expires.to_string(),
    };
    Ok(Azure::new(client(invocation, image)?, job))
}

/// Returns a builder that boots the image of a manifest and captures nothing.
fn azure_tester(
    invocation: &Invocation,
    manifest: &Manifest,
    machine: AzureMachine,
) -> Result<Azure, Failure> {
    let no_output = AzureOutput {
        resource_group: String::new(),
        managed_image: false,
        zone_resilient: false,
        gallery: None,
    };
    let version = manifest.version.to_string();
    azure_builder(invocation, &manifest.image, &version, machine, no_output)
}
