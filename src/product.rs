//! Clients for the HTTP APIs of Consul and Vault, by mutual TLS and tokens.
//! Takes an [`Endpoint`] and a [`TlsMaterial`]; returns typed answers, without unknown fields.
//! A request is sent once: callers repeat it with [`crate::wait::Wait`].

mod client;
pub mod consul;
mod error;
pub mod vault;

use std::net::SocketAddr;

use crate::identity::Leaf;
use crate::network::Network;

pub use error::ApiError;

/// A server: its address, the name in its certificate, and the network that reaches it.
#[derive(Clone)]
pub struct Endpoint {
    /// The address and port.
    pub address: SocketAddr,
    /// The name that the server's certificate must have, such as `server.dc1.consul`.
    pub server_name: String,
    /// The network that the client connects from.
    pub network: Network,
}

/// The authority that a client trusts, and its own certificate.
#[derive(Clone)]
pub struct TlsMaterial {
    /// The certificates of the authority, PEM. No other authority is trusted.
    pub ca_pem: String,
    /// The certificate and key of the client, if it has one.
    pub client: Option<Leaf>,
}

/// The effect of an idempotent request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// The object was created.
    Created,
    /// The object existed and was changed.
    Updated,
    /// The object existed as requested.
    Unchanged,
}
