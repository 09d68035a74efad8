//! The errors of both clients.
//! Takes the answer of a server; returns its text on one line, without secrets of the request.

/// A request that failed.
///
/// Texts of servers have no control characters, and no secret of the request.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ApiError {
    /// There is no complete answer. The request may have taken effect.
    #[error("cannot {what}: no answer of {server}: {reason}")]
    Unreachable {
        /// The request, beginning with a verb.
        what: String,
        /// The product and address of the server.
        server: String,
        /// The reason.
        reason: String,
    },
    /// The server refused the request.
    #[error("cannot {what}: {server} answered {status}: {text}")]
    Status {
        /// The request, beginning with a verb.
        what: String,
        /// The product and address of the server.
        server: String,
        /// The HTTP status.
        status: u16,
        /// The end of the server's text.
        text: String,
    },
    /// The answer has another form than expected, or exceeds the size limit.
    #[error("cannot {what}: malformed answer of {server}: {reason}")]
    Malformed {
        /// The request, beginning with a verb.
        what: String,
        /// The product and address of the server.
        server: String,
        /// The reason.
        reason: String,
    },
    /// The client does not accept the server's certificate, or the server not the client's.
    #[error("cannot {what}: TLS with {server} failed: {reason}")]
    Tls {
        /// The request, beginning with a verb.
        what: String,
        /// The product and address of the server.
        server: String,
        /// The reason.
        reason: String,
    },
    /// The node of Vault is a standby, which does not serve this request.
    #[error("cannot {what}: {server} is a standby; the active node is {}", active.as_deref().unwrap_or("unknown"))]
    Standby {
        /// The request, beginning with a verb.
        what: String,
        /// The product and address of the server.
        server: String,
        /// The URL of the active node without a path, if the standby knows it. Send a token only to
        /// a node of the cluster: a server may name any host.
        active: Option<String>,
    },
    /// Consul returned an empty list, as it does for a token without the right to read it.
    #[error("cannot {what}: the token has no right to see anything at {server}")]
    NoRights {
        /// The request, beginning with a verb.
        what: String,
        /// The product and address of the server.
        server: String,
    },
    /// An object exists and differs in a way that cannot be changed, or changed meanwhile.
    #[error("cannot {what}: {reason} ({server})")]
    Conflict {
        /// The request, beginning with a verb.
        what: String,
        /// The product and address of the server.
        server: String,
        /// The difference.
        reason: String,
    },
    /// The request cannot be made from its inputs. Nothing was sent.
    #[error("cannot {what}: {reason} ({server})")]
    Invalid {
        /// The request, beginning with a verb.
        what: String,
        /// The product and address of the server.
        server: String,
        /// The defect of the input.
        reason: String,
    },
}

impl ApiError {
    /// Whether the same request may succeed later without a change by the user.
    ///
    /// Consul and Vault refuse requests while they start, elect a leader or hand over.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Unreachable { .. } | Self::Standby { active: None, .. } => true,
            Self::Status { status, text, .. } => {
                let starting = STARTING.iter().any(|words| text.contains(words));
                let is_final = FINAL.iter().any(|words| text.contains(words));
                starting || (is_server_fault(*status) && !is_final)
            }
            _ => false,
        }
    }

    /// Returns what to do about it, as an imperative, if there is something to do.
    pub fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::Unreachable { .. } => {
                "Check whether the node runs, and whether its firewall admits this machine."
            }
            Self::Status { text, .. } if text.contains(SEALED) => "Unseal the node.",
            Self::Status { status: 403, .. } | Self::NoRights { .. } => {
                "Use a token whose policy allows this request."
            }
            Self::Tls { .. } => {
                "Compare the certificates of both sides: their authority, their names and their end."
            }
            Self::Standby { .. } => "Send the request to the active node.",
            _ => return None,
        };
        Some(hint.to_owned())
    }
}

fn is_server_fault(status: u16) -> bool {
    // 501 is Vault's answer before its initialization.
    matches!(status, 412 | 429 | 500 | 502..=599)
}

/// Vault's words for a sealed node.
const SEALED: &str = "Vault is sealed";

/// The words of refusals that stay, although their status is that of a fault of the server.
const FINAL: [&str; 5] = [
    SEALED,
    "Invalid Policy",
    "Invalid Token",
    "No such ACL policy",
    "is not permitted",
];

/// The words of products that are starting, under statuses that are otherwise final.
const STARTING: [&str; 4] = [
    "ACL not found",
    "ACL system is currently in legacy mode",
    "No cluster leader",
    "Upgrading from non-versioned to versioned data",
];
