//! The whole request sequence of a build, sent by a plain client.

use testing::azure::Config;
use testing::azure::bodies::{self, IMAGE, NIC, VM};
use testing::azure::client::{COMPUTE, NETWORK, RESOURCES, RawClient};

#[tokio::test]
async fn a_machine_becomes_an_image_and_leaves_nothing() {
    let arm = RawClient::start(Config::default()).await;
    bodies::generalized(&arm).await;
    let view = arm.get(&format!("{VM}/instanceView"), COMPUTE).await.body;
    let codes: Vec<&str> = view["statuses"]
        .as_array()
        .expect("statuses")
        .iter()
        .filter_map(|status| status["code"].as_str())
        .collect();
    assert_eq!(
        codes,
        [
            "ProvisioningState/succeeded",
            "OSState/generalized",
            "PowerState/deallocated"
        ]
    );
    let ended = arm
        .run("PUT", IMAGE, COMPUTE, Some(&bodies::image(&arm)))
        .await;
    assert_eq!(ended, "Succeeded");
    let gone = arm
        .run("DELETE", &format!("{VM}?forceDeletion=true"), COMPUTE, None)
        .await;
    assert_eq!(gone, "Succeeded");
    assert_eq!(arm.get(NIC, NETWORK).await.short(), "404 ResourceNotFound");
    let gone = arm
        .run("DELETE", "S/resourcegroups/rg", RESOURCES, None)
        .await;
    assert_eq!(gone, "Succeeded");
    assert_eq!(arm.simulator.resources().len(), 0);
    arm.assert_no_violations();
}
