//! Takes a base and keys; creates a VM with its network and returns it before Azure has finished.
//!
//! SSH often answers earlier than Azure, so a background task waits for Azure's result.

use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde::Deserialize as _;
use serde_json::Value;
use tokio::task::JoinHandle;
use tokio::try_join;

use super::body;
use super::names::{self, Names};
use super::{Azure, AzureError, locked_image};
use crate::azure::{ArmClient, ArmError, ResourceId};
use crate::builder::{Boot, BuilderError, Content, EndCause, Machine, MachineEnd};
use crate::event::Events;
use crate::platform::azure::definition::{Address, AzureMachine, Security};
use crate::platform::azure::locked_image::PurchasePlan;
use crate::process::last_lines_of;
use crate::release::Architecture;
use crate::ssh::Endpoint;
use crate::teardown::{Teardown, Undo};

/// A VM on Azure. Dropping this does not delete the VM; the journal does.
pub struct AzureVm {
    pub(super) names: Names,
    pub(super) run: String,
    /// The purchase plan of the image that the VM started from.
    pub(super) plan: Option<PurchasePlan>,
    /// The architecture of that image.
    pub(super) arch: Architecture,
    arm: ArmClient,
    endpoint: Endpoint,
    creation: JoinHandle<()>,
    /// The result of the creation, once Azure reports it.
    created: Arc<Mutex<Option<Result<(), CreationFailure>>>>,
}

/// The failure of a VM's creation.
struct CreationFailure {
    end: MachineEnd,
    hint: Option<String>,
}

/// The limit of creating one part of the network.
const NETWORK_DEADLINE: Duration = Duration::from_secs(300);
/// The limit of creating a VM.
const MACHINE_DEADLINE: Duration = Duration::from_secs(1800);

/// Registers the ids of all parts, and then creates them.
pub(super) async fn start(
    azure: &Azure,
    boot: &Boot<'_>,
    teardown: &mut Teardown,
    events: &Events,
) -> Result<AzureVm, BuilderError> {
    let Content::Cloud(image) = &boot.disk.content else {
        return Err(BuilderError::WrongBuilder);
    };
    let image = locked_image(image)?;
    let spec = AzureMachine::deserialize(&boot.machine.0);
    let spec = &spec.map_err(|_| BuilderError::WrongBuilder)?;
    let run = teardown.run();
    let arm = &azure.arm;
    let names = Names::new(arm.subscription(), spec, &run, boot.role);
    register(teardown, &names, spec, &run)?;
    let tags = names::tags(&spec.tags, &run, Some(&azure.job.expires));
    if names.own_group {
        create_group(arm, &names, spec, &tags).await?;
    }
    let address = create_network(arm, &names, spec, &tags).await?;
    let body = body::machine(spec, &names, &tags, &image, boot.keys);
    let started = arm
        .retrying_not_found()
        .create(&names.machine, body::COMPUTE, &body)
        .await
        .map_err(AzureError::from)?;
    events.note(format!("creating VM {}", names.machine.name()));
    let created = Arc::new(Mutex::new(None));
    let (result, wanted, name) = (
        Arc::clone(&created),
        spec.security,
        names.machine.name().to_owned(),
    );
    let creation = tokio::spawn(async move {
        let ended = started.finish_in(MACHINE_DEADLINE).await;
        let ended = ended
            .map_err(AzureError::from)
            .and_then(|machine| check_security_type(&machine, &name, wanted));
        *result.lock().unwrap_or_else(PoisonError::into_inner) =
            Some(ended.map_err(|error| CreationFailure::new(&error)));
    });
    Ok(AzureVm {
        arm: arm.clone(),
        endpoint: Endpoint {
            address: SocketAddr::new(address, spec.ssh_port),
            user: azure.job.user.clone(),
        },
        run,
        names,
        plan: image.plan,
        arch: image.arch,
        creation,
        created,
    })
}

/// Writes the ids of all parts to the journal.
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

/// Creates the run's resource group. Fails if a group of this name has other tags.
async fn create_group(
    arm: &ArmClient,
    names: &Names,
    spec: &AzureMachine,
    tags: &Value,
) -> Result<(), AzureError> {
    // A `PUT` would change an existing group.
    if let Some(existing) = arm.get(&names.group, body::RESOURCES).await?
        && existing["tags"] != *tags
    {
        let why = "it exists and does not belong to this run";
        return Err(AzureError::unexpected(names.group.as_str(), why));
    }
    let started = arm
        .put(&names.group, body::RESOURCES, &body::group(spec, tags))
        .await?;
    started.finish_in(NETWORK_DEADLINE).await?;
    Ok(())
}

/// Creates the network of the VM, and returns the address for SSH.
async fn create_network(
    arm: &ArmClient,
    names: &Names,
    spec: &AzureMachine,
    tags: &Value,
) -> Result<IpAddr, AzureError> {
    // Azure may not see the group, or the parts of an interface, right after their creation.
    let arm = &arm.retrying_not_found();
    let create = async |needed: bool, id: &ResourceId, body: Value| -> Result<Value, AzureError> {
        if !needed {
            return Ok(Value::Null);
        }
        let started = arm.put(id, body::NETWORK, &body).await?;
        Ok(started.finish_in(NETWORK_DEADLINE).await?)
    };
    let public = spec.address == Address::Public;
    let (address, _, _) = try_join!(
        create(public, &names.address, body::address(spec, tags)),
        create(public, &names.firewall, body::firewall(spec, tags)),
        create(
            spec.subnet.is_none(),
            &names.network,
            body::network(spec, tags)
        ),
    )?;
    let own_subnet = names.subnet();
    let subnet = match &spec.subnet {
        Some(id) => &id
            .parse::<ResourceId>()
            .map_err(|error| AzureError::unexpected("subnet", error.to_string()))?,
        None => &own_subnet,
    };
    let connection = body::Connection {
        subnet,
        public_address: public.then_some(&names.address),
        firewall: public,
    };
    let interface = create(
        true,
        &names.interface,
        body::interface(spec, names, tags, connection),
    )
    .await?;
    let (owner, ip) = if public {
        (&names.address, &address["properties"]["ipAddress"])
    } else {
        (
            &names.interface,
            &interface["properties"]["ipConfigurations"][0]["properties"]["privateIPAddress"],
        )
    };
    let parsed = ip.as_str().and_then(|text| text.parse().ok());
    parsed.ok_or_else(|| {
        let why = format!("expected an IP address, found {ip}");
        AzureError::unexpected(owner.as_str(), why)
    })
}

/// Fails if a VM has another security type than the definition.
///
/// A managed image requires a standard VM, so this is checked before the steps run.
fn check_security_type(machine: &Value, name: &str, wanted: Security) -> Result<(), AzureError> {
    let found = machine["properties"]["securityProfile"]["securityType"].as_str();
    let found = found.unwrap_or("Standard");
    let expected = match wanted {
        Security::Standard => "Standard",
        Security::TrustedLaunch => "TrustedLaunch",
    };
    if found.eq_ignore_ascii_case(expected) {
        return Ok(());
    }
    Err(AzureError::Security {
        machine: name.to_owned(),
        found: found.to_owned(),
        wanted: expected,
    })
}

impl CreationFailure {
    /// Blames the image for failures that the guest reports, and Azure for all others.
    fn new(error: &AzureError) -> Self {
        let code = match error {
            AzureError::Arm { error } => error.code(),
            _ => None,
        };
        let by = if code.is_some_and(|code| GUEST_CODES.contains(&code)) {
            EndCause::GuestNotReady
        } else {
            EndCause::Cloud
        };
        Self {
            end: MachineEnd {
                cause: by,
                details: error.to_string(),
            },
            hint: error.hint(),
        }
    }
}

/// Error codes about the start of the guest system, not about Azure.
const GUEST_CODES: [&str; 2] = ["OSProvisioningTimedOut", "OSProvisioningClientError"];

impl AzureVm {
    /// Waits until Azure reports the VM as created.
    pub(super) async fn wait_until_created(&mut self) -> Result<(), AzureError> {
        // A panic of the task leaves no result, which is an error below.
        let _ = (&mut self.creation).await;
        let created = self
            .created
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        let (why, hint) = match created {
            Some(Ok(())) => return Ok(()),
            Some(Err(failure)) => (failure.end.details, failure.hint),
            None => ("the result of its creation is missing".to_owned(), None),
        };
        Err(AzureError::Unexpected {
            what: self.names.machine.name().to_owned(),
            why,
            hint,
        })
    }
}

impl Drop for AzureVm {
    fn drop(&mut self) {
        self.creation.abort();
    }
}

impl Machine for AzureVm {
    fn endpoint(&self) -> Endpoint {
        self.endpoint.clone()
    }

    fn end(&mut self) -> Option<MachineEnd> {
        let created = self.created.lock().unwrap_or_else(PoisonError::into_inner);
        match created.as_ref()? {
            Ok(()) => None,
            Err(failure) => Some(failure.end.clone()),
        }
    }

    async fn settle(&mut self) -> Option<MachineEnd> {
        if !self.creation.is_finished() {
            // A panic of the task leaves no result.
            let _ = (&mut self.creation).await;
        }
        self.end()
    }

    fn detach(self) {}

    async fn console(&self) -> Vec<String> {
        console(&self.arm, &self.names.machine).await
    }
}

/// Returns the last lines of the VM's serial console, or none if Azure has none.
///
/// Errors are ignored, because the caller reports another failure.
async fn console(arm: &ArmClient, id: &ResourceId) -> Vec<String> {
    let log = async {
        let query = [("sasUriExpirationTimeInMinutes", "10")];
        let started = arm
            .post(
                id,
                "retrieveBootDiagnosticsData",
                body::COMPUTE,
                &query,
                None,
            )
            .await?;
        let found = started.finish_in(Duration::from_secs(60)).await?;
        let url = found["serialConsoleLogBlobUri"]
            .as_str()
            .unwrap_or_default();
        Ok::<_, ArmError>(arm.fetch_text(url).await.unwrap_or_default())
    };
    last_lines_of(&log.await.unwrap_or_default())
}
