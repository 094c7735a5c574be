//! The graph of a pipeline: which step needs which, and an order that respects it.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};

use petgraph::Direction;
use petgraph::graph::{DiGraph, NodeIndex};
use petgraph::visit::{Dfs, Reversed, VisitMap};

use crate::pipeline::{Pipeline, Step};
use crate::problem::{Problem, Problems};
use crate::suggest::quoted;

/// The position of a step in [`Pipeline::steps`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StepId(pub usize);

/// A pipeline whose steps can be put in an order.
pub struct Plan {
    /// What was planned.
    pub pipeline: Pipeline,
    /// An edge leads from a step to one that needs it; node indices are step positions.
    graph: DiGraph<(), (), usize>,
    order: Vec<StepId>,
    by_name: BTreeMap<String, StepId>,
}

impl Plan {
    /// Links the steps of a pipeline.
    ///
    /// # Errors
    ///
    /// Each loop of steps that wait for each other, and each step that does not exist.
    pub fn new(pipeline: Pipeline) -> Result<Self, Problems> {
        let (graph, problems) = link(&pipeline.steps);
        Problems::check(problems)?;
        let order = order(&graph);
        let named = |(index, step): (usize, &Step)| (step.name.clone(), StepId(index));
        let by_name = pipeline.steps.iter().enumerate().map(named).collect();
        Ok(Self { pipeline, graph, order, by_name })
    }

    /// Every step after all that it needs; as in the file wherever that leaves a choice.
    #[must_use]
    pub fn order(&self) -> &[StepId] {
        &self.order
    }

    /// The step at a position.
    #[must_use]
    pub fn step(&self, id: StepId) -> &Step {
        &self.pipeline.steps[id.0]
    }

    /// The position of the step of this name.
    #[must_use]
    pub fn find(&self, name: &str) -> Option<StepId> {
        self.by_name.get(name).copied()
    }

    /// Every step by its name.
    pub(crate) fn by_name(&self) -> &BTreeMap<String, StepId> {
        &self.by_name
    }

    /// The steps that a step needs itself, each once, in file order.
    #[must_use]
    pub fn upstream(&self, id: StepId) -> Vec<StepId> {
        self.neighbors(id, Direction::Incoming)
    }

    /// The steps that need a step themselves, each once, in file order.
    #[must_use]
    pub fn downstream(&self, id: StepId) -> Vec<StepId> {
        self.neighbors(id, Direction::Outgoing)
    }

    fn neighbors(&self, id: StepId, direction: Direction) -> Vec<StepId> {
        let neighbors = self.graph.neighbors_directed(NodeIndex::new(id.0), direction);
        neighbors.map(|node| StepId(node.index())).collect::<BTreeSet<_>>().into_iter().collect()
    }

    /// These steps with everything they need.
    pub(crate) fn with_needs(&self, steps: impl IntoIterator<Item = StepId>) -> BTreeSet<StepId> {
        let needs = Reversed(&self.graph);
        let mut search = Dfs::empty(needs);
        for id in steps {
            search.move_to(NodeIndex::new(id.0));
            // What was found from an earlier step is not gone through again.
            while search.next(needs).is_some() {}
        }
        let found = self.order.iter().copied();
        found.filter(|id| search.discovered.is_visited(&NodeIndex::<usize>::new(id.0))).collect()
    }
}

/// The loops among steps, whatever else they need that is not there.
pub(crate) fn loops_of(steps: &[Step]) -> Vec<Problem> {
    loops(steps, &link(steps).0)
}

/// Builds the graph; the problems are its loops, and steps that are not there.
fn link(steps: &[Step]) -> (DiGraph<(), (), usize>, Vec<Problem>) {
    let position: BTreeMap<&str, usize> =
        steps.iter().enumerate().map(|(index, step)| (step.name.as_str(), index)).collect();
    let mut graph = DiGraph::default();
    for _ in steps {
        graph.add_node(());
    }
    let mut problems = Vec::new();
    for (index, step) in steps.iter().enumerate() {
        let mut linked = BTreeSet::new();
        for need in &step.needs {
            match position.get(need.step.as_str()) {
                Some(upstream) => {
                    if linked.insert(*upstream) {
                        graph.add_edge(NodeIndex::new(*upstream), NodeIndex::new(index), ());
                    }
                }
                None => problems.push(
                    Problem::new(format!("no step {}", quoted(&need.step))).at(need.place.clone()),
                ),
            }
        }
    }
    problems.extend(loops(steps, &graph));
    (graph, problems)
}

/// One shortest loop of every group of steps that wait for each other.
fn loops(steps: &[Step], graph: &DiGraph<(), (), usize>) -> Vec<Problem> {
    // Kosaraju's algorithm, because petgraph's version of Tarjan's recurses once per step.
    let groups = petgraph::algo::kosaraju_scc(graph);
    let mut problems = Vec::new();
    for group in groups {
        let members: BTreeSet<NodeIndex<usize>> = group.into_iter().collect();
        let first = *members.first().expect("a component has a node");
        if members.len() == 1 && graph.find_edge(first, first).is_none() {
            continue;
        }
        problems.push(describe_loop(steps, &shortest_loop(graph, first, &members)));
    }
    problems
}

/// The steps of a shortest loop through `first`, each needing the next; breadth first.
fn shortest_loop(
    graph: &DiGraph<(), (), usize>,
    first: NodeIndex<usize>,
    members: &BTreeSet<NodeIndex<usize>>,
) -> Vec<usize> {
    let mut came_from: BTreeMap<NodeIndex<usize>, NodeIndex<usize>> = BTreeMap::new();
    let mut queue = std::collections::VecDeque::from([first]);
    while let Some(node) = queue.pop_front() {
        let mut needs: Vec<_> = graph.neighbors_directed(node, Direction::Incoming).collect();
        needs.sort_unstable();
        for need in needs.into_iter().filter(|need| members.contains(need)) {
            if need == first {
                let mut path = vec![node.index()];
                let mut at = node;
                while at != first {
                    at = came_from[&at];
                    path.push(at.index());
                }
                path.reverse();
                return path;
            }
            came_from.entry(need).or_insert_with(|| {
                queue.push_back(need);
                node
            });
        }
    }
    unreachable!("every node of a strongly connected component lies on a loop")
}

fn describe_loop(steps: &[Step], path: &[usize]) -> Problem {
    let name = |index: usize| steps[index].name.as_str();
    let mut arrows = path.iter().map(|index| name(*index)).collect::<Vec<_>>();
    arrows.push(name(path[0]));
    let edges = (0..path.len()).map(|index| (path[index], path[(index + 1) % path.len()]));
    let mut place = None;
    let mut lines = Vec::new();
    for (from, to) in edges {
        let need = steps[from].needs.iter().find(|need| need.step == name(to));
        let need = need.expect("the edge was made from it");
        place.get_or_insert_with(|| need.place.clone());
        lines.push(format!("`{}` needs `{}` at {}", name(from), name(to), need.place));
    }
    let mut problem =
        Problem::new(format!("steps wait for each other in a loop: {}", arrows.join(" → ")))
            .help(lines.join("\n"));
    problem.at = place;
    problem
}

/// Kahn's algorithm with the earliest of the file first.
fn order(graph: &DiGraph<(), (), usize>) -> Vec<StepId> {
    let mut waiting: Vec<usize> = graph
        .node_indices()
        .map(|node| graph.neighbors_directed(node, Direction::Incoming).count())
        .collect();
    let mut ready: BinaryHeap<Reverse<usize>> =
        (0..waiting.len()).filter(|index| waiting[*index] == 0).map(Reverse).collect();
    let mut order = Vec::with_capacity(waiting.len());
    while let Some(Reverse(index)) = ready.pop() {
        order.push(StepId(index));
        for node in graph.neighbors(NodeIndex::new(index)) {
            waiting[node.index()] -= 1;
            if waiting[node.index()] == 0 {
                ready.push(Reverse(node.index()));
            }
        }
    }
    order
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A pipeline of command steps: each name with the names it needs.
    fn pipeline(steps: &[(usize, Vec<usize>)]) -> Result<Plan, Problems> {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("x.toml");
        let text: String = steps
            .iter()
            .map(|(name, needs)| {
                let needs = needs.iter().map(|need| format!("\"s{need}\"")).collect::<Vec<_>>();
                let needs = needs.join(", ");
                format!("[stage.s{name}]\nkind = \"command\"\n{RUN}\ninputs.x = [{needs}]\n")
            })
            .collect();
        std::fs::write(&path, text).unwrap();
        Plan::new(Pipeline::load_without_data(&path, &crate::Changes::default())?)
    }

    /// The parameters that a command cannot be without.
    const RUN: &str = "run = [\"true\"]\noutputs = [\"x\"]";

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn an_order_respects_every_need(edges in prop::collection::vec((0usize..12, 0usize..12), 0..30)) {
            let mut steps: Vec<(usize, Vec<usize>)> = (0..12).map(|name| (name, Vec::new())).collect();
            for (from, to) in edges {
                if from < to && !steps[to].1.contains(&from) {
                    steps[to].1.push(from);
                }
            }
            let plan = pipeline(&steps).unwrap();
            let place = |id: StepId| plan.order().iter().position(|other| *other == id).unwrap();
            prop_assert_eq!(plan.order().len(), 12);
            for (to, needs) in &steps {
                let upstream: Vec<usize> = plan.upstream(StepId(*to)).iter().map(|id| id.0).collect();
                let mut expected = needs.clone();
                expected.sort_unstable();
                prop_assert_eq!(&upstream, &expected);
                for from in needs {
                    prop_assert!(place(StepId(*from)) < place(StepId(*to)));
                    prop_assert!(plan.downstream(StepId(*from)).contains(&StepId(*to)));
                }
            }
        }

        #[test]
        fn a_loop_is_told_as_one(length in 1usize..8, tail in 0usize..4) {
            let mut steps: Vec<(usize, Vec<usize>)> =
                (0..length).map(|name| (name, vec![(name + 1) % length])).collect();
            steps.extend((0..tail).map(|index| (length + index, vec![length + index - 1])));
            let problems = pipeline(&steps).err().unwrap();
            prop_assert_eq!(problems.len(), 1);
            let arrows = problems.iter().next().unwrap().message.matches('→').count();
            prop_assert_eq!(arrows, length);
        }
    }

    #[test]
    fn what_is_selected_brings_what_it_needs() {
        let plan =
            pipeline(&[(0, vec![]), (1, vec![0]), (2, vec![]), (3, vec![1, 2]), (4, vec![3])]);
        let plan = plan.unwrap();
        let selected = plan.select(&["s1".to_owned()]).unwrap();
        assert_eq!(selected.iter().map(|id| id.0).collect::<Vec<_>>(), [0, 1]);
        assert_eq!(plan.select(&[]).unwrap().len(), 5);
        let problems = plan.select(&["s9".to_owned(), "x".to_owned()]).unwrap_err();
        assert_eq!(problems.len(), 2);
    }
}
