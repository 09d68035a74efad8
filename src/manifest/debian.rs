//! The order of Debian's package versions: `[epoch:]upstream[-revision]`, as dpkg compares them.

use std::cmp::Ordering;

/// Whether `a` is older than, the same as, or newer than `b`.
pub fn compare(a: &str, b: &str) -> Ordering {
    let (a, b) = (parts(a), parts(b));
    digits(a.0, b.0)
        .then_with(|| text(a.1, b.1))
        .then_with(|| text(a.2, b.2))
}

/// Epoch, upstream version and revision. Without an epoch it is 0; without a revision it is empty, which is the
/// same as 0.
fn parts(version: &str) -> (&[u8], &[u8], &[u8]) {
    let (epoch, rest) = version.split_once(':').unwrap_or(("0", version));
    let (upstream, revision) = rest.rsplit_once('-').unwrap_or((rest, ""));
    (epoch.as_bytes(), upstream.as_bytes(), revision.as_bytes())
}

/// Compares runs of non-digits and runs of digits by turns.
fn text(mut a: &[u8], mut b: &[u8]) -> Ordering {
    while !a.is_empty() || !b.is_empty() {
        let (left, right) = (split(&mut a, false), split(&mut b, false));
        let words = letters(left, right);
        let (left, right) = (split(&mut a, true), split(&mut b, true));
        let order = words.then_with(|| digits(left, right));
        if order.is_ne() {
            return order;
        }
    }
    Ordering::Equal
}

/// Takes the digits, or the non-digits, off the front.
fn split<'a>(text: &mut &'a [u8], digits: bool) -> &'a [u8] {
    let end = text
        .iter()
        .position(|byte| byte.is_ascii_digit() != digits)
        .unwrap_or(text.len());
    let (front, rest) = text.split_at(end);
    *text = rest;
    front
}

/// `~` sorts before the end, the end before letters, letters before everything else.
fn letters(a: &[u8], b: &[u8]) -> Ordering {
    let weight = |byte: Option<&u8>| match byte {
        Some(b'~') => -1,
        None => 0,
        Some(byte) if byte.is_ascii_alphabetic() => i32::from(*byte),
        Some(byte) => i32::from(*byte) + 256,
    };
    (0..a.len().max(b.len()))
        .map(|at| weight(a.get(at)).cmp(&weight(b.get(at))))
        .find(|order| order.is_ne())
        .unwrap_or(Ordering::Equal)
}

/// Numbers of any length; no digits are 0.
fn digits(a: &[u8], b: &[u8]) -> Ordering {
    let significant = |digits: &[u8]| {
        let zeros = digits.iter().take_while(|digit| **digit == b'0').count();
        digits[zeros..].to_vec()
    };
    let (a, b) = (significant(a), significant(b));
    a.len().cmp(&b.len()).then_with(|| a.cmp(&b))
}
