//! What is sent, and what one answer becomes.

use serde_json::json;
use vault_bake::azure::{Class, Cloud, ResourceId};

use super::play::{Play, Reply, refuse, say};
use super::{API, VM, vm};

#[tokio::test]
async fn a_request_says_who_asks_and_goes_to_the_clouds_own_host() {
    let play = Play::new().await;
    play.on(&format!("GET {VM}"), [say(200, &json!({ "name": "vm1" }))]);
    let found = play
        .door()
        .get_with(vm(), API, &[("$expand", "instanceView")])
        .await
        .unwrap();
    assert_eq!(found, Some(json!({ "name": "vm1" })));
    let all = play.all();
    assert_eq!(all[0].host, "https://login.microsoftonline.com");
    assert_eq!(all[0].path, "/t1/oauth2/v2.0/token");
    assert!(
        all[0]
            .body
            .contains("scope=https%3A%2F%2Fmanagement.azure.com%2F.default"),
        "{}",
        all[0].body
    );
    let asked = &all[1];
    assert_eq!(asked.host, "https://management.azure.com");
    assert_eq!(asked.query, "api-version=2025-11-01&%24expand=instanceView");
    assert_eq!(asked.header("authorization"), "Bearer token-number-1");
    assert!(asked.header("user-agent").starts_with("vault-bake/"));
    assert!(asked.header("user-agent").ends_with("(run 0198-run)"));
    assert_eq!(asked.header("x-ms-client-request-id").len(), 36);
}

#[tokio::test]
async fn only_404_means_absent() {
    let play = Play::new().await;
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
        play.on(&format!("GET {VM}"), [refuse(status, code)]);
        let said = match play.door().get(vm(), API).await {
            Ok(None) => String::from("absent"),
            Ok(Some(_)) => String::from("there"),
            Err(error) => format!("{:?}: {error}", error.class()),
        };
        table.push(format!("{status} {code}: {said}"));
    }
    insta::assert_snapshot!(table.join("\n"));
}

#[tokio::test]
async fn a_list_is_read_to_its_end_and_never_on_another_host() {
    let play = Play::new().await;
    let door = play.door();
    let link = |host: &str| format!("https://{host}/subscriptions/s1/skus2?api-version=x&token=1");
    play.on(
        "GET /skus",
        [say(
            200,
            &json!({ "value": [1, 2], "nextLink": link("management.azure.com") }),
        )],
    );
    play.on(
        "GET /skus2",
        [
            refuse(503, "Busy"),
            say(200, &json!({ "value": [3], "nextLink": null })),
        ],
    );
    let all = door.list("/subscriptions/s1/skus", API, &[]).await.unwrap();
    assert_eq!(all, [1, 2, 3]);
    for elsewhere in [
        "management.azure.com.evil.example",
        "management.azure.com:444",
        "x@management.azure.com",
    ] {
        play.on(
            "GET /skus",
            [say(
                200,
                &json!({ "value": [], "nextLink": link(elsewhere) }),
            )],
        );
        let before = play.all().len();
        let error = door
            .list("/subscriptions/s1/skus", API, &[])
            .await
            .unwrap_err();
        assert!(
            error
                .to_string()
                .contains("nextLink of the answer leads to "),
            "{error}"
        );
        assert_eq!(error.class(), Class::Fatal);
        assert_eq!(play.all().len(), before + 1, "nothing was sent there");
    }
    play.on(
        "GET /skus",
        [say(
            200,
            &json!({ "value": [], "nextLink": "/subscriptions/s1/skus" }),
        )],
    );
    let error = door
        .list("/subscriptions/s1/skus", API, &[])
        .await
        .unwrap_err();
    assert!(
        error.to_string().contains("more than 1000 pages"),
        "{error}"
    );
    play.on("GET /skus", [say(200, &json!({ "name": "no list" }))]);
    let error = door
        .list("/subscriptions/s1/skus", API, &[])
        .await
        .unwrap_err();
    assert!(
        error.to_string().contains("the answer is no list"),
        "{error}"
    );
}

#[tokio::test]
async fn odd_paths_are_not_sent() {
    let play = Play::new().await;
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
        let error = play.door().get(path, API).await.unwrap_err();
        assert!(
            error.to_string().ends_with("is no path of a resource"),
            "{error}"
        );
    }
    assert!(play.all().is_empty());
}

#[tokio::test]
async fn a_delete_of_nothing_is_done() {
    let play = Play::new().await;
    for reply in [
        refuse(404, "ResourceNotFound"),
        say(204, &json!(null)),
        say(200, &json!(null)),
    ] {
        play.on(&format!("DELETE {VM}"), [reply]);
        let started = play
            .door()
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
    assert!(play.heard()[0].query.ends_with("forceDeletion=true"));
    play.on(&format!("DELETE {VM}"), [refuse(409, "ScopeLocked")]);
    let error = play.door().delete(vm(), API, &[]).await.err().unwrap();
    assert_eq!((error.class(), play.count("DELETE")), (Class::Fatal, 4));
    assert!(error.hint().unwrap().contains("lock"));
}

#[tokio::test]
async fn what_was_just_created_may_not_be_seen_yet() {
    let play = Play::new().await;
    let door = play.door();
    let missing = || refuse(404, "ResourceNotFound");
    play.on(
        &format!("GET {VM}"),
        [missing(), missing(), say(200, &json!({ "name": "vm1" }))],
    );
    assert!(door.get(vm(), API).await.unwrap().is_none());
    assert!(door.expecting().get(vm(), API).await.unwrap().is_some());
    play.on(&format!("GET {VM}"), [missing()]);
    assert!(
        door.expecting().get(vm(), API).await.unwrap().is_none(),
        "believed in the end"
    );
    // What refers to it is refused with other words; nothing was done, so even a POST is sent again.
    play.on("POST /deallocate", [missing(), say(200, &json!(null))]);
    door.expecting()
        .post(vm(), "deallocate", API, &[], None)
        .await
        .unwrap()
        .finish(std::time::Duration::from_secs(5))
        .await
        .unwrap();
    play.on(
        &format!("PUT {VM}"),
        [
            refuse(400, "InvalidResourceReference"),
            say(200, &json!({})),
        ],
    );
    assert!(door.put(vm(), API, &json!({})).await.is_err());
    play.on(
        &format!("PUT {VM}"),
        [
            refuse(400, "InvalidResourceReference"),
            say(200, &json!({})),
        ],
    );
    assert!(door.expecting().put(vm(), API, &json!({})).await.is_ok());
}

#[tokio::test]
async fn a_create_whose_answer_was_lost_is_looked_at() {
    let tags = json!({ "vault-bake-id": "7" });
    let body = json!({ "location": "x", "tags": tags });
    let there = |tags: serde_json::Value| {
        say(
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
        let play = Play::new().await;
        play.on(
            &format!("PUT {VM}"),
            first.into_iter().chain([refuse(412, "PreconditionFailed")]),
        );
        play.on(&format!("GET {VM}"), [found]);
        let created = play.door().create(vm(), API, &body).await;
        assert_eq!(play.heard()[0].header("if-none-match"), "*");
        let said = match created {
            Ok(started) => started
                .finish(std::time::Duration::from_secs(5))
                .await
                .map(|_| "ours".to_owned())
                .unwrap(),
            Err(error) => format!("{:?}: {error}", error.class()),
        };
        table.push(format!("{name}: {said}"));
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
        let said = match Cloud::custom(arm, authority, "blob.local", audience) {
            Ok(cloud) => format!("{} {} {}", cloud.arm(), cloud.authority(), cloud.scope()),
            Err(error) => error.to_string(),
        };
        table.push(format!("{arm}: {said}"));
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
        subnet.in_group().map(|group| group.kind()).as_deref(),
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
