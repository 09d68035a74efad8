//! Refuses lists in place of objects.
//! serde reads a list as a struct, by the order of fields; other parsers do not.

use serde::de::Error as _;
use serde_json::Value;

/// Fails if `value` has a list at one of the paths `objects`.
///
/// A path has keys separated by dots, with `*` for every item. The empty path is the whole value.
pub(crate) fn check(value: &Value, objects: &[&str]) -> Result<(), serde_json::Error> {
    let list = objects.iter().find(|path| {
        let keys: Vec<&str> = path.split('.').filter(|key| !key.is_empty()).collect();
        is_list(value, &keys)
    });
    match list {
        Some(&"") => Err(serde_json::Error::custom(
            "expected an object, found a list",
        )),
        Some(path) => Err(serde_json::Error::custom(format!(
            "`{path}`: expected an object, found a list"
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
