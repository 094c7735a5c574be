//! Whose turn it is: the order of steps that could all run now.

use std::cmp::Reverse;

use super::{Node, Step};

/// The smaller, the earlier: the urgent first, and of those the start of the longest path.
pub(super) type Rank = (Reverse<i64>, Reverse<u64>);

/// The rank of every step, when each takes as long as `weights` says.
///
/// What an urgent step needs is as urgent. Only wanted steps count; none counts more than once, and
/// no call is made for each, so a path may be of any length.
pub(super) fn ranks(nodes: &[Node], weights: &[u64]) -> Vec<Rank> {
    let mut after = vec![0_usize; nodes.len()];
    let wanted = || (0..nodes.len()).filter(|&step| nodes[step].wanted);
    for step in wanted() {
        nodes[step].needs.iter().for_each(|&needed| after[needed] += 1);
    }
    let mut urgency: Vec<i64> = nodes.iter().map(|node| node.priority).collect();
    let mut paths = weights.to_vec();
    let mut known: Vec<Step> = wanted().filter(|&step| after[step] == 0).collect();
    while let Some(step) = known.pop() {
        for &needed in &nodes[step].needs {
            urgency[needed] = urgency[needed].max(urgency[step]);
            let path = paths[step].saturating_add(weights[needed]);
            paths[needed] = paths[needed].max(path);
            after[needed] -= 1;
            if after[needed] == 0 {
                known.push(needed);
            }
        }
    }
    urgency
        .into_iter()
        .zip(paths)
        .map(|(urgency, path)| (Reverse(urgency), Reverse(path)))
        .collect()
}
