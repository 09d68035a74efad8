//! The storm of the fast suite, as it blows in earnest: a thousand kills.

#![expect(clippy::print_stdout, reason = "a storm says how hard it blew")]

use std::path::PathBuf;
use std::time::Duration;

use tempfile::TempDir;
use vault_bake::process::Program;
use vault_bake::store::Dir;

use crate::azurite::storm::shared::{assert_nothing_is_lost, now, rage, write_until_killed};
use crate::signing::signed_store;

/// One of the processes of the storm below.
#[tokio::test]
#[ignore = "started by the storm"]
#[expect(clippy::disallowed_methods, reason = "the storm says where")]
async fn a_writer_in_a_folder() {
    let Ok(folder) = std::env::var("VAULT_BAKE_STORM").map(PathBuf::from) else {
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
                .args(["--ignored", "--exact", "storm::a_writer_in_a_folder"])
                .env("VAULT_BAKE_STORM", folder.path())
                .start()
                .expect("a writer")
        };
        rage(4, 200, Duration::from_millis(20), folder.path(), start).await;
        let store = signed_store(Dir::new(folder.path().join("store")), now()).await;
        acknowledged += assert_nothing_is_lost(&store, folder.path()).await;
    }
    println!("1000 kills, {acknowledged} bakes acknowledged, none lost, none recorded twice");
}
