//! A graph as text for Graphviz and Mermaid.

use std::fmt::Write as _;

use super::Graph;

/// Writes a graph in Graphviz's language.
#[must_use]
pub fn dot(graph: &Graph) -> String {
    let quoted = |text: &str| text.replace('\\', "\\\\").replace('"', "\\\"");
    let mut out = format!("digraph \"{}\" {{\n", quoted(&graph.title));
    out.push_str("  node [shape=box, style=rounded, fontname=\"Helvetica\"];\n");
    out.push_str("  edge [fontname=\"Helvetica\", fontsize=10];\n");
    for node in &graph.nodes {
        let (name, kind) = (quoted(&node.name), quoted(&node.kind));
        let _ = writeln!(out, "  \"{name}\" [label=\"{name}\\n{kind}\"];");
    }
    for edge in &graph.edges {
        let _ = writeln!(
            out,
            "  \"{}\" -> \"{}\" [label=\"{}\"];",
            quoted(&graph.nodes[edge.from].name),
            quoted(&graph.nodes[edge.to].name),
            quoted(&edge.label)
        );
    }
    out.push_str("}\n");
    out
}

/// Writes a graph in Mermaid's language.
#[must_use]
pub fn mermaid(graph: &Graph) -> String {
    let mut out = String::from("flowchart TD\n");
    for (index, node) in graph.nodes.iter().enumerate() {
        let (name, kind) = (escaped(&node.name), escaped(&node.kind));
        let _ = writeln!(out, "  s{index}[\"<b>{name}</b><br/>{kind}\"]");
    }
    for edge in &graph.edges {
        let _ = writeln!(out, "  s{} -->|\"{}\"| s{}", edge.from, escaped(&edge.label), edge.to);
    }
    out
}

/// Escapes text for XML and HTML.
pub(super) fn escaped(text: &str) -> String {
    text.chars()
        .map(|c| match c {
            '&' => "&amp;".to_owned(),
            '<' => "&lt;".to_owned(),
            '>' => "&gt;".to_owned(),
            '"' => "&quot;".to_owned(),
            c if c.is_control() => "\u{fffd}".to_owned(),
            c => c.to_string(),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::super::tests::graph;
    use super::*;

    #[test]
    fn the_same_graph_in_two_languages() {
        let graph = graph(&["a:gather", "b:train"], &[(0, 1)]);
        insta::assert_snapshot!(dot(&graph), @r#"
        digraph "sample" {
          node [shape=box, style=rounded, fontname="Helvetica"];
          edge [fontname="Helvetica", fontsize=10];
          "a" [label="a\ngather"];
          "b" [label="b\ntrain"];
          "a" -> "b" [label="x"];
        }
        "#);
        insta::assert_snapshot!(mermaid(&graph), @r#"
        flowchart TD
          s0["<b>a</b><br/>gather"]
          s1["<b>b</b><br/>train"]
          s0 -->|"x"| s1
        "#);
    }
}
