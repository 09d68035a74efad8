//! The door to Azure: which subscription and cloud, and as whom. Secrets come from the environment alone.

use std::time::Duration;

use jiff::SignedDuration;
use vault_bake::azure::{ArmClient, ArmOptions, Auth, AzureTransport, CredentialSource};
use vault_bake::builder::azure::{Azure, Job};
use vault_bake::definition::{AzureMachine, AzureOutput};
use vault_bake::manifest::Manifest;
use vault_bake::project_file::Subscription;

use crate::exit::{Exit, Failure};
use crate::invocation::{Invocation, clock};
use crate::store_location;

/// The variable that names a subscription where the project's file names none.
const SUBSCRIPTION: &str = "AZURE_SUBSCRIPTION_ID";

/// How long one request may take.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(60);

/// What is left of a bake may be needed so long; later it is swept.
const LIFETIME: SignedDuration = SignedDuration::from_hours(12);

/// The door to the subscription, where one is configured.
pub fn client_if_configured(session: &Invocation, run: &str) -> Result<Option<ArmClient>, Failure> {
    let Subscription { id, who, cloud } = store_location::project(&session.project)?.subscription;
    let environment = store_location::environment();
    let Some(subscription) = id.or_else(|| environment.get(SUBSCRIPTION).cloned()) else {
        return Ok(None);
    };
    let cloud = store_location::with_authority(cloud.cloud()?, &environment)?;
    let source = CredentialSource::choose(&who, &environment);
    let settings = ArmOptions {
        who: Auth {
            source: source.map_err(|error| Failure::usage(error.to_string()))?,
            cloud,
            wire: AzureTransport::real(clock),
        },
        subscription,
        run: run.to_owned(),
        request_timeout: REQUEST_TIMEOUT,
    };
    let arm = ArmClient::new(settings, &session.events, &session.interrupt);
    arm.map(Some)
        .map_err(|error| Failure::new(Exit::Failed, error.to_string()))
}

/// The door to the subscription, which there has to be.
pub fn client(session: &Invocation, run: &str) -> Result<ArmClient, Failure> {
    client_if_configured(session, run)?.ok_or_else(|| {
        Failure::usage("no Azure subscription is configured").hint(format!(
            "set {SUBSCRIPTION}, or `subscription` in `[azure]` of vault-bake.toml"
        ))
    })
}

/// A builder for the image `image` of `version`.
pub fn builder(
    session: &Invocation,
    image: &str,
    version: &str,
    machine: &AzureMachine,
    output: &AzureOutput,
) -> Result<Azure, Failure> {
    let job = Job {
        machine: machine.clone(),
        output: output.clone(),
        image: image.to_owned(),
        version: version.to_owned(),
        user: "root".to_owned(),
        expires: (clock() + LIFETIME)
            .strftime("%Y-%m-%dT%H:%M:%SZ")
            .to_string(),
    };
    Ok(Azure::new(client(session, image)?, job))
}

/// A builder that starts the images of a recorded manifest and makes none.
pub fn tester(
    session: &Invocation,
    manifest: &Manifest,
    machine: &AzureMachine,
) -> Result<Azure, Failure> {
    let nothing = AzureOutput {
        resource_group: String::new(),
        managed_image: false,
        zone_resilient: false,
        gallery: None,
    };
    let version = manifest.version.to_string();
    builder(session, &manifest.image, &version, machine, &nothing)
}
