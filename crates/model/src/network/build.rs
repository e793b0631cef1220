//! Builds the published YOLOv8 layout at a scale.

use super::{Block, Conv, Detect, Layer, Network, REG_MAX, STRIDES, Source};
use crate::Scale;

impl Network {
    /// The YOLOv8 detector of this scale for `classes` classes (0 is taken as 1: a head without classes has no shape).
    pub fn yolov8(scale: Scale, classes: usize) -> Network {
        let classes = classes.max(1);
        let width = class_width(scale.channels(256), classes);
        Self::yolov8_with_class_width(scale, classes, width)
    }

    /// The same with a class branch of a given width: weights that grew by a class keep the width they were made with,
    /// because the usual width depends on the number of classes.
    pub fn yolov8_with_class_width(scale: Scale, classes: usize, class_width: usize) -> Network {
        let classes = classes.max(1);
        let mut b = Builder { scale, next_id: 0, layers: Vec::new(), widths: Vec::new() };
        b.conv(64); // 0, stride 2
        b.conv(128); // 1, stride 4
        b.c2f(128, 3, true);
        b.conv(256); // 3, stride 8
        b.c2f(256, 6, true);
        b.conv(512); // 5, stride 16
        b.c2f(512, 6, true);
        b.conv(1024); // 7, stride 32
        b.c2f(1024, 3, true);
        b.sppf(1024, 5);
        b.upsample();
        b.concat(6);
        b.c2f(512, 3, false);
        b.upsample();
        b.concat(4);
        b.c2f(256, 3, false);
        b.conv(256);
        b.concat(12);
        b.c2f(512, 3, false);
        b.conv(512);
        b.concat(9);
        b.c2f(1024, 3, false);
        b.detect([15, 18, 21], classes, class_width);
        Network { scale, classes, layers: b.layers }
    }
}

/// Width of the box branch whose first level is `first` channels wide.
fn box_width(first: usize) -> usize {
    (first / 4).max(16).max(4 * REG_MAX)
}

/// Usual width of the class branch whose first level is `first` channels wide.
fn class_width(first: usize, classes: usize) -> usize {
    first.max(classes.min(100))
}

struct Builder {
    scale: Scale,
    next_id: usize,
    layers: Vec<Layer>,
    /// Output channels of each layer so far.
    widths: Vec<usize>,
}

impl Builder {
    fn prefix(&self) -> String {
        format!("model.{}", self.layers.len())
    }

    fn last_width(&self) -> usize {
        self.widths.last().copied().unwrap_or(3)
    }

    fn last(&self) -> Source {
        match self.layers.len() {
            0 => Source::Image,
            n => Source::Layer(n - 1),
        }
    }

    fn push(&mut self, from: Vec<Source>, block: Block, width: usize) {
        self.layers.push(Layer { from, block });
        self.widths.push(width);
    }

    fn new_conv(&mut self, name: String, inputs: usize, outputs: usize, kernel: usize, stride: usize) -> Conv {
        let id = self.next_id;
        self.next_id += 1;
        Conv { id, name, inputs, outputs, kernel, stride, norm: true }
    }

    /// 3×3, stride 2.
    fn conv(&mut self, nominal: usize) {
        let outputs = self.scale.channels(nominal);
        let conv = self.new_conv(self.prefix(), self.last_width(), outputs, 3, 2);
        self.push(vec![self.last()], Block::Conv(conv), outputs);
    }

    fn c2f(&mut self, nominal: usize, depth: usize, shortcut: bool) {
        let outputs = self.scale.channels(nominal);
        let repeats = self.scale.repeats(depth);
        let (name, hidden) = (self.prefix(), outputs / 2);
        let cv1 = self.new_conv(format!("{name}.cv1"), self.last_width(), 2 * hidden, 1, 1);
        let cv2 = self.new_conv(format!("{name}.cv2"), (2 + repeats) * hidden, outputs, 1, 1);
        let bottlenecks =
            (0..repeats).map(|i| [1, 2].map(|half| self.new_conv(format!("{name}.m.{i}.cv{half}"), hidden, hidden, 3, 1))).collect();
        self.push(vec![self.last()], Block::C2f { cv1, cv2, bottlenecks, shortcut }, outputs);
    }

    fn sppf(&mut self, nominal: usize, pool: usize) {
        let outputs = self.scale.channels(nominal);
        let (name, inputs) = (self.prefix(), self.last_width());
        let hidden = inputs / 2;
        let cv1 = self.new_conv(format!("{name}.cv1"), inputs, hidden, 1, 1);
        let cv2 = self.new_conv(format!("{name}.cv2"), 4 * hidden, outputs, 1, 1);
        self.push(vec![self.last()], Block::Sppf { cv1, cv2, pool }, outputs);
    }

    fn upsample(&mut self) {
        self.push(vec![self.last()], Block::Upsample(2), self.last_width());
    }

    /// The last layer and `other`.
    fn concat(&mut self, other: usize) {
        let width = self.last_width() + self.widths[other];
        self.push(vec![self.last(), Source::Layer(other)], Block::Concat, width);
    }

    fn detect(&mut self, from: [usize; 3], classes: usize, class_width: usize) {
        let name = self.prefix();
        let inputs = from.map(|layer| self.widths[layer]);
        let boxes = self.branches(&format!("{name}.cv2"), &inputs, box_width(inputs[0]), 4 * REG_MAX);
        let scores = self.branches(&format!("{name}.cv3"), &inputs, class_width, classes);
        debug_assert_eq!(inputs.len(), STRIDES.len());
        let detect = Detect { boxes, classes: scores, dfl: format!("{name}.dfl.conv") };
        self.push(from.map(Source::Layer).to_vec(), Block::Detect(detect), 4 + classes);
    }

    fn branches(&mut self, name: &str, inputs: &[usize], width: usize, outputs: usize) -> Vec<[Conv; 3]> {
        let branch = |(level, &input): (usize, &usize)| {
            let first = self.new_conv(format!("{name}.{level}.0"), input, width, 3, 1);
            let second = self.new_conv(format!("{name}.{level}.1"), width, width, 3, 1);
            let mut last = self.new_conv(format!("{name}.{level}.2"), width, outputs, 1, 1);
            last.norm = false;
            [first, second, last]
        };
        inputs.iter().enumerate().map(branch).collect()
    }
}
