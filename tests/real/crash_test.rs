//! The crash test of the fast suite, with a thousand kills.

#![expect(clippy::print_stdout, reason = "the crash test prints its counts")]

use std::path::PathBuf;
use std::time::Duration;

use tempfile::TempDir;
use testing::crash_test::{assert_nothing_is_lost, kill_writers, now, write_until_killed};
use testing::signing::signed_store;
use vault_bake::process::Program;
use vault_bake::store::Dir;

/// One of the processes of the crash test below.
#[tokio::test]
#[ignore = "started by the crash test"]
#[expect(clippy::disallowed_methods, reason = "the crash test names the folder")]
async fn a_writer_in_a_folder() {
    let Ok(folder) = std::env::var("VAULT_BAKE_CRASH_TEST").map(PathBuf::from) else {
        return;
    };
    let store = signed_store(Dir::new(folder.join("store")), now()).await;
    write_until_killed(&store, &folder).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_kills_lose_nothing_that_was_acknowledged() {
    let mut acknowledged = 0;
    // A few stores, because every writer reads the whole log of its store when it starts.
    for _ in 0..5 {
        let folder = TempDir::new().expect("a folder");
        let start = || {
            let own = std::env::current_exe().expect("this test");
            Program::new(own)
                .args(["--ignored", "--exact", "crash_test::a_writer_in_a_folder"])
                .env("VAULT_BAKE_CRASH_TEST", folder.path())
                .start()
                .expect("a writer")
        };
        kill_writers(4, 200, Duration::from_millis(20), folder.path(), start).await;
        let store = signed_store(Dir::new(folder.path().join("store")), now()).await;
        acknowledged += assert_nothing_is_lost(&store, folder.path()).await;
    }
    println!("1000 kills, {acknowledged} bakes acknowledged, none lost, none recorded twice");
}
