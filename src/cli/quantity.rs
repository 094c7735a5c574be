//! Times, sizes and figures as people read them.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

/// `0.3 s`, `42 s`, `3 min 12 s`, `1 h 5 min`.
pub(crate) fn seconds(seconds: f64) -> String {
    let whole = seconds.round() as u64;
    match whole {
        _ if seconds < 0.0995 => format!("{:.2} s", seconds.max(0.0)),
        _ if seconds < 9.95 => format!("{seconds:.1} s"),
        0..60 => format!("{whole} s"),
        60..3600 => format!("{} min {} s", whole / 60, whole % 60),
        _ => format!("{} h {} min", whole / 3600, whole / 60 % 60),
    }
}

/// As [`seconds`], without the fraction, for what moves on a screen.
pub(crate) fn whole_seconds(time: f64) -> String {
    if time < 60.0 { format!("{time:.0} s") } else { seconds(time) }
}

/// `512 B`, `1.5 KiB`, `44 MiB`.
pub(crate) fn bytes(bytes: u64) -> String {
    let mut size = bytes as f64;
    let mut unit = "B";
    for next in ["KiB", "MiB", "GiB", "TiB"] {
        if size < 1023.5 {
            break;
        }
        size /= 1024.0;
        unit = next;
    }
    if unit == "B" || size >= 9.95 {
        format!("{size:.0} {unit}")
    } else {
        format!("{size:.1} {unit}")
    }
}

/// Four significant digits, as few characters as they need.
pub(crate) fn figure(value: f64) -> String {
    let magnitude = value.abs();
    if magnitude != 0.0 && !(1e-4..1e7).contains(&magnitude) {
        return format!("{value:.3e}");
    }
    if value.fract() == 0.0 {
        return format!("{value}");
    }
    let digits = (3.0 - magnitude.log10().floor()).clamp(0.0, 8.0) as usize;
    let text = format!("{value:.digits$}");
    if text.contains('.') {
        text.trim_end_matches('0').trim_end_matches('.').to_owned()
    } else {
        text
    }
}

/// `1 step`, `3 steps`.
pub(crate) fn count(number: usize, what: &str) -> String {
    if number == 1 { format!("1 {what}") } else { format!("{number} {what}s") }
}

/// A path as short as it can be written from here.
pub(crate) fn path(path: &Path) -> String {
    // Nobody goes elsewhere once there is something to tell.
    static HERE: OnceLock<PathBuf> = OnceLock::new();
    let here = HERE.get_or_init(|| std::env::current_dir().unwrap_or_default());
    path.strip_prefix(here).unwrap_or(path).display().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_read_well() {
        let told = [0.004, 0.26, 9.94, 9.96, 59.4, 59.6, 192.0, 3900.0].map(seconds);
        let expected =
            ["0.00 s", "0.3 s", "9.9 s", "10 s", "59 s", "1 min 0 s", "3 min 12 s", "1 h 5 min"];
        assert_eq!(told, expected);
    }

    #[test]
    fn sizes_read_well() {
        let told = [0, 1023, 1024, 1536, 45_000_000, 10 << 40].map(bytes);
        assert_eq!(told, ["0 B", "1023 B", "1.0 KiB", "1.5 KiB", "43 MiB", "10 TiB"]);
    }

    #[test]
    fn figures_read_well() {
        let told = [0.0, 1.0, 0.91234, 12.3456, 1234.5678, 0.5, 3e-9, 54.0, -0.25].map(figure);
        let expected = ["0", "1", "0.9123", "12.35", "1235", "0.5", "3.000e-9", "54", "-0.25"];
        assert_eq!(told, expected);
    }
}
