//! The crash test of the fast suite with more kills: a hundred, and a thousand in `exhaustive`.

#![expect(clippy::print_stdout, reason = "the crash test prints its counts")]

use std::path::PathBuf;
use std::time::Duration;

use tempfile::TempDir;
use vault_bake::process::Program;
use vault_bake::store::Dir;

use testing::crash_test::{assert_nothing_is_lost, kill_writers, now, write_until_killed};
use testing::signing::signed_store;

/// A process of the crash test below.
#[tokio::test]
#[ignore = "started by `a_hundred_kills_lose_nothing_that_was_acknowledged`"]
#[expect(clippy::disallowed_methods, reason = "the crash test names the folder")]
async fn a_writer_in_a_folder() {
    let Ok(folder) = std::env::var("VAULT_BAKE_CRASH_TEST").map(PathBuf::from) else {
        return;
    };
    let store = signed_store(Dir::new(folder.join("store")), now()).await;
    write_until_killed(&store, &folder).await;
}

/// Kills a writer `kills` times in each of `stores` stores. A single store would grow, and each new
/// writer reads its whole log.
async fn kill_all(stores: usize, kills: usize) {
    let mut acknowledged = 0;
    for _ in 0..stores {
        let folder = TempDir::new().expect("a folder");
        let start = || {
            let own = std::env::current_exe().expect("this test");
            Program::new(own)
                .args(["--ignored", "--exact", "crash_test::a_writer_in_a_folder"])
                .env("VAULT_BAKE_CRASH_TEST", folder.path())
                .start()
                .expect("a writer")
        };
        kill_writers(4, kills, Duration::from_millis(20), folder.path(), start).await;
        let store = signed_store(Dir::new(folder.path().join("store")), now()).await;
        acknowledged += assert_nothing_is_lost(&store, folder.path()).await;
    }
    let all = stores * kills;
    println!("{all} kills, {acknowledged} bakes acknowledged, none lost, none recorded twice");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_kills_lose_nothing_that_was_acknowledged() {
    kill_all(1, 100).await;
}

mod exhaustive {
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_thousand_kills_lose_nothing_that_was_acknowledged() {
        super::kill_all(5, 200).await;
    }
}
