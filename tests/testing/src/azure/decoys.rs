//! Resources that are not ours, close enough to ours that careless code takes them: similar names, similar tags, and tags
//! of our names with the values of others.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::kinds::{GROUP, Kind, kind};
use super::rules::{DISK, IMAGE, NIC, NSG, PUBLIC_IP, VM, VNET};
use super::world::{Resource, World, now};

/// What the foreign resources were when they were put there.
pub struct Decoys(BTreeMap<String, (Value, String, Value)>);

/// Fills the subscription with foreign resources, named after `name` and tagged with each set of `tags`.
pub fn plant(world: &mut World, name: &str, tags: &[Value]) -> Decoys {
    let subscription = world.config.subscription.clone();
    let mut planted = Vec::new();
    for (number, tags) in tags.iter().enumerate() {
        let group =
            format!("{name}{}", ["-old", "2", "-prod", "x"][number % 4]) + &number.to_string();
        let base = format!("/subscriptions/{subscription}/resourceGroups/{group}");
        planted.push(put(world, &GROUP, base.clone(), tags));
        for named in [NSG, VNET, PUBLIC_IP, NIC, VM, DISK, IMAGE] {
            let id = format!("{base}/providers/{named}/{name}");
            planted.push(put(world, kind(named).expect("a kind"), id, tags));
        }
    }
    Decoys(
        planted
            .into_iter()
            .map(|id| {
                let resource = &world.resources[&id];
                let was = (
                    resource.body.clone(),
                    resource.state.clone(),
                    resource.inner.clone(),
                );
                (id, was)
            })
            .collect(),
    )
}

/// A resource that was there before anybody asked.
pub fn put(world: &mut World, kind: &'static Kind, id: String, tags: &Value) -> String {
    let key = id.to_lowercase();
    let resource = Resource {
        id,
        kind,
        body: json!({ "location": world.config.locations[0], "tags": tags, "properties": {} }),
        state: "Succeeded".to_owned(),
        hidden: 0,
        inner: json!({ "created": now(), "power": "running", "vm": null }),
        revision: 1,
    };
    world.resources.insert(key.clone(), resource);
    key
}

impl Decoys {
    /// Those that are gone or are not what they were.
    pub fn touched(&self, world: &World) -> Vec<String> {
        self.0
            .iter()
            .filter(|(id, (body, state, inner))| {
                world.resources.get(*id).is_none_or(|now| {
                    now.body != *body || now.state != *state || now.inner != *inner
                })
            })
            .map(|(id, _)| id.clone())
            .collect()
    }
}
