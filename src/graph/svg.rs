//! A graph as an SVG picture that any browser shows.

use std::fmt::Write as _;

use super::layout::{BOX_HEIGHT, layout};
use super::{Graph, text::escaped};

/// Fill and border of each kind in turn; dark text reads on all of them.
const COLOURS: [(&str, &str); 10] = [
    ("#dbeafe", "#2563eb"),
    ("#dcfce7", "#16a34a"),
    ("#fee2e2", "#dc2626"),
    ("#fef3c7", "#d97706"),
    ("#ede9fe", "#7c3aed"),
    ("#cffafe", "#0891b2"),
    ("#fce7f3", "#db2777"),
    ("#e5e7eb", "#4b5563"),
    ("#ecfccb", "#65a30d"),
    ("#ffedd5", "#ea580c"),
];

/// Draws a graph.
#[must_use]
pub fn svg(graph: &Graph) -> String {
    let layout = layout(graph);
    let (width, height) = (layout.width.ceil(), layout.height.ceil());
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" \
         viewBox=\"0 0 {width} {height}\" font-family=\"Helvetica, Arial, sans-serif\">\n\
         <title>{}</title>\n\
         <defs><marker id=\"arrow\" viewBox=\"0 0 8 8\" refX=\"7\" refY=\"4\" markerWidth=\"8\" \
         markerHeight=\"8\" orient=\"auto\"><path d=\"M0,0 L8,4 L0,8 z\" fill=\"#6b7280\"/></marker>\
         </defs>\n\
         <rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n",
        escaped(&graph.title)
    );
    for (edge, points) in graph.edges.iter().zip(&layout.paths) {
        let title = format!(
            "{} to {}: {}",
            graph.nodes[edge.from].name, graph.nodes[edge.to].name, edge.label
        );
        out.push_str(&format!(
            "<path d=\"{}\" fill=\"none\" stroke=\"#6b7280\" stroke-width=\"1.4\" \
             marker-end=\"url(#arrow)\"><title>{}</title></path>\n",
            curve(points),
            escaped(&title)
        ));
    }
    let mut kinds: Vec<&str> = graph.nodes.iter().map(|node| node.kind.as_str()).collect();
    kinds.sort_unstable();
    kinds.dedup();
    for (node, place) in graph.nodes.iter().zip(&layout.boxes) {
        let colour = kinds.iter().position(|kind| *kind == node.kind).unwrap_or_default();
        let (fill, border) = COLOURS[colour % COLOURS.len()];
        let _ = writeln!(
            out,
            "<g><rect x=\"{:.1}\" y=\"{:.1}\" width=\"{:.1}\" height=\"{BOX_HEIGHT}\" rx=\"7\" \
             fill=\"{fill}\" stroke=\"{border}\" stroke-width=\"1.5\"/>\
             <text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\" font-size=\"14\" \
             font-weight=\"bold\" fill=\"#111827\">{}</text>\
             <text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\" font-size=\"11\" \
             fill=\"#374151\">{}</text></g>",
            place.x - place.width / 2.0,
            place.y - BOX_HEIGHT / 2.0,
            place.width,
            place.x,
            place.y - 2.0,
            escaped(&node.name),
            place.x,
            place.y + 14.0,
            escaped(&node.kind),
        );
    }
    out.push_str("</svg>\n");
    out
}

/// A smooth line that goes through points and is upright in each.
fn curve(points: &[(f64, f64)]) -> String {
    let mut path = String::new();
    if let Some((x, y)) = points.first() {
        path.push_str(&format!("M{x:.1},{y:.1}"));
    }
    for pair in points.windows(2) {
        let ((from_x, from_y), (to_x, to_y)) = (pair[0], pair[1]);
        let bend = (to_y - from_y) / 2.0;
        path.push_str(&format!(
            " C{from_x:.1},{:.1} {to_x:.1},{:.1} {to_x:.1},{to_y:.1}",
            from_y + bend,
            to_y - bend
        ));
    }
    path
}

#[cfg(test)]
mod tests {
    use super::super::tests::graph;
    use super::*;

    #[test]
    fn every_step_and_edge_is_drawn_and_text_is_escaped() {
        let picture = svg(&graph(&["a<b:x&y", "c", "d"], &[(0, 1), (0, 2)]));
        assert_eq!(picture.matches("<path d=\"M").count(), 3, "two edges and the arrow head");
        assert_eq!(picture.matches("<g><rect").count(), 3);
        assert!(picture.contains(">a&lt;b</text>") && picture.contains(">x&amp;y</text>"));
        assert_eq!(picture.matches("<g>").count(), picture.matches("</g>").count());
    }
}
