//! Exit codes: one table from the library's errors to exit code and hint.
//! Hints are those of the errors, and a few that name variables of this program.

use vault_bake::azure::{ArmError, CloudError, CredentialError};
use vault_bake::bake::{BakeError, Failed};
use vault_bake::builder::BuilderError;
use vault_bake::cluster::ClusterError;
use vault_bake::cluster::file::{ClusterFileError, InvalidClusterName};
use vault_bake::cluster::front::FrontError;
use vault_bake::cluster::identities::IdentitiesError;
use vault_bake::cluster::secrets::SecretError;
use vault_bake::cluster::state::StateError;
use vault_bake::definition::platform::BaseErrorKind;
use vault_bake::definition::{DefinitionError, Problems};
use vault_bake::guest_steps::ProvisionError;
use vault_bake::http::FetchError;
use vault_bake::identity::IdentityError;
use vault_bake::lint::LintError;
use vault_bake::lock::LockError;
use vault_bake::manifest::InvalidReference;
use vault_bake::network::NetworkError;
use vault_bake::nodes::PlatformError;
use vault_bake::pin::PinError;
use vault_bake::plan::PlanError;
use vault_bake::platform::qemu::UserIds;
use vault_bake::process::ProcessError;
use vault_bake::product::ApiError;
use vault_bake::project_file::StoreCredentialError;
use vault_bake::provisioner::ProvisionerError;
use vault_bake::release::ReleaseError;
use vault_bake::resolve::ResolveError;
use vault_bake::rollout::targets::TargetsError;
use vault_bake::rollout::{ExecuteError, RolloutError};
use vault_bake::sign::{PolicyChangeError, SignError};
use vault_bake::store::StoreError;
use vault_bake::store::backend::BackendError;
use vault_bake::store::blob::AddressError;
use vault_bake::teardown::JournalError;
use vault_bake::terraform::PlanFileError;
use vault_bake::wait::Interrupted;

pub use crate::failure::{Exit, Failure};
use crate::key_hint::store_hint;

/// The environment variable with a shared access signature of the store.
pub const STORE_SAS: &str = "VAULT_BAKE_STORE_SAS";

/// Converts errors to failures: error => exit code, hint.
macro_rules! failures {
    ($($error:ty => $exit:expr, $hint:expr;)*) => {
        $(impl From<$error> for Failure {
            fn from(error: $error) -> Self {
                let exit: fn(&$error) -> Exit = $exit;
                let hint: fn(&$error) -> Option<String> = $hint;
                Self::new(exit(&error), error.to_string()).maybe_hint(hint(&error))
            }
        })*
    };
}

failures! {
    AddressError => |_| Exit::Usage, address_hint;
    ApiError => |_| Exit::Failed, ApiError::hint;
    ArmError => |_| Exit::Failed, ArmError::hint;
    BackendError => |_| Exit::Failed, BackendError::hint;
    BakeError => bake, bake_hint;
    CloudError => |_| Exit::Usage, |_| None;
    ClusterError => cluster, ClusterError::hint;
    CredentialError => |_| Exit::Usage, CredentialError::hint;
    IdentitiesError => identities, IdentitiesError::hint;
    IdentityError => identity, IdentityError::hint;
    FrontError => |_| Exit::Failed, FrontError::hint;
    Interrupted => |_| Exit::Interrupted, |_| None;
    InvalidClusterName => |_| Exit::Usage, InvalidClusterName::hint;
    InvalidReference => |_| Exit::Usage, |_| None;
    JournalError => |_| Exit::Failed, JournalError::hint;
    LintError => |_| Exit::Usage, LintError::hint;
    StoreCredentialError => |_| Exit::Usage, credential_hint;
    NetworkError => |_| Exit::Failed, NetworkError::hint;
    PolicyChangeError => policy_change, PolicyChangeError::hint;
    PinError => |e| kind(e.is_integrity(), e.is_conflict(), e.is_invalid()), PinError::hint;
    PlanFileError => |_| Exit::Usage, PlanFileError::hint;
    ResolveError => |e| kind(e.is_integrity(), e.is_conflict(), e.is_invalid()), ResolveError::hint;
    RolloutError => rollout, RolloutError::hint;
    SecretError => secret, SecretError::hint;
    SignError => sign, SignError::hint;
    ProcessError => |_| Exit::Failed, ProcessError::hint;
    StateError => |e| cluster_state(e), StateError::hint;
    StoreError => store, store_hint;
}

/// Problems of files: exit code 2, and each problem has its own hint.
impl From<Problems> for Failure {
    fn from(problems: Problems) -> Self {
        Self::problems(problems)
    }
}

impl From<DefinitionError> for Failure {
    fn from(error: DefinitionError) -> Self {
        match error {
            DefinitionError::Invalid(problems) => problems.into(),
            other => Self::usage(other.to_string()).maybe_hint(other.hint()),
        }
    }
}

impl From<ClusterFileError> for Failure {
    fn from(error: ClusterFileError) -> Self {
        match error {
            ClusterFileError::Invalid(problems) => problems.into(),
            other => Self::usage(other.to_string()).maybe_hint(other.hint()),
        }
    }
}

impl From<ProvisionerError> for Failure {
    fn from(error: ProvisionerError) -> Self {
        match error {
            ProvisionerError::Invalid(problems) => problems.into(),
            other => Self::usage(other.to_string()).maybe_hint(other.hint()),
        }
    }
}

impl From<PlanError> for Failure {
    fn from(error: PlanError) -> Self {
        match error {
            PlanError::Invalid(problems) => problems.into(),
            PlanError::Provisioner(error) => error.into(),
            other => Self::usage(other.to_string()).maybe_hint(other.hint()),
        }
    }
}

impl From<LockError> for Failure {
    fn from(error: LockError) -> Self {
        match error {
            LockError::Invalid(problem) => Self::problems([problem]),
            other => Self::new(lock(&other), other.to_string()).maybe_hint(other.hint()),
        }
    }
}

impl From<Failed> for Failure {
    fn from(failed: Failed) -> Self {
        let failure = Self::from(failed.error).with_leftovers(&failed.leftovers);
        match failed.kept {
            Some(kept) => failure.hint(format!(
                "Log in to the build VM, which is still running:\n  {}\nThen run `vault-bake sweep` to delete it.",
                kept.login
            )),
            None => failure,
        }
    }
}

fn kind(integrity: bool, conflict: bool, invalid: bool) -> Exit {
    if integrity {
        Exit::Integrity
    } else if conflict {
        Exit::Conflict
    } else if invalid {
        Exit::Usage
    } else {
        Exit::Failed
    }
}

fn identities(error: &IdentitiesError) -> Exit {
    match error {
        IdentitiesError::Identity(error) => identity(error),
        IdentitiesError::Secret(error) => secret(error),
        _ => Exit::Usage,
    }
}

fn identity(error: &IdentityError) -> Exit {
    match error {
        IdentityError::Refused(_) => Exit::Checks,
        IdentityError::Renewal { .. } => Exit::Conflict,
        error if error.is_interrupt() => Exit::Interrupted,
        error if error.is_invalid() => Exit::Usage,
        _ => Exit::Failed,
    }
}

fn secret(error: &SecretError) -> Exit {
    match error {
        SecretError::Name(_) | SecretError::Exposed { .. } | SecretError::Other { .. } => {
            Exit::Usage
        }
        SecretError::Exists(_) => Exit::Conflict,
        SecretError::Interrupted(_) => Exit::Interrupted,
        _ => Exit::Failed,
    }
}

fn sign(error: &SignError) -> Exit {
    match error {
        SignError::Invalid { .. } => Exit::Integrity,
        SignError::Key { .. } | SignError::Exposed { .. } | SignError::Shape { .. } => Exit::Usage,
        _ => Exit::Failed,
    }
}

fn policy_change(error: &PolicyChangeError) -> Exit {
    match error {
        PolicyChangeError::Several { .. } => Exit::Usage,
        PolicyChangeError::Invalid(error) => sign(error),
        _ => Exit::Conflict,
    }
}

fn store(error: &StoreError) -> Exit {
    kind(error.is_integrity(), error.is_conflict(), false)
}

fn rollout(error: &RolloutError) -> Exit {
    match error {
        RolloutError::Refused { .. }
        | RolloutError::Plan(_)
        | RolloutError::Targets(TargetsError::Mixed { .. })
        | RolloutError::NotOpen { .. }
        | RolloutError::Elsewhere { .. } => Exit::Conflict,
        RolloutError::Execute { error, .. } => execute(error),
        RolloutError::Targets(TargetsError::Two { .. }) => Exit::Usage,
        RolloutError::BadPlan { .. } => Exit::Integrity,
        RolloutError::Cluster(error) => cluster(error),
        RolloutError::Store(error) => store(error),
        RolloutError::Unsafe { .. }
        | RolloutError::Unsteady { .. }
        | RolloutError::Canary(_)
        | RolloutError::Operator(_)
        | RolloutError::Journal(_) => Exit::Failed,
    }
}

fn execute(error: &ExecuteError) -> Exit {
    match error {
        ExecuteError::TakenOver { .. } | ExecuteError::Refused { .. } => Exit::Conflict,
        ExecuteError::LeftNow => Exit::Interrupted,
        ExecuteError::Step { .. } | ExecuteError::NotReady { .. } => Exit::Checks,
        ExecuteError::Inconclusive { .. }
        | ExecuteError::UnsealNeeded { .. }
        | ExecuteError::Journal(_) => Exit::Failed,
    }
}

fn cluster(error: &ClusterError) -> Exit {
    match error {
        ClusterError::Unsupported { .. }
        | ClusterError::Image { .. }
        | ClusterError::PgpKey { .. }
        | ClusterError::Port { .. }
        | ClusterError::NoNode { .. } => Exit::Usage,
        ClusterError::Removing { .. }
        | ClusterError::Remains { .. }
        | ClusterError::Differs { .. } => Exit::Conflict,
        ClusterError::State(error) => cluster_state(error),
        ClusterError::Identities(error) => identities(error),
        ClusterError::Identity(error) => identity(error),
        ClusterError::Secret(error) => secret(error),
        ClusterError::Store(error) => store(error),
        ClusterError::Resolve(e) => kind(e.is_integrity(), e.is_conflict(), e.is_invalid()),
        ClusterError::Pin(e) => kind(e.is_integrity(), e.is_conflict(), e.is_invalid()),
        ClusterError::Interrupted(_)
        | ClusterError::Platform(PlatformError::Interrupted(_))
        | ClusterError::Process(ProcessError::Interrupted(_)) => Exit::Interrupted,
        _ => Exit::Failed,
    }
}

fn cluster_state(error: &StateError) -> Exit {
    match error {
        StateError::Missing { .. } => Exit::Usage,
        StateError::Locked { .. } | StateError::Lost { .. } | StateError::Stale { .. } => {
            Exit::Conflict
        }
        _ => Exit::Failed,
    }
}

fn lock(error: &LockError) -> Exit {
    match error {
        LockError::Release(error) => release(error),
        LockError::Base(error) => match error.kind {
            BaseErrorKind::Failed => Exit::Failed,
            BaseErrorKind::Integrity => Exit::Integrity,
            BaseErrorKind::Interrupted => Exit::Interrupted,
        },
        LockError::Missing { .. } => Exit::Usage,
        _ => Exit::Failed,
    }
}

fn release(error: &ReleaseError) -> Exit {
    match error {
        error if error.is_integrity() => Exit::Integrity,
        ReleaseError::Withdrawn { .. } => Exit::Conflict,
        ReleaseError::Fetch(FetchError::Interrupted(_)) => Exit::Interrupted,
        _ => Exit::Failed,
    }
}

fn bake(error: &BakeError) -> Exit {
    match error {
        BakeError::VersionTaken { .. } => Exit::Conflict,
        BakeError::Release(error) => release(error),
        BakeError::Builder(
            BuilderError::WrongDigest { .. } | BuilderError::IndexChanged { .. },
        ) => Exit::Integrity,
        BakeError::Provision(ProvisionError::Checks { .. }) | BakeError::LeaksFound(_) => {
            Exit::Checks
        }
        BakeError::Provision(_) => Exit::Provisioning,
        BakeError::Store(error) => store(error),
        BakeError::Interrupted(_) => Exit::Interrupted,
        error if error.is_platform() => Exit::Failed,
        BakeError::Died { error, .. } => bake(error),
        _ => Exit::Failed,
    }
}

fn address_hint(error: &AddressError) -> Option<String> {
    matches!(error, AddressError::Credential)
        .then(|| format!("Put the signature into the environment variable {STORE_SAS}."))
}

fn credential_hint(error: &StoreCredentialError) -> Option<String> {
    match error {
        StoreCredentialError::Signature => Some(format!(
            "Put the signature into the environment variable {STORE_SAS}."
        )),
        StoreCredentialError::Source(_) => error.hint().or_else(|| {
            Some("Repair the configured credential, or configure another one.".to_owned())
        }),
    }
}

/// Returns the hint of a build. If mmdebstrap failed, missing user ids are the likely cause.
fn bake_hint(error: &BakeError) -> Option<String> {
    match error {
        BakeError::Builder(BuilderError::Process(ProcessError::Failed { program, .. }))
            if program == "mmdebstrap" =>
        {
            let lacks = UserIds::of_this_user().missing_settings();
            (!lacks.is_empty()).then(|| lacks.join("\n"))
        }
        other => other.hint(),
    }
}
