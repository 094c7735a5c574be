//! Names with `*` for any run of characters and `?` for any one.

/// Whether a name is a pattern.
pub(crate) fn is_pattern(name: &str) -> bool {
    name.contains(['*', '?'])
}

/// The beginning that whatever a pattern matches has.
pub(crate) fn literal(pattern: &str) -> &str {
    pattern.split(['*', '?']).next().unwrap_or(pattern)
}

/// Whether a pattern matches the whole of a name.
pub(crate) fn matches(pattern: &str, name: &str) -> bool {
    let (pattern, name): (Vec<char>, Vec<char>) =
        (pattern.chars().collect(), name.chars().collect());
    let (mut at, mut read) = (0, 0);
    // Where the last `*` stands, and where in the name what it stands for ends.
    let mut star: Option<(usize, usize)> = None;
    while read < name.len() {
        match pattern.get(at) {
            Some('*') => {
                star = Some((at, read));
                at += 1;
            }
            Some(c) if *c == '?' || *c == name[read] => {
                at += 1;
                read += 1;
            }
            _ => {
                let Some((stands, end)) = star else { return false };
                star = Some((stands, end + 1));
                at = stands + 1;
                read = end + 1;
            }
        }
    }
    pattern[at..].iter().all(|c| *c == '*')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stars_and_marks_match() {
        for (pattern, name, expected) in [
            ("net@*", "net@0.5-18", true),
            ("net@*", "nets@0.5", false),
            ("net@*-18", "net@0.5-18", true),
            ("net@*-18", "net@0.5-18-18", true),
            ("net@*-18", "net@0.5-34", false),
            ("*a*b*", "xaayyb", true),
            ("*a*b*", "bbba", false),
            ("a?c", "abc", true),
            ("a?c", "ac", false),
            ("*", "", true),
            ("", "", true),
            ("", "a", false),
            ("?", "ä", true),
        ] {
            assert_eq!(matches(pattern, name), expected, "{pattern} {name}");
        }
        assert_eq!(literal("net@*-?"), "net@");
        assert!(is_pattern("a?") && is_pattern("*") && !is_pattern("a@b"));
    }
}
