//! The storm of the fast suite with more kills: a hundred, and a thousand in `exhaustive`.

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
#[ignore = "started by `a_hundred_kills_lose_nothing_that_was_acknowledged`"]
#[expect(clippy::disallowed_methods, reason = "the storm says where")]
async fn a_writer_in_a_folder() {
    let Ok(folder) = std::env::var("VAULT_BAKE_STORM").map(PathBuf::from) else {
        return;
    };
    let store = signed_store(Dir::new(folder.join("store")), now()).await;
    write_until_killed(&store, &folder).await;
}

/// Kills a writer `kills` times in each of `stores` stores. Several, because every writer reads the whole log of its
/// store when it starts.
async fn kill_writers(stores: usize, kills: usize) {
    let mut acknowledged = 0;
    for _ in 0..stores {
        let folder = TempDir::new().expect("a folder");
        let start = || {
            let own = std::env::current_exe().expect("this test");
            Program::new(own)
                .args(["--ignored", "--exact", "storm::a_writer_in_a_folder"])
                .env("VAULT_BAKE_STORM", folder.path())
                .start()
                .expect("a writer")
        };
        rage(4, kills, Duration::from_millis(20), folder.path(), start).await;
        let store = signed_store(Dir::new(folder.path().join("store")), now()).await;
        acknowledged += assert_nothing_is_lost(&store, folder.path()).await;
    }
    let all = stores * kills;
    println!("{all} kills, {acknowledged} bakes acknowledged, none lost, none recorded twice");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_kills_lose_nothing_that_was_acknowledged() {
    kill_writers(1, 100).await;
}

mod exhaustive {
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_thousand_kills_lose_nothing_that_was_acknowledged() {
        super::kill_writers(5, 200).await;
    }
}
