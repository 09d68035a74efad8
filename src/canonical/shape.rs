//! Objects stay objects: what our readers would take for one, and no other reader would.
//!
//! serde reads a list as a struct, its items in the order of our fields. Such bytes would be canonical, and yet nothing
//! that was ever written, so they are refused.

use serde::de::Error as _;
use serde_json::Value;

/// Refuses `value` where a list stands at one of `objects`: paths of keys with dots between, `*` for every item,
/// an empty one for the whole.
pub(crate) fn check(value: &Value, objects: &[&str]) -> Result<(), serde_json::Error> {
    let wrong = objects.iter().find(|path| {
        let keys: Vec<&str> = path.split('.').filter(|key| !key.is_empty()).collect();
        is_list(value, &keys)
    });
    match wrong {
        Some(&"") => Err(serde_json::Error::custom("a list, expected an object")),
        Some(path) => Err(serde_json::Error::custom(format!(
            "`{path}` is a list, expected an object"
        ))),
        None => Ok(()),
    }
}

fn is_list(value: &Value, path: &[&str]) -> bool {
    match path {
        [] => value.is_array(),
        ["*", rest @ ..] => {
            let items = value.as_array().into_iter().flatten();
            items.into_iter().any(|item| is_list(item, rest))
        }
        [key, rest @ ..] => value.get(key).is_some_and(|value| is_list(value, rest)),
    }
}
