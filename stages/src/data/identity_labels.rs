//! Who is on each image of a flat folder: a CSV such as `verification_dev.csv`.

use std::path::Path;

use anyhow::{Context as _, ensure};

/// Reads the labels of a CSV, one for each image of a folder in order of name.
///
/// Row i belongs to the i-th image; nothing else of the row is used. Where a first line names a column
/// `label`, that column is taken; else there is no header, and the last column is taken.
///
/// # Errors
///
/// When the file cannot be read, or a label is empty or missing.
pub(crate) fn read(path: &Path) -> anyhow::Result<Vec<String>> {
    let shown = path.display();
    let mut reader = csv::ReaderBuilder::new()
        .has_headers(false)
        .flexible(true)
        .trim(csv::Trim::All)
        .from_path(path)
        .with_context(|| format!("cannot read {shown}"))?;
    let mut column = None;
    let mut labels = Vec::new();
    for (number, record) in reader.records().enumerate() {
        let record = record.with_context(|| format!("{shown} is not a table in CSV"))?;
        let line = record.position().map_or(0, csv::Position::line);
        let is_label =
            |field: &str| field.trim_start_matches('\u{feff}').eq_ignore_ascii_case("label");
        if number == 0
            && let Some(named) = record.iter().position(is_label)
        {
            column = Some(named);
            continue;
        }
        let label = column.map_or_else(|| record.iter().next_back(), |column| record.get(column));
        let label = label.filter(|label| !label.is_empty());
        labels.push(label.with_context(|| format!("{shown}, line {line}: no label"))?.to_owned());
    }
    Ok(labels)
}

/// Reads the labels of a folder with this many images, each a known identity or `nobody`.
///
/// # Errors
///
/// As [`read`]; also when there are more or fewer labels than images, or a label that is not known.
pub(crate) fn read_for<'a>(
    path: &Path,
    images: usize,
    known: impl Iterator<Item = &'a str>,
    nobody: &str,
) -> anyhow::Result<Vec<String>> {
    let labels = read(path)?;
    let shown = path.display();
    ensure!(
        labels.len() == images,
        "{shown} has {} labels for {images} images; it needs one for each, in order of file name",
        labels.len()
    );
    let known: std::collections::BTreeSet<&str> = known.collect();
    let strange: Vec<&String> =
        labels.iter().filter(|label| *label != nobody && !known.contains(label.as_str())).collect();
    if let Some(first) = strange.first() {
        let example = known.first().copied().unwrap_or_default();
        anyhow::bail!(
            "{shown}: {} of {images} labels are neither `{nobody}` nor one of the {} known identities \
             (such as `{example}`); the first is `{first}`",
            strange.len(),
            known.len()
        );
    }
    Ok(labels)
}

#[cfg(test)]
mod tests {
    use super::{read, read_for};
    use crate::context::Trial;

    #[track_caller]
    fn check(text: &str, expected: &[&str]) {
        let trial = Trial::new();
        assert_eq!(read(&trial.write("labels.csv", text)).unwrap(), expected);
    }

    #[test]
    fn labels_are_found_by_header_or_by_place() {
        check("id,label\n0,n000001\n1,n000000\n", &["n000001", "n000000"]);
        check("Label , id\r\n n000001,0\r\n", &["n000001"]);
        check("\u{feff}label\nn000001\n\nn000002", &["n000001", "n000002"]);
        check("0.jpg,n000001\n1.jpg,n000002\n", &["n000001", "n000002"]);
        check("", &[]);
    }

    #[test]
    fn mistakes_are_told_with_the_path() {
        let trial = Trial::new();
        let path = trial.write("labels.csv", "id,label\n0,a\n1,\n");
        let told = |result: anyhow::Result<Vec<String>>| format!("{:#}", result.unwrap_err());
        assert!(told(read(&path)).ends_with("labels.csv, line 3: no label"));
        let path = trial.write("labels.csv", "id,label\n0,a\n1,none\n2,c\n");
        let known = || ["a", "b"].into_iter();
        assert!(told(read_for(&path, 2, known(), "none")).contains("has 3 labels for 2 images"));
        let unknown = told(read_for(&path, 3, known(), "none"));
        assert!(unknown.ends_with(
            "1 of 3 labels are neither `none` nor one of the 2 known identities (such as `a`); the first \
             is `c`"
        ), "{unknown}");
        assert!(told(read(&trial.directory.path().join("absent"))).starts_with("cannot read"));
    }
}
