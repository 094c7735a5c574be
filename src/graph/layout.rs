//! Places steps in layers, each below all that it needs, and leads the edges between them.

use super::Graph;
use super::crossings::Layers;

/// The height of a box, and the room between boxes, in pixels.
pub(super) const BOX_HEIGHT: f64 = 46.0;
const LAYER_GAP: f64 = 54.0;
const BOX_GAP: f64 = 28.0;
/// The width of an edge that passes a layer.
const PASSING: f64 = 10.0;
const MARGIN: f64 = 24.0;

/// Where everything goes; coordinates are pixels from the top left.
#[derive(Debug)]
pub(super) struct Layout {
    pub(super) width: f64,
    pub(super) height: f64,
    /// The centre and the width of the box of each node.
    pub(super) boxes: Vec<Box>,
    /// The points that each edge passes, from the bottom of a box to the top of another.
    pub(super) paths: Vec<Vec<(f64, f64)>>,
}

/// The place of a node.
#[derive(Clone, Copy, Debug)]
pub(super) struct Box {
    pub(super) x: f64,
    pub(super) y: f64,
    pub(super) width: f64,
}

/// Lays out a graph without loops.
pub(super) fn layout(graph: &Graph) -> Layout {
    let layer_of = layers_of(graph);
    let (layers, routes) = with_passing(graph, &layer_of);
    let mut layers = layers;
    layers.untangle();
    let width_of = |node: usize| graph.nodes.get(node).map_or(PASSING, box_width);
    let x = coordinates(&layers, &width_of);
    let depth_of: Vec<usize> = {
        let mut depths = vec![0; layers.above.len()];
        for (depth, nodes) in layers.order.iter().enumerate() {
            nodes.iter().for_each(|node| depths[*node] = depth);
        }
        depths
    };
    let y =
        |node: usize| MARGIN + BOX_HEIGHT / 2.0 + depth_of[node] as f64 * (BOX_HEIGHT + LAYER_GAP);
    let boxes: Vec<Box> = (0..graph.nodes.len())
        .map(|node| Box { x: x[node], y: y(node), width: width_of(node) })
        .collect();
    let paths = graph.edges.iter().zip(&routes).map(|(edge, route)| {
        let start = (x[edge.from], y(edge.from) + BOX_HEIGHT / 2.0);
        let end = (x[edge.to], y(edge.to) - BOX_HEIGHT / 2.0);
        let passing = route.iter().map(|node| (x[*node], y(*node)));
        std::iter::once(start).chain(passing).chain([end]).collect()
    });
    let right = boxes.iter().map(|place| place.x + place.width / 2.0);
    let passing = x[graph.nodes.len()..].iter().copied();
    Layout {
        width: right.chain(passing).fold(0.0, f64::max) + MARGIN,
        height: 2.0 * MARGIN + layers.order.len() as f64 * (BOX_HEIGHT + LAYER_GAP)
            - if layers.order.is_empty() { 0.0 } else { LAYER_GAP },
        paths: paths.collect(),
        boxes,
    }
}

/// Wide enough for the name in 14 px and the kind in 11 px of a sans-serif face.
fn box_width(node: &super::Node) -> f64 {
    let name = node.name.chars().count() as f64 * 8.4;
    let kind = node.kind.chars().count() as f64 * 6.4;
    name.max(kind).max(48.0) + 28.0
}

/// The longest way from a step that needs nothing.
fn layers_of(graph: &Graph) -> Vec<usize> {
    let count = graph.nodes.len();
    let mut below = vec![Vec::new(); count];
    let mut waiting = vec![0; count];
    for edge in &graph.edges {
        below[edge.from].push(edge.to);
        waiting[edge.to] += 1;
    }
    let mut layer = vec![0; count];
    let mut ready: Vec<usize> = (0..count).filter(|node| waiting[*node] == 0).collect();
    while let Some(node) = ready.pop() {
        for next in &below[node] {
            layer[*next] = layer[*next].max(layer[node] + 1);
            waiting[*next] -= 1;
            if waiting[*next] == 0 {
                ready.push(*next);
            }
        }
    }
    layer
}

/// Puts a passing node into every layer that an edge crosses; the second are those of each edge.
fn with_passing(graph: &Graph, layer_of: &[usize]) -> (Layers, Vec<Vec<usize>>) {
    let depth = layer_of.iter().max().map_or(0, |last| last + 1);
    let mut order = vec![Vec::new(); depth];
    for (node, layer) in layer_of.iter().enumerate() {
        order[*layer].push(node);
    }
    let mut above = vec![Vec::new(); layer_of.len()];
    let mut below = vec![Vec::new(); layer_of.len()];
    let mut routes = Vec::with_capacity(graph.edges.len());
    for edge in &graph.edges {
        let mut route = Vec::new();
        let mut last = edge.from;
        for nodes in &mut order[layer_of[edge.from] + 1..layer_of[edge.to]] {
            let passing = above.len();
            nodes.push(passing);
            above.push(vec![last]);
            below.push(Vec::new());
            below[last].push(passing);
            route.push(passing);
            last = passing;
        }
        below[last].push(edge.to);
        above[edge.to].push(last);
        routes.push(route);
    }
    (Layers { order, above, below }, routes)
}

/// The centre of each node: near those it is joined to, as far as its layer has room.
fn coordinates(layers: &Layers, width_of: &dyn Fn(usize) -> f64) -> Vec<f64> {
    const SWEEPS: usize = 40;
    let mut x = vec![0.0; layers.above.len()];
    for nodes in &layers.order {
        let mut right = 0.0;
        for node in nodes {
            x[*node] = right + width_of(*node) / 2.0;
            right += width_of(*node) + BOX_GAP;
        }
    }
    for sweep in 0..SWEEPS {
        for index in 0..layers.order.len() {
            let downwards = sweep % 2 == 0;
            let layer = if downwards { index } else { layers.order.len() - 1 - index };
            let neighbors = if downwards { &layers.above } else { &layers.below };
            let wanted: Vec<f64> = layers.order[layer]
                .iter()
                .map(|node| {
                    let joined = &neighbors[*node];
                    let sum: f64 = joined.iter().map(|other| x[*other]).sum();
                    if joined.is_empty() { x[*node] } else { sum / joined.len() as f64 }
                })
                .collect();
            let placed = pack(&layers.order[layer], &wanted, width_of);
            for (node, place) in layers.order[layer].iter().zip(placed) {
                x[*node] = place;
            }
        }
    }
    let left = (0..x.len()).map(|node| x[node] - width_of(node) / 2.0).fold(f64::MAX, f64::min);
    x.iter().map(|place| place - left + MARGIN).collect()
}

/// The places nearest to the wanted ones (least squares) that keep order and gaps: the algorithm of
/// pool adjacent violators over what is wanted less the room of those to the left.
fn pack(nodes: &[usize], wanted: &[f64], width_of: &dyn Fn(usize) -> f64) -> Vec<f64> {
    let mut offsets = Vec::with_capacity(nodes.len());
    let mut offset = 0.0;
    for (index, node) in nodes.iter().enumerate() {
        if index > 0 {
            offset += (width_of(nodes[index - 1]) + width_of(*node)) / 2.0 + BOX_GAP;
        }
        offsets.push(offset);
    }
    let mut pools: Vec<(f64, usize)> = Vec::new();
    for (want, offset) in wanted.iter().zip(&offsets) {
        let mut pool = (want - offset, 1);
        while let Some((sum, count)) = pools.last().copied()
            && sum / count as f64 > pool.0 / pool.1 as f64
        {
            pool = (pool.0 + sum, pool.1 + count);
            pools.pop();
        }
        pools.push(pool);
    }
    let means =
        pools.iter().flat_map(|(sum, count)| std::iter::repeat_n(sum / *count as f64, *count));
    means.zip(&offsets).map(|(mean, offset)| mean + offset).collect()
}

#[cfg(test)]
mod tests {
    use super::super::tests::graph;
    use super::*;

    #[test]
    fn boxes_do_not_touch_and_edges_lead_down() {
        let edges = [(0, 2), (1, 2), (0, 3), (2, 4), (3, 4), (0, 4), (1, 5), (4, 6), (5, 6)];
        let graph = graph(&["a", "b", "a-long-name", "d", "e", "f", "g"], &edges);
        let layout = layout(&graph);
        for (index, one) in layout.boxes.iter().enumerate() {
            assert!(one.x - one.width / 2.0 >= 0.0 && one.x + one.width / 2.0 <= layout.width);
            for other in &layout.boxes[index + 1..] {
                let apart =
                    (one.x - other.x).abs() >= (one.width + other.width) / 2.0 + BOX_GAP - 0.01;
                assert!(one.y != other.y || apart, "{one:?} touches {other:?}");
            }
        }
        for path in &layout.paths {
            assert!(path.windows(2).all(|pair| pair[0].1 < pair[1].1), "{path:?}");
        }
        assert_eq!(layout.paths[5].len(), 3, "the edge from a to e passes one layer");
    }

    #[test]
    fn nothing_is_laid_out_too() {
        let layout = layout(&graph(&[], &[]));
        assert!(layout.boxes.is_empty() && layout.width > 0.0 && layout.height > 0.0);
    }

    #[test]
    fn packing_keeps_order_and_nears_what_is_wanted() {
        let places = pack(&[0, 1, 2], &[50.0, 50.0, 300.0], &|_| 20.0);
        assert_eq!(places, [26.0, 74.0, 300.0]);
    }
}
