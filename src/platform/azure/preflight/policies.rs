//! Checks the subscription's policies before anything is created.
//!
//! Takes a job and a base; returns the first denial.
//! Policies read any field, so bodies are complete.
//! If the check itself fails, it emits a note, and the policies decide on the real requests.

use futures::future::try_join_all;
use serde_json::{Value, json};

use super::super::names::{self, Names};
use super::super::{AzureError, Job, body};
use super::refused;
use crate::azure::{ArmClient, ArmError};
use crate::event::Events;
use crate::platform::azure::definition::Address;
use crate::platform::azure::locked_image::LockedImage;
use crate::ssh::Keys;

/// A placeholder for the id of the run.
const RUN: &str = "00000000-0000-7000-8000-000000000000";

pub(super) async fn check(
    arm: &ArmClient,
    job: &Job,
    base: &LockedImage,
    events: &Events,
) -> Result<(), AzureError> {
    let contents = planned_resources(arm, job, base).into_iter();
    let checks = contents.map(
        async |(kind, content)| match denying_policy(arm, kind, content).await {
            Ok(None) => Ok(None),
            Ok(Some(policy)) => Err(refused(
                kind,
                format!("policy {policy} of the subscription denies it"),
                "Change the definition (often `tags`, `location` or `vm_size`), or request an exemption.",
            )),
            Err(error @ ArmError::Interrupted(_)) => Err(error.into()),
            Err(error) => Ok(Some(error)),
        },
    );
    let failures = try_join_all(checks).await?;
    if let Some(error) = failures.into_iter().flatten().next() {
        events.note(format!("cannot check the policies: {error}"));
    }
    Ok(())
}

/// Returns the name of a policy that denies a resource.
async fn denying_policy(
    arm: &ArmClient,
    kind: &str,
    mut content: Value,
) -> Result<Option<String>, ArmError> {
    content["type"] = kind.into();
    let question = json!({ "resourceDetails": { "resourceContent": content } });
    let path = format!(
        "/subscriptions/{}/providers/Microsoft.PolicyInsights",
        arm.subscription()
    );
    let action = "checkPolicyRestrictions";
    let answer = arm
        .post(path, action, body::POLICIES, &[], Some(&question))
        .await?;
    let evaluations = &answer.body()["contentEvaluationResult"]["policyEvaluations"];
    let mut denying = evaluations.as_array().into_iter().flatten().filter(|one| {
        let effect = one["effectDetails"]["policyEffect"].as_str();
        one["evaluationResult"] == "NonCompliant"
            && effect.is_none_or(|effect| effect.eq_ignore_ascii_case("deny"))
    });
    Ok(denying.next().map(|one| {
        let id = one["policyInfo"]["policyAssignmentId"].as_str();
        let name = id.and_then(|id| id.rsplit('/').next());
        name.unwrap_or("(unnamed)").to_owned()
    }))
}

/// Returns the type and the body of every resource that the build creates.
fn planned_resources(arm: &ArmClient, job: &Job, base: &LockedImage) -> Vec<(&'static str, Value)> {
    let machine = &job.machine;
    let names = Names::new(arm.subscription(), machine, RUN, "build");
    let tags = names::tags(&machine.tags, RUN, Some(&job.expires));
    let kept = names::image_tags(&machine.tags, RUN, None, base.plan.as_ref());
    let public = machine.address == Address::Public;
    let subnet = names.subnet();
    let connection = body::Connection {
        subnet: &subnet,
        public_address: public.then_some(&names.address),
        firewall: public,
    };
    let keys = Keys::generate();
    let mut all = vec![
        (
            "Microsoft.Network/networkInterfaces",
            body::interface(machine, &names, &tags, connection),
        ),
        (
            "Microsoft.Compute/virtualMachines",
            body::machine(machine, &names, &tags, base, &keys),
        ),
    ];
    if names.own_group {
        all.push((
            "Microsoft.Resources/subscriptions/resourceGroups",
            body::group(machine, &tags),
        ));
    }
    if machine.subnet.is_none() {
        all.push((
            "Microsoft.Network/virtualNetworks",
            body::network(machine, &tags),
        ));
    }
    if public {
        all.push((
            "Microsoft.Network/networkSecurityGroups",
            body::firewall(machine, &tags),
        ));
        all.push((
            "Microsoft.Network/publicIPAddresses",
            body::address(machine, &tags),
        ));
    }
    if job.output.managed_image {
        let zones = job.output.zone_resilient;
        let source = &names.machine;
        let image = body::managed_image(&machine.location, &kept, source, base.generation, zones);
        all.push(("Microsoft.Compute/images", image));
    }
    if let Some(gallery) = &job.output.gallery {
        let source = body::VersionSource::Machine(&names.machine);
        all.push((
            "Microsoft.Compute/galleries/images/versions",
            body::version(&machine.location, &kept, gallery, &source),
        ));
    }
    all
}
