//! Looks up values in a configuration, with the type conversions of both products.

use serde_json::Value;

/// Returns the value at `key`, as in `tls.defaults.ca_file`.
pub(crate) fn at<'a>(root: &'a Value, key: &str) -> Option<&'a Value> {
    key.split('.').try_fold(root, |value, key| value.get(key))
}

/// Returns a boolean, in any form of Go's `strconv.ParseBool`. A number is true unless it is 0.
pub(crate) fn is(root: &Value, key: &str) -> Option<bool> {
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

/// Returns a number, which may be a text.
pub(crate) fn number(root: &Value, key: &str) -> Option<i64> {
    match at(root, key)? {
        Value::Number(number) => number.as_i64(),
        Value::String(text) => text.trim().parse().ok(),
        _ => None,
    }
}

/// Returns a text that is not empty.
pub(crate) fn text<'a>(root: &'a Value, key: &str) -> Option<&'a str> {
    at(root, key)?.as_str().filter(|text| !text.is_empty())
}

/// Returns a text, or every text of a list.
pub(crate) fn texts<'a>(root: &'a Value, key: &str) -> Vec<&'a str> {
    match at(root, key) {
        Some(Value::String(text)) => vec![text],
        Some(Value::Array(all)) => all.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    }
}

/// Returns a duration in seconds: a number of seconds, or Go's form, as in `1h30m` or `15s`.
pub(crate) fn seconds(root: &Value, key: &str) -> Option<f64> {
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

/// Tells if only this machine can reach the address, which may have a port.
pub(crate) fn is_loopback(address: &str) -> bool {
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

/// A block with a label, such as `listener "tcp"`, in any form of HCL and JSON.
pub(crate) struct Block<'a> {
    pub label: &'a str,
    /// Key, as in `listener[1].tcp`.
    pub key: String,
    pub body: &'a Value,
}

/// Returns all blocks `name` with a label.
pub(crate) fn blocks<'a>(root: &'a Value, name: &str) -> Vec<Block<'a>> {
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

/// Returns all blocks `name` without a label, and the key of each.
pub(crate) fn items<'a>(value: Option<&'a Value>, name: &str) -> Vec<(String, &'a Value)> {
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

/// Finds every key with this name that is set to true, at any depth.
pub(crate) fn set_anywhere(value: &Value, name: &str, below: &str, found: &mut Vec<String>) {
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
