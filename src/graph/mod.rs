//! A plan as a picture: dot, mermaid, or SVG drawn here.

mod crossings;
mod layout;
mod svg;
mod text;

use std::collections::BTreeMap;

use crate::plan::Plan;

pub use svg::svg;
pub use text::{dot, mermaid};

/// What is drawn: the steps, and which gives to which.
#[derive(Debug)]
pub struct Graph {
    title: String,
    nodes: Vec<Node>,
    edges: Vec<Edge>,
}

#[derive(Debug)]
struct Node {
    name: String,
    kind: String,
}

#[derive(Debug)]
struct Edge {
    from: usize,
    to: usize,
    /// The inputs and parameters that it feeds.
    label: String,
}

impl Graph {
    /// Takes from a plan what is drawn.
    #[must_use]
    pub fn of(plan: &Plan) -> Self {
        let steps = &plan.pipeline.steps;
        let node =
            |step: &crate::Step| Node { name: step.name.clone(), kind: step.kind.name.to_owned() };
        let mut labels: BTreeMap<(usize, usize), Vec<&str>> = BTreeMap::new();
        for (to, step) in steps.iter().enumerate() {
            let wired = step.inputs.iter().flat_map(|(input, names)| {
                names.iter().map(move |name| (input.as_str(), name.as_str()))
            });
            let read = step.reads.iter().filter_map(|read| {
                read.source.step().map(|(name, _)| (read.parameter.as_str(), name))
            });
            for (label, name) in wired.chain(read) {
                if let Some(from) = plan.find(name) {
                    let labels = labels.entry((to, from.0)).or_default();
                    if !labels.contains(&label) {
                        labels.push(label);
                    }
                }
            }
        }
        let edges = labels.into_iter().map(|((to, from), labels)| Edge {
            from,
            to,
            label: labels.join(", "),
        });
        Self {
            title: plan.pipeline.name.clone(),
            nodes: steps.iter().map(node).collect(),
            edges: edges.collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Edge, Graph, Node};

    /// Makes a graph from `a:kind` nodes and `a>b` edges.
    pub(super) fn graph(nodes: &[&str], edges: &[(usize, usize)]) -> Graph {
        let node = |text: &&str| {
            let (name, kind) = text.split_once(':').unwrap_or((text, "work"));
            Node { name: name.to_owned(), kind: kind.to_owned() }
        };
        let edge =
            |(from, to): &(usize, usize)| Edge { from: *from, to: *to, label: "x".to_owned() };
        Graph {
            title: "sample".to_owned(),
            nodes: nodes.iter().map(node).collect(),
            edges: edges.iter().map(edge).collect(),
        }
    }
}
