//! Reads file modes: octal digits in both products, as text or as a number.

use serde_json::Value;

/// Write permission of others, which is what connecting to a socket needs.
const OTHERS_WRITE: u32 = 0o002;

/// Reads a mode whose key has any type. Digits of a number are octal too: `777` is `rwxrwxrwx`.
pub(crate) fn of_digits(value: &Value) -> Option<u32> {
    match value {
        Value::String(text) => u32::from_str_radix(text.trim(), 8).ok(),
        Value::Number(number) => u32::from_str_radix(&number.to_string(), 8).ok(),
        _ => None,
    }
}

/// Tells if every user of the machine can connect to a socket with this mode.
///
/// The product reads the key as text, with the digits of the file. A number in the tree may have
/// lost its leading zero, so that its base is unknown. Both bases are tried, and implausible modes
/// are skipped.
pub(crate) fn socket_is_open(value: &Value) -> bool {
    let open = |mode: u32| mode & OTHERS_WRITE != 0;
    let Value::Number(number) = value else {
        return of_digits(value).is_some_and(open);
    };
    let as_number = number.as_u64().and_then(|mode| u32::try_from(mode).ok());
    let readings = [of_digits(value), as_number].into_iter().flatten();
    readings.filter(|mode| is_plausible(*mode)).any(open)
}

/// Tells if the owner has all permissions of the group, and the group all of others.
fn is_plausible(mode: u32) -> bool {
    let [owner, group, others] = [mode >> 6, mode >> 3 & 7, mode & 7];
    owner <= 7 && owner & group == group && group & others == others
}
