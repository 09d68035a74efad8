//! A table of the known error codes: takes a refusal, returns its class and a hint.
//!
//! The class of an unknown code follows from the status.

use super::{ErrorClass, Refusal};
use crate::azure::retry::is_retryable;

/// Returns the class of a refusal, and a hint if there is one.
pub(in crate::azure) fn classify(refusal: &Refusal) -> (ErrorClass, Option<&'static str>) {
    // This code has many causes; only the message tells them apart.
    if refusal.is("OperationNotAllowed") {
        let message = refusal.message.to_ascii_lowercase();
        if message.contains("quota") || message.contains("exceeding approved") {
            return (ErrorClass::Quota, Some(QUOTA));
        }
        if message.contains("trustedlaunch") {
            return (
                ErrorClass::Fatal,
                Some(
                    "Set `security = \"standard\"`, or output a gallery version instead of a managed image.",
                ),
            );
        }
    }
    let names_security = refusal.message.contains("securityProfile.securityType");
    if names_security && (refusal.is("InvalidParameter") || refusal.is("BadRequest")) {
        return (ErrorClass::Fatal, Some(STANDARD));
    }
    if refusal.is("InvalidParameter") {
        let row = MESSAGES
            .iter()
            .find(|(part, _)| refusal.message.contains(part));
        if let Some((_, hint)) = row {
            return (ErrorClass::Fatal, Some(hint));
        }
    }
    // The innermost code is more specific.
    for code in [&refusal.leaf, &refusal.code] {
        let row = CODES
            .iter()
            .find(|(known, ..)| known.eq_ignore_ascii_case(code));
        if let Some((_, class, hint)) = row {
            return (*class, (!hint.is_empty()).then_some(*hint));
        }
    }
    let class = match refusal.status {
        404 => ErrorClass::Absent,
        409 | 412 => ErrorClass::Conflict,
        status if is_retryable(status) => ErrorClass::Transient,
        _ => ErrorClass::Fatal,
    };
    (class, None)
}

/// Returns whether another operation has to end first. Such a refused request had no effect.
pub(in crate::azure) fn is_busy(refusal: &Refusal) -> bool {
    let delete = &*refusal.operation.verb == "DELETE";
    let any = |codes: &[&str]| codes.iter().any(|code| refusal.is(code));
    any(&BUSY) || (delete && any(&IN_USE))
}

/// Returns whether a resource does not exist. A 404 may also mean an unknown location or feature.
pub(in crate::azure) fn is_absent(refusal: &Refusal) -> bool {
    refusal.status == 404 && !refusal.is("InvalidResourceType")
}

/// Returns whether the resource, or one it refers to, may exist but not be visible yet.
pub(in crate::azure) fn may_become_visible(refusal: &Refusal) -> bool {
    is_absent(refusal) || NOT_FOUND_CODES.iter().any(|code| refusal.is(code))
}

/// Codes of other statuses with the same meaning as 404.
const NOT_FOUND_CODES: [&str; 4] = [
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

/// Codes of a DELETE while a user of the resource is still being deleted.
const IN_USE: [&str; 6] = [
    "InUse",
    "NicInUse",
    "PublicIPAddressCannotBeDeleted",
    "InUseSubnetCannotBeDeleted",
    "InUseNetworkSecurityGroupCannotBeDeleted",
    "AttachedDiskCannotBeDeleted",
];

/// Parts of messages with the code `InvalidParameter`, and hints.
const MESSAGES: [(&str, &str); 3] = [
    (
        "disk controller type",
        "Set `disk_controller` in `[machine.azure]`, or choose another `vm_size`.",
    ),
    (
        "Disk Controller Type",
        "Remove `disk_controller` from `[machine.azure]`, or name a base of generation V2.",
    ),
    (
        "is not supported for the source id",
        "Set `security = \"standard\"` in `[machine.azure]`, or use an image definition with `SecurityType=TrustedLaunch`.",
    ),
];

const QUOTA: &str = "Request more quota, delete unused resources, or choose another size family or region. Run `az vm list-usage` to see the usage.";
const STANDARD: &str = "Run `az feature register --namespace Microsoft.Compute --name UseStandardSecurityType`. When it is registered, run `az provider register --namespace Microsoft.Compute`. Or set `security = \"trusted-launch\"` and output a gallery version instead of a managed image.";
const CAPACITY: &str = "Choose another size, zone or region, or set `spot = false`.";
const ROLE: &str = "Give the identity the role of docs/azure.md at this scope.";
const REGISTER: &str =
    "Run `az provider register --namespace NAME` with the provider named in the error.";
const THROTTLED: &str = "Wait, or run fewer builds of this subscription at once.";
const IMAGE: &str = "Check publisher, offer, sku and version, or run `vault-bake lock` again.";

const CODES: [(&str, ErrorClass, &str); 49] = [
    ("AuthorizationFailed", ErrorClass::Fatal, ROLE),
    (
        "LinkedAuthorizationFailed",
        ErrorClass::Fatal,
        "Give the identity the role of docs/azure.md on the subnet, image or group that the request refers to.",
    ),
    (
        "InvalidAuthenticationToken",
        ErrorClass::Fatal,
        "Check the cloud, the tenant and the clock of this computer.",
    ),
    (
        "InvalidAuthenticationTokenTenant",
        ErrorClass::Fatal,
        "Use a credential of the tenant that the subscription belongs to.",
    ),
    (
        "ExpiredAuthenticationToken",
        ErrorClass::Fatal,
        "Check the clock of this computer.",
    ),
    (
        "SubscriptionNotFound",
        ErrorClass::Fatal,
        "Check the subscription's id, and give the identity a role in it.",
    ),
    (
        "RequestDisallowedByPolicy",
        ErrorClass::Fatal,
        "Change the definition (often `tags`, `location` or `vm_size`), or request an exemption from the policy.",
    ),
    (
        "RequestDisallowedByAzure",
        ErrorClass::Fatal,
        "Choose another region: the subscription cannot use this one.",
    ),
    (
        "ScopeLocked",
        ErrorClass::Fatal,
        "Remove the lock on the resource or its group. vault-bake never removes a lock.",
    ),
    (
        "MissingSubscriptionRegistration",
        ErrorClass::Fatal,
        REGISTER,
    ),
    ("SubscriptionNotRegistered", ErrorClass::Fatal, REGISTER),
    (
        "NoRegisteredProviderFound",
        ErrorClass::Fatal,
        "Use a cloud and region that support this api-version.",
    ),
    (
        "InvalidApiVersionParameter",
        ErrorClass::Fatal,
        "Use a cloud that supports this api-version.",
    ),
    (
        "InvalidResourceType",
        ErrorClass::Fatal,
        "Use a cloud and region that have this resource type and api-version.",
    ),
    (
        "LocationNotAvailableForResourceType",
        ErrorClass::Fatal,
        "Choose a region that has this resource type.",
    ),
    ("InvalidParameter", ErrorClass::Fatal, ""),
    ("BadRequest", ErrorClass::Fatal, ""),
    ("InvalidRequestContent", ErrorClass::Fatal, ""),
    (
        "PropertyChangeNotAllowed",
        ErrorClass::Fatal,
        "Create a new resource: this property cannot change.",
    ),
    ("ImageNotFound", ErrorClass::Fatal, IMAGE),
    ("PlatformImageNotFound", ErrorClass::Fatal, IMAGE),
    ("GalleryImageNotFound", ErrorClass::Fatal, IMAGE),
    (
        "MarketplacePurchaseEligibilityFailed",
        ErrorClass::Fatal,
        "Run `az vm image terms accept` once for this image.",
    ),
    (
        "VMMarketplaceInvalidInput",
        ErrorClass::Fatal,
        "Run `vault-bake lock`, which reads the image's purchase plan, and `az vm image terms accept`. If the base is a managed image, tag it with PlanName, PlanProduct and PlanPublisher first.",
    ),
    (
        "OSProvisioningTimedOut",
        ErrorClass::Fatal,
        "Read the boot log of the VM: it did not report to Azure.",
    ),
    (
        "OSProvisioningClientError",
        ErrorClass::Fatal,
        "Read the boot log of the VM: its agent rejected the configuration.",
    ),
    ("SkuNotAvailable", ErrorClass::Capacity, CAPACITY),
    (
        "NotAvailableForSubscription",
        ErrorClass::Capacity,
        CAPACITY,
    ),
    ("AllocationFailed", ErrorClass::Capacity, CAPACITY),
    ("ZonalAllocationFailed", ErrorClass::Capacity, CAPACITY),
    (
        "OverconstrainedAllocationRequest",
        ErrorClass::Capacity,
        CAPACITY,
    ),
    (
        "OverconstrainedZonalAllocationRequest",
        ErrorClass::Capacity,
        CAPACITY,
    ),
    ("QuotaExceeded", ErrorClass::Quota, QUOTA),
    (
        "PublicIPCountLimitReached",
        ErrorClass::Quota,
        "Delete unused public addresses in this region, request more quota, or use a private address.",
    ),
    ("ResourceCountLimitExceeded", ErrorClass::Quota, QUOTA),
    ("AnotherOperationInProgress", ErrorClass::Transient, ""),
    ("RetryableError", ErrorClass::Transient, ""),
    (
        "RetryableErrorDueToAnotherOperation",
        ErrorClass::Transient,
        "",
    ),
    (
        "ReferencedResourceNotProvisioned",
        ErrorClass::Transient,
        "",
    ),
    (
        "NicReservedForAnotherVm",
        ErrorClass::Transient,
        "Wait three minutes: Azure reserves a network interface for that time after its VM failed.",
    ),
    ("OperationPreempted", ErrorClass::Transient, ""),
    (
        "ResourceGroupBeingDeleted",
        ErrorClass::Transient,
        "Wait until the group is deleted, or use another name.",
    ),
    ("TooManyRequests", ErrorClass::Transient, THROTTLED),
    (
        "SubscriptionRequestsThrottled",
        ErrorClass::Transient,
        THROTTLED,
    ),
    ("ResourceNotFound", ErrorClass::Absent, ""),
    ("ResourceGroupNotFound", ErrorClass::Absent, ""),
    ("NotFound", ErrorClass::Absent, ""),
    (
        "Canceled",
        ErrorClass::Conflict,
        "Check the activity log: a user or a policy cancelled the operation or deleted its resource.",
    ),
    (
        "InUse",
        ErrorClass::Conflict,
        "Delete the resources that use it first.",
    ),
];
