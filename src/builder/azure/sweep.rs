//! Finds what runs left that no journal knows of any more: by its tags, after its time.
//!
//! In: a door, the time. Out: what was found, and whether it is gone. What carries only one of our tags is left alone.

use jiff::Timestamp;
use serde_json::Value;

use super::cleanup::Cleaner;
use super::names::{EXPIRES_TAG, ID_TAG};
use super::{AzureError, body};
use crate::azure::ArmClient;
use crate::event::Events;
use crate::teardown::Cloud as _;

/// Something that a run left.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expired {
    /// Its resource id.
    pub id: String,
    /// The run, as its tag says.
    pub run: String,
    /// Until when it may have been needed.
    pub expired_at: Timestamp,
    /// Why it is still there, where it could not be removed.
    pub left: Option<String>,
}

/// Removes every group, and every resource outside of such a group, whose time has passed. With `dry_run` only says what
/// it would remove.
pub async fn sweep_expired(
    arm: &ArmClient,
    now: Timestamp,
    dry_run: bool,
    events: &Events,
) -> Result<Vec<Expired>, AzureError> {
    let filter = [("$filter", format!("tagName eq '{EXPIRES_TAG}'"))];
    let query: Vec<(&str, &str)> = filter
        .iter()
        .map(|(name, value)| (*name, value.as_str()))
        .collect();
    let root = format!("/subscriptions/{}", arm.subscription());
    let groups = arm
        .list(format!("{root}/resourcegroups"), body::RESOURCES, &query)
        .await?;
    let resources = arm
        .list(format!("{root}/resources"), body::RESOURCES, &query)
        .await?;
    let mut found: Vec<(Expired, &str)> = Vec::new();
    for one in groups.iter().chain(&resources) {
        let Some(expired) = expired(one, now) else {
            continue;
        };
        let inside = |group: &(Expired, &str)| {
            let group = group.0.id.to_ascii_lowercase();
            expired
                .id
                .to_ascii_lowercase()
                .starts_with(&format!("{group}/"))
        };
        if !found.iter().any(inside) {
            found.push((expired, api(one)));
        }
    }
    // A machine takes its disk and its interface with it, and what is in use cannot go before what uses it.
    found.sort_by_key(|(one, _)| rank(&one.id));
    let cleaner = Cleaner::new(arm);
    let mut swept = Vec::new();
    for (mut one, api) in found {
        if !dry_run {
            let undo = (one.id.as_str(), api, Some(one.run.as_str()));
            one.left = cleaner.remove(undo, true, events).await.err();
        }
        swept.push(one);
    }
    Ok(swept)
}

fn expired(resource: &Value, now: Timestamp) -> Option<Expired> {
    let tags = &resource["tags"];
    let expired_at: Timestamp = tags[EXPIRES_TAG].as_str()?.parse().ok()?;
    (expired_at < now).then_some(Expired {
        id: resource["id"].as_str()?.to_owned(),
        run: tags[ID_TAG].as_str()?.to_owned(),
        expired_at,
        left: None,
    })
}

const ORDER: [&str; 6] = [
    "virtualmachines",
    "images",
    "networkinterfaces",
    "publicipaddresses",
    "networksecuritygroups",
    "virtualnetworks",
];

fn kind(id: &str) -> String {
    id.rsplit('/')
        .nth(1)
        .unwrap_or_default()
        .to_ascii_lowercase()
}

fn rank(id: &str) -> usize {
    let kind = kind(id);
    ORDER
        .iter()
        .position(|one| *one == kind)
        .unwrap_or(ORDER.len())
}

fn api(resource: &Value) -> &'static str {
    let id = resource["id"]
        .as_str()
        .unwrap_or_default()
        .to_ascii_lowercase();
    match kind(&id).as_str() {
        "resourcegroups" => body::RESOURCES,
        "disks" => body::DISKS,
        _ if id.contains("/microsoft.network/") => body::NETWORK,
        _ => body::COMPUTE,
    }
}
