//! How fast a step gets on, and how long it still takes.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// How far back the pace is measured, so that a slow start is forgotten.
const WINDOW: Duration = Duration::from_secs(20);

/// The recent progress of one step.
#[derive(Debug, Default)]
pub(super) struct Pace {
    points: VecDeque<(Instant, u64)>,
    unit: String,
}

impl Pace {
    /// Takes note of how far the step is.
    pub(super) fn note(&mut self, now: Instant, done: u64, unit: &str) {
        // Another unit or a step back is another piece of work.
        if self.unit != unit || self.points.back().is_some_and(|&(_, last)| done < last) {
            self.points.clear();
            unit.clone_into(&mut self.unit);
        }
        self.points.push_back((now, done));
        while self.points.len() > 2 && now - self.points[0].0 > WINDOW {
            self.points.pop_front();
        }
    }

    /// Units a second, once that can be told.
    pub(super) fn rate(&self) -> Option<f64> {
        let (&(start, from), &(end, to)) = (self.points.front()?, self.points.back()?);
        let seconds = (end - start).as_secs_f64();
        (seconds > 0.2 && to > from).then(|| (to - from) as f64 / seconds)
    }

    /// Seconds left until `total`, once that can be told.
    pub(super) fn left(&self, total: u64, now: Instant) -> Option<f64> {
        let &(last, done) = self.points.back()?;
        let left = total.checked_sub(done)? as f64 / self.rate()?;
        Some((left - (now - last).as_secs_f64()).max(0.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pace_is_that_of_late() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut pace = Pace::default();
        pace.note(at(0), 100, "images");
        assert_eq!((pace.rate(), pace.left(1000, at(0))), (None, None));
        pace.note(at(10), 200, "images");
        assert_eq!((pace.rate(), pace.left(1000, at(12))), (Some(10.0), Some(78.0)));
        pace.note(at(28), 560, "images");
        assert_eq!(pace.rate(), Some(20.0));
        pace.note(at(30), 0, "images");
        assert_eq!(pace.rate(), None);
    }
}
