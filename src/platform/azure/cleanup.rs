//! Deletes resources of a run on Azure, after checking that they carry the run's tag.

use std::pin::Pin;
use std::time::Duration;

use crate::azure::{ArmClient, ArmError, ErrorClass, ResourceId};
use crate::event::Events;
use crate::teardown::Cloud;
use crate::wait::Interrupt;

use super::names;

/// Deletes resources with its own interrupt: the first interrupt of a run starts the cleanup.
pub struct Cleaner {
    arm: ArmClient,
}

impl Cleaner {
    /// Creates a cleaner that ignores the interrupt of `arm`.
    pub fn new(arm: &ArmClient) -> Self {
        Self {
            arm: arm.with_interrupt(&Interrupt::default()),
        }
    }

    async fn remove_one(
        &self,
        id: &str,
        api: &str,
        run: Option<&str>,
        wait: bool,
    ) -> Result<bool, String> {
        let id: ResourceId = id.parse().map_err(|error| format!("{error}"))?;
        let message = |error: ArmError| error.to_string();
        let Some(found) = self.arm.get(&id, api).await.map_err(message)? else {
            return Ok(false);
        };
        // Azure creates a VM's disk without tags; its name contains the run's id.
        let has_name_of = |run: &str| id.kind().ends_with("/disks") && id.name().ends_with(run);
        if let Some(run) = run
            && !names::has_run_tag(&found, run)
            && !has_name_of(run)
        {
            return Err(format!("it does not carry the tag {}={run}", names::ID_TAG));
        }
        for _ in 0..MAX_ATTEMPTS {
            let ended = self.delete(&id, api, wait).await;
            match ended {
                Ok(()) => return Ok(true),
                // A resource that uses it is being deleted too.
                Err(error) if error.class() == ErrorClass::Conflict && wait => {}
                Err(error) => return Err(message(error)),
            }
        }
        self.delete(&id, api, wait).await.map_err(message)?;
        Ok(true)
    }

    async fn delete(&self, id: &ResourceId, api: &str, wait: bool) -> Result<(), ArmError> {
        let kind = id.kind();
        let query: &[(&str, &str)] = if kind.ends_with("/virtualMachines") {
            &[("forceDeletion", "true")]
        } else if kind.ends_with("/resourceGroups") {
            &[("forceDeletionTypes", "Microsoft.Compute/virtualMachines")]
        } else {
            &[]
        };
        let started = self.arm.delete(id, api, query).await?;
        if wait {
            started.finish_in(DELETE_DEADLINE).await?;
        }
        Ok(())
    }
}

impl Cloud for Cleaner {
    fn remove<'a>(
        &'a self,
        (id, api, run): (&'a str, &'a str, Option<&'a str>),
        wait: bool,
        _events: &'a Events,
    ) -> Pin<Box<dyn Future<Output = Result<bool, String>> + Send + 'a>> {
        Box::pin(self.remove_one(id, api, run, wait))
    }
}

/// The limit of one deletion; a group with a VM takes minutes.
const DELETE_DEADLINE: Duration = Duration::from_secs(1800);
const MAX_ATTEMPTS: usize = 5;
