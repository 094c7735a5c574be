//! `submit`: answers in the form of a sample submission, checked against it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::num::NonZeroU32;
use std::path::Path;

use anyhow::{Context as _, bail, ensure};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::context::Context;
use crate::data::{Match, read_lines};
use crate::kind::{Arity, Input, Read, Source, Stage};

/// How many problems an error lists.
const LISTED: usize = 10;

/// Writes `submission.csv` from the answers of `classify` (numbers of classes) or of `verify` (ids), in the
/// form of a sample submission: its header, its ids, its order.
///
/// The first column of the sample says which image a row is about: the name of the image or, where not
/// every id is one, its position among the sorted names, with or without leading zeros and an ending
/// (`17`, `000017.jpg`). The step fails when a row names no image, two rows name one, an image has no
/// row, or an answer is none that may be given: a class beyond `classes`, an id that is not known, or a
/// label of another form than the labels of the sample.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) struct Submit {
    /// The sample submission, a CSV with a header and two columns.
    sample: Source,
    /// How many classes there are, for answers that are numbers of classes.
    #[serde(default)]
    classes: Option<NonZeroU32>,
}

/// The answer for an image.
struct Answer {
    path: String,
    label: String,
}

/// What is used of a line of `predictions.jsonl`.
#[derive(Deserialize)]
struct Predicted {
    path: String,
    predicted: u32,
}

impl Stage for Submit {
    const KIND: &'static str = "submit";
    const VERSION: u32 = 1;
    const INPUTS: &'static [Input] = &[Input {
        name: "answers",
        accepts: &["predictions", "matches"],
        arity: Arity::One,
        about: "what to submit: the answers of `classify` or of `verify`",
    }];
    const OUTPUT: &'static str = "submission";

    fn reads(&self) -> Vec<Read> {
        let source = self.sample.clone();
        vec![Read { parameter: "sample".to_owned(), source, path_matters: false }]
    }

    fn run(&self, cx: &Context) -> anyhow::Result<()> {
        let (mut answers, allowed) = self.answers(cx.input("answers")?)?;
        answers.sort_by(|a, b| a.path.cmp(&b.path));
        let path = cx.path(&self.sample)?;
        let sample = Sample::read(&path)?;
        let mut problems = sample.match_labels(&answers);
        if let Some(allowed) = allowed {
            let forbidden = answers.iter().filter(|answer| !allowed.contains(&answer.label));
            problems.extend(forbidden.map(|answer| {
                format!("the answer `{}` for {} is not allowed", answer.label, answer.path)
            }));
        }
        let (rows, unmatched) = sample.match_ids(&answers);
        problems.extend(unmatched);
        if !problems.is_empty() {
            let more = problems.len().saturating_sub(LISTED);
            let more = if more > 0 { format!("\n  and {more} more") } else { String::new() };
            problems.truncate(LISTED);
            bail!("the answers do not fit {}:\n  {}{more}", path.display(), problems.join("\n  "));
        }
        let mut table = csv::Writer::from_writer(Vec::new());
        table.write_record(&sample.header)?;
        for (id, position) in sample.rows.iter().map(|(id, _)| id).zip(&rows) {
            table.write_record([id, &answers[*position].label])?;
        }
        let out = cx.out().join("submission.csv");
        fs::write(&out, table.into_inner().context("a vector takes every row")?)
            .with_context(|| format!("cannot write {}", out.display()))?;
        tracing::info!(rows = rows.len(), "submission fits the sample");
        cx.measure("rows", rows.len() as f64);
        Ok(())
    }
}

impl Submit {
    /// Reads the answers, and the labels that may be given where that is known.
    fn answers(&self, directory: &Path) -> anyhow::Result<(Vec<Answer>, Option<BTreeSet<String>>)> {
        let (matches, predictions) =
            (directory.join(Match::FILE), directory.join("predictions.jsonl"));
        if matches.exists() {
            let path = directory.join(Match::IDENTITIES);
            let text =
                fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
            let allowed = serde_json::from_slice(&text)
                .with_context(|| format!("{} is not what verify writes", path.display()))?;
            let answer = |one: Match| Answer { path: one.path, label: one.id };
            let answers = read_lines(&matches)?.into_iter().map(answer).collect();
            return Ok((answers, Some(allowed)));
        }
        ensure!(
            predictions.exists(),
            "{} holds neither {} nor predictions.jsonl",
            directory.display(),
            Match::FILE
        );
        let answer = |one: Predicted| Answer { path: one.path, label: one.predicted.to_string() };
        let answers = read_lines(&predictions)?.into_iter().map(answer).collect();
        let allowed =
            self.classes.map(|classes| (0..classes.get()).map(|class| class.to_string()).collect());
        Ok((answers, allowed))
    }
}

/// A sample submission.
struct Sample {
    header: [String; 2],
    /// Ids and labels.
    rows: Vec<(String, String)>,
}

impl Sample {
    fn read(path: &Path) -> anyhow::Result<Self> {
        let shown = path.display();
        let mut reader =
            csv::Reader::from_path(path).with_context(|| format!("cannot read {shown}"))?;
        let two = |record: &csv::StringRecord| {
            (record.len() == 2).then(|| (record[0].to_owned(), record[1].to_owned()))
        };
        let header = reader.headers().with_context(|| format!("{shown} is not a table in CSV"))?;
        let (first, second) = two(header).with_context(|| {
            format!(
                "{shown} has {} columns; a sample submission has 2, an id and a label",
                header.len()
            )
        })?;
        let mut rows = Vec::new();
        for record in reader.records() {
            let record = record.with_context(|| format!("{shown} is not a table in CSV"))?;
            rows.push(two(&record).with_context(|| format!("{shown} has rows of other length"))?);
        }
        ensure!(!rows.is_empty(), "{shown} has no rows");
        Ok(Self { header: [first, second], rows })
    }

    /// Returns for each row the position of its answer, and every reason why one cannot be found.
    ///
    /// Answers stand in order of path.
    fn match_ids(&self, answers: &[Answer]) -> (Vec<usize>, Vec<String>) {
        let mut names: BTreeMap<&str, Option<usize>> = BTreeMap::new();
        for (position, answer) in answers.iter().enumerate() {
            let name = answer.path.rsplit('/').next().unwrap_or(&answer.path);
            // A name that two folders have names neither image.
            names.entry(name).and_modify(|place| *place = None).or_insert(Some(position));
            names.insert(&answer.path, Some(position));
        }
        let by_name = |id: &str| names.get(id).copied().flatten();
        let by_place = |id: &str| {
            let stem = id.rsplit_once('.').map_or(id, |(stem, _)| stem);
            stem.parse().ok().filter(|&position: &usize| position < answers.len())
        };
        let named = self.rows.iter().all(|(id, _)| by_name(id).is_some());
        let mut problems = Vec::new();
        if self.rows.len() != answers.len() {
            problems.push(format!(
                "the sample has {} rows, and there are {} answers",
                self.rows.len(),
                answers.len()
            ));
        }
        let mut positions = Vec::new();
        let mut taken: BTreeMap<usize, &str> = BTreeMap::new();
        for (id, _) in &self.rows {
            let Some(position) = (if named { by_name(id) } else { by_place(id) }) else {
                problems.push(format!(
                    "the id `{id}` names no image and is no position below {}",
                    answers.len()
                ));
                continue;
            };
            if let Some(other) = taken.insert(position, id) {
                problems.push(format!("the ids `{other}` and `{id}` name the same image"));
            }
            positions.push(position);
        }
        let missed = (0..answers.len()).filter(|position| !taken.contains_key(position));
        problems.extend(missed.map(|position| format!("no id names {}", answers[position].path)));
        (positions, problems)
    }

    /// Returns how the answers have another form than the labels of the sample.
    fn match_labels(&self, answers: &[Answer]) -> Vec<String> {
        let is_number = |text: &str| text.parse::<u64>().is_ok();
        let forms: BTreeSet<bool> = self.rows.iter().map(|(_, label)| is_number(label)).collect();
        let strange = answers.iter().find(|answer| !forms.contains(&is_number(&answer.label)));
        let form = |number| if number { "numbers" } else { "ids" };
        let told = |answer: &Answer| {
            let number = is_number(&answer.label);
            let (here, there) = (form(number), form(!number));
            format!(
                "the answers are {here} such as `{}`, the labels of the sample are {there}",
                answer.label
            )
        };
        strange.map(told).into_iter().collect()
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;

    use super::Submit;
    use crate::context::Trial;
    use crate::kind::{Source, Stage};

    const PREDICTIONS: &str = concat!(
        "{\"path\":\"b.jpg\",\"label\":null,\"predicted\":4,\"class\":\"y\",\"probability\":0.9,\"top\":[]}\n",
        "{\"path\":\"a.jpg\",\"label\":null,\"predicted\":0,\"class\":\"x\",\"probability\":0.9,\"top\":[]}\n",
        "{\"path\":\"c.jpg\",\"label\":null,\"predicted\":7,\"class\":\"z\",\"probability\":0.9,\"top\":[]}\n",
    );

    /// Submits the predictions (a: 0, b: 4, c: 7) and returns the file, or why there is none.
    fn submit(sample: &str, classes: Option<u32>) -> Result<String, String> {
        let mut trial = Trial::new();
        trial.write("answers/predictions.jsonl", PREDICTIONS);
        trial.wire("answers", "answers");
        run(&trial, sample, classes)
    }

    fn run(trial: &Trial, sample: &str, classes: Option<u32>) -> Result<String, String> {
        let sample = Source(trial.write("sample.csv", sample).display().to_string());
        let submit = Submit { sample, classes: classes.and_then(NonZeroU32::new) };
        submit.run(&trial.context).map_err(|error| format!("{error:#}"))?;
        Ok(std::fs::read_to_string(trial.context.out().join("submission.csv")).unwrap())
    }

    #[track_caller]
    fn check(sample: &str, expected: &str) {
        assert_eq!(submit(sample, Some(8)), Ok(expected.to_owned()));
    }

    #[track_caller]
    fn refused(sample: &str, classes: Option<u32>, expected: &[&str]) {
        let message = submit(sample, classes).unwrap_err();
        let problems: Vec<&str> = message.lines().skip(1).map(str::trim).collect();
        assert_eq!(problems, expected, "{message}");
    }

    #[test]
    fn ids_are_names_or_positions() {
        check(
            "id,label\n000000.jpg,0\n000001.jpg,0\n000002.jpg,0\n",
            "id,label\n000000.jpg,0\n000001.jpg,4\n000002.jpg,7\n",
        );
        check("Id,Category\n2,5\n0,5\n1,5\n", "Id,Category\n2,7\n0,0\n1,4\n");
        check("id,label\nc.jpg,1\na.jpg,1\nb.jpg,1\n", "id,label\nc.jpg,7\na.jpg,0\nb.jpg,4\n");
    }

    #[test]
    fn every_problem_is_listed() {
        refused(
            "id,label\n0,0\n1,0\n1,0\nx,0\n",
            None,
            &[
                "the sample has 4 rows, and there are 3 answers",
                "the ids `1` and `1` name the same image",
                "the id `x` names no image and is no position below 3",
                "no id names c.jpg",
            ],
        );
        refused("id,label\n0,0\n1,0\n2,0\n", Some(7), &["the answer `7` for c.jpg is not allowed"]);
        refused(
            "id,label\n0,n000000\n1,n000000\n2,n000000\n",
            None,
            &["the answers are numbers such as `0`, the labels of the sample are ids"],
        );
    }

    #[test]
    fn many_problems_are_cut_short() {
        let rows: String = (0..30).map(|row| format!("x{row},0\n")).collect();
        let message = submit(&format!("id,label\n{rows}"), None).unwrap_err();
        assert_eq!(message.lines().count(), 12, "{message}");
        assert!(message.ends_with("and 24 more"), "{message}");
    }

    #[test]
    fn a_sample_of_another_form_is_refused() {
        let told = |sample| submit(sample, None).unwrap_err();
        assert!(told("id,label\n").ends_with("sample.csv has no rows"));
        assert!(told("id\n0\n").contains("has 1 columns; a sample submission has 2"));
    }

    #[test]
    fn matches_must_be_known_identities() {
        let mut trial = Trial::new();
        let line = |path, id| {
            format!(
                "{{\"path\":\"{path}\",\"id\":\"{id}\",\"score\":0.5,\"nearest\":\"a\",\"nearest-path\":\"a/1\"}}\n"
            )
        };
        trial.write("answers/matches.jsonl", line("0.jpg", "n000001") + &line("1.jpg", "n000000"));
        trial.write("answers/identities.json", "[\"n000000\", \"n000001\"]");
        trial.wire("answers", "answers");
        let sample = "id,label\n0,n000000\n1,n000000\n";
        assert_eq!(run(&trial, sample, None).unwrap(), "id,label\n0,n000001\n1,n000000\n");
        trial.write("answers/identities.json", "[\"n000000\", \"n000002\"]");
        let message = run(&trial, sample, None).unwrap_err();
        assert!(message.ends_with("the answer `n000001` for 0.jpg is not allowed"), "{message}");
        let message = run(&trial, "id,label\n0,1\n1,1\n", None).unwrap_err();
        assert!(message.contains("the answers are ids such as `n000001`"), "{message}");
    }
}
