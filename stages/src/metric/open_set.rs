//! Open-set identification: the known identity that is most like a probe, if any is like enough.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context as _, ensure};
use rayon::prelude::*;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::shortlist::Rounded;
use super::threshold_search::Outcome;
use crate::data::Embeddings;

/// The answer for a probe that is nobody known.
pub(crate) const NOBODY: &str = "n000000";

/// How alike two embeddings are; the higher, the more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Similarity {
    /// The cosine of the angle between them, -1 to 1.
    Cosine,
    /// The distance between them, negated.
    Euclidean,
}

impl Similarity {
    /// Compares two embeddings that [`Self::prepare`] returned.
    fn of(self, a: &[f64], b: &[f64]) -> f64 {
        let pairs = a.iter().zip(b);
        match self {
            Self::Cosine => pairs.map(|(x, y)| x * y).sum::<f64>().clamp(-1.0, 1.0),
            Self::Euclidean => -pairs.map(|(x, y)| (x - y) * (x - y)).sum::<f64>().sqrt(),
        }
    }

    /// Makes an embedding ready to compare: of unit length for the cosine.
    ///
    /// # Errors
    ///
    /// When it has no direction and the similarity needs one.
    fn prepare(self, mut embedding: Vec<f64>) -> anyhow::Result<Vec<f64>> {
        if self == Self::Cosine {
            let length = embedding.iter().map(|x| x * x).sum::<f64>().sqrt();
            ensure!(length > 0.0, "an embedding of length 0 has no direction to compare");
            embedding.iter_mut().for_each(|x| *x /= length);
        }
        Ok(embedding)
    }
}

/// Embeddings of a folder of faces, checked, in order of path.
#[derive(Debug)]
pub(crate) struct Faces(Vec<Face>);

/// One image and its embedding.
#[derive(Clone, Debug)]
pub(crate) struct Face {
    /// Relative to the folder, with `/`.
    pub(crate) path: String,
    class: Option<String>,
    embedding: Vec<f64>,
}

impl Faces {
    /// Reads what `embed` wrote.
    ///
    /// # Errors
    ///
    /// When files are missing or do not fit, or an embedding holds a number that is not finite.
    pub(crate) fn read(directory: &Path) -> anyhow::Result<Self> {
        Self::new(Embeddings::read(directory)?)
            .with_context(|| format!("in the embeddings {}", directory.display()))
    }

    /// Checks embeddings.
    ///
    /// # Errors
    ///
    /// When one holds a number that is not finite, or two have one path.
    pub(crate) fn new(embeddings: Embeddings) -> anyhow::Result<Self> {
        let face = |(row, embedding): (&crate::data::EmbeddingRow, &[f32])| {
            ensure!(
                embedding.iter().all(|x| x.is_finite()),
                "the embedding of {} holds a number that is not finite",
                row.path
            );
            Ok(Face {
                path: row.path.clone(),
                class: row.class.clone(),
                embedding: embedding.iter().copied().map(f64::from).collect(),
            })
        };
        let mut faces: Vec<Face> =
            embeddings.rows.iter().zip(embeddings.iter()).map(face).collect::<Result<_, _>>()?;
        // Truth lists and submissions go by position in sorted names.
        faces.sort_by(|a, b| a.path.cmp(&b.path));
        if let Some(pair) = faces.windows(2).find(|pair| pair[0].path == pair[1].path) {
            anyhow::bail!("{} occurs twice", pair[0].path);
        }
        Ok(Self(faces))
    }

    /// Every face, in order of path.
    pub(crate) fn list(&self) -> &[Face] {
        &self.0
    }
}

impl Face {
    /// Returns the identity: the folder of an image or, in a flat folder, its name without ending.
    fn identity(&self) -> &str {
        self.class.as_deref().unwrap_or_else(|| {
            let name = self.path.rsplit('/').next().unwrap_or(&self.path);
            name.rsplit_once('.').map_or(name, |(stem, _)| stem)
        })
    }
}

/// The known identities, in order, each with one template to compare with.
#[derive(Debug)]
pub(crate) struct Gallery {
    similarity: Similarity,
    identities: Vec<Identity>,
    /// The templates of the identities.
    rounded: Rounded,
}

/// Probes that are compared at a time, so that their copies need not all be in memory.
const TOGETHER: usize = 16 << 10;

#[derive(Debug)]
struct Identity {
    name: String,
    /// The mean of the prepared images, prepared again.
    template: Vec<f64>,
    images: Vec<(String, Vec<f64>)>,
}

/// The known identity that is most like a probe.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Nearest<'a> {
    /// Its name.
    pub(crate) identity: &'a str,
    /// How much it is alike.
    pub(crate) score: f64,
    /// The image of it that is most alike.
    pub(crate) path: &'a str,
}

impl Gallery {
    /// Makes the template of each identity.
    ///
    /// # Errors
    ///
    /// When there is none, when one bears the name of nobody, or when an embedding or a mean of
    /// embeddings has no direction and the similarity needs one.
    pub(crate) fn new(known: &Faces, similarity: Similarity) -> anyhow::Result<Self> {
        let mut images: BTreeMap<&str, Vec<(String, Vec<f64>)>> = BTreeMap::new();
        for face in known.list() {
            let prepared = similarity
                .prepare(face.embedding.clone())
                .with_context(|| format!("known image {}", face.path))?;
            images.entry(face.identity()).or_default().push((face.path.clone(), prepared));
        }
        ensure!(!images.is_empty(), "there is no known identity to compare with");
        ensure!(
            !images.contains_key(NOBODY),
            "a known identity is called `{NOBODY}`, which means nobody"
        );
        let identity = |(name, images): (&str, Vec<(String, Vec<f64>)>)| {
            let mut mean = vec![0.0; images[0].1.len()];
            for (_, image) in &images {
                mean.iter_mut().zip(image).for_each(|(sum, x)| *sum += x / images.len() as f64);
            }
            let template = similarity
                .prepare(mean)
                .with_context(|| format!("the mean of the images of known identity {name}"))?;
            Ok(Identity { name: name.to_owned(), template, images })
        };
        let identities: Vec<Identity> =
            images.into_iter().map(identity).collect::<anyhow::Result<_>>()?;
        let templates = identities.iter().map(|identity| &identity.template);
        let rounded = Rounded::new(templates, similarity == Similarity::Euclidean);
        Ok(Self { similarity, identities, rounded })
    }

    /// Returns the names of the identities, in order.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.identities.iter().map(|identity| identity.name.as_str())
    }

    /// Returns the identity most like each probe; of equally alike ones the first by name.
    ///
    /// # Errors
    ///
    /// When the embeddings are of another dimension, or one cannot be compared.
    pub(crate) fn nearest(&self, probes: &Faces) -> anyhow::Result<Vec<Nearest<'_>>> {
        let mut all = Vec::with_capacity(probes.list().len());
        for faces in probes.list().chunks(TOGETHER) {
            let prepared: Vec<Vec<f64>> =
                faces.par_iter().map(|face| self.prepare(face)).collect::<anyhow::Result<_>>()?;
            let likely = self.rounded.likely(&prepared);
            let nearest = prepared.par_iter().zip(&likely).map(|(probe, likely)| {
                let identities = likely.iter().map(|&place| &self.identities[place]);
                let (score, identity) = self
                    .most_alike(probe, identities.map(|one| (&one.template, one)))
                    .context("there is no known identity to compare with")?;
                let (_, path) = self
                    .most_alike(probe, identity.images.iter().map(|(path, image)| (image, path)))
                    .context("an identity has no image")?;
                Ok(Nearest { identity: &identity.name, score, path })
            });
            all.extend(nearest.collect::<anyhow::Result<Vec<_>>>()?);
        }
        Ok(all)
    }

    /// Makes a probe ready to compare.
    fn prepare(&self, face: &Face) -> anyhow::Result<Vec<f64>> {
        let probe = self
            .similarity
            .prepare(face.embedding.clone())
            .with_context(|| format!("unknown image {}", face.path))?;
        let dimension = self.identities[0].template.len();
        ensure!(
            probe.len() == dimension,
            "unknown image {}: its embedding has {} numbers, those of the known images {dimension}: \
             embed both with the same weights",
            face.path,
            probe.len()
        );
        Ok(probe)
    }

    /// Returns the first of the candidates that are most like a probe, and how much.
    fn most_alike<'a, T>(
        &self,
        probe: &[f64],
        candidates: impl Iterator<Item = (&'a Vec<f64>, T)>,
    ) -> Option<(f64, T)> {
        candidates
            .map(|(embedding, candidate)| (self.similarity.of(probe, embedding), candidate))
            .reduce(
                |best, next| {
                    if next.0.total_cmp(&best.0) == Ordering::Greater { next } else { best }
                },
            )
    }

    /// Returns what each probe's nearest identity is to it, given who the probe is.
    pub(crate) fn outcome(nearest: &Nearest<'_>, truth: &str) -> Outcome {
        if truth == NOBODY {
            Outcome::Unknown
        } else if truth == nearest.identity {
            Outcome::Correct
        } else {
            Outcome::Wrong
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::{Face, Faces, Gallery, NOBODY, Nearest, Outcome, Similarity};

    /// Makes faces of paths and embeddings; the folder is the class.
    pub(crate) fn faces(of: &[(&str, &[f64])]) -> Faces {
        let mut faces: Vec<Face> = of
            .iter()
            .map(|&(path, embedding)| Face {
                path: path.to_owned(),
                class: path.split_once('/').map(|(class, _)| class.to_owned()),
                embedding: embedding.to_vec(),
            })
            .collect();
        faces.sort_by(|a, b| a.path.cmp(&b.path));
        Faces(faces)
    }

    #[track_caller]
    fn check(similarity: Similarity, known: &Faces, probe: &[f64], expected: (&str, f64, &str)) {
        let gallery = Gallery::new(known, similarity).unwrap();
        let probes = faces(&[("probe.jpg", probe)]);
        let found = gallery.nearest(&probes).unwrap();
        let (identity, score, path) = expected;
        assert!((found[0].score - score).abs() < 1e-12, "{found:?}");
        assert_eq!((found[0].identity, found[0].path), (identity, path));
    }

    #[test]
    fn cosine_and_euclidean_differ() {
        let known = faces(&[("a/1.jpg", &[10.0, 0.0]), ("b/1.jpg", &[1.0, 1.0])]);
        let half = 0.5_f64.sqrt();
        check(Similarity::Cosine, &known, &[2.0, 0.0], ("a", 1.0, "a/1.jpg"));
        check(Similarity::Cosine, &known, &[0.0, 3.0], ("b", half, "b/1.jpg"));
        check(Similarity::Euclidean, &known, &[2.0, 0.0], ("b", -2.0 * half, "b/1.jpg"));
    }

    #[test]
    fn a_template_is_the_mean_of_unit_images() {
        let known = faces(&[("a/1", &[9.0, 0.0]), ("a/2", &[0.0, 1.0]), ("b/1", &[-1.0, 0.0])]);
        check(Similarity::Cosine, &known, &[1.0, 1.1], ("a", 2.1 / (2.0 * 2.21_f64).sqrt(), "a/2"));
        let raw = (4.5_f64 - 0.5, 0.5 - 0.0);
        let distance = -(raw.0 * raw.0 + raw.1 * raw.1).sqrt();
        check(Similarity::Euclidean, &known, &[0.5, 0.0], ("b", -1.5, "b/1"));
        check(Similarity::Euclidean, &known, &[8.5, 0.0], ("a", distance, "a/1"));
    }

    /// The answer is that of comparing all in f64, to the last bit.
    #[test]
    fn a_large_gallery_is_searched_exactly() {
        let mut random = crate::rng::Random::new(2, "gallery", &[]);
        let mut draw = |count: usize, name: &str| -> Vec<(String, Vec<f64>)> {
            let embedding = |number| {
                let numbers = (0..16).map(|_| f64::from(random.normal() as f32)).collect();
                (format!("{name}{number:05}/1"), numbers)
            };
            (0..count).map(embedding).collect()
        };
        let (known, probes) = (draw(2500, "n"), draw(60, "p"));
        let as_faces = |of: &[(String, Vec<f64>)]| {
            faces(&of.iter().map(|(path, numbers)| (&**path, &**numbers)).collect::<Vec<_>>())
        };
        let (known, probes) = (as_faces(&known), as_faces(&probes));
        for similarity in [Similarity::Cosine, Similarity::Euclidean] {
            let gallery = Gallery::new(&known, similarity).unwrap();
            for (face, found) in probes.list().iter().zip(gallery.nearest(&probes).unwrap()) {
                let probe = gallery.prepare(face).unwrap();
                let all = gallery.identities.iter().map(|one| (&one.template, one));
                let (score, identity) = gallery.most_alike(&probe, all).unwrap();
                assert_eq!((found.identity, found.score), (&*identity.name, score));
            }
        }
    }

    #[test]
    fn ties_go_to_the_first_name() {
        let known = faces(&[("b/1", &[1.0, 0.0]), ("a/1", &[2.0, 0.0])]);
        check(Similarity::Cosine, &known, &[1.0, 0.0], ("a", 1.0, "a/1"));
    }

    #[test]
    fn a_flat_folder_names_identities_by_file() {
        let known = faces(&[("n000007.jpg", &[1.0]), ("n000003.jpg", &[-1.0])]);
        let gallery = Gallery::new(&known, Similarity::Cosine).unwrap();
        assert_eq!(gallery.names().collect::<Vec<_>>(), ["n000003", "n000007"]);
    }

    #[test]
    fn what_cannot_be_compared_is_named() {
        let cosine = |known: &Faces, probe: &Faces| {
            let gallery = Gallery::new(known, Similarity::Cosine);
            match gallery {
                Err(error) => format!("{error:#}"),
                Ok(gallery) => format!("{:#}", gallery.nearest(probe).unwrap_err()),
            }
        };
        let good = faces(&[("a/1", &[1.0, 0.0])]);
        let zero = faces(&[("z/1", &[0.0, 0.0])]);
        assert!(cosine(&zero, &good).contains("known image z/1: an embedding of length 0"));
        assert!(cosine(&good, &zero).contains("unknown image z/1: an embedding of length 0"));
        let opposite = faces(&[("a/1", &[1.0, 0.0]), ("a/2", &[-1.0, 0.0])]);
        assert!(cosine(&opposite, &good).contains("the mean of the images of known identity a"));
        assert!(cosine(&good, &faces(&[("a", &[1.0])])).contains("has 1 numbers"));
        assert!(cosine(&faces(&[]), &good).contains("no known identity"));
        assert!(cosine(&faces(&[("n000000/1", &[1.0])]), &good).contains("means nobody"));
    }

    #[test]
    fn outcomes() {
        let nearest = Nearest { identity: "a", score: 0.1, path: "a/1" };
        let outcome = |truth| Gallery::outcome(&nearest, truth);
        assert_eq!(outcome("a"), Outcome::Correct);
        assert_eq!(outcome("b"), Outcome::Wrong);
        assert_eq!(outcome(NOBODY), Outcome::Unknown);
    }
}
