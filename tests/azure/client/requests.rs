//! Single requests and their results.

use serde_json::json;
use vault_bake::azure::{Cloud, ErrorClass, ResourceId};

use super::play::{MockServer, Reply, refuse, respond};
use super::{API, VM, vm};

#[tokio::test]
async fn a_request_says_who_asks_and_goes_to_the_clouds_own_host() {
    let server = MockServer::new().await;
    server.on(
        &format!("GET {VM}"),
        [respond(200, &json!({ "name": "vm1" }))],
    );
    let found = server
        .client()
        .get_with(vm(), API, &[("$expand", "instanceView")])
        .await
        .unwrap();
    assert_eq!(found, Some(json!({ "name": "vm1" })));
    let all = server.all_requests();
    assert_eq!(all[0].host, "https://login.microsoftonline.com");
    assert_eq!(all[0].path, "/t1/oauth2/v2.0/token");
    assert!(
        all[0]
            .body
            .contains("scope=https%3A%2F%2Fmanagement.azure.com%2F.default"),
        "{}",
        all[0].body
    );
    let request = &all[1];
    assert_eq!(request.host, "https://management.azure.com");
    assert_eq!(
        request.query,
        "api-version=2025-11-01&%24expand=instanceView"
    );
    assert_eq!(request.header("authorization"), "Bearer token-number-1");
    assert!(request.header("user-agent").starts_with("vault-bake/"));
    assert!(request.header("user-agent").ends_with("(run 0198-run)"));
    assert_eq!(request.header("x-ms-client-request-id").len(), 36);
}

#[tokio::test]
async fn only_404_means_absent() {
    let server = MockServer::new().await;
    let mut table = Vec::new();
    for (status, code) in [
        (404, "ResourceNotFound"),
        (404, "ResourceGroupNotFound"),
        (404, "InvalidResourceType"),
        (400, "BadRequest"),
        (403, "AuthorizationFailed"),
        (409, "Conflict"),
        (500, "InternalServerError"),
        (503, "ServiceUnavailable"),
    ] {
        server.on(&format!("GET {VM}"), [refuse(status, code)]);
        let outcome = match server.client().get(vm(), API).await {
            Ok(None) => String::from("absent"),
            Ok(Some(_)) => String::from("there"),
            Err(error) => format!("{:?}: {error}", error.class()),
        };
        table.push(format!("{status} {code}: {outcome}"));
    }
    insta::assert_snapshot!(table.join("\n"));
}

#[tokio::test]
async fn a_list_is_read_to_its_end_and_never_on_another_host() {
    let server = MockServer::new().await;
    let client = server.client();
    let link = |host: &str| format!("https://{host}/subscriptions/s1/skus2?api-version=x&token=1");
    server.on(
        "GET /skus",
        [respond(
            200,
            &json!({ "value": [1, 2], "nextLink": link("management.azure.com") }),
        )],
    );
    server.on(
        "GET /skus2",
        [
            refuse(503, "Busy"),
            respond(200, &json!({ "value": [3], "nextLink": null })),
        ],
    );
    let all = client
        .list("/subscriptions/s1/skus", API, &[])
        .await
        .unwrap();
    assert_eq!(all, [1, 2, 3]);
    for elsewhere in [
        "management.azure.com.evil.example",
        "management.azure.com:444",
        "x@management.azure.com",
    ] {
        server.on(
            "GET /skus",
            [respond(
                200,
                &json!({ "value": [], "nextLink": link(elsewhere) }),
            )],
        );
        let before = server.all_requests().len();
        let error = client
            .list("/subscriptions/s1/skus", API, &[])
            .await
            .unwrap_err();
        assert!(
            error
                .to_string()
                .contains("nextLink of the answer links to "),
            "{error}"
        );
        assert_eq!(error.class(), ErrorClass::Fatal);
        assert_eq!(
            server.all_requests().len(),
            before + 1,
            "nothing was sent there"
        );
    }
    server.on(
        "GET /skus",
        [respond(
            200,
            &json!({ "value": [], "nextLink": "/subscriptions/s1/skus" }),
        )],
    );
    let error = client
        .list("/subscriptions/s1/skus", API, &[])
        .await
        .unwrap_err();
    assert!(
        error.to_string().contains("more than 1000 pages"),
        "{error}"
    );
    server.on("GET /skus", [respond(200, &json!({ "name": "no list" }))]);
    let error = client
        .list("/subscriptions/s1/skus", API, &[])
        .await
        .unwrap_err();
    assert!(
        error.to_string().contains("the answer is not a list"),
        "{error}"
    );
}

#[tokio::test]
async fn odd_paths_are_not_sent() {
    let server = MockServer::new().await;
    for path in [
        "",
        "x",
        "/subscriptions/s1/../s2",
        "/subscriptions//s1",
        "/a/b?c",
        "/a/b#c",
        "/a/%2e%2e/c",
        "/a/b\\c",
    ] {
        let error = server.client().get(path, API).await.unwrap_err();
        assert!(
            error.to_string().ends_with("is not a resource path"),
            "{error}"
        );
    }
    assert!(server.all_requests().is_empty());
}

#[tokio::test]
async fn a_delete_of_nothing_is_done() {
    let server = MockServer::new().await;
    for reply in [
        refuse(404, "ResourceNotFound"),
        respond(204, &json!(null)),
        respond(200, &json!(null)),
    ] {
        server.on(&format!("DELETE {VM}"), [reply]);
        let started = server
            .client()
            .delete(vm(), API, &[("forceDeletion", "true")])
            .await
            .unwrap();
        assert_eq!(
            started
                .finish(std::time::Duration::from_secs(5))
                .await
                .unwrap(),
            json!(null)
        );
    }
    assert!(server.requests()[0].query.ends_with("forceDeletion=true"));
    server.on(&format!("DELETE {VM}"), [refuse(409, "ScopeLocked")]);
    let error = server.client().delete(vm(), API, &[]).await.err().unwrap();
    assert_eq!(
        (error.class(), server.count("DELETE")),
        (ErrorClass::Fatal, 4)
    );
    assert!(error.hint().unwrap().contains("lock"));
}

#[tokio::test]
async fn what_was_just_created_may_not_be_seen_yet() {
    let server = MockServer::new().await;
    let client = server.client();
    let missing = || refuse(404, "ResourceNotFound");
    server.on(
        &format!("GET {VM}"),
        [
            missing(),
            missing(),
            respond(200, &json!({ "name": "vm1" })),
        ],
    );
    assert!(client.get(vm(), API).await.unwrap().is_none());
    assert!(
        client
            .retrying_not_found()
            .get(vm(), API)
            .await
            .unwrap()
            .is_some()
    );
    server.on(&format!("GET {VM}"), [missing()]);
    assert!(
        client
            .retrying_not_found()
            .get(vm(), API)
            .await
            .unwrap()
            .is_none(),
        "the last answer counts"
    );
    // A reference to it fails with another code. Such a refusal has no effect, so a POST is repeated.
    server.on("POST /deallocate", [missing(), respond(200, &json!(null))]);
    client
        .retrying_not_found()
        .post(vm(), "deallocate", API, &[], None)
        .await
        .unwrap()
        .finish(std::time::Duration::from_secs(5))
        .await
        .unwrap();
    server.on(
        &format!("PUT {VM}"),
        [
            refuse(400, "InvalidResourceReference"),
            respond(200, &json!({})),
        ],
    );
    assert!(client.put(vm(), API, &json!({})).await.is_err());
    server.on(
        &format!("PUT {VM}"),
        [
            refuse(400, "InvalidResourceReference"),
            respond(200, &json!({})),
        ],
    );
    assert!(
        client
            .retrying_not_found()
            .put(vm(), API, &json!({}))
            .await
            .is_ok()
    );
}

#[tokio::test]
async fn a_create_whose_answer_was_lost_is_looked_at() {
    let tags = json!({ "vault-bake-id": "7" });
    let body = json!({ "location": "x", "tags": tags });
    let there = |tags: serde_json::Value| {
        respond(
            200,
            &json!({ "tags": tags, "properties": { "provisioningState": "Succeeded" } }),
        )
    };
    let mut table = Vec::new();
    for (name, first, found) in [
        ("ours", Some(Reply::Reset), there(tags.clone())),
        (
            "ours, and more tags",
            Some(refuse(500, "X")),
            there(json!({ "vault-bake-id": "7", "by": "policy" })),
        ),
        (
            "another's",
            Some(Reply::Reset),
            there(json!({ "vault-bake-id": "8" })),
        ),
        ("no tags", Some(Reply::Reset), there(json!({}))),
        ("nothing was lost", None, there(tags.clone())),
    ] {
        let server = MockServer::new().await;
        server.on(
            &format!("PUT {VM}"),
            first.into_iter().chain([refuse(412, "PreconditionFailed")]),
        );
        server.on(&format!("GET {VM}"), [found]);
        let created = server.client().create(vm(), API, &body).await;
        assert_eq!(server.requests()[0].header("if-none-match"), "*");
        let outcome = match created {
            Ok(started) => started
                .finish(std::time::Duration::from_secs(5))
                .await
                .map(|_| "ours".to_owned())
                .unwrap(),
            Err(error) => format!("{:?}: {error}", error.class()),
        };
        table.push(format!("{name}: {outcome}"));
    }
    insta::assert_snapshot!(table.join("\n"));
}

#[test]
fn clouds_are_https_and_nothing_more() {
    let mut table = Vec::new();
    for name in ["public", "usgovernment", "china"] {
        let cloud = Cloud::named(name).unwrap();
        table.push(format!(
            "{name}: {} {} {} {}",
            cloud.arm(),
            cloud.authority(),
            cloud.scope(),
            cloud.container("acme", "images")
        ));
    }
    for (arm, authority, audience) in [
        (
            "https://arm.local:8443",
            "https://login.local/",
            Some("https://management.local/"),
        ),
        ("http://arm.local", "https://login.local", None),
        ("https://arm.local", "http://login.local", None),
        ("https://arm.local/path", "https://login.local", None),
        ("https://u:p@arm.local", "https://login.local", None),
        ("arm.local", "https://login.local", None),
    ] {
        let outcome = match Cloud::custom(arm, authority, "blob.local", audience) {
            Ok(cloud) => format!("{} {} {}", cloud.arm(), cloud.authority(), cloud.scope()),
            Err(error) => error.to_string(),
        };
        table.push(format!("{arm}: {outcome}"));
    }
    table.push(Cloud::named("germany").unwrap_err().to_string());
    insta::assert_snapshot!(table.join("\n"));
}

#[test]
fn ids_are_compared_without_regard_to_case() {
    let net = ResourceId::group("s1", "g1").resource("Microsoft.Network/virtualNetworks", "net");
    let subnet = net.child("subnets", "inside");
    assert_eq!(
        subnet.to_string(),
        "/subscriptions/s1/resourceGroups/g1/providers/Microsoft.Network/virtualNetworks/net/subnets/inside"
    );
    assert_eq!(subnet, subnet.to_string().to_uppercase().parse().unwrap());
    assert_ne!(subnet, net);
    assert_eq!(subnet.parent(), Some(net.clone()));
    assert_eq!(net.parent(), None);
    assert_eq!(
        (subnet.kind().as_str(), subnet.name()),
        ("Microsoft.Network/virtualNetworks/subnets", "inside")
    );
    assert_eq!(
        (subnet.subscription(), subnet.group_name()),
        ("s1", Some("g1"))
    );
    assert_eq!(
        subnet.resource_group().map(|group| group.kind()).as_deref(),
        Some("Microsoft.Resources/resourceGroups")
    );
    let known: std::collections::HashSet<ResourceId> = [net.clone()].into();
    assert!(known.contains(&net.as_str().to_lowercase().parse().unwrap()));
    for wrong in [
        "",
        "g1",
        "/subscriptions",
        "/subscriptions/s1",
        "/subscriptions/s1/resourceGroups",
        "/subscriptions/s1/resourceGroups/g1/providers/X/y",
        "/subscriptions/s1/resourceGroups/../providers/X/y/z",
        "/subscriptions/s1/resourceGroups/g 1",
        "/subscriptions/s1/resourceGroups/g1?x",
    ] {
        assert!(wrong.parse::<ResourceId>().is_err(), "{wrong}");
    }
}
