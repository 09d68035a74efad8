//! Starts and ends the load balancer of a cluster on this computer.

use std::fs::{self, Permissions};
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::file::{FrontKind, TierName};
use super::front::{self, FrontConfig, Listener, Server};
use super::state::State;
use super::{Cluster, ClusterError, Context};
use crate::nodes::{Platform, Site};
use crate::process::with_argument;
use crate::product::vault::API_PORT as VAULT_PORT;
use crate::teardown::{Leftover, processes};
use crate::wait::Interrupt;

/// The interval of probes here. Azure's shortest is 5 s; nodes on one computer take milliseconds.
const PROBE_INTERVAL: Duration = Duration::from_secs(2);

/// Fails if another program has the port of the load balancer.
pub(super) fn check_port(cluster: &Cluster<'_>) -> Result<(), ClusterError> {
    let front = cluster.file.front;
    if front.kind == FrontKind::Haproxy && !runs_in(cluster.folder.path()) {
        listen(cluster)?;
    }
    Ok(())
}

/// Opens the socket for clients, on this computer.
fn listen(cluster: &Cluster<'_>) -> Result<TcpListener, ClusterError> {
    let port = cluster.file.front.port;
    let socket = TcpListener::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, port)));
    socket.map_err(|error| ClusterError::Port {
        name: cluster.file.name.clone(),
        port,
        error,
    })
}

/// Starts the load balancer, unless it runs. Returns the URLs for clients.
pub(super) async fn start(
    cluster: &Cluster<'_>,
    state: &State,
    platform: &Platform,
    authority_pem: &str,
    context: &Context<'_>,
) -> Result<Vec<String>, ClusterError> {
    let site = state.site(cluster.folder);
    let folder = site.folder.join("front");
    fs::create_dir_all(&folder).map_err(ClusterError::file(&folder))?;
    let ca_file = ca_file(&site);
    write_authority(&ca_file, authority_pem).map_err(ClusterError::file(&ca_file))?;
    if cluster.file.front.kind != FrontKind::Haproxy {
        let addresses = state.addresses(TierName::Vault).into_iter();
        return Ok(addresses
            .map(|address| format!("https://{address}:{VAULT_PORT}"))
            .collect());
    }
    let port = cluster.file.front.port;
    let url = format!("https://127.0.0.1:{port}");
    let config_path = config_path(&site.folder);
    if runs_in(&site.folder) {
        return Ok(vec![url]);
    }
    // HAProxy runs in the network of the nodes, with a socket of this computer.
    let socket = listen(cluster)?;
    let listener = Listener::inherit(&socket).map_err(|error| ClusterError::Port {
        name: cluster.file.name.clone(),
        port,
        error,
    })?;
    let mut servers = Vec::new();
    for (name, node) in state.serving(TierName::Vault) {
        servers.push(server(name, node.address, platform, context).await?);
    }
    let config = config(&site, listener, servers);
    let text = config.haproxy()?;
    fs::write(&config_path, text).map_err(ClusterError::file(&config_path))?;
    let command = front::start_command(&config_path, &folder.join("haproxy.pid"));
    let starting = platform.run_beside(&command).leaving_daemon();
    starting.run(context.interrupt).await?;
    Ok(vec![url])
}

/// Returns a node as the load balancer reaches it.
pub(crate) async fn server(
    name: &str,
    address: Ipv4Addr,
    platform: &Platform,
    context: &Context<'_>,
) -> Result<Server, ClusterError> {
    let to = SocketAddr::from((address, VAULT_PORT));
    let route = platform.route(to, context.events, context.interrupt);
    Ok(Server {
        name: name.to_owned(),
        address: route.await?,
    })
}

/// Returns the configuration of a cluster's load balancer.
pub(crate) fn config(site: &Site, listener: Listener, servers: Vec<Server>) -> FrontConfig {
    FrontConfig {
        probe_interval: PROBE_INTERVAL,
        ..FrontConfig::new(listener, servers, ca_file(site), stats_socket(site))
    }
}

/// Ends the load balancer. Returns the leftovers.
pub(super) async fn end(site: &Site, context: &Context<'_>) -> Vec<Leftover> {
    let marker = config_path(&site.folder).display().to_string();
    let ended = processes::end(&marker, context.events, &Interrupt::default()).await;
    let leftover = |why| Leftover {
        what: "the load balancer".to_owned(),
        why,
    };
    ended.err().map(leftover).into_iter().collect()
}

/// Returns whether the load balancer runs.
pub(super) fn is_running(site: &Site) -> bool {
    runs_in(&site.folder)
}

fn runs_in(folder: &Path) -> bool {
    !with_argument(&config_path(folder).display().to_string()).is_empty()
}

/// Writes the authority of the nodes' certificates at once, since clients may read the file now.
fn write_authority(path: &Path, authority_pem: &str) -> io::Result<()> {
    if fs::read(path).is_ok_and(|present| present == authority_pem.as_bytes()) {
        return Ok(());
    }
    let folder = path.parent().unwrap_or(Path::new("."));
    let file = tempfile::NamedTempFile::new_in(folder)?;
    fs::write(file.path(), authority_pem)?;
    fs::set_permissions(file.path(), Permissions::from_mode(0o644))?;
    file.persist(path)?;
    Ok(())
}

/// Returns the file with the authority of the nodes' certificates.
pub(crate) fn ca_file(site: &Site) -> PathBuf {
    site.folder.join("ca.pem")
}

pub(crate) fn stats_socket(site: &Site) -> PathBuf {
    site.folder.join("front").join("haproxy.sock")
}

fn config_path(folder: &Path) -> PathBuf {
    folder.join("front").join("haproxy.cfg")
}
