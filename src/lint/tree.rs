//! Looking things up in a configuration as loosely as both products read theirs.

use serde_json::Value;

/// What stands at `key`, as in `tls.defaults.ca_file`.
pub(super) fn at<'a>(root: &'a Value, key: &str) -> Option<&'a Value> {
    key.split('.').try_fold(root, |value, key| value.get(key))
}

/// A truth value, in any of the forms of Go's `strconv.ParseBool`; a number is true unless it is 0, as in `1.0`.
pub(super) fn is(root: &Value, key: &str) -> Option<bool> {
    match at(root, key)? {
        Value::Bool(flag) => Some(*flag),
        Value::Number(number) => Some(number.as_f64()? != 0.0),
        Value::String(text) => match text.as_str() {
            "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
            "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
            _ => None,
        },
        _ => None,
    }
}

/// A number, also as text.
pub(super) fn number(root: &Value, key: &str) -> Option<i64> {
    match at(root, key)? {
        Value::Number(number) => number.as_i64(),
        Value::String(text) => text.trim().parse().ok(),
        _ => None,
    }
}

/// Text that is not empty.
pub(super) fn text<'a>(root: &'a Value, key: &str) -> Option<&'a str> {
    at(root, key)?.as_str().filter(|text| !text.is_empty())
}

/// Text, or every text of a list.
pub(super) fn texts<'a>(root: &'a Value, key: &str) -> Vec<&'a str> {
    match at(root, key) {
        Some(Value::String(text)) => vec![text],
        Some(Value::Array(all)) => all.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    }
}

/// A duration of Go's, as in `1h30m` or `15s`, in seconds; a plain number is one of seconds.
pub(super) fn seconds(root: &Value, key: &str) -> Option<f64> {
    let text = match at(root, key)? {
        Value::Number(number) => return number.as_f64(),
        Value::String(text) => text.trim(),
        _ => return None,
    };
    if let Ok(plain) = text.parse() {
        return Some(plain);
    }
    let mut rest = text;
    let mut sum = 0.0;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, unit) = rest.split_at(digits);
        let end = unit
            .find(|c: char| c.is_ascii_digit() || c == '.')
            .unwrap_or(unit.len());
        let scale = match &unit[..end] {
            "h" => 3600.0,
            "m" => 60.0,
            "s" => 1.0,
            "ms" => 1e-3,
            "us" | "µs" => 1e-6,
            "ns" => 1e-9,
            _ => return None,
        };
        sum += number.parse::<f64>().ok()? * scale;
        rest = &unit[end..];
    }
    Some(sum)
}

/// Whether only this machine can reach the address, which may have a port.
pub(super) fn is_loopback(address: &str) -> bool {
    let host = match address
        .strip_prefix('[')
        .and_then(|rest| rest.split_once(']'))
    {
        Some((host, _)) => host,
        None if address.matches(':').count() == 1 => address.split(':').next().unwrap_or_default(),
        None => address,
    };
    host == "localhost"
        || host
            .parse::<std::net::IpAddr>()
            .is_ok_and(|address| address.is_loopback())
}

/// A block with a label, such as `listener "tcp"`, wherever HCL and JSON may have it.
pub(super) struct Block<'a> {
    pub label: &'a str,
    /// As in `listener[1].tcp`.
    pub key: String,
    pub body: &'a Value,
}

/// All blocks `name` that have a label.
pub(super) fn blocks<'a>(root: &'a Value, name: &str) -> Vec<Block<'a>> {
    let mut found = Vec::new();
    for (key, value) in items(root.get(name), name) {
        let labelled = value.as_object().into_iter().flatten();
        for (label, value) in labelled {
            for (key, body) in items(Some(value), &format!("{key}.{label}")) {
                found.push(Block { label, key, body });
            }
        }
    }
    found
}

/// All blocks `name` without a label, with the key of each.
pub(super) fn items<'a>(value: Option<&'a Value>, name: &str) -> Vec<(String, &'a Value)> {
    match value {
        None => Vec::new(),
        Some(Value::Array(all)) => {
            let all = all.iter().enumerate();
            all.map(|(at, one)| (format!("{name}[{at}]"), one))
                .collect()
        }
        Some(one) => vec![(name.to_owned(), one)],
    }
}

/// Every key with this name, however deep, that is set to true.
pub(super) fn set_anywhere(value: &Value, name: &str, below: &str, found: &mut Vec<String>) {
    let key = |part: &str| match below {
        "" => part.to_owned(),
        below => format!("{below}.{part}"),
    };
    match value {
        Value::Object(all) => {
            for (part, value) in all {
                if part == name && is(&Value::Object(all.clone()), part) == Some(true) {
                    found.push(key(part));
                }
                set_anywhere(value, name, &key(part), found);
            }
        }
        Value::Array(all) => {
            for (at, value) in all.iter().enumerate() {
                set_anywhere(value, name, &format!("{below}[{at}]"), found);
            }
        }
        _ => {}
    }
}
