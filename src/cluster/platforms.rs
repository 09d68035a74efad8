//! Finds or opens what runs the nodes of a cluster.

use super::state::{PlatformKind, State, StateFolder};
use super::{ClusterError, Context};
use crate::nodes::Platform;
use crate::nodes::containers::Containers;
use crate::nodes::machines::Machines;

/// Opens the platform of a cluster, and makes its network if it does not exist.
pub(super) async fn open_platform(
    folder: &StateFolder,
    state: &State,
    context: &Context<'_>,
) -> Result<Platform, ClusterError> {
    let (site, events, interrupt) = (state.site(folder), context.events, context.interrupt);
    Ok(match state.platform {
        PlatformKind::Containers => {
            Platform::Containers(Containers::open(&site, events, interrupt).await?)
        }
        PlatformKind::Machines => {
            Platform::Machines(Machines::open(&site, events, interrupt).await?)
        }
    })
}

/// Returns the platform of a cluster. Returns `None` if no process of the cluster runs.
pub async fn platform_of(
    folder: &StateFolder,
    state: &State,
    context: &Context<'_>,
) -> Result<Option<Platform>, ClusterError> {
    let (site, events, interrupt) = (state.site(folder), context.events, context.interrupt);
    Ok(match state.platform {
        PlatformKind::Containers => {
            let found = Containers::find(&site, events, interrupt).await?;
            found.map(Platform::Containers)
        }
        PlatformKind::Machines => {
            let found = Machines::find(&site, events, interrupt).await?;
            found.map(Platform::Machines)
        }
    })
}
