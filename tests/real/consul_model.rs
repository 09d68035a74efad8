//! The delays of the model of a cluster, which tests of rollouts use, measured with real servers.
//! Each row has two bounds around the model's figure, and is printed.
//! Below, the bounds are strict: no computer is faster. Above, they leave room for a busy one.

mod cluster;
#[path = "../suite/rollout/clusters.rs"]
#[expect(dead_code, reason = "the fast tests use all of it")]
mod clusters;
mod gates;
mod lock;
mod rows;

use crate::fixture_vault::hand_over::figures::Figures;
use crate::fixture_vault::lab::mirror;
use cluster::Cluster;

#[tokio::test]
async fn a_lock_and_an_election_take_as_long_as_in_the_model() {
    let Some(mirror) = mirror().await else { return };
    let mut cluster = Cluster::start(&mirror).await;
    let mut figures = Figures::default();
    lock::short(&mut cluster, &mut figures).await;
    figures.check();
}

mod exhaustive {
    use super::*;

    #[tokio::test]
    async fn a_lock_is_free_as_late_as_in_the_model() {
        let Some(mirror) = mirror().await else { return };
        let mut cluster = Cluster::start(&mirror).await;
        let mut figures = Figures::default();
        lock::all(&mut cluster, &mut figures).await;
        figures.check();
    }

    #[tokio::test]
    async fn servers_join_leave_and_die_as_in_the_model() {
        let Some(mirror) = mirror().await else { return };
        let mut cluster = Cluster::start(&mirror).await;
        let mut figures = Figures::default();
        rows::join(&mut cluster, &mut figures).await;
        rows::kill_one_of_five(&mut cluster, &mut figures).await;
        rows::leave(&mut cluster, &mut figures).await;
        rows::come_back(&mut cluster, &mut figures).await;
        rows::kill_leader(&mut cluster, &mut figures).await;
        rows::kill_one_of_three(&mut cluster, &mut figures).await;
        figures.check();
    }

    #[tokio::test]
    async fn a_gate_waits_for_a_quorum_if_the_leader_dies_while_a_server_joins() {
        let Some(mirror) = mirror().await else { return };
        let mut cluster = Cluster::start(&mirror).await;
        let mut figures = Figures::default();
        gates::leader_dies_during_a_join(&mut cluster, &mut figures).await;
        figures.check();
    }

    #[tokio::test]
    async fn no_server_is_retired_while_a_new_one_has_no_vote() {
        let Some(mirror) = mirror().await else { return };
        let mut cluster = Cluster::start(&mirror).await;
        gates::no_vote(&mut cluster).await;
    }

    #[tokio::test]
    async fn a_cluster_lives_if_each_server_crashes_in_turn() {
        let Some(mirror) = mirror().await else { return };
        let mut cluster = Cluster::start(&mirror).await;
        gates::rolling_crash(&mut cluster).await;
    }
}
