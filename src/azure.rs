//! Azure's doors: who we are, where the cloud is, and one client of its management interface.
//!
//! In: a [`Cloud`], a [`Source`] of tokens, paths and JSON bodies. Out: JSON, or an [`ArmError`] that says which operation on
//! which resource failed, why, and what to do. [`Arm`] tries again what may pass, follows long-running operations, and
//! sends a token to no host but the cloud's own. Deliberately knows nothing of virtual machines or images, and reads no
//! environment: whoever calls passes it in. (`azure_identity` looks there itself for what an app service says of its
//! managed identity.)

mod answer;
mod arm;
mod cloud;
mod credential;
mod error;
mod hint;
mod id;
mod long_running;
mod retry;
mod transport;

pub use arm::{ArmClient, ArmOptions};
pub use cloud::{Cloud, CloudError};
pub use credential::{Auth, CredentialError, CredentialSource, Kind, Named, Tokens};
pub use error::{ArmError, Class, Operation, Refusal};
pub use id::{IdError, ResourceId};
pub use long_running::LongRunningOperation;
pub use transport::{AzureTransport, Clock};

pub(crate) use transport::{cause, first_line, why_no_token};
