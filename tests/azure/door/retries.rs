//! What is asked for again, and when.

use std::time::Duration;

use futures::future::join_all;
use serde_json::json;
use vault_bake::azure::{ArmError, Class};
use vault_bake::wait::{Interrupt, TimeScale};

use super::play::{Play, Reply, refuse, say};
use super::{API, VM, vm};

/// How one request with this method ends where the first answer is `fault` and the second is good.
async fn ends(method: &str, fault: Reply) -> String {
    let play = Play::new().await;
    let door = play.patient_door();
    let good = || say(200, &json!({}));
    play.on(&format!("{method} {VM}"), [fault.clone(), good()]);
    play.on("POST /start", [fault, good()]);
    let body = json!({});
    let ended = match method {
        "GET" => door.get(vm(), API).await.map(|_| ()),
        "PUT" => door.put(vm(), API, &body).await.map(|_| ()),
        "PATCH" => door.patch(vm(), API, &body).await.map(|_| ()),
        "DELETE" => door.delete(vm(), API, &[]).await.map(|_| ()),
        _ => door.post(vm(), "start", API, &[], None).await.map(|_| ()),
    };
    let sent = play.count(method);
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
        ("502", say(502, &json!(null))),
        ("503", refuse(503, "ServiceUnavailable")),
        ("504", refuse(504, "GatewayTimeout")),
    ];
    let methods = ["GET", "PUT", "PATCH", "DELETE", "POST"];
    for (name, fault) in &faults {
        let ended = methods.map(|method| ends(method, fault.clone()));
        for (method, ended) in methods.iter().zip(join_all(ended).await) {
            table.push(format!("{name}, {method}: {ended}"));
        }
    }
    println!("{} cases", faults.len() * methods.len());
    insta::assert_snapshot!(table.join("\n"));
}

#[tokio::test]
async fn a_fault_that_stays_counts() {
    let mut table = Vec::new();
    for (name, fault) in [
        ("reset", Reply::Reset),
        ("no connection", Reply::Closed),
        ("503", refuse(503, "ServiceUnavailable")),
        ("429", refuse(429, "TooManyRequests")),
        ("busy", refuse(409, "AnotherOperationInProgress")),
        ("401", refuse(401, "InvalidAuthenticationToken")),
    ] {
        let play = Play::new().await;
        play.on(&format!("PUT {VM}"), [fault]);
        let error = play
            .patient_door()
            .put(vm(), API, &json!({}))
            .await
            .err()
            .unwrap();
        table.push(format!(
            "{name}: {:?}, sent {}: {error}",
            error.class(),
            play.count("PUT")
        ));
    }
    insta::assert_snapshot!(table.join("\n"));
}

#[tokio::test]
async fn a_put_is_repeated_with_the_same_body_under_another_id() {
    let play = Play::new().await;
    play.on(
        &format!("PUT {VM}"),
        [Reply::Reset, refuse(500, "X"), say(200, &json!({}))],
    );
    let body = json!({ "location": "x", "properties": { "a": [1, 2] } });
    let put = play.door().put(vm(), API, &body).await;
    put.unwrap().finish(Duration::from_secs(5)).await.unwrap();
    let heard = play.heard();
    let sent = body.to_string();
    assert!(heard.iter().all(|one| one.body == sent));
    let ids: std::collections::BTreeSet<&str> = heard
        .iter()
        .map(|one| one.header("x-ms-client-request-id"))
        .collect();
    assert_eq!((heard.len(), ids.len()), (3, 3));
}

#[tokio::test]
async fn a_post_that_may_have_happened_is_unknown() {
    let play = Play::new().await;
    play.on("POST /generalize", [Reply::Reset, say(200, &json!(null))]);
    let error = play
        .door()
        .post(vm(), "generalize", API, &[], None)
        .await
        .err()
        .unwrap();
    assert!(matches!(error, ArmError::Unknown { .. }));
    assert_eq!((error.class(), play.count("POST")), (Class::Unknown, 1));
    insta::assert_snapshot!(error.to_string());
}

/// How long passed between the first two requests, at a thousandth of the pace.
async fn apart(reply: Reply) -> (Duration, String) {
    let play = Play::new().await;
    play.on(&format!("GET {VM}"), [reply, say(200, &json!({}))]);
    let ended = play.door().get(vm(), API).await;
    let heard = play.heard();
    let said = ended.map_or_else(|error| error.to_string(), |_| String::from("done"));
    let apart = heard
        .get(1)
        .map_or(Duration::ZERO, |second| second.at - heard[0].at);
    (apart, said)
}

#[tokio::test]
async fn the_service_is_not_asked_again_earlier_than_it_says() {
    for status in [429, 503, 500, 408] {
        let busy = || refuse(status, "Later");
        let (apart, said) = apart(busy().with("retry-after", "120")).await;
        assert_eq!(said, "done");
        assert!(apart >= Duration::from_millis(120), "{status}: {apart:?}");
        // A date counts from the date of the answer: our clock says 2026.
        let dated = busy()
            .with("date", "Sun, 06 Nov 2033 08:49:37 GMT")
            .with("retry-after", "Sun, 06 Nov 2033 08:51:07 GMT");
        let (apart, said) = self::apart(dated).await;
        assert_eq!(said, "done");
        assert!(
            apart >= Duration::from_millis(90) && apart < Duration::from_secs(5),
            "{status}: {apart:?}"
        );
    }
    let (apart, said) =
        apart(refuse(429, "Later").with("retry-after", "Mon, 23 Nov 2026 00:01:40 GMT")).await;
    assert_eq!(said, "done");
    assert!(
        apart >= Duration::from_millis(100),
        "without a date of its own: {apart:?}"
    );
    let (_, said) = self::apart(refuse(429, "TooManyRequests").with("retry-after", "86400")).await;
    insta::assert_snapshot!(said);
}

#[tokio::test]
async fn who_is_throttled_is_throttled_with_all_others() {
    let play = Play::new().await;
    let door = play.door();
    play.on(
        "PUT /one",
        [
            refuse(429, "TooManyRequests").with("retry-after", "300"),
            say(200, &json!({})),
        ],
    );
    play.on("PUT /two", [say(200, &json!({}))]);
    play.on("GET /two", [say(200, &json!({}))]);
    let body = json!({});
    let first = door.put("/subscriptions/s1/one", API, &body);
    let second = async {
        while play.count("PUT") == 0 {
            tokio::task::yield_now().await;
        }
        // The answer is on its way.
        let read = door.get("/subscriptions/s1/two", API).await;
        let read = read.map(|_| std::time::Instant::now());
        let other = door.until(&Interrupt::default());
        (read, other.put("/subscriptions/s1/two", API, &body).await)
    };
    let (first, (read, second)) = tokio::join!(first, second);
    assert!(first.is_ok() && second.is_ok());
    let heard = play.heard();
    let at = |path: &str, method: &str| {
        let mut found = heard
            .iter()
            .filter(|one| one.path.ends_with(path) && one.method == method);
        found.next_back().unwrap().at
    };
    let turned_away = heard[0].at;
    assert!(
        at("/two", "PUT") - turned_away >= Duration::from_millis(300),
        "another writer waits as well"
    );
    assert!(
        read.unwrap() - turned_away < Duration::from_millis(300),
        "a reader is counted apart"
    );
}

#[tokio::test]
async fn where_nothing_is_left_requests_come_apart() {
    let play = Play::new().await;
    let door = play.door_at(TimeScale::REAL, &Interrupt::default());
    let left = "Microsoft.Compute/PutVM3Min;0,Microsoft.Compute/PutVM30Min;900";
    let reply = say(200, &json!({})).with("x-ms-ratelimit-remaining-resource", left);
    play.on("PUT /one", [reply]);
    for _ in 0..6 {
        let put = door.put("/subscriptions/s1/one", API, &json!({})).await;
        put.unwrap().finish(Duration::ZERO).await.unwrap();
    }
    // Ten writes a second are given back. On a busy computer a single one may arrive late, so all five gaps count together.
    let heard = play.heard();
    let all = heard[5].at - heard[0].at;
    assert!(all >= Duration::from_millis(400), "{all:?}");
}

#[tokio::test]
async fn after_a_401_a_new_token_is_tried_once() {
    let play = Play::new().await;
    play.on(
        "POST /start",
        [
            refuse(401, "ExpiredAuthenticationToken"),
            say(200, &json!(null)),
        ],
    );
    play.door()
        .post(vm(), "start", API, &[], None)
        .await
        .unwrap()
        .finish(Duration::from_secs(5))
        .await
        .unwrap();
    let tokens: Vec<String> = play
        .heard()
        .iter()
        .map(|one| one.header("authorization").to_owned())
        .collect();
    assert_eq!(tokens, ["Bearer token-number-1", "Bearer token-number-2"]);
}

#[tokio::test]
async fn an_interrupt_ends_a_request_and_cleaning_up_has_its_own() {
    let play = Play::new().await;
    let interrupt = Interrupt::default();
    let door = play.door_until(&interrupt);
    play.on(
        &format!("GET {VM}"),
        [refuse(429, "TooManyRequests").with("retry-after", "500")],
    );
    let asked = tokio::time::Instant::now();
    let raise = async {
        while play.count("GET") == 0 {
            tokio::task::yield_now().await;
        }
        interrupt.raise();
    };
    let (ended, ()) = tokio::join!(door.get(vm(), API), raise);
    assert!(matches!(ended, Err(ArmError::Interrupted(_))));
    assert!(asked.elapsed() < Duration::from_millis(450));
    assert!(matches!(
        door.delete(vm(), API, &[]).await,
        Err(ArmError::Interrupted(_))
    ));
    play.on(&format!("DELETE {VM}"), [say(204, &json!(null))]);
    door.until(&Interrupt::default())
        .delete(vm(), API, &[])
        .await
        .unwrap()
        .finish(Duration::from_secs(5))
        .await
        .unwrap();
}
