//! Long-running operations.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use vault_bake::azure::{ArmClient, ArmError, ErrorClass};
use vault_bake::wait::Interrupt;

use super::play::{MockServer, Reply, refuse, respond};
use super::{API, VM, vm};

const LONG: Duration = Duration::from_secs(60);
const ASYNC: &str = "https://management.azure.com/subscriptions/s1/operations/1?api-version=x&t=1";
const RESULT: &str = "https://management.azure.com/subscriptions/s1/results/1?api-version=x";

fn state(provisioning: &str) -> Value {
    json!({ "id": VM, "properties": { "provisioningState": provisioning } })
}

fn status(status: &str) -> Reply {
    respond(200, &json!({ "status": status }))
}

async fn finished(client: &ArmClient, method: &str) -> Result<Value, ArmError> {
    let started = match method {
        "PUT" => client.put(vm(), API, &json!({})).await?,
        "PATCH" => client.patch(vm(), API, &json!({})).await?,
        "DELETE" => client.delete(vm(), API, &[]).await?,
        _ => client.post(vm(), "act", API, &[], None).await?,
    };
    started.finish(LONG).await
}

/// Name, method, first reply, and the replies of the operation, the result and the resource.
type Case = (
    &'static str,
    &'static str,
    Reply,
    Vec<Reply>,
    Vec<Reply>,
    Vec<Reply>,
);

/// Runs an operation, and returns its requests and its result on one line.
async fn trace(server: &MockServer, method: &str) -> String {
    let ended = match finished(&server.patient_client(), method).await {
        Ok(value) => value.to_string().replace(VM, "VM"),
        Err(error) => format!("{:?}: {error}", error.class()),
    };
    let requests: Vec<String> = server
        .requests()
        .iter()
        .map(|one| {
            format!(
                "{} {}",
                one.method,
                one.path
                    .rsplit('/')
                    .take(2)
                    .collect::<Vec<_>>()
                    .into_iter()
                    .rev()
                    .collect::<Vec<_>>()
                    .join("/")
            )
        })
        .collect();
    format!("{} → {ended}", requests.join(", "))
}

#[tokio::test]
async fn every_style_is_followed_to_its_end() {
    let mut table = Vec::new();
    let accepted = |code: u16, body: &Value| respond(code, body);
    let by_async = |code, body: &Value| accepted(code, body).with("azure-asyncoperation", ASYNC);
    let by_location = |code, body: &Value| accepted(code, body).with("location", RESULT);
    let null = &json!(null);
    let cases: Vec<Case> = vec![
        (
            "async, then the resource",
            "PUT",
            by_async(201, &state("Creating")),
            vec![status("InProgress"), status("Succeeded")],
            vec![],
            vec![respond(200, &state("Succeeded"))],
        ),
        (
            "async, of a change",
            "PATCH",
            by_async(202, null),
            vec![status("succeeded")],
            vec![],
            vec![respond(200, &state("Succeeded"))],
        ),
        (
            "async before location",
            "PUT",
            by_async(201, null).with("location", RESULT),
            vec![status("Succeeded")],
            vec![],
            vec![respond(200, &state("Succeeded"))],
        ),
        (
            "async, its result at the location",
            "POST",
            by_async(202, null).with("location", RESULT),
            vec![status("Running"), status("Succeeded")],
            vec![respond(200, &json!({ "value": 7 }))],
            vec![],
        ),
        (
            "async, nothing at the location",
            "POST",
            by_async(202, null).with("location", RESULT),
            vec![status("Succeeded")],
            vec![refuse(404, "NotFound")],
            vec![],
        ),
        (
            "async, its result within",
            "POST",
            by_async(202, null),
            vec![respond(
                200,
                &json!({ "status": "Succeeded", "properties": { "output": [1] } }),
            )],
            vec![],
            vec![],
        ),
        (
            "async that says 204",
            "DELETE",
            by_async(202, null),
            vec![respond(202, null), respond(204, null)],
            vec![],
            vec![],
        ),
        (
            "location",
            "POST",
            by_location(202, null),
            vec![],
            vec![respond(202, null), respond(200, &json!({ "value": 7 }))],
            vec![],
        ),
        (
            "location, 204",
            "DELETE",
            by_location(202, null),
            vec![],
            vec![respond(202, null), respond(204, null)],
            vec![],
        ),
        (
            "location of a PUT",
            "PUT",
            by_location(202, null),
            vec![],
            vec![respond(202, null), respond(200, null)],
            vec![respond(200, &state("Succeeded"))],
        ),
        (
            "location that moves",
            "POST",
            by_location(202, null),
            vec![],
            vec![respond(202, null).with("location", ASYNC)],
            vec![],
        ),
        (
            "the resource's own state",
            "PUT",
            accepted(201, &state("Creating")),
            vec![],
            vec![],
            vec![
                respond(200, &state("Updating")),
                respond(200, &state("SUCCEEDED")),
            ],
        ),
        (
            "the resource has no state",
            "PUT",
            accepted(202, null),
            vec![],
            vec![],
            vec![respond(200, &json!({ "id": VM }))],
        ),
        (
            "gone",
            "DELETE",
            accepted(202, null),
            vec![],
            vec![],
            vec![
                respond(200, &state("Deleting")),
                refuse(404, "ResourceNotFound"),
            ],
        ),
        (
            "done at once",
            "PUT",
            accepted(201, &state("Succeeded")),
            vec![],
            vec![],
            vec![],
        ),
        (
            "done at once, with a location",
            "PUT",
            by_location(201, &state("Succeeded")),
            vec![],
            vec![],
            vec![],
        ),
        (
            "done at once, a POST",
            "POST",
            accepted(200, &json!({ "uri": "x" })),
            vec![],
            vec![],
            vec![],
        ),
        (
            "failed at once",
            "PUT",
            accepted(200, &state("Failed")),
            vec![],
            vec![],
            vec![],
        ),
        (
            "canceled",
            "PUT",
            by_async(201, null),
            vec![status("Canceled")],
            vec![],
            vec![],
        ),
        (
            "cancelled",
            "PUT",
            by_async(201, null),
            vec![status("cancelled")],
            vec![],
            vec![],
        ),
        (
            "failed by the resource's state",
            "PUT",
            accepted(201, &state("Creating")),
            vec![],
            vec![],
            vec![respond(200, &state("Failed"))],
        ),
        (
            "failed at the location",
            "POST",
            by_location(202, null),
            vec![],
            vec![refuse(409, "AllocationFailed")],
            vec![],
        ),
        (
            "failed at the location, as the other style",
            "POST",
            by_location(202, null),
            vec![],
            vec![respond(
                200,
                &json!({ "status": "Failed", "error": { "code": "SkuNotAvailable", "message": "none" } }),
            )],
            vec![],
        ),
        (
            "the resource is gone in the end",
            "PUT",
            by_async(201, null),
            vec![status("Succeeded")],
            vec![],
            vec![refuse(404, "ResourceNotFound")],
        ),
        (
            "the operation is gone, the resource tells",
            "PUT",
            by_async(201, null),
            vec![refuse(404, "NotFound")],
            vec![],
            vec![respond(200, &state("Succeeded"))],
        ),
        (
            "the operation is forgotten with what it removed",
            "DELETE",
            by_location(202, null),
            vec![],
            vec![respond(202, null), refuse(404, "NotFound")],
            vec![
                respond(200, &state("Deleting")),
                refuse(404, "ResourceNotFound"),
            ],
        ),
        (
            "the operation is gone, nothing tells",
            "POST",
            by_async(202, null),
            vec![refuse(404, "NotFound")],
            vec![],
            vec![],
        ),
        (
            "faults on the way",
            "PUT",
            by_async(201, null),
            vec![
                Reply::Reset,
                refuse(404, "NotFound"),
                refuse(500, "X"),
                Reply::Half,
                refuse(503, "X"),
                Reply::Closed,
                refuse(429, "X"),
                Reply::Silent,
                status("Succeeded"),
            ],
            vec![],
            vec![respond(200, &state("Succeeded"))],
        ),
        (
            "a token that ends on the way",
            "PUT",
            by_async(201, null),
            vec![
                status("InProgress"),
                refuse(401, "ExpiredAuthenticationToken"),
                status("Succeeded"),
            ],
            vec![],
            vec![respond(200, &state("Succeeded"))],
        ),
        (
            "not allowed to look",
            "PUT",
            by_async(201, null),
            vec![refuse(403, "AuthorizationFailed")],
            vec![],
            vec![],
        ),
    ];
    for (name, method, first, operation, result, resource) in cases {
        let server = MockServer::new().await;
        let path = if method == "POST" { "/act" } else { VM };
        server.on(&format!("{method} {path}"), [first]);
        for (end, replies) in [
            ("/operations/1", operation),
            ("/results/1", result),
            (VM, resource),
        ] {
            if !replies.is_empty() {
                server.on(&format!("GET {end}"), replies);
            }
        }
        if name == "location that moves" {
            server.on(
                "GET /operations/1",
                [respond(202, null), respond(200, &json!({ "moved": true }))],
            );
        }
        table.push(format!("{name}: {}", trace(&server, method).await));
    }
    println!("{} cases", table.len());
    insta::assert_snapshot!(table.join("\n"));
}

#[tokio::test]
async fn a_token_goes_to_no_other_host() {
    let null = &json!(null);
    for elsewhere in [
        "https://evil.example/x",
        "http://management.azure.com/x",
        "https://management.azure.com:8443/x",
        "https://management.azure.com@evil.example/x",
    ] {
        for header in ["azure-asyncoperation", "location"] {
            let server = MockServer::new().await;
            server.on("POST /act", [respond(202, null).with(header, elsewhere)]);
            let error = finished(&server.client(), "POST").await.unwrap_err();
            assert!(matches!(error, ArmError::Foreign { .. }), "{error}");
            assert_eq!(server.requests().len(), 1, "nothing was sent there");
        }
        // The same if a later answer changes the address.
        let server = MockServer::new().await;
        server.on("POST /act", [respond(202, null).with("location", RESULT)]);
        server.on(
            "GET /results/1",
            [respond(202, null).with("location", elsewhere)],
        );
        let error = finished(&server.client(), "POST").await.unwrap_err();
        assert!(matches!(error, ArmError::Foreign { .. }), "{error}");
        assert_eq!(server.requests().len(), 2);
    }
}

#[tokio::test]
async fn an_operation_that_failed_says_why_in_one_line() {
    let server = MockServer::new().await;
    server.on(
        &format!("PUT {VM}"),
        [respond(201, &json!(null))
            .with("azure-asyncoperation", ASYNC)
            .with("x-ms-correlation-request-id", "0000-1111")],
    );
    server.on("GET /operations/1", [respond(200, &json!({ "status": "Failed", "error": {
        "code": "DeploymentFailed", "message": "At least one resource operation failed.",
        "details": [{ "code": "Conflict", "target": "osProfile", "message": json!({ "error": { "code": "SkuNotAvailable", "message": "The requested size for resource\r\n'Standard_X' is not available." } }).to_string() }],
    } }))]);
    let error = finished(&server.client(), "PUT").await.unwrap_err();
    assert_eq!(
        (error.class(), error.code(), error.correlation()),
        (
            ErrorClass::Capacity,
            Some("SkuNotAvailable"),
            Some("0000-1111")
        )
    );
    insta::assert_snapshot!(format!("{error}\nhint: {}", error.hint().unwrap()));
}

#[tokio::test]
async fn an_operation_that_is_stuck_ends_at_the_deadline() {
    let server = MockServer::new().await;
    server.on(
        &format!("PUT {VM}"),
        [respond(201, &json!(null)).with("azure-asyncoperation", ASYNC)],
    );
    server.on(
        "GET /operations/1",
        [respond(
            200,
            &json!({ "status": "InProgress", "percentComplete": 41.7 }),
        )],
    );
    let started = server.client().put(vm(), API, &json!({})).await.unwrap();
    let began = Instant::now();
    let error = started
        .finish(Duration::from_millis(600))
        .await
        .unwrap_err();
    assert!(began.elapsed() < Duration::from_secs(2));
    assert!(server.count("GET") > 2);
    insta::assert_snapshot!(error.to_string());
}

#[tokio::test]
async fn no_poll_comes_earlier_than_the_service_asks() {
    let server = MockServer::new().await;
    server.on(
        &format!("DELETE {VM}"),
        [respond(202, &json!(null))
            .with("location", RESULT)
            .with("retry-after", "1500")],
    );
    server.on(
        "GET /results/1",
        [
            respond(202, &json!(null)).with("retry-after", "800"),
            respond(202, &json!(null)),
            respond(204, &json!(null)),
        ],
    );
    finished(&server.client(), "DELETE").await.unwrap();
    let requests = server.requests();
    let apart: Vec<Duration> = requests
        .windows(2)
        .map(|two| two[1].at - two[0].at)
        .collect();
    assert!(apart[0] >= Duration::from_millis(1500), "{apart:?}");
    assert!(apart[1] >= Duration::from_millis(800), "{apart:?}");
    assert!(apart[2] < Duration::from_millis(800), "{apart:?}");
}

#[tokio::test]
async fn an_interrupt_ends_a_wait_at_once() {
    let server = MockServer::new().await;
    let interrupt = Interrupt::default();
    server.on(
        &format!("PUT {VM}"),
        [respond(201, &json!(null))
            .with("azure-asyncoperation", ASYNC)
            .with("retry-after", "9000")],
    );
    let client = server.client_with_interrupt(&interrupt);
    let started = client.put(vm(), API, &json!({})).await.unwrap();
    let began = Instant::now();
    let (ended, ()) = tokio::join!(started.finish(LONG), async { interrupt.raise() });
    assert!(matches!(ended, Err(ArmError::Interrupted(_))));
    assert!(began.elapsed() < Duration::from_secs(1));
}

#[tokio::test]
async fn a_source_of_tokens_may_be_away_for_a_moment() {
    let server = MockServer::new().await;
    let gone = refuse(401, "ExpiredAuthenticationToken");
    server.on(
        &format!("PUT {VM}"),
        [respond(201, &json!(null)).with("azure-asyncoperation", ASYNC)],
    );
    server.on("GET /operations/1", [gone, status("Succeeded")]);
    server.on(&format!("GET {VM}"), [respond(200, &state("Succeeded"))]);
    let started = server.client().put(vm(), API, &json!({})).await.unwrap();
    let token = json!({ "token_type": "Bearer", "expires_in": 3600, "access_token": "new-token" });
    let no = respond(
        400,
        &json!({ "error": "x", "error_description": "AADSTS1: no", "error_codes": [1] }),
    );
    server.on("POST /token", [no.clone(), no, respond(200, &token)]);
    assert_eq!(started.finish(LONG).await.unwrap(), state("Succeeded"));
}
