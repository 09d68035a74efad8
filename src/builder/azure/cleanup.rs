//! Removes what a run made on Azure: only what carries its tag, looked at right before.

use std::pin::Pin;
use std::time::Duration;

use crate::azure::{ArmClient, ArmError, Class, ResourceId};
use crate::event::Events;
use crate::teardown::Cloud;
use crate::wait::Interrupt;

use super::names;

/// Removes through a door of its own interrupt: the first interrupt of a run starts its cleaning up.
pub struct Cleaner {
    arm: ArmClient,
}

impl Cleaner {
    /// Removes through `arm`, whatever interrupts that.
    pub fn new(arm: &ArmClient) -> Self {
        Self {
            arm: arm.until(&Interrupt::default()),
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
        let words = |error: ArmError| error.to_string();
        let Some(found) = self.arm.get(&id, api).await.map_err(words)? else {
            return Ok(false);
        };
        // Azure makes a machine's disk itself, and puts no tag on it; its name is one that only we give.
        let by_name = |run: &str| id.kind().ends_with("/disks") && id.name().ends_with(run);
        if let Some(run) = run
            && !names::is_of(&found, run)
            && !by_name(run)
        {
            return Err(format!(
                "it does not carry the tag {}={run}: it is somebody else's, and was left alone",
                names::ID_TAG
            ));
        }
        for _ in 0..MOST_TIMES {
            let ended = self.delete(&id, api, wait).await;
            match ended {
                Ok(()) => return Ok(true),
                // What uses it is on its way out as well.
                Err(error) if error.class() == Class::Conflict && wait => {}
                Err(error) => return Err(words(error)),
            }
        }
        self.delete(&id, api, wait).await.map_err(words)?;
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
            started.finish_in(DEADLINE).await?;
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

/// How long a removal may take; a group with a machine in it takes minutes.
const DEADLINE: Duration = Duration::from_secs(1800);
const MOST_TIMES: usize = 5;
