//! Open-set retrieval: does the nearest other image show the same person?

use std::collections::BTreeMap;

use candle_core::Tensor;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

/// Queries compared at a time, which bounds memory to this many rows of similarities.
const BLOCK: usize = 512;

/// The retrieval figures of a labelled set, each image against all the others.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct Retrieval {
    /// Images that have another of their class; the rest are no queries.
    pub queries: u64,
    /// Share of queries whose most similar image is of their class (P@1).
    pub first: f64,
    /// Mean average precision at R, R being the number of other images of the class (Musgrave,
    /// Belongie and Lim 2020).
    pub average_precision: f64,
}

/// Ranks by cosine each row of `embeddings` ([N, D], unit length) against all other rows; of equal
/// similarities the lower row comes first. Figures are 0 without a query.
///
/// # Errors
///
/// When the device fails.
pub(crate) fn retrieval(embeddings: &Tensor, labels: &[u32]) -> candle_core::Result<Retrieval> {
    let mut sizes: BTreeMap<u32, usize> = BTreeMap::new();
    labels.iter().for_each(|&label| *sizes.entry(label).or_default() += 1);
    let transposed = embeddings.t()?.contiguous()?;
    let mut found: Vec<(bool, f64)> = Vec::with_capacity(labels.len());
    for start in (0..labels.len()).step_by(BLOCK) {
        let rows = BLOCK.min(labels.len() - start);
        let similarities = embeddings.narrow(0, start, rows)?.contiguous()?.matmul(&transposed)?;
        let similarities = similarities.flatten_all()?.to_vec1::<f32>()?;
        found.par_extend(similarities.par_chunks(labels.len()).enumerate().filter_map(
            |(row, similarities)| {
                let query = start + row;
                let others = sizes[&labels[query]] - 1;
                (others > 0).then(|| answer(similarities, labels, query, others))
            },
        ));
    }
    let queries = found.len().max(1) as f64;
    Ok(Retrieval {
        queries: found.len() as u64,
        first: found.iter().filter(|(first, _)| *first).count() as f64 / queries,
        average_precision: found.iter().map(|(_, precision)| precision).sum::<f64>() / queries,
    })
}

/// Returns whether the nearest row is of the query's class, and the average precision at `others`.
fn answer(similarities: &[f32], labels: &[u32], query: usize, others: usize) -> (bool, f64) {
    let mut rows: Vec<usize> = (0..labels.len()).filter(|&row| row != query).collect();
    let nearer =
        |&a: &usize, &b: &usize| similarities[b].total_cmp(&similarities[a]).then(a.cmp(&b));
    rows.select_nth_unstable_by(others - 1, nearer);
    rows.truncate(others);
    rows.sort_unstable_by(nearer);
    let mut right = 0;
    let mut precision = 0.0;
    for (place, &row) in rows.iter().enumerate() {
        if labels[row] == labels[query] {
            right += 1;
            precision += f64::from(right) / (place + 1) as f64;
        }
    }
    (labels[rows[0]] == labels[query], precision / others as f64)
}

#[cfg(test)]
mod tests {
    use candle_core::{Device, Tensor};
    use serde::Deserialize;

    use super::{BLOCK, retrieval};

    #[derive(Deserialize)]
    struct Golden {
        embeddings: Vec<Vec<f32>>,
        labels: Vec<u32>,
        first: f64,
        average_precision: f64,
    }

    #[test]
    fn figures_agree_with_pytorch_metric_learning() {
        let text = include_str!("../../golden/retrieval.json");
        let golden: Golden = serde_json::from_str(text).unwrap();
        let embeddings = Tensor::new(golden.embeddings, &Device::Cpu).unwrap();
        let figures = retrieval(&embeddings, &golden.labels).unwrap();
        assert!((figures.first - golden.first).abs() < 1e-6, "{figures:?}");
        assert!((figures.average_precision - golden.average_precision).abs() < 1e-6, "{figures:?}");
    }

    #[test]
    fn blocks_meet_without_a_seam() {
        let count = BLOCK + 3;
        // Neighbours on a circle, in pairs: the two of a pair are nearest to each other.
        let angle = |row: usize| (row / 2) as f32 * 0.01 + (row % 2) as f32 * 0.001;
        let rows: Vec<Vec<f32>> =
            (0..count).map(|row| vec![angle(row).cos(), angle(row).sin()]).collect();
        let labels: Vec<u32> = (0..count as u32).map(|row| row / 2).collect();
        let figures = retrieval(&Tensor::new(rows, &Device::Cpu).unwrap(), &labels).unwrap();
        assert_eq!(figures.queries as usize, count - 1);
        assert_eq!((figures.first, figures.average_precision), (1.0, 1.0));
    }
}
