//! File modes: octal digits in both products, whether the file has them as text or as a bare number.

use serde_json::Value;

/// Others may write: to a socket, that is what connecting needs.
const OTHERS_WRITE: u32 = 0o002;

/// A mode whose key the product reads into any type: the digits of a number count as octal, so that `777` is `rwxrwxrwx`.
pub(super) fn of_digits(value: &Value) -> Option<u32> {
    match value {
        Value::String(text) => u32::from_str_radix(text.trim(), 8).ok(),
        Value::Number(number) => u32::from_str_radix(&number.to_string(), 8).ok(),
        _ => None,
    }
}

/// Whether a socket with this mode lets every user of the machine in.
///
/// The product reads such a key into a text: it sees the digits as they are in the file. A number in the tree may have lost its
/// leading zero, and with it its base. Both readings are tried, and those that no one would write are left out.
pub(super) fn socket_is_open(value: &Value) -> bool {
    let open = |mode: u32| mode & OTHERS_WRITE != 0;
    let Value::Number(number) = value else {
        return of_digits(value).is_some_and(open);
    };
    let as_number = number.as_u64().and_then(|mode| u32::try_from(mode).ok());
    let readings = [of_digits(value), as_number].into_iter().flatten();
    readings.filter(|mode| is_plausible(*mode)).any(open)
}

/// Whether the owner may do what the group may, and the group what others may.
fn is_plausible(mode: u32) -> bool {
    let [owner, group, others] = [mode >> 6, mode >> 3 & 7, mode & 7];
    owner <= 7 && owner & group == group && group & others == others
}
