//! Retries: which requests, and when.

use std::time::Duration;

use futures::future::join_all;
use serde_json::json;
use vault_bake::azure::{ArmError, ErrorClass};
use vault_bake::wait::{Interrupt, TimeScale};

use super::play::{MockServer, Reply, refuse, respond};
use super::{API, VM, vm};

/// Sends a request whose first reply is `fault` and whose second succeeds; returns the outcome.
async fn outcome(method: &str, fault: Reply) -> String {
    let server = MockServer::new().await;
    let good = || respond(200, &json!({}));
    server.on(&format!("{method} {VM}"), [fault.clone(), good()]);
    server.on("POST /start", [fault, good()]);
    let client = server.patient_client();
    let body = json!({});
    let ended = match method {
        "GET" => client.get(vm(), API).await.map(|_| ()),
        "PUT" => client.put(vm(), API, &body).await.map(|_| ()),
        "PATCH" => client.patch(vm(), API, &body).await.map(|_| ()),
        "DELETE" => client.delete(vm(), API, &[]).await.map(|_| ()),
        _ => client.post(vm(), "start", API, &[], None).await.map(|_| ()),
    };
    let sent = server.count(method);
    match ended {
        Ok(()) => format!("done, sent {sent}"),
        Err(error) => format!("{:?}, sent {sent}", error.class()),
    }
}

#[tokio::test]
async fn every_fault_with_every_method() {
    let mut table = Vec::new();
    let faults = [
        ("no connection", Reply::Closed),
        ("reset", Reply::Reset),
        ("half an answer", Reply::Half),
        ("silence", Reply::Silent),
        ("400", refuse(400, "BadRequest")),
        ("401", refuse(401, "InvalidAuthenticationToken")),
        ("403", refuse(403, "AuthorizationFailed")),
        ("404", refuse(404, "ResourceNotFound")),
        ("408", refuse(408, "Timeout")),
        ("409", refuse(409, "Conflict")),
        ("409 busy", refuse(409, "AnotherOperationInProgress")),
        ("409 in use", refuse(409, "NicInUse")),
        ("412", refuse(412, "PreconditionFailed")),
        ("429", refuse(429, "TooManyRequests")),
        (
            "429 busy",
            refuse(429, "RetryableErrorDueToAnotherOperation"),
        ),
        ("500", refuse(500, "InternalServerError")),
        ("501", refuse(501, "NotImplemented")),
        ("502", respond(502, &json!(null))),
        ("503", refuse(503, "ServiceUnavailable")),
        ("504", refuse(504, "GatewayTimeout")),
    ];
    let methods = ["GET", "PUT", "PATCH", "DELETE", "POST"];
    for (name, fault) in &faults {
        let ended = methods.map(|method| outcome(method, fault.clone()));
        for (method, ended) in methods.iter().zip(join_all(ended).await) {
            table.push(format!("{name}, {method}: {ended}"));
        }
    }
    println!("{} cases", faults.len() * methods.len());
    insta::assert_snapshot!(table.join("\n"));
}

#[tokio::test]
async fn a_fault_that_stays_counts() {
    let faults = [
        ("reset", Reply::Reset),
        ("no connection", Reply::Closed),
        ("503", refuse(503, "ServiceUnavailable")),
        ("429", refuse(429, "TooManyRequests")),
        ("busy", refuse(409, "AnotherOperationInProgress")),
        ("401", refuse(401, "InvalidAuthenticationToken")),
    ];
    let ended = faults.map(async |(name, fault)| {
        let server = MockServer::new().await;
        server.on(&format!("PUT {VM}"), [fault]);
        let put = server.patient_client().put(vm(), API, &json!({})).await;
        let (error, sent) = (put.err().unwrap(), server.count("PUT"));
        format!("{name}: {:?}, sent {sent}: {error}", error.class())
    });
    insta::assert_snapshot!(join_all(ended).await.join("\n"));
}

#[tokio::test]
async fn a_put_is_repeated_with_the_same_body_under_another_id() {
    let server = MockServer::new().await;
    server.on(
        &format!("PUT {VM}"),
        [Reply::Reset, refuse(500, "X"), respond(200, &json!({}))],
    );
    let body = json!({ "location": "x", "properties": { "a": [1, 2] } });
    let put = server.client().put(vm(), API, &body).await;
    put.unwrap().finish(Duration::from_secs(5)).await.unwrap();
    let requests = server.requests();
    let sent = body.to_string();
    assert!(requests.iter().all(|one| one.body == sent));
    let ids: std::collections::BTreeSet<&str> = requests
        .iter()
        .map(|one| one.header("x-ms-client-request-id"))
        .collect();
    assert_eq!((requests.len(), ids.len()), (3, 3));
}

#[tokio::test]
async fn a_post_that_may_have_happened_is_unknown() {
    let server = MockServer::new().await;
    server.on(
        "POST /generalize",
        [Reply::Reset, respond(200, &json!(null))],
    );
    let error = server
        .client()
        .post(vm(), "generalize", API, &[], None)
        .await
        .err()
        .unwrap();
    assert!(matches!(error, ArmError::Unknown { .. }));
    assert_eq!(
        (error.class(), server.count("POST")),
        (ErrorClass::Unknown, 1)
    );
    insta::assert_snapshot!(error.to_string());
}

/// Returns the time between the first two requests, at a thousandth of real time, and the result.
async fn pause_after(reply: Reply) -> (Duration, String) {
    let server = MockServer::new().await;
    server.on(&format!("GET {VM}"), [reply, respond(200, &json!({}))]);
    let ended = server.client().get(vm(), API).await;
    let requests = server.requests();
    let text = ended.map_or_else(|error| error.to_string(), |_| String::from("done"));
    let apart = requests
        .get(1)
        .map_or(Duration::ZERO, |second| second.at - requests[0].at);
    (apart, text)
}

#[tokio::test]
async fn the_service_is_not_asked_again_earlier_than_it_says() {
    for status in [429, 503, 500, 408] {
        let busy = || refuse(status, "Later");
        let (apart, text) = pause_after(busy().with("retry-after", "120")).await;
        assert_eq!(text, "done");
        assert!(apart >= Duration::from_millis(120), "{status}: {apart:?}");
        // A date counts from the date of the answer; the local clock is in 2026.
        let dated = busy()
            .with("date", "Sun, 06 Nov 2033 08:49:37 GMT")
            .with("retry-after", "Sun, 06 Nov 2033 08:51:07 GMT");
        let (apart, text) = pause_after(dated).await;
        assert_eq!(text, "done");
        assert!(
            apart >= Duration::from_millis(90) && apart < Duration::from_secs(5),
            "{status}: {apart:?}"
        );
    }
    let (apart, text) =
        pause_after(refuse(429, "Later").with("retry-after", "Mon, 23 Nov 2026 00:01:40 GMT"))
            .await;
    assert_eq!(text, "done");
    assert!(
        apart >= Duration::from_millis(100),
        "without a date of its own: {apart:?}"
    );
    let (_, text) = pause_after(refuse(429, "TooManyRequests").with("retry-after", "86400")).await;
    insta::assert_snapshot!(text);
}

#[tokio::test]
async fn a_throttled_request_holds_back_all_others() {
    let server = MockServer::new().await;
    let client = server.client();
    server.on(
        "PUT /one",
        [
            refuse(429, "TooManyRequests").with("retry-after", "300"),
            respond(200, &json!({})),
        ],
    );
    server.on("PUT /two", [respond(200, &json!({}))]);
    server.on("GET /two", [respond(200, &json!({}))]);
    let body = json!({});
    let first = client.put("/subscriptions/s1/one", API, &body);
    let second = async {
        while server.count("PUT") == 0 {
            tokio::task::yield_now().await;
        }
        // The answer has not been read yet.
        let read = client.get("/subscriptions/s1/two", API).await;
        let read = read.map(|_| std::time::Instant::now());
        let other = client.with_interrupt(&Interrupt::default());
        (read, other.put("/subscriptions/s1/two", API, &body).await)
    };
    let (first, (read, second)) = tokio::join!(first, second);
    assert!(first.is_ok() && second.is_ok());
    let requests = server.requests();
    let at = |path: &str, method: &str| {
        let mut found = requests
            .iter()
            .filter(|one| one.path.ends_with(path) && one.method == method);
        found.next_back().unwrap().at
    };
    let throttled_at = requests[0].at;
    assert!(
        at("/two", "PUT") - throttled_at >= Duration::from_millis(300),
        "another writer waits as well"
    );
    assert!(
        read.unwrap() - throttled_at < Duration::from_millis(300),
        "a reader is counted apart"
    );
}

#[tokio::test]
async fn requests_are_spaced_if_none_remain() {
    let server = MockServer::new().await;
    let client = server.client_with_time_scale(TimeScale::REAL, &Interrupt::default());
    let left = "Microsoft.Compute/PutVM3Min;0,Microsoft.Compute/PutVM30Min;900";
    let reply = respond(200, &json!({})).with("x-ms-ratelimit-remaining-resource", left);
    server.on("PUT /one", [reply]);
    for _ in 0..6 {
        let put = client.put("/subscriptions/s1/one", API, &json!({})).await;
        put.unwrap().finish(Duration::ZERO).await.unwrap();
    }
    // The limit is ten writes a second. A busy computer may delay one, so the five gaps are summed.
    let requests = server.requests();
    let all = requests[5].at - requests[0].at;
    assert!(all >= Duration::from_millis(400), "{all:?}");
}

#[tokio::test]
async fn after_a_401_a_new_token_is_tried_once() {
    let server = MockServer::new().await;
    server.on(
        "POST /start",
        [
            refuse(401, "ExpiredAuthenticationToken"),
            respond(200, &json!(null)),
        ],
    );
    server
        .client()
        .post(vm(), "start", API, &[], None)
        .await
        .unwrap()
        .finish(Duration::from_secs(5))
        .await
        .unwrap();
    let tokens: Vec<String> = server
        .requests()
        .iter()
        .map(|one| one.header("authorization").to_owned())
        .collect();
    assert_eq!(tokens, ["Bearer token-number-1", "Bearer token-number-2"]);
}

#[tokio::test]
async fn an_interrupt_ends_a_request_and_cleaning_up_has_its_own() {
    let server = MockServer::new().await;
    let interrupt = Interrupt::default();
    let client = server.client_with_interrupt(&interrupt);
    server.on(
        &format!("GET {VM}"),
        [refuse(429, "TooManyRequests").with("retry-after", "500")],
    );
    let began = tokio::time::Instant::now();
    let raise = async {
        while server.count("GET") == 0 {
            tokio::task::yield_now().await;
        }
        interrupt.raise();
    };
    let (ended, ()) = tokio::join!(client.get(vm(), API), raise);
    assert!(matches!(ended, Err(ArmError::Interrupted(_))));
    assert!(began.elapsed() < Duration::from_millis(450));
    assert!(matches!(
        client.delete(vm(), API, &[]).await,
        Err(ArmError::Interrupted(_))
    ));
    server.on(&format!("DELETE {VM}"), [respond(204, &json!(null))]);
    client
        .with_interrupt(&Interrupt::default())
        .delete(vm(), API, &[])
        .await
        .unwrap()
        .finish(Duration::from_secs(5))
        .await
        .unwrap();
}
