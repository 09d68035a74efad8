//! Creates clients and builders for Azure from the project file and the environment.
//! Secrets come from the environment only.

use std::time::Duration;

use jiff::SignedDuration;
use vault_bake::azure::{ArmClient, ArmOptions, Auth, AzureTransport, CredentialSource};
use vault_bake::builder::azure::{Azure, Job};
use vault_bake::definition::{AzureMachine, AzureOutput};
use vault_bake::manifest::Manifest;
use vault_bake::project_file::Subscription;

use crate::exit::Failure;
use crate::invocation::{Invocation, clock};
use crate::store_location;

/// The environment variable with the subscription, used if the project file has none.
const SUBSCRIPTION: &str = "AZURE_SUBSCRIPTION_ID";

/// Time limit of one request.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(60);

/// Age at which `sweep` may delete resources of a build.
const LIFETIME: SignedDuration = SignedDuration::from_hours(12);

/// Returns a client for the subscription, or `None` if no subscription is configured.
pub fn client_if_configured(
    invocation: &Invocation,
    run: &str,
) -> Result<Option<ArmClient>, Failure> {
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
pub fn client(invocation: &Invocation, run: &str) -> Result<ArmClient, Failure> {
    client_if_configured(invocation, run)?.ok_or_else(|| {
        Failure::usage("no Azure subscription is configured").hint(format!(
            "Set {SUBSCRIPTION}, or `subscription` in `[azure]` of vault-bake.toml."
        ))
    })
}

/// Returns a builder for one version of an image.
pub fn builder(
    invocation: &Invocation,
    image: &str,
    version: &str,
    machine: &AzureMachine,
    output: &AzureOutput,
) -> Result<Azure, Failure> {
    let expires = (clock() + LIFETIME).strftime("%Y-%m-%dT%H:%M:%SZ");
    let job = Job {
        machine: machine.clone(),
        output: output.clone(),
        image: image.to_owned(),
        version: version.to_owned(),
        user: "root".to_owned(),
        expires: expires.to_string(),
    };
    Ok(Azure::new(client(invocation, image)?, job))
}

/// Returns a builder that boots the image of a manifest and captures nothing.
pub fn tester(
    invocation: &Invocation,
    manifest: &Manifest,
    machine: &AzureMachine,
) -> Result<Azure, Failure> {
    let no_output = AzureOutput {
        resource_group: String::new(),
        managed_image: false,
        zone_resilient: false,
        gallery: None,
    };
    let version = manifest.version.to_string();
    builder(invocation, &manifest.image, &version, machine, &no_output)
}
