//! The codes that are known: what kind of thing each is, and what to do about it.
//!
//! In: a refusal. Out: a class and a hint. Deliberately a table: a code that is not in it is judged by its status.

use super::error::{Class, Refusal};
use super::retry::may_pass;

/// What kind of refusal it is, and what to do about it.
pub(super) fn of(refusal: &Refusal) -> (Class, Option<&'static str>) {
    // One code for everything that is not allowed; only the words tell.
    if refusal.is("OperationNotAllowed") {
        let words = refusal.message.to_ascii_lowercase();
        if words.contains("quota") || words.contains("exceeding approved") {
            return (Class::Quota, Some(QUOTA));
        }
        if words.contains("trustedlaunch") {
            return (
                Class::Fatal,
                Some(
                    "a managed image cannot be made of a trusted launch machine: use the standard security type, or a gallery",
                ),
            );
        }
    }
    let names_security = refusal.message.contains("securityProfile.securityType");
    if names_security && (refusal.is("InvalidParameter") || refusal.is("BadRequest")) {
        return (Class::Fatal, Some(STANDARD));
    }
    // The innermost code says more.
    for code in [&refusal.leaf, &refusal.code] {
        let row = CODES
            .iter()
            .find(|(known, ..)| known.eq_ignore_ascii_case(code));
        if let Some((_, class, hint)) = row {
            return (*class, (!hint.is_empty()).then_some(*hint));
        }
    }
    let class = match refusal.status {
        404 => Class::Absent,
        409 | 412 => Class::Conflict,
        status if may_pass(status) => Class::Transient,
        _ => Class::Fatal,
    };
    (class, None)
}

/// Whether the service says that something else has to end first. A request that was refused like this did nothing.
pub(super) fn is_busy(refusal: &Refusal) -> bool {
    let delete = &*refusal.operation.verb == "DELETE";
    let any = |codes: &[&str]| codes.iter().any(|code| refusal.is(code));
    any(&BUSY) || (delete && any(&IN_USE))
}

/// Whether it says that a resource is not there. Another thing may not be found as well: a location, a feature.
pub(super) fn is_absent(refusal: &Refusal) -> bool {
    refusal.status == 404 && !refusal.is("InvalidResourceType")
}

/// Whether it may be that what was just created is not seen yet, there or in what refers to it.
pub(super) fn is_unseen(refusal: &Refusal) -> bool {
    is_absent(refusal) || UNSEEN.iter().any(|code| refusal.is(code))
}

/// Codes of other statuses that say the same.
const UNSEEN: [&str; 4] = [
    "ResourceNotFound",
    "ResourceGroupNotFound",
    "ParentResourceNotFound",
    "InvalidResourceReference",
];

const BUSY: [&str; 6] = [
    "AnotherOperationInProgress",
    "RetryableError",
    "RetryableErrorDueToAnotherOperation",
    "ReferencedResourceNotProvisioned",
    "NicReservedForAnotherVm",
    "OperationPreempted",
];

/// What a delete is told while what used it is not quite gone.
const IN_USE: [&str; 6] = [
    "InUse",
    "NicInUse",
    "PublicIPAddressCannotBeDeleted",
    "InUseSubnetCannotBeDeleted",
    "InUseNetworkSecurityGroupCannotBeDeleted",
    "AttachedDiskCannotBeDeleted",
];

const QUOTA: &str =
    "ask for more quota, free some, or choose another size family or region (`az vm list-usage`)";
const STANDARD: &str = "the subscription may not use the standard security type: run `az feature register --namespace Microsoft.Compute --name UseStandardSecurityType`, wait until it is registered, and run `az provider register --namespace Microsoft.Compute`; or set `security = \"trusted-launch\"` and leave a gallery version instead of a managed image";
const CAPACITY: &str = "choose another size, zone or region, or no spot machine";
const ROLE: &str = "the identity lacks a role here: docs/azure.md lists the least that is needed";
const IMAGE: &str = "check publisher, offer, sku and version, or run `vault-bake lock` again";

const CODES: [(&str, Class, &str); 49] = [
    ("AuthorizationFailed", Class::Fatal, ROLE),
    (
        "LinkedAuthorizationFailed",
        Class::Fatal,
        "the identity lacks a role on what the resource refers to, as a subnet or an image in another group",
    ),
    (
        "InvalidAuthenticationToken",
        Class::Fatal,
        "the token is not taken here: check the cloud, the tenant and this machine's clock",
    ),
    (
        "InvalidAuthenticationTokenTenant",
        Class::Fatal,
        "the token is of another tenant than the subscription's",
    ),
    (
        "ExpiredAuthenticationToken",
        Class::Fatal,
        "check this machine's clock",
    ),
    (
        "SubscriptionNotFound",
        Class::Fatal,
        "check the subscription's id, and that the identity has a role in it",
    ),
    (
        "RequestDisallowedByPolicy",
        Class::Fatal,
        "a policy of the subscription refuses this: change the definition (often tags, locations or sizes), or ask for an exemption",
    ),
    (
        "RequestDisallowedByAzure",
        Class::Fatal,
        "the subscription may not use this region: choose another",
    ),
    (
        "ScopeLocked",
        Class::Fatal,
        "a lock is on the resource or above it; vault-bake never removes a lock",
    ),
    (
        "MissingSubscriptionRegistration",
        Class::Fatal,
        "register the resource provider: `az provider register --namespace` with the name above",
    ),
    (
        "SubscriptionNotRegistered",
        Class::Fatal,
        "register the resource provider: `az provider register --namespace` with the name above",
    ),
    (
        "NoRegisteredProviderFound",
        Class::Fatal,
        "this cloud or region does not speak that api-version: configure one of those listed",
    ),
    (
        "InvalidApiVersionParameter",
        Class::Fatal,
        "this cloud does not speak that api-version: configure one of those listed",
    ),
    (
        "InvalidResourceType",
        Class::Fatal,
        "this cloud or region has no such resource, or not in that api-version",
    ),
    (
        "LocationNotAvailableForResourceType",
        Class::Fatal,
        "choose a region that has this resource",
    ),
    ("InvalidParameter", Class::Fatal, ""),
    ("BadRequest", Class::Fatal, ""),
    ("InvalidRequestContent", Class::Fatal, ""),
    (
        "PropertyChangeNotAllowed",
        Class::Fatal,
        "this property cannot be changed where it is: make a new resource",
    ),
    ("ImageNotFound", Class::Fatal, IMAGE),
    ("PlatformImageNotFound", Class::Fatal, IMAGE),
    ("GalleryImageNotFound", Class::Fatal, IMAGE),
    (
        "MarketplacePurchaseEligibilityFailed",
        Class::Fatal,
        "accept the image's terms once: `az vm image terms accept`",
    ),
    (
        "VMMarketplaceInvalidInput",
        Class::Fatal,
        "the image needs its plan in the definition, and its terms accepted",
    ),
    (
        "OSProvisioningTimedOut",
        Class::Fatal,
        "the machine did not report in: look at its boot log",
    ),
    (
        "OSProvisioningClientError",
        Class::Fatal,
        "the machine's agent refused its configuration: look at its boot log",
    ),
    ("SkuNotAvailable", Class::Capacity, CAPACITY),
    ("NotAvailableForSubscription", Class::Capacity, CAPACITY),
    ("AllocationFailed", Class::Capacity, CAPACITY),
    ("ZonalAllocationFailed", Class::Capacity, CAPACITY),
    (
        "OverconstrainedAllocationRequest",
        Class::Capacity,
        CAPACITY,
    ),
    (
        "OverconstrainedZonalAllocationRequest",
        Class::Capacity,
        CAPACITY,
    ),
    ("QuotaExceeded", Class::Quota, QUOTA),
    (
        "PublicIPCountLimitReached",
        Class::Quota,
        "free public addresses in this region, ask for more, or use a private address",
    ),
    ("ResourceCountLimitExceeded", Class::Quota, QUOTA),
    ("AnotherOperationInProgress", Class::Transient, ""),
    ("RetryableError", Class::Transient, ""),
    ("RetryableErrorDueToAnotherOperation", Class::Transient, ""),
    ("ReferencedResourceNotProvisioned", Class::Transient, ""),
    (
        "NicReservedForAnotherVm",
        Class::Transient,
        "a network interface is kept for its machine for three minutes after the machine failed",
    ),
    ("OperationPreempted", Class::Transient, ""),
    (
        "ResourceGroupBeingDeleted",
        Class::Transient,
        "wait until the group is gone, or take another name",
    ),
    (
        "TooManyRequests",
        Class::Transient,
        "the subscription is throttled: wait, or run fewer bakes at once",
    ),
    (
        "SubscriptionRequestsThrottled",
        Class::Transient,
        "the subscription is throttled: wait, or run fewer bakes at once",
    ),
    ("ResourceNotFound", Class::Absent, ""),
    ("ResourceGroupNotFound", Class::Absent, ""),
    ("NotFound", Class::Absent, ""),
    (
        "Canceled",
        Class::Conflict,
        "somebody cancelled the operation, or deleted what it worked on",
    ),
    ("InUse", Class::Conflict, "something still uses it"),
];
