//! Removes a cluster, also one whose state is lost.

use std::net::Ipv4Addr;

use super::state::{Phase, PlatformKind, StateError, StateFolder};
use super::{ClusterError, Context, serve};
use crate::nodes::{self, Site, containers, machines};
use crate::teardown::Leftover;

/// Removes a cluster: its nodes, network, disks and secrets. Returns the leftovers.
///
/// If its state is lost or damaged, `force` is needed: what it has cannot be listed any more.
pub async fn down(
    folder: &StateFolder,
    force: bool,
    context: &Context<'_>,
) -> Result<Vec<Leftover>, ClusterError> {
    let lock = folder.lock_existing()?;
    let leftovers = match folder.read() {
        Ok(Some(mut state)) => {
            state.phase = Phase::Removing;
            folder.write(&state)?;
            let site = state.site(folder);
            let mut leftovers = serve::end(&site, context).await;
            leftovers.extend(match state.platform {
                PlatformKind::Containers => containers::end(&site, context.events).await,
                PlatformKind::Machines => machines::end(&site, context.events).await,
            });
            leftovers
        }
        // A former removal was killed right before its end.
        Ok(None) if !folder.has_content() => Vec::new(),
        Ok(None) | Err(StateError::Malformed { .. }) if force => {
            end_unknown(folder, context).await?
        }
        Ok(None) => {
            let (name, path) = (folder.name().to_owned(), folder.file());
            return Err(StateError::Lost { name, path }.into());
        }
        Err(error) => return Err(error.into()),
    };
    if leftovers.is_empty() {
        folder.delete(lock)?;
    }
    Ok(leftovers)
}

/// Ends what runs of a cluster without a state.
async fn end_unknown(
    folder: &StateFolder,
    context: &Context<'_>,
) -> Result<Vec<Leftover>, ClusterError> {
    let Some(site) = site_without_state(folder) else {
        if nodes::has_nodes(folder.path()) {
            let (name, path) = (folder.name().to_owned(), folder.path().to_owned());
            return Err(StateError::NoId { name, path }.into());
        }
        return Ok(Vec::new());
    };
    let mut leftovers = serve::end(&site, context).await;
    leftovers.extend(containers::end(&site, context.events).await);
    leftovers.extend(machines::end(&site, context.events).await);
    Ok(leftovers)
}

/// Returns the folder and the id of a cluster whose state is lost. Its network is unknown.
pub(super) fn site_without_state(folder: &StateFolder) -> Option<Site> {
    Some(Site {
        folder: folder.path().to_owned(),
        id: folder.id()?,
        gateway: Ipv4Addr::UNSPECIFIED,
        prefix: 32,
    })
}
