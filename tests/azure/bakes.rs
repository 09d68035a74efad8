//! Bakes on a simulated subscription, with real SSH into every machine.

use crate::ground::Ground;
use crate::simulator::Config;

#[tokio::test]
async fn a_bake_leaves_a_tested_managed_image_and_nothing_else() {
    let mut ground = Ground::new(Config::default());
    let baked = ground
        .bake(|_| {})
        .await
        .unwrap_or_else(|failed| panic!("{failed}"));
    assert!(baked.leaks.is_empty(), "{:?}", baked.leaks);
    assert!(
        baked.tested.as_ref().is_some_and(|test| test.passed),
        "{:?}",
        baked.tested
    );
    assert_eq!(
        ground.left_names(),
        ["Microsoft.Compute/images quickstart-1.2.3"]
    );
    ground.well();
    assert!(ground.bakery.verify().await.is_sound());
}
