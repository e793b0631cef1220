//! The head's levels decoded inside the graph. Anchors and strides come from Shape, so that one file serves every input
//! size; runtimes that fix height and width fold them to constants.

use super::INPUT;
use super::OUTPUT;
use super::graph::{Attr, Edge, Graph};
use crate::network::{Network, REG_MAX};
use crate::walk::Level;

/// Appends boxes and scores `[batch, 4 + classes, anchors]` as the graph's output.
pub(super) fn decode(graph: &mut Graph, network: &Network, levels: &[Level<Edge>]) {
    let scope = network.detect().dfl.clone();
    let (boxes, scores) = join_levels(graph, network, levels);
    let (centres, strides) = anchors(graph, levels);

    // [N, 64, A] → [N, 4, 16, A] → [N, 4, A, 16] → shares → · (0, 1, …, 15) → [N, 4, A]: sides in cells
    let bins: Vec<f32> = (0..REG_MAX).map(|bin| bin as f32).collect();
    let bins = graph.floats(format!("{scope}.weight"), &[REG_MAX], &bins);
    let split = graph.list(&[0, 4, REG_MAX as i64, -1]);
    let by_side = graph.node(&scope, "Reshape", &[&boxes, &split], &[]);
    let bins_last = graph.node(&scope, "Transpose", &[&by_side], &[Attr::Ints("perm", &[0, 1, 3, 2])]);
    let shares = graph.node(&scope, "Softmax", &[&bins_last], &[Attr::Int("axis", 3)]);
    let sides = graph.node(&scope, "MatMul", &[&shares, &bins], &[]);

    let top_left = rows(graph, &sides, 0, 2);
    let bottom_right = rows(graph, &sides, 2, 4);
    let first = graph.node("boxes", "Sub", &[&centres, &top_left], &[]);
    let last = graph.node("boxes", "Add", &[&centres, &bottom_right], &[]);
    let sum = graph.node("boxes", "Add", &[&first, &last], &[]);
    let half = graph.floats("half", &[1], &[0.5]);
    let middle = graph.node("boxes", "Mul", &[&sum, &half], &[]);
    let size = graph.node("boxes", "Sub", &[&last, &first], &[]);
    let cells = graph.node("boxes", "Concat", &[&middle, &size], &[Attr::Int("axis", 1)]);
    let pixels = graph.node("boxes", "Mul", &[&cells, &strides], &[]);
    let shares = graph.node("scores", "Sigmoid", &[&scores], &[]);
    graph.output_node(OUTPUT, "Concat", &[&pixels, &shares], &[Attr::Int("axis", 1)]);
}

/// All levels one after another: boxes `[N, 64, A]`, scores `[N, classes, A]`.
fn join_levels(graph: &mut Graph, network: &Network, levels: &[Level<Edge>]) -> (Edge, Edge) {
    let mut join = |channels: usize, pick: fn(&Level<Edge>) -> &Edge| {
        let flat = graph.list(&[0, channels as i64, -1]);
        let parts: Vec<Edge> = levels.iter().map(|level| graph.node("head", "Reshape", &[pick(level), &flat], &[])).collect();
        let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
        graph.node("head", "Concat", &parts, &[Attr::Int("axis", 2)])
    };
    (join(4 * REG_MAX, |level| &level.boxes), join(network.classes, |level| &level.scores))
}

/// Centres of the cells in cells `[2, A]` (x, y), and pixels per cell `[1, A]`.
fn anchors(graph: &mut Graph, levels: &[Level<Edge>]) -> (Edge, Edge) {
    let row = graph.list(&[1, -1]);
    let image_height = side(graph, INPUT, 2);
    let mut centres = Vec::new();
    let mut strides = Vec::new();
    for level in levels {
        let (h, w) = (side(graph, &level.boxes, 2), side(graph, &level.boxes, 3));
        let zero_axis = graph.list(&[0]);
        let h1 = graph.node("anchors", "Unsqueeze", &[&h, &zero_axis], &[]);
        let w1 = graph.node("anchors", "Unsqueeze", &[&w, &zero_axis], &[]);
        let grid = graph.node("anchors", "Concat", &[&h1, &w1], &[Attr::Int("axis", 0)]);
        // x [w] spreads over the rows as it is; y [h] becomes [h, 1] first
        let x = centre_line(graph, &w);
        let x = spread(graph, &x, &grid, &row);
        let y = centre_line(graph, &h);
        let column = graph.list(&[1]);
        let y = graph.node("anchors", "Unsqueeze", &[&y, &column], &[]);
        let y = spread(graph, &y, &grid, &row);
        centres.push(graph.node("anchors", "Concat", &[&x, &y], &[Attr::Int("axis", 0)]));

        let stride = graph.node("anchors", "Div", &[&image_height, &h], &[]);
        let stride = graph.node("anchors", "Cast", &[&stride], &[Attr::Int("to", FLOAT)]);
        strides.push(spread(graph, &stride, &grid, &row));
    }
    let mut join = |parts: &[Edge]| {
        let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
        graph.node("anchors", "Concat", &parts, &[Attr::Int("axis", 1)])
    };
    (join(&centres), join(&strides))
}

/// `TensorProto.DataType` FLOAT as an attribute.
const FLOAT: i64 = super::proto::FLOAT as i64;

/// Length of one axis, a scalar.
fn side(graph: &mut Graph, edge: &str, axis: i64) -> Edge {
    let shape = graph.node("anchors", "Shape", &[edge], &[]);
    let axis = graph.ints(&[], &[axis]);
    graph.node("anchors", "Gather", &[&shape, &axis], &[Attr::Int("axis", 0)])
}

/// 0.5, 1.5, …, `len` − 0.5.
fn centre_line(graph: &mut Graph, len: &str) -> Edge {
    let (zero, one) = (graph.ints(&[], &[0]), graph.ints(&[], &[1]));
    let cells = graph.node("anchors", "Range", &[&zero, len, &one], &[]);
    let cells = graph.node("anchors", "Cast", &[&cells], &[Attr::Int("to", FLOAT)]);
    let half = graph.floats("half", &[1], &[0.5]);
    graph.node("anchors", "Add", &[&cells, &half], &[])
}

/// `x` over the grid `[h, w]`, as one row.
fn spread(graph: &mut Graph, x: &str, grid: &str, row: &str) -> Edge {
    let all = graph.node("anchors", "Expand", &[x, grid], &[]);
    graph.node("anchors", "Reshape", &[&all, row], &[])
}

/// Rows `from..to` of `[N, 4, A]`.
fn rows(graph: &mut Graph, x: &str, from: i64, to: i64) -> Edge {
    let (from, to, axis) = (graph.list(&[from]), graph.list(&[to]), graph.list(&[1]));
    graph.node("boxes", "Slice", &[x, &from, &to, &axis], &[])
}
