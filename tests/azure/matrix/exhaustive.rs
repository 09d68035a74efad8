//! Every fault at every request, and a kill at every request: 720 and 150 bakes.

use super::faults::{everything, table_name};
use super::{Class, FaultKind, all, kills, requests};

fn faults_of(class: Class) {
    insta::assert_snapshot!(table_name(class), everything(class));
}

#[test]
fn all_faults_of_the_token() {
    faults_of(Class::Token);
}

#[test]
fn all_faults_of_reads() {
    faults_of(Class::Reads);
}

#[test]
fn all_faults_of_polls() {
    faults_of(Class::Polls);
}

#[test]
fn all_faults_of_writes() {
    faults_of(Class::Writes);
}

#[test]
fn all_faults_of_creations() {
    faults_of(Class::Creations);
}

#[test]
fn all_faults_of_actions() {
    faults_of(Class::Actions);
}

#[test]
fn all_faults_of_removals() {
    faults_of(Class::Removals);
}

#[test]
fn kills_before_the_effect_of_every_request() {
    kills::check(&all(&requests(), &[FaultKind::HeldBefore]));
}

#[test]
fn kills_after_the_effect_of_every_request() {
    kills::check(&all(&requests(), &[FaultKind::HeldAfter]));
}
