//! kill -9 on writers of a store in a container.

use std::path::PathBuf;
use std::time::Duration;

use tempfile::TempDir;
use vault_bake::process::Program;
use vault_bake::store::Store;

use super::server::{azurite, open};

#[path = "../../suite/store/storm.rs"]
pub mod shared;

use crate::signing::signed_store;
use shared::{assert_nothing_is_lost, now, rage, write_until_killed};

/// One of the processes of the storm below.
#[tokio::test]
#[ignore = "started by `killed_writers_lose_nothing_that_was_acknowledged`"]
#[expect(clippy::disallowed_methods, reason = "the storm says where")]
async fn a_writer_of_the_storm() {
    let (Ok(folder), Ok(port)) = (
        std::env::var("VAULT_BAKE_STORM"),
        std::env::var("VAULT_BAKE_STORM_PORT"),
    ) else {
        return;
    };
    let blob = open(port.parse().unwrap(), "storm");
    let store = signed_store(blob, now()).await;
    write_until_killed(&store, &PathBuf::from(folder)).await;
}

async fn kill_writers(kills: usize) {
    let Some(azurite) = azurite() else { return };
    azurite.container("storm").await;
    let folder = TempDir::new().unwrap();
    let start = || {
        Program::new(std::env::current_exe().unwrap())
            .args([
                "--ignored",
                "--exact",
                "azurite::storm::a_writer_of_the_storm",
            ])
            .env("VAULT_BAKE_STORM", folder.path())
            .env("VAULT_BAKE_STORM_PORT", azurite.port.to_string())
            .start()
            .unwrap()
    };
    rage(4, kills, Duration::from_millis(150), folder.path(), start).await;
    let store = Store::open(open(azurite.port, "storm")).await.unwrap();
    let acknowledged = assert_nothing_is_lost(&store, folder.path()).await;
    println!("{kills} kills, {acknowledged} acknowledged, none lost");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_writers_lose_nothing_that_was_acknowledged() {
    kill_writers(16).await;
}

mod exhaustive {
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn sixty_four_killed_writers_lose_nothing_that_was_acknowledged() {
        super::kill_writers(64).await;
    }
}
