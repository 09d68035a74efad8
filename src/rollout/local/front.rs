//! Nodes behind the load balancer during a rollout.

use std::time::Duration;

use super::Local;
use super::failures::{failed, front_error, wait_error};
use crate::cluster::front::{FrontError, Health, Listener, Runtime};
use crate::cluster::serve;
use crate::event::Events;
use crate::rollout::{EffectError, Evidence};
use crate::store::backend::Backend;
use crate::terminal::counted;
use crate::wait::{Interrupt, Poll, Wait, WaitError};

/// Limit for open connections of a drained node to end. Clients that keep a connection without a
/// request are cut, and connect again.
const DRAIN_LIMIT: Duration = Duration::from_secs(3);

/// Limit for HAProxy to end the connections of a node that is removed.
const CUT_LIMIT: Duration = Duration::from_secs(30);

/// Limit for a probe of the load balancer to succeed, with three intervals to spare.
const PROBE_LIMIT: Duration = Duration::from_secs(60);

impl<B: Backend> Local<'_, B> {
    /// Adds nodes to the load balancer. A node gets clients after its first successful probe.
    pub(super) async fn admit(&self, nodes: &[String]) -> Result<Evidence, EffectError> {
        let Some(front) = self.front() else {
            return Ok(Evidence::default());
        };
        let site = self.state().site(self.cluster.folder);
        // Only the options of probes are used, which are the same for every listener.
        let listener = Listener::Address(([127, 0, 0, 1], self.cluster.file.front.port).into());
        let config = serve::config(&site, listener, Vec::new());
        for name in nodes {
            let address = self.node(name)?.address;
            let server = serve::server(name, address, self.running.platform(), self.context);
            let server = server.await.map_err(failed)?;
            front.add(&config, &server).await.map_err(front_error)?;
        }
        for name in nodes {
            self.wait_for_probe(&front, name).await?;
            front.ready(name).await.map_err(front_error)?;
        }
        Ok(Evidence::default())
    }

    async fn wait_for_probe(&self, front: &Runtime, name: &str) -> Result<(), EffectError> {
        let wait = Wait::new(format!("the load balancer's probe of {name}"), PROBE_LIMIT)
            .pausing(Duration::from_millis(200), Duration::from_millis(500));
        let never = Interrupt::default();
        let waiting = wait.until(self.context.events, &never, || async {
            match front.servers().await {
                Ok(servers) => match servers.into_iter().find(|one| one.name == name) {
                    Some(server) if server.health == Health::Up => Poll::Ready(()),
                    Some(server) => Poll::NotYet(server.probe),
                    None => Poll::NotYet("it is not known".to_owned()),
                },
                Err(error) => Poll::Never(error),
            }
        });
        waiting.await.map_err(wait_error)
    }

    pub(super) async fn drain(&self, front: &Runtime, name: &str) -> Result<(), EffectError> {
        let servers = front.servers().await.map_err(front_error)?;
        if !servers.iter().any(|server| server.name == name) {
            return Ok(());
        }
        front.drain(name).await.map_err(front_error)?;
        let wait = Wait::new(format!("the last connections of {name}"), DRAIN_LIMIT)
            .pausing(Duration::from_millis(100), Duration::from_millis(300));
        let never = Interrupt::default();
        let waiting = wait.until(self.context.events, &never, || async {
            match front.servers().await {
                Ok(servers) => {
                    let server = servers.iter().find(|server| server.name == name);
                    match server.map_or(0, |server| server.connections) {
                        0 => Poll::Ready(()),
                        open => Poll::NotYet(format!("{} open", counted(open, "connection"))),
                    }
                }
                Err(error) => Poll::Never(error),
            }
        });
        match waiting.await {
            Ok(()) => Ok(()),
            // Clients keep the others without a request. They are cut while Vault still answers: a
            // standby may take 16 s to stop, and may leave requests without an answer meanwhile.
            Err(WaitError::Deadline { .. }) => front.disconnect(name).await.map_err(front_error),
            Err(error) => Err(wait_error(error)),
        }
    }
}

/// Removes a node. Cuts the connections that clients keep without a request.
pub(super) async fn remove_from_front(
    front: &Runtime,
    name: &str,
    events: &Events,
) -> Result<(), EffectError> {
    let servers = front.servers().await.map_err(front_error)?;
    if !servers.iter().any(|server| server.name == name) {
        return Ok(());
    }
    // HAProxy cannot cut a connection that its client has closed: it ends after 10 s.
    let wait = Wait::new(format!("the last connections of {name}"), CUT_LIMIT);
    let never = Interrupt::default();
    let waiting = wait.until(events, &never, || async {
        match front.remove(name).await {
            Err(error @ FrontError::Connected { .. }) => match front.disconnect(name).await {
                Ok(()) => Poll::NotYet(error.to_string()),
                Err(error) => Poll::Never(error),
            },
            Err(error) => Poll::Never(error),
            Ok(()) => Poll::Ready(()),
        }
    });
    waiting.await.map_err(wait_error)
}
