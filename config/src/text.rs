//! Texts with a meaning of their own: durations, sizes, addresses, patterns.

use std::time::Duration;

/// A duration as it stands in the configuration, `1m30s`, `250ms`.
pub fn write_duration(duration: Duration) -> String {
    let mut micros = duration.as_micros();
    let mut text = String::new();
    for (unit, unit_micros) in UNITS {
        let count = micros / unit_micros;
        if count > 0 {
            text.push_str(&format!("{count}{unit}"));
            micros %= unit_micros;
        }
    }
    if text.is_empty() { "0s".to_owned() } else { text }
}

/// Units of durations with their microseconds, largest first.
const UNITS: [(&str, u128); 6] = [
    ("d", 86_400_000_000),
    ("h", 3_600_000_000),
    ("m", 60_000_000),
    ("s", 1_000_000),
    ("ms", 1_000),
    ("us", 1),
];
