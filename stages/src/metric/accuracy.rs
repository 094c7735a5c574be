//! Closed-set accuracy: every image is of one of the known classes.

use serde::{Deserialize, Serialize};

/// The 97.5 % point of the standard normal distribution.
const Z: f64 = 1.959_963_984_540_054;

/// Counts right answers, one image at a time.
#[derive(Clone, Debug)]
pub(crate) struct ClosedSet {
    images: u64,
    first: u64,
    five: u64,
    loss: f64,
    /// Images and right answers of each class.
    classes: Vec<(u64, u64)>,
}

/// The closed-set figures of a labelled image set.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct Accuracy {
    /// How many images.
    pub images: u64,
    /// Share of images whose class has the highest logit.
    #[serde(rename = "top-1")]
    pub first: f64,
    /// The 95 % interval of that share (Wilson 1927).
    #[serde(rename = "top-1-interval")]
    pub interval: [f64; 2],
    /// Share of images whose class is among the five highest logits.
    #[serde(rename = "top-5")]
    pub five: f64,
    /// The mean over the classes that occur of the share of right answers within each.
    #[serde(rename = "macro")]
    pub balanced: f64,
    /// Mean cross-entropy of the logits, in nats.
    pub loss: f64,
}

impl ClosedSet {
    /// Starts with nothing seen.
    pub(crate) fn new(classes: usize) -> Self {
        Self { images: 0, first: 0, five: 0, loss: 0.0, classes: vec![(0, 0); classes] }
    }

    /// Counts an image with these logits, one per class.
    pub(crate) fn add(&mut self, logits: &[f32], label: u32) {
        let rank = rank(logits, label);
        let (images, right) = &mut self.classes[label as usize];
        self.images += 1;
        *images += 1;
        *right += u64::from(rank == 0);
        self.first += u64::from(rank == 0);
        self.five += u64::from(rank < 5);
        self.loss += log_sum_exp(logits) - f64::from(logits[label as usize]);
    }

    /// Returns the figures; all are 0 where no image was counted.
    pub(crate) fn accuracy(&self) -> Accuracy {
        let share = |part: f64| part / self.images.max(1) as f64;
        let seen = self.classes.iter().filter(|(images, _)| *images > 0);
        let recalls: Vec<f64> = seen.map(|&(images, right)| right as f64 / images as f64).collect();
        Accuracy {
            images: self.images,
            first: share(self.first as f64),
            interval: wilson(self.first, self.images),
            five: share(self.five as f64),
            balanced: recalls.iter().sum::<f64>() / recalls.len().max(1) as f64,
            loss: share(self.loss),
        }
    }
}

/// Returns how many classes are ahead of this one; of equal logits the lower class is ahead.
pub(crate) fn rank(logits: &[f32], label: u32) -> usize {
    let own = logits[label as usize];
    let ahead =
        |&(class, &logit): &(usize, &f32)| logit > own || (logit == own && class < label as usize);
    logits.iter().enumerate().filter(ahead).count()
}

/// Returns the classes of the `count` highest logits, best first, in the order of [`rank`].
pub(crate) fn best(logits: &[f32], count: usize) -> Vec<u32> {
    let mut best: Vec<u32> = Vec::with_capacity(count + 1);
    for (class, &logit) in logits.iter().enumerate() {
        let place = best.partition_point(|&other| logits[other as usize] >= logit);
        if place < count {
            best.insert(place, class as u32);
            best.truncate(count);
        }
    }
    best
}

/// Returns ln Σ exp(logit), summed in `f64` around the highest.
pub(crate) fn log_sum_exp(logits: &[f32]) -> f64 {
    let highest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let sum: f64 = logits.iter().map(|&logit| f64::from(logit - highest).exp()).sum();
    f64::from(highest) + sum.ln()
}

/// Returns the 95 % interval of a share (Wilson 1927); [0, 1] where nothing was counted.
pub(crate) fn wilson(right: u64, count: u64) -> [f64; 2] {
    if count == 0 {
        return [0.0, 1.0];
    }
    let (n, share) = (count as f64, right as f64 / count as f64);
    let middle = share + Z * Z / (2.0 * n);
    let half = Z * (share * (1.0 - share) / n + Z * Z / (4.0 * n * n)).sqrt();
    let scale = 1.0 + Z * Z / n;
    [((middle - half) / scale).max(0.0), ((middle + half) / scale).min(1.0)]
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::{ClosedSet, best, rank, wilson};

    #[derive(Deserialize)]
    struct Golden {
        logits: Vec<Vec<f32>>,
        labels: Vec<u32>,
        first: f64,
        five: f64,
        balanced: f64,
        loss: f64,
        wilson: Vec<(u64, u64, f64, f64)>,
    }

    #[test]
    fn figures_agree_with_scikit_learn_and_scipy() {
        let text = include_str!("../../golden/closed_set.json");
        let golden: Golden = serde_json::from_str(text).unwrap();
        let mut set = ClosedSet::new(golden.logits[0].len());
        for (logits, &label) in golden.logits.iter().zip(&golden.labels) {
            set.add(logits, label);
        }
        let accuracy = set.accuracy();
        let close =
            |ours: f64, theirs: f64| assert!((ours - theirs).abs() < 1e-6, "{ours} {theirs}");
        close(accuracy.first, golden.first);
        close(accuracy.five, golden.five);
        close(accuracy.balanced, golden.balanced);
        close(accuracy.loss, golden.loss);
        for (right, count, low, high) in golden.wilson {
            let ours = wilson(right, count);
            close(ours[0], low);
            close(ours[1], high);
        }
    }

    #[test]
    fn of_equal_logits_the_lower_class_is_ahead() {
        let logits = [1.0, 3.0, 3.0, 0.0, 3.0, 2.0];
        assert_eq!(best(&logits, 5), [1, 2, 4, 5, 0]);
        assert_eq!(best(&logits, 2), [1, 2]);
        assert_eq!(best(&logits[..1], 5), [0]);
        let ranks: Vec<usize> = (0..6).map(|label| rank(&logits, label)).collect();
        assert_eq!(ranks, [4, 0, 1, 5, 2, 3]);
    }

    #[test]
    fn nothing_counted_says_nothing() {
        let accuracy = ClosedSet::new(3).accuracy();
        assert_eq!((accuracy.first, accuracy.balanced), (0.0, 0.0));
        assert_eq!(accuracy.interval, [0.0, 1.0]);
    }
}
