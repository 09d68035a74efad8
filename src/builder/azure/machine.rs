//! A machine on Azure: its network, its address, itself.
//!
//! In: what to start from, keys. Out: a machine that answers on SSH as soon as it can; whether Azure is done with it is
//! looked at beside that. What does not need each other is asked for at the same time.

use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde_json::Value;
use tokio::task::JoinHandle;
use tokio::try_join;

use super::body;
use super::names::{self, Names};
use super::{Azure, AzureError};
use crate::azure::{ArmClient, ResourceId};
use crate::builder::{Boot, BuilderError, Content, EndedBy, Machine, MachineEnd};
use crate::definition::{Address, AzureMachine, Security};
use crate::event::Events;
use crate::plan::PlannedMachine;
use crate::ssh::Endpoint;
use crate::teardown::{Teardown, Undo};

/// A machine on Azure. It runs on when this is dropped: the journal knows it.
pub struct AzureVm {
    pub(super) names: Names,
    pub(super) run: String,
    arm: ArmClient,
    endpoint: Endpoint,
    making: JoinHandle<()>,
    made: Arc<Mutex<Option<Result<Value, MachineEnd>>>>,
}

/// How long the parts of a network may take to be there.
const NETWORK_DEADLINE: Duration = Duration::from_secs(300);
/// How long Azure may take to say that a machine is there.
const MACHINE_DEADLINE: Duration = Duration::from_secs(1800);

/// Makes all of it, each id in the journal first.
pub(super) async fn start(
    azure: &Azure,
    boot: &Boot<'_>,
    teardown: &mut Teardown,
    events: &Events,
) -> Result<AzureVm, BuilderError> {
    let PlannedMachine::Azure(spec) = boot.machine else {
        return Err(BuilderError::OtherBuilder);
    };
    let Content::Azure(image) = &boot.disk.content else {
        return Err(BuilderError::OtherBuilder);
    };
    let run = teardown.run();
    let arm = &azure.arm;
    let names = Names::new(arm.subscription(), spec, &run, boot.role);
    register(teardown, &names, spec, &run)?;
    let tags = names::tags(&spec.tags, &run, Some(&azure.job.expires));
    if names.own_group {
        group(arm, &names, spec, &tags).await?;
    }
    let address = network(arm, &names, spec, &tags).await?;
    let from = (&image.image, image.plan.as_ref());
    let body = body::machine(spec, &names, &tags, from, boot.keys);
    let started = arm
        .expecting()
        .create(&names.machine, body::COMPUTE, &body)
        .await
        .map_err(AzureError::from)?;
    events.note(format!("machine {} is on its way", names.machine.name()));
    let made = Arc::new(Mutex::new(None));
    let (done, wanted, name) = (
        Arc::clone(&made),
        spec.security,
        names.machine.name().to_owned(),
    );
    let making = tokio::spawn(async move {
        let ended = started.finish_in(MACHINE_DEADLINE).await;
        let ended = ended
            .map_err(AzureError::from)
            .and_then(|machine| secured(machine, &name, wanted));
        *done.lock().unwrap_or_else(PoisonError::into_inner) =
            Some(ended.map_err(|error| end(&error)));
    });
    Ok(AzureVm {
        arm: arm.clone(),
        endpoint: Endpoint {
            address: SocketAddr::new(address, spec.ssh_port),
            user: azure.job.user.clone(),
        },
        run,
        names,
        making,
        made,
    })
}

/// Notes everything that is about to be made.
fn register(
    teardown: &mut Teardown,
    names: &Names,
    spec: &AzureMachine,
    run: &str,
) -> Result<(), BuilderError> {
    let mut parts: Vec<(&ResourceId, &str)> = Vec::new();
    if names.own_group {
        parts.push((&names.group, body::RESOURCES));
    }
    if spec.subnet.is_none() {
        parts.push((&names.network, body::NETWORK));
    }
    if spec.address == Address::Public {
        parts.push((&names.firewall, body::NETWORK));
        parts.push((&names.address, body::NETWORK));
    }
    parts.push((&names.interface, body::NETWORK));
    parts.push((&names.disk, body::DISKS));
    parts.push((&names.machine, body::COMPUTE));
    for (id, api) in parts {
        teardown.register(Undo::Cloud {
            id: id.to_string(),
            api: api.to_owned(),
            run: Some(run.to_owned()),
        })?;
    }
    Ok(())
}

/// A group of the run's own. A `PUT` of one that is there would change it, so it is looked for first: its name is ours alone.
async fn group(
    arm: &ArmClient,
    names: &Names,
    spec: &AzureMachine,
    tags: &Value,
) -> Result<(), AzureError> {
    if let Some(there) = arm.get(&names.group, body::RESOURCES).await?
        && there["tags"] != *tags
    {
        return Err(AzureError::Unexpected {
            what: names.group.to_string(),
            why: "it exists, and is not this run's".to_owned(),
        });
    }
    let started = arm
        .put(&names.group, body::RESOURCES, &body::group(spec, tags))
        .await?;
    started.finish_in(NETWORK_DEADLINE).await?;
    Ok(())
}

/// The network of the machine, and the address that it answers on.
async fn network(
    arm: &ArmClient,
    names: &Names,
    spec: &AzureMachine,
    tags: &Value,
) -> Result<IpAddr, AzureError> {
    // The group, or what an interface refers to, was made a moment ago.
    let arm = &arm.expecting();
    let make = async |wanted: bool, id: &ResourceId, body: Value| -> Result<Value, AzureError> {
        if !wanted {
            return Ok(Value::Null);
        }
        let started = arm.put(id, body::NETWORK, &body).await?;
        Ok(started.finish_in(NETWORK_DEADLINE).await?)
    };
    let public = spec.address == Address::Public;
    let (address, _, _) = try_join!(
        make(public, &names.address, body::address(spec, tags)),
        make(public, &names.firewall, body::firewall(spec, tags)),
        make(
            spec.subnet.is_none(),
            &names.network,
            body::network(spec, tags)
        ),
    )?;
    let own = names.subnet();
    let subnet = match &spec.subnet {
        Some(id) => &id
            .parse::<ResourceId>()
            .map_err(|error| AzureError::Unexpected {
                what: "subnet".to_owned(),
                why: error.to_string(),
            })?,
        None => &own,
    };
    let with = (subnet, public.then_some(&names.address), public);
    let interface = make(
        true,
        &names.interface,
        body::interface(spec, names, tags, with),
    )
    .await?;
    let (of, at) = match public {
        true => (&names.address, &address["properties"]["ipAddress"]),
        false => (
            &names.interface,
            &interface["properties"]["ipConfigurations"][0]["properties"]["privateIPAddress"],
        ),
    };
    let parsed = at.as_str().and_then(|text| text.parse().ok());
    parsed.ok_or_else(|| AzureError::Unexpected {
        what: of.to_string(),
        why: format!("it has no address: {at}"),
    })
}

/// A managed image can only be made of a standard machine, so one that became another is refused before any work is done.
fn secured(machine: Value, name: &str, wanted: Security) -> Result<Value, AzureError> {
    let found = machine["properties"]["securityProfile"]["securityType"].as_str();
    let found = found.unwrap_or("Standard");
    let (word, right) = match wanted {
        Security::Standard => ("standard", "Standard"),
        Security::TrustedLaunch => ("trusted-launch", "TrustedLaunch"),
    };
    match found.eq_ignore_ascii_case(right) {
        true => Ok(machine),
        false => Err(AzureError::Security {
            machine: name.to_owned(),
            found: found.to_owned(),
            wanted: word,
        }),
    }
}

/// How a machine ended that Azure could not make. What its guest reports, or fails to, is the image's fault; all else is Azure's.
fn end(error: &AzureError) -> MachineEnd {
    let code = match error {
        AzureError::Arm { error } => error.code(),
        _ => None,
    };
    let by_guest = code.is_some_and(|code| GUEST_CODES.contains(&code));
    MachineEnd {
        by: match by_guest {
            true => EndedBy::GuestNotReady,
            false => EndedBy::Cloud,
        },
        words: error.to_string(),
    }
}

/// Codes that say how the system in the machine came up, not how Azure did its part.
const GUEST_CODES: [&str; 2] = ["OSProvisioningTimedOut", "OSProvisioningClientError"];

impl AzureVm {
    /// Waits until Azure says that the machine is there.
    pub(super) async fn made(&mut self) -> Result<(), AzureError> {
        // A task of ours that panics is a defect of ours; its answer is then missing, and said so.
        let _ = (&mut self.making).await;
        let made = self
            .made
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        let why = match made {
            Some(Ok(_)) => return Ok(()),
            Some(Err(end)) => end.words,
            None => "nobody knows how its making ended".to_owned(),
        };
        Err(AzureError::Unexpected {
            what: self.names.machine.name().to_owned(),
            why,
        })
    }
}

impl Drop for AzureVm {
    fn drop(&mut self) {
        self.making.abort();
    }
}

impl Machine for AzureVm {
    fn endpoint(&self) -> Endpoint {
        self.endpoint.clone()
    }

    fn died(&mut self) -> Option<MachineEnd> {
        let made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        match made.as_ref()? {
            Ok(_) => None,
            Err(end) => Some(end.clone()),
        }
    }

    fn detach(self) {}

    async fn console(&self) -> Vec<String> {
        super::capture::console(&self.arm, &self.names.machine).await
    }
}
