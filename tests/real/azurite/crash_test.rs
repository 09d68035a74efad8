//! Kills writers of a store in a container with SIGKILL.

use std::path::PathBuf;
use std::time::Duration;

use tempfile::TempDir;
use vault_bake::process::Program;
use vault_bake::store::Store;

use super::server::{azurite, open};

use testing::crash_test::{assert_nothing_is_lost, kill_writers, now, write_until_killed};
use testing::signing::signed_store;

/// A process of the crash test below.
#[tokio::test]
#[ignore = "started by `killed_writers_lose_nothing_that_was_acknowledged`"]
#[expect(clippy::disallowed_methods, reason = "the crash test names the folder")]
async fn a_writer_to_kill() {
    let (Ok(folder), Ok(port)) = (
        std::env::var("VAULT_BAKE_CRASH_TEST"),
        std::env::var("VAULT_BAKE_CRASH_TEST_PORT"),
    ) else {
        return;
    };
    let blob = open(port.parse().unwrap(), "crash-test");
    let store = signed_store(blob, now()).await;
    write_until_killed(&store, &PathBuf::from(folder)).await;
}

async fn kill_all(kills: usize) {
    let Some(azurite) = azurite() else { return };
    azurite.container("crash-test").await;
    let folder = TempDir::new().unwrap();
    let start = || {
        Program::new(std::env::current_exe().unwrap())
            .args([
                "--ignored",
                "--exact",
                "azurite::crash_test::a_writer_to_kill",
            ])
            .env("VAULT_BAKE_CRASH_TEST", folder.path())
            .env("VAULT_BAKE_CRASH_TEST_PORT", azurite.port.to_string())
            .start()
            .unwrap()
    };
    kill_writers(4, kills, Duration::from_millis(150), folder.path(), start).await;
    let store = Store::open(open(azurite.port, "crash-test")).await.unwrap();
    let acknowledged = assert_nothing_is_lost(&store, folder.path()).await;
    println!("{kills} kills, {acknowledged} acknowledged, none lost");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_writers_lose_nothing_that_was_acknowledged() {
    kill_all(16).await;
}

mod exhaustive {
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn sixty_four_killed_writers_lose_nothing_that_was_acknowledged() {
        super::kill_all(64).await;
    }
}
