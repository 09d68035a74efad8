//! What the subscription's policies would say of everything that a bake makes, before any of it is made.
//!
//! In: a job, a base. Out: the first refusal. Whole bodies are asked about, because a policy may look at any field. Where nobody
//! may ask, or no answer comes, that is noted, and the policies speak when they are asked for real.

use futures::future::try_join_all;
use serde_json::{Value, json};

use super::super::names::{self, Names};
use super::super::{AzureError, Job, body};
use super::refused;
use crate::azure::{ArmClient, ArmError};
use crate::definition::Address;
use crate::event::Events;
use crate::lock::LockedImage;
use crate::ssh::Keys;

/// In the place of the run's id, which no policy knows.
const RUN: &str = "00000000-0000-7000-8000-000000000000";

pub(super) async fn check(
    arm: &ArmClient,
    job: &Job,
    base: &LockedImage,
    events: &Events,
) -> Result<(), AzureError> {
    let asked = contents(arm, job, base).into_iter();
    let asked = asked.map(async |(kind, content)| match ask(arm, kind, content).await {
        Ok(None) => Ok(None),
        Ok(Some(policy)) => Err(refused(
            kind,
            format!(
                "policy {policy} of the subscription would refuse it: change the definition (often `tags`, `location` or `vm_size`), or ask \
                 for an exemption"
            ),
        )),
        Err(error @ ArmError::Interrupted(_)) => Err(error.into()),
        Err(error) => Ok(Some(error)),
    });
    let unanswered = try_join_all(asked).await?;
    if let Some(error) = unanswered.into_iter().flatten().next() {
        events.note(format!("what policies say was not found out: {error}"));
    }
    Ok(())
}

/// The policy that would refuse a resource.
async fn ask(arm: &ArmClient, kind: &str, mut content: Value) -> Result<Option<String>, ArmError> {
    content["type"] = kind.into();
    let question = json!({ "resourceDetails": { "resourceContent": content } });
    let path = format!(
        "/subscriptions/{}/providers/Microsoft.PolicyInsights",
        arm.subscription()
    );
    let action = "checkPolicyRestrictions";
    let asked = arm.post(path, action, body::POLICIES, &[], Some(&question));
    let answer = asked.await?;
    let found = &answer.body()["contentEvaluationResult"]["policyEvaluations"];
    let mut denying = found.as_array().into_iter().flatten().filter(|one| {
        let effect = one["effectDetails"]["policyEffect"].as_str();
        one["evaluationResult"] == "NonCompliant"
            && effect.is_none_or(|effect| effect.eq_ignore_ascii_case("deny"))
    });
    Ok(denying.next().map(|one| {
        let id = one["policyInfo"]["policyAssignmentId"].as_str();
        let name = id.and_then(|id| id.rsplit('/').next());
        name.unwrap_or("without a name").to_owned()
    }))
}

/// All that is made, with its kind.
fn contents(arm: &ArmClient, job: &Job, base: &LockedImage) -> Vec<(&'static str, Value)> {
    let machine = &job.machine;
    let names = Names::new(arm.subscription(), machine, RUN, "build");
    let tags = names::tags(&machine.tags, RUN, Some(&job.expires));
    let kept = names::tags(&machine.tags, RUN, None);
    let public = machine.address == Address::Public;
    let subnet = names.subnet();
    let with = (&subnet, public.then_some(&names.address), public);
    let from = (&base.image, base.plan.as_ref());
    let keys = Keys::generate();
    let mut all = vec![
        (
            "Microsoft.Network/networkInterfaces",
            body::interface(machine, &names, &tags, with),
        ),
        (
            "Microsoft.Compute/virtualMachines",
            body::machine(machine, &names, &tags, from, &keys),
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
        let of = &names.machine;
        let image = body::managed_image(&machine.location, &kept, of, base.generation, zones);
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
