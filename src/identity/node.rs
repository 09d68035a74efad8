//! The identity archive of one node of a cluster, made from its certificates, tokens and addresses.

use std::collections::BTreeMap;
use std::net::IpAddr;

use jiff::Timestamp;
use semver::Version;

use super::archive::Members;
use super::{Authority, IdentityError, Leaf, check_labels};
use crate::product::config::to_json_text;
use crate::product::consul::config as consul;
use crate::product::vault;
use crate::secret::Secret;

/// The identity of one node.
pub struct NodeIdentity {
    node: String,
    datacenter: String,
    authority_pem: String,
    consul: Option<(Leaf, Secret)>,
    vault: Option<(Leaf, Secret)>,
    made_at: Timestamp,
}

/// Consul's part of an identity.
#[derive(Clone)]
pub struct ConsulNode {
    /// The version of Consul in the image.
    pub version: Version,
    /// Whether the agent is a server.
    pub server: bool,
    /// The number of servers that found the cluster together; servers that join later have none.
    pub bootstrap_expect: Option<u8>,
    /// The addresses of other agents, or a cloud join.
    pub retry_join: Vec<String>,
    /// The address of the agent; the image chooses the private one.
    pub bind_addr: Option<IpAddr>,
    /// The address that the agent tells others.
    pub advertise_addr: Option<IpAddr>,
    /// The gossip key of the cluster.
    pub gossip_key: Secret,
    /// The token of the agent.
    pub agent_token: Secret,
    /// The management token of a server that founds the cluster.
    pub initial_management: Option<Secret>,
}

/// Vault's part of an identity: the variables of its environment.
#[derive(Clone)]
pub struct VaultNode {
    /// The variables, by name.
    pub env: BTreeMap<String, Secret>,
}

impl VaultNode {
    /// Returns the variables of a node at `address`, with Vault's token for Consul.
    pub fn new(consul_token: &Secret, address: IpAddr) -> Self {
        let host = match address {
            IpAddr::V4(address) => address.to_string(),
            IpAddr::V6(address) => format!("[{address}]"),
        };
        let url = |port| Secret::new(format!("https://{host}:{port}"));
        let env = [
            ("CONSUL_HTTP_TOKEN", consul_token.clone()),
            ("VAULT_API_ADDR", url(vault::API_PORT)),
            ("VAULT_CLUSTER_ADDR", url(vault::CLUSTER_PORT)),
        ];
        let env = env.map(|(name, value)| (name.to_owned(), value));
        Self { env: env.into() }
    }

    /// Adds a variable, such as those of auto-unseal.
    #[must_use]
    pub fn with(mut self, name: impl Into<String>, value: Secret) -> Self {
        self.env.insert(name.into(), value);
        self
    }
}

impl NodeIdentity {
    /// Starts the identity of a node whose certificates `authority` issues.
    pub fn new(
        node: &str,
        datacenter: &str,
        authority: &Authority,
        now: Timestamp,
    ) -> Result<Self, IdentityError> {
        check_labels([node, datacenter])?;
        Ok(Self {
            node: node.to_owned(),
            datacenter: datacenter.to_owned(),
            authority_pem: authority.certificate_pem().to_owned(),
            consul: None,
            vault: None,
            made_at: now,
        })
    }

    /// Adds Consul's part.
    pub fn consul(mut self, leaf: Leaf, settings: &ConsulNode) -> Result<Self, IdentityError> {
        self.check_consul(settings)?;
        let management = settings.initial_management.as_ref();
        let fragment = consul::Node {
            node_name: &self.node,
            datacenter: &self.datacenter,
            server: settings.server,
            bootstrap_expect: settings.bootstrap_expect,
            retry_join: &settings.retry_join,
            bind_addr: settings.bind_addr,
            advertise_addr: settings.advertise_addr,
            encrypt: &settings.gossip_key,
            acl: consul::NodeAcl::new(&settings.version, &settings.agent_token, management),
        };
        let fragment = Secret::new(to_json_text(&fragment));
        self.consul = Some((leaf, fragment));
        Ok(self)
    }

    fn check_consul(&self, settings: &ConsulNode) -> Result<(), IdentityError> {
        if !is_gossip_key(settings.gossip_key.expose()) {
            return Err(self.wrong("encrypt", "another text", "the base64 of 32 bytes"));
        }
        let tokens = [
            Some(&settings.agent_token),
            settings.initial_management.as_ref(),
        ];
        if !tokens
            .into_iter()
            .flatten()
            .all(|token| is_token(token.expose()))
        {
            return Err(self.wrong("acl.tokens", "another text", TOKEN));
        }
        match settings.bootstrap_expect {
            Some(_) if !settings.server => {
                return Err(self.wrong("bootstrap_expect", "set", "a server to have it"));
            }
            Some(count @ (0 | 100..)) => {
                let count = count.to_string();
                return Err(self.wrong("bootstrap_expect", &count, "a number from 1 to 99"));
            }
            _ => {}
        }
        self.check_address("bind_addr", settings.bind_addr)?;
        self.check_address("advertise_addr", settings.advertise_addr)?;
        for address in &settings.retry_join {
            let is_plain = address.bytes().all(|byte| (b' '..=b'~').contains(&byte));
            if !is_plain || address.trim() != address || !(1..=1024).contains(&address.len()) {
                let expected = "an address of 1 to 1024 printable characters";
                return Err(self.wrong("retry_join", "another text", expected));
            }
        }
        Ok(())
    }

    /// Adds Vault's part.
    pub fn vault(mut self, leaf: Leaf, settings: &VaultNode) -> Result<Self, IdentityError> {
        let token = settings.env.get("CONSUL_HTTP_TOKEN");
        if !token.is_some_and(|token| is_token(token.expose())) {
            return Err(self.wrong("CONSUL_HTTP_TOKEN", "missing or another text", TOKEN));
        }
        let mut lines = String::new();
        for (name, value) in &settings.env {
            if !is_variable(name) {
                let found = format!("`{}`", name.escape_debug());
                return Err(self.wrong("a variable", &found, "a name such as VAULT_LOG_LEVEL"));
            }
            if !is_plain_value(value.expose()) {
                return Err(self.wrong(name, "another text", PLAIN_VALUE));
            }
            lines.push_str(name);
            lines.push('=');
            lines.push_str(value.expose());
            lines.push('\n');
        }
        self.vault = Some((leaf, Secret::new(lines)));
        Ok(self)
    }

    /// Returns the archive as [`super::check`] and a node read it. It consists of text.
    pub fn to_tar(&self) -> Secret {
        let mut members = Members::new(&self.node, &self.datacenter);
        members.put_consul_authority(&self.authority_pem);
        if let Some((leaf, fragment)) = &self.consul {
            members.put_consul(&self.authority_pem, leaf, fragment);
        }
        if let Some((leaf, env)) = &self.vault {
            members.put_vault(&self.authority_pem, leaf, env);
        }
        members.to_tar(self.made_at)
    }

    fn check_address(&self, key: &str, address: Option<IpAddr>) -> Result<(), IdentityError> {
        match address {
            Some(address) if !is_reachable(address) => {
                let expected = "an address of this node, neither loopback, wildcard nor multicast";
                Err(self.wrong(key, &address.to_string(), expected))
            }
            _ => Ok(()),
        }
    }

    fn wrong(&self, key: &str, found: &str, expected: &'static str) -> IdentityError {
        IdentityError::Value {
            node: self.node.clone(),
            key: key.to_owned(),
            found: found.to_owned(),
            expected,
        }
    }
}

const TOKEN: &str = "a token of 1 to 512 printable characters";
const PLAIN_VALUE: &str =
    "printable ASCII without quotes, backslashes and backticks, and without blanks around it";

fn is_gossip_key(text: &str) -> bool {
    // Shorter texts and padding decode too.
    text.len() == 44 && openssl::base64::decode_block(text).is_ok_and(|key| key.len() == 32)
}

fn is_token(text: &str) -> bool {
    (1..=512).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_graphic())
        && is_plain_value(text)
}

fn is_variable(name: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_';
    name.starts_with(|first: char| first.is_ascii_uppercase()) && name.bytes().all(allowed)
}

fn is_plain_value(text: &str) -> bool {
    let allowed = |byte: u8| (b' '..=b'~').contains(&byte) && !b"\"'\\`".contains(&byte);
    !text.is_empty() && text.trim() == text && text.bytes().all(allowed)
}

/// Whether other machines can reach a single node at this address.
fn is_reachable(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(address) => {
            let [first, ..] = address.octets();
            first > 0 && first != 127 && first < 224
        }
        IpAddr::V6(address) => match address.segments() {
            [0, 0, 0, 0, 0, 0, ..] => false,
            [first, ..] => first < 0xff00,
        },
    }
}
