//! Values as text, read with Go's rules.
use std::time::Duration;

use super::error::ConfigError;
use super::sources::Given;
use super::table::{Flag, Kind};

/// Checks that a value fits its flag, whatever we do with it: a typo is found in any flag.
///
/// # Errors
/// `BadValue` with what was wanted.
pub fn check(flag: &Flag, given: &Given) -> Result<(), ConfigError> {
    let fits = match flag.kind {
        Kind::Text | Kind::Urls | Kind::List | Kind::Ignored => return Ok(()),
        Kind::Bool => boolean(&given.text).is_some(),
        Kind::Count => count(&given.text).is_some(),
        Kind::Integer => integer(&given.text).is_some(),
        Kind::Duration => given.text.is_empty() || duration(&given.text).is_some(),
        Kind::Bytes => given.text.is_empty() || bytes(&given.text).is_some(),
        Kind::Choice(choices) => choices.contains(&given.text.as_str()),
    };
    if fits { Ok(()) } else { Err(bad(given, wanted(flag.kind))) }
}

/// `BadValue` for a value.
pub fn bad(given: &Given, wanted: impl Into<String>) -> ConfigError {
    ConfigError::BadValue { origin: given.origin.clone(), value: given.text.clone(), wanted: wanted.into() }
}

fn wanted(kind: Kind) -> String {
    match kind {
        Kind::Bool => "true or false".to_owned(),
        Kind::Count => "a whole number, 0 or more".to_owned(),
        Kind::Integer => "a whole number".to_owned(),
        Kind::Duration => "a time with its unit, such as 500ms, 10s or 1h30m".to_owned(),
        Kind::Bytes => "a number of bytes with its unit, such as 10TB or 64GiB, more than 0".to_owned(),
        Kind::Choice(choices) => {
            let named: Vec<_> = choices.iter().filter(|choice| !choice.is_empty()).copied().collect();
            match named.as_slice() {
                [only] => format!("{only}, the only one there is"),
                _ => format!("one of {}", named.join(", ")),
            }
        }
        Kind::Text | Kind::Urls | Kind::List | Kind::Ignored => "text".to_owned(),
    }
}

/// Go's spellings of a boolean.
pub fn boolean(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
        _ => None,
    }
}

/// A whole number, decimal or (as in Go) with 0x, 0o or 0b in front.
pub fn count(text: &str) -> Option<u64> {
    let (digits, radix) = match text.get(..2) {
        Some("0x" | "0X") => (&text[2..], 16),
        Some("0o" | "0O") => (&text[2..], 8),
        Some("0b" | "0B") => (&text[2..], 2),
        _ => (text, 10),
    };
    if digits.starts_with('+') { None } else { u64::from_str_radix(digits, radix).ok() }
}

/// A whole number, perhaps negative, in the forms of [`count`].
pub fn integer(text: &str) -> Option<i64> {
    match text.strip_prefix('-') {
        Some(digits) => count(digits).and_then(|number| 0_i64.checked_sub_unsigned(number)),
        None => count(text).and_then(|number| number.try_into().ok()),
    }
}

/// A time such as `1h30m`, `500ms` or `0`; never negative, never without a unit.
pub fn duration(text: &str) -> Option<Duration> {
    humantime::parse_duration(text).ok()
}

/// A number of bytes such as `10TB`, `1.5TB`, `64GiB` or `5000000B`; above 0, never without a unit.
pub fn bytes(text: &str) -> Option<u64> {
    const UNITS: [(&str, u64); 9] = [
        ("B", 1),
        ("KB", 1_000),
        ("MB", 1_000_000),
        ("GB", 1_000_000_000),
        ("TB", 1_000_000_000_000),
        ("KIB", 1 << 10),
        ("MIB", 1 << 20),
        ("GIB", 1 << 30),
        ("TIB", 1 << 40),
    ];
    let at = text.find(|c: char| !c.is_ascii_digit() && c != '.')?;
    let (number, unit) = (&text[..at], text[at..].trim().to_ascii_uppercase());
    let (_, unit) = UNITS.iter().find(|(name, _)| *name == unit)?;
    let (whole, part) = number.split_once('.').unwrap_or((number, "0"));
    // Four digits behind the point are more than any data sheet has, and keep the sum whole.
    let part = format!("{:0<4}", part.get(..4).unwrap_or(part));
    let sum = u128::from(whole.parse::<u64>().ok()?) * 10_000 + u128::from(part.parse::<u64>().ok()?);
    u64::try_from(sum.checked_mul(u128::from(*unit))? / 10_000).ok().filter(|bytes| *bytes > 0)
}

/// In a file etcd writes times as whole nanoseconds; this gives them their unit.
pub fn nanoseconds_as_go(text: &str) -> String {
    let digits_only = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if digits_only { format!("{text}ns") } else { text.to_owned() }
}

/// Words with commas between, trimmed, empty ones left out.
pub fn list(text: &str) -> Vec<String> {
    text.split(',').map(str::trim).filter(|word| !word.is_empty()).map(str::to_owned).collect()
}
