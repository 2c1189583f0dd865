//! Numbers, times and sizes in a few characters.

use std::time::Duration;

/// Four significant digits, without zeros or exponents where they can be avoided.
pub(crate) fn short(value: f64) -> String {
    match value.abs() {
        0.0 => "0".into(),
        size if size >= 100.0 => format!("{value:.0}"),
        size if size >= 0.01 => format!("{value:.3}"),
        _ => format!("{value:.2e}"),
    }
}

/// That many seconds; the longest time there is, if there are more or they are not a number.
pub(crate) fn in_seconds(seconds: f64) -> Duration {
    Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX)
}

/// `3 days 4h`, `1h02m`, `3m05s` or `12s`.
pub fn duration(time: Duration) -> String {
    let seconds = time.as_secs_f64().round() as u64;
    if seconds >= 1 << 40 {
        return "a very long time".into();
    }
    if seconds >= 48 * 3600 {
        return format!("{} days {}h", seconds / 86_400, seconds / 3600 % 24);
    }
    match (seconds / 3600, seconds / 60 % 60, seconds % 60) {
        (0, 0, s) => format!("{s}s"),
        (0, m, s) => format!("{m}m{s:02}s"),
        (h, m, _) => format!("{h}h{m:02}m"),
    }
}

/// `1.25 GiB` or `310 MiB`.
pub fn bytes(count: u64) -> String {
    let mebibytes = count as f64 / f64::from(1 << 20);
    match mebibytes < 1000.0 {
        true => format!("{mebibytes:.0} MiB"),
        false => format!("{:.2} GiB", mebibytes / 1024.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_times_are_short() {
        assert_eq!(short(0.0), "0");
        assert_eq!(short(1234.56), "1235");
        assert_eq!(short(0.98765), "0.988");
        assert_eq!(short(5e-5), "5.00e-5");
        assert_eq!(duration(Duration::from_secs(12)), "12s");
        assert_eq!(duration(Duration::from_secs(185)), "3m05s");
        assert_eq!(duration(Duration::from_secs(3720)), "1h02m");
        assert_eq!(duration(Duration::from_secs(200_000)), "2 days 7h");
        assert_eq!(duration(in_seconds(f64::NAN)), "a very long time");
        assert_eq!(duration(in_seconds(1e300)), "a very long time");
        assert_eq!(bytes(310 << 20), "310 MiB");
        assert_eq!(bytes(5 << 28), "1.25 GiB");
    }
}
