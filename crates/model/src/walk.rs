//! One walk over the layers for every emitter: the structure of the blocks is written here and nowhere else.

use crate::network::{Block, Conv, Network, STRIDES, Source};

/// What an emitter can do. `Value` is a tensor handle: a tch tensor, or the name of an edge of an ONNX graph.
pub trait Emitter {
    /// Handle of a tensor `[N, C, H, W]`.
    type Value;
    /// Why an operation could not be emitted.
    type Error;

    /// Convolution with its bias, or with its norm and SiLU.
    fn conv(&mut self, conv: &Conv, x: &Self::Value) -> Result<Self::Value, Self::Error>;
    /// Max pooling, odd window, stride 1, size kept.
    fn max_pool(&mut self, x: &Self::Value, window: usize) -> Result<Self::Value, Self::Error>;
    /// Nearest-neighbour enlargement.
    fn upsample(&mut self, x: &Self::Value, factor: usize) -> Result<Self::Value, Self::Error>;
    /// Concatenation by channel.
    fn concat(&mut self, parts: &[&Self::Value]) -> Result<Self::Value, Self::Error>;
    /// Channels `start..start + len`.
    fn channels(&mut self, x: &Self::Value, start: usize, len: usize) -> Result<Self::Value, Self::Error>;
    /// Sum; `a` is owned so that it may be overwritten.
    fn add(&mut self, a: Self::Value, b: &Self::Value) -> Result<Self::Value, Self::Error>;
}

/// What the head gives at one level, before decoding.
#[derive(Debug, Clone)]
pub struct Level<V> {
    /// Box distributions `[N, 4 * REG_MAX, h, w]`: left, top, right, bottom, each REG_MAX logits.
    pub boxes: V,
    /// Class logits `[N, classes, h, w]`.
    pub scores: V,
    /// Input pixels per cell.
    pub stride: usize,
}

/// Walks `network` from `image` and returns the head's levels, finest first. A layer's output is dropped after its last
/// reader, so that an emitter without gradients does not hold every feature map.
///
/// # Errors
/// The emitter's own.
pub fn walk<E: Emitter>(network: &Network, emitter: &mut E, image: E::Value) -> Result<Vec<Level<E::Value>>, E::Error> {
    let layers = &network.layers;
    let mut last_reader = vec![0; layers.len()];
    let mut image_reader = 0;
    for (index, layer) in layers.iter().enumerate() {
        for source in &layer.from {
            match source {
                Source::Image => image_reader = index,
                Source::Layer(from) => last_reader[*from] = index,
            }
        }
    }
    let mut image = Some(image);
    let mut outputs: Vec<Option<E::Value>> = Vec::with_capacity(layers.len());
    let mut levels = Vec::new();
    for (index, layer) in layers.iter().enumerate() {
        let inputs: Vec<&E::Value> = layer
            .from
            .iter()
            .map(|source| match source {
                Source::Image => image.as_ref(),
                Source::Layer(from) => outputs[*from].as_ref(),
            })
            .map(|value| value.expect("a layer reads only layers before it, and those are kept until their last reader"))
            .collect();
        let output = match &layer.block {
            Block::Detect(detect) => {
                for (level, x) in inputs.iter().enumerate() {
                    let boxes = chain(emitter, &detect.boxes[level], x)?;
                    let scores = chain(emitter, &detect.classes[level], x)?;
                    levels.push(Level { boxes, scores, stride: STRIDES[level] });
                }
                None
            }
            block => Some(emit(emitter, block, &inputs)?),
        };
        outputs.push(output);
        if image_reader <= index {
            image = None;
        }
        for (from, reader) in last_reader[..index].iter().enumerate() {
            if *reader == index {
                outputs[from] = None;
            }
        }
    }
    Ok(levels)
}

fn emit<E: Emitter>(emitter: &mut E, block: &Block, inputs: &[&E::Value]) -> Result<E::Value, E::Error> {
    let x = inputs[0];
    match block {
        Block::Conv(conv) => emitter.conv(conv, x),
        Block::C2f { cv1, cv2, bottlenecks, shortcut } => {
            // The first part is both halves at once: splitting it only to concatenate it again would copy.
            let mut parts = vec![emitter.conv(cv1, x)?];
            let hidden = cv1.outputs / 2;
            let mut input = emitter.channels(&parts[0], hidden, hidden)?;
            for [first, second] in bottlenecks {
                let middle = emitter.conv(first, &input)?;
                let mut output = emitter.conv(second, &middle)?;
                if *shortcut {
                    output = emitter.add(output, &input)?;
                }
                parts.push(std::mem::replace(&mut input, output));
            }
            parts.push(input);
            parts.remove(1); // the second half, which the first part has
            let all = emitter.concat(&parts.iter().collect::<Vec<_>>())?;
            emitter.conv(cv2, &all)
        }
        Block::Sppf { cv1, cv2, pool } => {
            let mut parts = vec![emitter.conv(cv1, x)?];
            for _ in 0..3 {
                let pooled = emitter.max_pool(&parts[parts.len() - 1], *pool)?;
                parts.push(pooled);
            }
            let all = emitter.concat(&parts.iter().collect::<Vec<_>>())?;
            emitter.conv(cv2, &all)
        }
        Block::Upsample(factor) => emitter.upsample(x, *factor),
        Block::Concat => emitter.concat(inputs),
        Block::Detect(_) => unreachable!("the head has no single output and is walked by the caller"),
    }
}

fn chain<E: Emitter>(emitter: &mut E, convs: &[Conv; 3], x: &E::Value) -> Result<E::Value, E::Error> {
    let first = emitter.conv(&convs[0], x)?;
    let second = emitter.conv(&convs[1], &first)?;
    drop(first);
    emitter.conv(&convs[2], &second)
}
