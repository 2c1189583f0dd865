//! Region proposals from the maps of the proposal head, on the host.

use super::boxes::{BoxCoder, Rect, cell_anchors, descending, grid_anchors, nms};
use super::config::{DetectorConfig, Flavour};

/// Region proposals of a picture, the best first.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Proposals {
    /// In pixels of the network's input.
    pub boxes: Vec<Rect>,
    /// Frcnn: logits; VinVL: their sigmoids.
    pub scores: Vec<f32>,
}

/// Makes the proposals of a picture of `size` (height, width) from `logits`
/// `[cells[0], cells[1], anchors]` and `deltas` `[cells[0], cells[1], anchors, 4]`; both may cover
/// padding.
#[must_use]
pub fn propose(
    config: &DetectorConfig,
    logits: &[f32],
    deltas: &[f32],
    cells: [usize; 2],
    size: [u32; 2],
) -> Proposals {
    let rpn = &config.rpn;
    let cell = cell_anchors(config.flavour, rpn);
    let anchors = grid_anchors(&cell, cells[0], cells[1]);
    // What the reference sorts: saturated sigmoids tie.
    let scores: Vec<f32> = match config.flavour {
        Flavour::Frcnn => logits.to_vec(),
        Flavour::Vinvl => logits
            .iter()
            .map(|logit| 1.0 / (1.0 + (-logit).exp()))
            .collect(),
    };
    let coder = BoxCoder::new(config.flavour, [1.0; 4]);
    let deltas = deltas.as_chunks::<4>().0;
    let mut best = Proposals::default();
    for at in descending(&scores).into_iter().take(rpn.pre_nms) {
        let rect = coder.clip(coder.decode(anchors[at], deltas[at]), size);
        if coder.is_large_enough(rect, rpn.min_size) {
            best.boxes.push(rect);
            best.scores.push(scores[at]);
        }
    }
    let kept = nms(&best.boxes, &best.scores, rpn.nms_threshold, rpn.post_nms);
    Proposals {
        boxes: kept.iter().map(|&at| best.boxes[at]).collect(),
        scores: kept.iter().map(|&at| best.scores[at]).collect(),
    }
}
