//! Every fault and a kill at every request: 720 and 150 builds.

use super::faults::{everything, table_name};
use super::{Class, FaultKind, all, kills, requests};

fn faults_of(class: Class) {
    insta::assert_snapshot!(table_name(class), everything(class));
}

#[test]
fn every_fault_of_the_token_is_survived_or_named() {
    faults_of(Class::Token);
}

#[test]
fn every_fault_of_reads_is_survived_or_named() {
    faults_of(Class::Reads);
}

#[test]
fn every_fault_of_polls_is_survived_or_named() {
    faults_of(Class::Polls);
}

#[test]
fn every_fault_of_writes_is_survived_or_named() {
    faults_of(Class::Writes);
}

#[test]
fn every_fault_of_creations_is_survived_or_named() {
    faults_of(Class::Creations);
}

#[test]
fn every_fault_of_actions_is_survived_or_named() {
    faults_of(Class::Actions);
}

#[test]
fn every_fault_of_removals_is_survived_or_named() {
    faults_of(Class::Removals);
}

#[test]
fn a_bake_killed_before_the_effect_of_any_request_is_swept_clean() {
    kills::check(&all(&requests(), &[FaultKind::HeldBefore]));
}

#[test]
fn a_bake_killed_after_the_effect_of_any_request_is_swept_clean() {
    kills::check(&all(&requests(), &[FaultKind::HeldAfter]));
}
