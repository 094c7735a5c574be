//! The embeddings of an image set on disk: what `embed` writes and the face stages read.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use anyhow::{Context as _, ensure};
use safetensors::tensor::{Dtype, SafeTensors, View};
use serde::{Deserialize, Serialize};

/// The name of the one tensor of `embeddings.safetensors`: f32 `[N, D]`.
const TENSOR: &str = "embeddings";

/// Embeddings with what is known of each image, in one order.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Embeddings {
    /// How they were made: `embeddings.json`.
    pub(crate) facts: EmbeddingFacts,
    /// One for each image: `index.jsonl`.
    pub(crate) rows: Vec<EmbeddingRow>,
    /// `[images, dimension]`, row after row: `embeddings.safetensors`.
    pub(crate) values: Vec<f32>,
}

/// The contents of `embeddings.json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) struct EmbeddingFacts {
    /// How many images.
    pub(crate) count: usize,
    /// How many numbers an embedding has.
    pub(crate) dimension: usize,
    /// Whether every embedding has length 1.
    pub(crate) normalized: bool,
    /// Whether each is the sum over the image and its mirror image.
    pub(crate) flip: bool,
}

/// A line of `index.jsonl`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) struct EmbeddingRow {
    /// Relative to the folder that was preprocessed, with `/`.
    pub(crate) path: String,
    /// The class as a position in the sorted class names of the image set; none in a flat folder.
    pub(crate) label: Option<u32>,
    /// The name of the class.
    pub(crate) class: Option<String>,
    /// The row of the tensor.
    pub(crate) row: usize,
}

impl Embeddings {
    /// Returns the embedding of each image, in the order of [`Self::rows`].
    pub(crate) fn iter(&self) -> impl ExactSizeIterator<Item = &[f32]> {
        self.values.chunks_exact(self.facts.dimension)
    }

    /// Writes the three files into a directory.
    ///
    /// # Errors
    ///
    /// When a file cannot be written.
    pub(crate) fn write(&self, directory: &Path) -> anyhow::Result<()> {
        let mut index = String::new();
        for row in &self.rows {
            let line = serde_json::to_string(row).context("a row is plain data")?;
            writeln!(index, "{line}").context("a string takes every line")?;
        }
        let put = |name: &str, bytes: &[u8]| {
            let path = directory.join(name);
            fs::write(&path, bytes).with_context(|| format!("cannot write {}", path.display()))
        };
        put("index.jsonl", index.as_bytes())?;
        let facts = serde_json::to_string_pretty(&self.facts).context("facts are plain data")?;
        put("embeddings.json", format!("{facts}\n").as_bytes())?;
        let matrix =
            Matrix { shape: [self.rows.len(), self.facts.dimension], values: &self.values };
        put("embeddings.safetensors", &safetensors::serialize([(TENSOR, matrix)], None)?)
    }

    /// Reads a directory that [`Self::write`] filled.
    ///
    /// # Errors
    ///
    /// When a file is missing, or does not fit the others.
    pub(crate) fn read(directory: &Path) -> anyhow::Result<Self> {
        let get = |name: &str| {
            let path = directory.join(name);
            fs::read(&path).with_context(|| format!("cannot read {}", path.display()))
        };
        let shown = directory.display();
        let facts: EmbeddingFacts = serde_json::from_slice(&get("embeddings.json")?)
            .with_context(|| format!("{shown}/embeddings.json is not what embed writes"))?;
        let index = String::from_utf8(get("index.jsonl")?)
            .with_context(|| format!("{shown}/index.jsonl is not text"))?;
        let mut rows = Vec::with_capacity(facts.count);
        for (number, line) in index.lines().enumerate() {
            let place = || format!("{shown}/index.jsonl, line {}", number + 1);
            let row: EmbeddingRow = serde_json::from_str(line).with_context(place)?;
            ensure!(row.row == number, "{}: row {} is out of order", place(), row.row);
            rows.push(row);
        }
        let file = get("embeddings.safetensors")?;
        let tensors = SafeTensors::deserialize(&file)
            .with_context(|| format!("{shown}/embeddings.safetensors is not a safetensors file"))?;
        let tensor = tensors
            .tensor(TENSOR)
            .with_context(|| format!("{shown}/embeddings.safetensors has no `{TENSOR}`"))?;
        ensure!(
            tensor.dtype() == Dtype::F32
                && tensor.shape() == [facts.count, facts.dimension]
                && rows.len() == facts.count
                && facts.dimension > 0,
            "{shown}: {} rows of the index, {:?} numbers {:?} and {} embeddings of {} numbers do not \
             fit together",
            rows.len(),
            tensor.dtype(),
            tensor.shape(),
            facts.count,
            facts.dimension
        );
        let (words, _) = tensor.data().as_chunks::<4>();
        let values = words.iter().map(|&word| f32::from_le_bytes(word)).collect();
        Ok(Self { facts, rows, values })
    }
}

struct Matrix<'a> {
    shape: [usize; 2],
    values: &'a [f32],
}

impl View for Matrix<'_> {
    fn dtype(&self) -> Dtype {
        Dtype::F32
    }
    fn shape(&self) -> &[usize] {
        &self.shape
    }
    fn data(&self) -> Cow<'_, [u8]> {
        Cow::Owned(self.values.iter().flat_map(|value| value.to_le_bytes()).collect())
    }
    fn data_len(&self) -> usize {
        4 * self.values.len()
    }
}

#[cfg(test)]
impl Embeddings {
    /// Makes embeddings of paths; the folder of a path is its class.
    pub(crate) fn of_test<const D: usize>(of: &[(&str, [f32; D])]) -> Self {
        let row = |(row, &(path, _)): (usize, &(&str, [f32; D]))| EmbeddingRow {
            path: path.to_owned(),
            label: None,
            class: path.split_once('/').map(|(class, _)| class.to_owned()),
            row,
        };
        Self {
            facts: EmbeddingFacts { count: of.len(), dimension: D, normalized: false, flip: false },
            rows: of.iter().enumerate().map(row).collect(),
            values: of.iter().flat_map(|&(_, values)| values).collect(),
        }
    }

    /// Writes them as what is wired to an input of a trial, in place of what was.
    pub(crate) fn write_as_input(&self, trial: &mut crate::context::Trial, input: &str) {
        let directory = trial.directory.path().join(input);
        fs::create_dir_all(&directory).unwrap();
        self.write(&directory).unwrap();
        trial.context.inputs.remove(input);
        trial.wire(input, input);
    }
}

#[cfg(test)]
mod tests {
    use super::{EmbeddingFacts, EmbeddingRow, Embeddings};

    fn two() -> Embeddings {
        let row = |row: usize, class: Option<&str>| EmbeddingRow {
            path: format!("{row}.png"),
            label: class.map(|_| 0),
            class: class.map(str::to_owned),
            row,
        };
        Embeddings {
            facts: EmbeddingFacts { count: 2, dimension: 3, normalized: false, flip: true },
            rows: vec![row(0, Some("n000001")), row(1, None)],
            values: vec![1.0, -2.0, 0.1, 4.0, f32::MIN_POSITIVE, 6.0],
        }
    }

    #[test]
    fn what_is_written_is_read() {
        let directory = tempfile::tempdir().unwrap();
        two().write(directory.path()).unwrap();
        let read = Embeddings::read(directory.path()).unwrap();
        assert_eq!(read, two());
        assert_eq!(read.iter().nth(1), Some(&[4.0, f32::MIN_POSITIVE, 6.0][..]));
    }

    #[test]
    fn files_that_do_not_fit_are_an_error_with_the_path() {
        let directory = tempfile::tempdir().unwrap();
        two().write(directory.path()).unwrap();
        let index = directory.path().join("index.jsonl");
        let text = std::fs::read_to_string(&index).unwrap();
        std::fs::write(&index, text.lines().next().unwrap()).unwrap();
        let error = Embeddings::read(directory.path()).unwrap_err().to_string();
        assert!(error.contains("1 rows of the index"), "{error}");
        assert!(error.contains(&directory.path().display().to_string()), "{error}");
        std::fs::write(&index, text.replace("\"row\":1", "\"row\":2")).unwrap();
        let error = Embeddings::read(directory.path()).unwrap_err().to_string();
        assert!(error.contains("line 2: row 2 is out of order"), "{error}");
    }
}
