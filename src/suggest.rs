//! "Did you mean": the name that was probably meant, and names in messages.

/// Returns the candidate nearest to `name`, when one is near enough to be a slip of the pen.
#[must_use]
pub fn nearest<'a>(name: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    const LONGEST: usize = 64;
    if name.len() > LONGEST {
        return None;
    }
    let bare = |text: &str| text.to_lowercase().replace(['-', '_', ' '], "");
    let given = bare(name);
    candidates
        .into_iter()
        .filter(|candidate| *candidate != name && candidate.len() <= LONGEST)
        .map(|candidate| (strsim::damerau_levenshtein(&given, &bare(candidate)), candidate))
        .filter(|(distance, candidate)| *distance <= (name.len().max(candidate.len()) + 1) / 4)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// Returns `, did you mean `x`?`, or nothing.
#[must_use]
pub fn did_you_mean<'a>(name: &str, candidates: impl IntoIterator<Item = &'a str>) -> String {
    nearest(name, candidates).map(|near| format!(", did you mean `{near}`?")).unwrap_or_default()
}

/// Quotes a name or text of a user for a message: escaped, and cut where it is long.
#[must_use]
pub fn quoted(text: &str) -> String {
    const LONGEST: usize = 60;
    let mut shown: String = text.chars().take(LONGEST).flat_map(char::escape_debug).collect();
    // escape_debug is made for Rust literals; in a message a quote stands as it is.
    shown = shown.replace("\\\"", "\"").replace("\\'", "'");
    if text.chars().nth(LONGEST).is_some() {
        shown.push('…');
    }
    format!("`{shown}`")
}

/// Joins names as `a, b, c`; of very many the first ones.
#[must_use]
pub fn list<'a>(names: impl IntoIterator<Item = &'a str>) -> String {
    const MOST: usize = 30;
    let mut names = names.into_iter();
    let mut shown = names.by_ref().take(MOST).collect::<Vec<_>>().join(", ");
    let more = names.count();
    if more > 0 {
        shown.push_str(&format!(" and {more} more"));
    }
    shown
}

/// Joins names as `a, b or c`.
#[must_use]
pub fn one_of<'a>(names: impl IntoIterator<Item = &'a str>) -> String {
    let mut names: Vec<&str> = names.into_iter().collect();
    match names.pop() {
        Some(last) if names.is_empty() => last.to_owned(),
        Some(last) => format!("{} or {last}", names.join(", ")),
        None => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slips_are_mended_and_other_words_are_not() {
        let keys = ["learning-rate", "epochs", "seed", "lr"];
        let cases = [
            ("lerning-rate", Some("learning-rate")),
            ("learning_rate", Some("learning-rate")),
            ("LearningRate", Some("learning-rate")),
            ("epohcs", Some("epochs")),
            ("colour", None),
            ("", None),
            ("rl", None),
        ];
        for (name, expected) in cases {
            assert_eq!(nearest(name, keys), expected, "{name}");
        }
    }

    #[test]
    fn quoted_text_is_escaped_and_cut() {
        assert_eq!(quoted("a\u{1b}[31m\n"), "`a\\u{1b}[31m\\n`");
        assert_eq!(quoted("it's \"x\""), "`it's \"x\"`");
        assert_eq!(quoted(&"x".repeat(100)), format!("`{}…`", "x".repeat(60)));
    }

    #[test]
    fn names_are_joined() {
        assert_eq!(one_of(["a", "b", "c"]), "a, b or c");
        assert_eq!(one_of(["a"]), "a");
        assert_eq!(one_of([]), "");
        assert_eq!(list(["a", "b"]), "a, b");
        assert!(list(["x"; 100]).ends_with("x, x and 70 more"));
    }
}
