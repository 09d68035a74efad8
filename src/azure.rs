//! Authentication and the client of Azure Resource Manager (ARM).
//!
//! Takes a [`Cloud`], a [`CredentialSource`] and requests; returns JSON or an [`ArmError`].
//! The caller passes the environment; only `azure_identity` reads it, for App Service identities.

mod answer;
mod arm;
mod cloud;
mod credential;
mod error;
mod id;
mod retry;
mod transport;

pub use arm::{ArmClient, ArmOptions, LongRunningOperation};
pub use cloud::{Cloud, CloudError};
pub use credential::{
    Auth, CredentialError, CredentialKind, CredentialOptions, CredentialSource, Tokens,
};
pub use error::{ArmError, ErrorClass, Operation, Refusal};
pub use id::{IdError, ResourceId};
pub use transport::{AzureTransport, Clock};

pub(crate) use transport::{describe_token_error, first_line, root_cause};
