//! The messages and hints of errors.

use serde_json::{Value, json};

use super::play::{MockServer, respond};
use super::{API, VM, vm};

async fn error(status: u16, body: &Value) -> String {
    let server = MockServer::new().await;
    server.on(
        &format!("PUT {VM}"),
        [respond(status, body).with("x-ms-correlation-request-id", "cafe")],
    );
    let error = server
        .client()
        .put(vm(), API, &json!({}))
        .await
        .err()
        .unwrap();
    let hint = error
        .hint()
        .map_or_else(String::new, |hint| format!("\n  hint: {hint}"));
    format!("{:?}: {error}{hint}", error.class())
}

#[tokio::test]
async fn errors_are_flattened_judged_and_explained() {
    let mut table = Vec::new();
    let simple =
        |code: &str, message: &str| json!({ "error": { "code": code, "message": message } });
    for (status, body) in [
        (
            403,
            simple(
                "AuthorizationFailed",
                "The client 'x' does not have authorization.",
            ),
        ),
        (
            403,
            json!({ "error": { "code": "RequestDisallowedByPolicy", "message": "Resource 'vm1' was disallowed by policy.", "target": "vm1",
            "additionalInfo": [
                { "type": "PolicyViolation", "info": { "policyAssignmentName": "a1", "policyAssignmentDisplayName": "Require a tag" } },
                { "type": "PolicyViolation", "info": { "policyAssignmentName": "only-europe" } },
            ] } }),
        ),
        (
            409,
            simple(
                "OperationNotAllowed",
                "Operation could not be completed as it results in exceeding approved standardDSv5Family Cores quota.",
            ),
        ),
        (
            409,
            simple(
                "OperationNotAllowed",
                "Creation of managed images are not supported for virtual machine with TrustedLaunch security type.",
            ),
        ),
        (
            409,
            simple("OperationNotAllowed", "The operation is not allowed now."),
        ),
        (
            400,
            simple(
                "InvalidParameter",
                "The value of parameter securityProfile.securityType is invalid.",
            ),
        ),
        (
            400,
            simple(
                "InvalidParameter",
                "The VM size 'Standard_D2ds_v6' cannot boot with OS image or disk. Please check that disk controller types supported by the OS image or disk is one of the supported disk controller types for the VM size 'Standard_D2ds_v6'.",
            ),
        ),
        (
            400,
            simple(
                "InvalidParameter",
                "The security type 'TrustedLaunchSupported' is not supported for the source id '/x/y'. Currently only Vhd Blob, User Image and Gallery Image Version sources are supported for 'TrustedLaunchSupported' images.",
            ),
        ),
        (409, simple("SkuNotAvailable", "The size is not available.")),
        (400, simple("ImageNotFound", "The image was not found.")),
        (409, simple("ScopeLocked", "The scope is locked.")),
        (
            409,
            simple(
                "MissingSubscriptionRegistration",
                "The subscription is not registered to use namespace 'Microsoft.Compute'.",
            ),
        ),
        (
            400,
            simple(
                "NoRegisteredProviderFound",
                "No registered resource provider found for API version '1'. The supported api-versions are '2024-03-01, 2025-04-01'.",
            ),
        ),
        (
            400,
            json!({ "error": { "code": "InvalidRequestFormat", "message": "Cannot parse the request.", "details": [
            { "code": "MissingJsonReferenceId", "target": "subnet", "message": "A value is missing." }, { "code": "MissingJsonReferenceId", "message": "A value is missing." } ] } }),
        ),
        (
            400,
            json!({ "error": { "code": "BadRequest", "message": "Outer.", "innererror": { "code": "Inner", "message": "Inner words." } } }),
        ),
        (
            400,
            json!({ "code": "NoEnvelope", "message": "No envelope." }),
        ),
        (400, json!({ "error": "just text" })),
        (400, json!(null)),
        (
            403,
            simple(
                "Leak",
                "see https://x.blob.core.windows.net/c/b?sv=1&sig=abc%2Fdef&se=2 and Bearer token-number-1 and hush-hush and eyJhbGciOi.eyJzdWIi.c2ln",
            ),
        ),
    ] {
        table.push(error(status, &body).await);
    }
    println!("{} cases", table.len());
    let whole = table.join("\n");
    for secret in ["abc%2Fdef", "token-number", "hush-hush", "eyJ"] {
        assert!(!whole.contains(secret), "{secret} is in\n{whole}");
    }
    insta::assert_snapshot!(whole);
}
