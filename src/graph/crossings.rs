//! Orders the nodes of neighbouring layers so that few edges cross.
//!
//! The barycenter heuristic of Sugiyama, Tagawa and Toda (1981): each node moves to the mean
//! position of its neighbours, layer by layer, down and up; the best order seen is kept.

/// Nodes in layers; edges join neighbouring layers only.
pub(super) struct Layers {
    /// The nodes of each layer, from left to right.
    pub(super) order: Vec<Vec<usize>>,
    /// For each node, those of the layer above that it is joined to.
    pub(super) above: Vec<Vec<usize>>,
    /// For each node, those of the layer below that it is joined to.
    pub(super) below: Vec<Vec<usize>>,
}

impl Layers {
    /// Reorders every layer.
    pub(super) fn untangle(&mut self) {
        const SWEEPS: usize = 24;
        let mut best = self.order.clone();
        let mut fewest = self.crossings();
        for sweep in 0..SWEEPS {
            if fewest == 0 {
                break;
            }
            if sweep % 2 == 0 {
                for layer in 1..self.order.len() {
                    self.sort_layer(layer, layer - 1, true);
                }
            } else {
                for layer in (1..self.order.len()).rev() {
                    self.sort_layer(layer - 1, layer, false);
                }
            }
            let crossings = self.crossings();
            if crossings < fewest {
                fewest = crossings;
                best.clone_from(&self.order);
            }
        }
        self.order = best;
    }

    fn sort_layer(&mut self, layer: usize, fixed: usize, fixed_is_above: bool) {
        let place = self.places(fixed);
        let neighbors = if fixed_is_above { &self.above } else { &self.below };
        let own = self.places(layer);
        let mut keyed: Vec<(f64, usize)> = self.order[layer]
            .iter()
            .map(|node| {
                let joined = &neighbors[*node];
                let mean = if joined.is_empty() {
                    own[*node] as f64
                } else {
                    let sum: usize = joined.iter().map(|other| place[*other]).sum();
                    sum as f64 / joined.len() as f64
                };
                (mean, *node)
            })
            .collect();
        keyed.sort_by(|left, right| left.0.total_cmp(&right.0));
        self.order[layer] = keyed.into_iter().map(|(_, node)| node).collect();
    }

    /// The position of each node of a layer in it.
    fn places(&self, layer: usize) -> Vec<usize> {
        let mut places = vec![0; self.above.len()];
        for (position, node) in self.order[layer].iter().enumerate() {
            places[*node] = position;
        }
        places
    }

    /// How many pairs of edges cross.
    pub(super) fn crossings(&self) -> usize {
        (1..self.order.len()).map(|layer| self.crossings_above(layer)).sum()
    }

    /// Counts the inversions of the edges that come down to a layer, by merge sort.
    fn crossings_above(&self, layer: usize) -> usize {
        let place = self.places(layer - 1);
        let mut ends = Vec::new();
        for node in &self.order[layer] {
            let mut starts: Vec<usize> =
                self.above[*node].iter().map(|node| place[*node]).collect();
            starts.sort_unstable();
            ends.extend(starts);
        }
        inversions(&mut ends)
    }
}

fn inversions(values: &mut [usize]) -> usize {
    if values.len() < 2 {
        return 0;
    }
    let (left, right) = values.split_at_mut(values.len() / 2);
    let mut count = inversions(left) + inversions(right);
    let mut merged = Vec::with_capacity(left.len() + right.len());
    let (mut from_left, mut from_right) = (0, 0);
    while from_left < left.len() && from_right < right.len() {
        if left[from_left] <= right[from_right] {
            merged.push(left[from_left]);
            from_left += 1;
        } else {
            count += left.len() - from_left;
            merged.push(right[from_right]);
            from_right += 1;
        }
    }
    merged.extend_from_slice(&left[from_left..]);
    merged.extend_from_slice(&right[from_right..]);
    values.copy_from_slice(&merged);
    count
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layers(order: Vec<Vec<usize>>, edges: &[(usize, usize)]) -> Layers {
        let count = order.iter().map(Vec::len).sum();
        let (mut above, mut below) = (vec![Vec::new(); count], vec![Vec::new(); count]);
        for (from, to) in edges {
            above[*to].push(*from);
            below[*from].push(*to);
        }
        Layers { order, above, below }
    }

    #[test]
    fn crossings_are_counted_and_removed() {
        let mut crossed =
            layers(vec![vec![0, 1, 2], vec![3, 4, 5]], &[(0, 5), (1, 4), (2, 3), (0, 4)]);
        assert_eq!(crossed.crossings(), 4);
        crossed.untangle();
        assert_eq!(crossed.crossings(), 0);
    }

    #[test]
    fn inversions_are_those_of_all_pairs() {
        let values = [3, 1, 4, 1, 5, 9, 2, 6, 5, 3, 5];
        let pairs = (0..values.len()).flat_map(|i| (i + 1..values.len()).map(move |j| (i, j)));
        let expected = pairs.filter(|(i, j)| values[*i] > values[*j]).count();
        assert_eq!(inversions(&mut values.clone()), expected);
    }
}
