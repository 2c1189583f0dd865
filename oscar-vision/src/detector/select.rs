//! Which of the proposals are returned, as which class, by which box.

use rayon::prelude::*;

use super::boxes::{BoxCoder, Rect, descending, nms, overlap};
use super::config::{DetectorConfig, Flavour, SelectionConfig, SelectionRule};

/// Overlap above which VinVL's `filter_results_peter` suppresses; its configuration cannot change it.
const KEPT_CLASS_OVERLAP: f32 = 0.3;

/// How often VinVL's `filter_results` halves its threshold.
const HALVINGS: usize = 10;

/// What is known of the proposals of one picture.
#[derive(Clone, Copy, Debug)]
pub struct Candidates<'a> {
    /// Boxes in pixels of the network's input.
    pub proposals: &'a [Rect],
    /// `[proposals, classes + 1]`.
    pub class_logits: &'a [f32],
    /// `[proposals, slots * 4]`: a slot for each class, the first for VinVL's background.
    pub box_deltas: &'a [f32],
    /// Height and width of the picture in the network's input.
    pub size: [u32; 2],
}

/// The selected boxes of one picture, in order.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Selected {
    /// The proposals that they are.
    pub keep: Vec<usize>,
    /// Their classes: positions in the list of names, which has no background.
    pub classes: Vec<usize>,
    /// Their scores.
    pub scores: Vec<f32>,
    /// Their boxes in pixels of the network's input.
    pub boxes: Vec<Rect>,
}

/// Selects boxes by the rule of `config`.
#[must_use]
pub fn select(config: &DetectorConfig, candidates: Candidates<'_>) -> Selected {
    let columns = config.heads.classes + 1;
    let probabilities = softmax(candidates.class_logits, columns);
    let selection = Selection {
        config: &config.selection,
        coder: BoxCoder::new(config.flavour, config.heads.box_weights),
        first: first_class(config.flavour),
        classes: config.heads.classes,
        probabilities: &probabilities,
        candidates,
    };
    match &config.selection.rule {
        SelectionRule::BestClass { nms_thresholds } => selection.best_class(nms_thresholds),
        SelectionRule::PerClass { nms_threshold, .. } => selection.per_class(*nms_threshold),
        SelectionRule::BestKeptClass { .. } => selection.best_kept_class(),
        SelectionRule::BestClassOfProposals { nms_threshold } => {
            selection.best_class_of_proposals(*nms_threshold)
        }
    }
}

/// Column of the first class that is not the background.
pub(super) fn first_class(flavour: Flavour) -> usize {
    match flavour {
        Flavour::Frcnn => 0,
        Flavour::Vinvl => 1,
    }
}

/// The softmax of each row.
pub(super) fn softmax(logits: &[f32], columns: usize) -> Vec<f32> {
    let mut out = logits.to_vec();
    for row in out.chunks_exact_mut(columns) {
        let most = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        row.iter_mut()
            .for_each(|value| *value = (*value - most).exp());
        let sum: f32 = row.iter().sum();
        row.iter_mut().for_each(|value| *value /= sum);
    }
    out
}

/// The largest value, and the first place where it is.
pub(super) fn maximum(values: &[f32]) -> (usize, f32) {
    let first = (0, f32::NEG_INFINITY);
    let larger = |best: (usize, f32), (at, value): (usize, &f32)| match *value > best.1 {
        true => (at, *value),
        false => best,
    };
    values.iter().enumerate().fold(first, larger)
}

struct Selection<'a> {
    config: &'a SelectionConfig,
    coder: BoxCoder,
    /// Column of class 0.
    first: usize,
    classes: usize,
    /// `[proposals, classes + 1]`.
    probabilities: &'a [f32],
    candidates: Candidates<'a>,
}

impl Selection<'_> {
    fn proposals(&self) -> usize {
        self.candidates.proposals.len()
    }

    /// Probabilities of all classes but the background.
    fn of_classes(&self, proposal: usize) -> &[f32] {
        let row = &self.probabilities[proposal * (self.classes + 1)..][..self.classes + 1];
        &row[self.first..][..self.classes]
    }

    /// The box of a proposal as an object of `class`, inside the picture.
    fn rect(&self, proposal: usize, class: usize) -> Rect {
        let rect = self.candidates.proposals[proposal];
        let rect = match self.config.rule.boxes_are_proposals() {
            true => rect,
            false => {
                let slots = self.candidates.box_deltas.len() / self.proposals();
                let row = &self.candidates.box_deltas[proposal * slots..][..slots];
                let delta = &row[(class + self.first) * 4..][..4];
                self.coder
                    .decode(rect, [delta[0], delta[1], delta[2], delta[3]])
            }
        };
        self.coder.clip(rect, self.candidates.size)
    }

    fn selected(&self, found: impl Iterator<Item = (usize, usize, f32)>) -> Selected {
        let mut selected = Selected::default();
        for (proposal, class, score) in found {
            selected.keep.push(proposal);
            selected.classes.push(class);
            selected.scores.push(score);
            selected.boxes.push(self.rect(proposal, class));
        }
        selected
    }

    /// The best class of each proposal, and its probability.
    fn best(&self) -> (Vec<usize>, Vec<f32>) {
        let best = (0..self.proposals()).map(|proposal| maximum(self.of_classes(proposal)));
        best.unzip()
    }

    /// `do_nms` of HuggingFace. Where no threshold leaves enough boxes its code fails; here the
    /// boxes of the last one are returned.
    fn best_class(&self, thresholds: &[f64]) -> Selected {
        let (classes, scores) = self.best();
        let boxes: Vec<Rect> = classes
            .iter()
            .enumerate()
            .map(|(proposal, class)| self.rect(proposal, *class))
            .collect();
        let mut kept = Vec::new();
        for threshold in thresholds {
            kept = nms(&boxes, &scores, *threshold, self.config.max_boxes);
            if kept.len() >= self.config.min_boxes {
                break;
            }
        }
        self.selected(kept.iter().map(|&at| (at, classes[at], scores[at])))
    }

    /// `filter_results_peter`.
    fn best_kept_class(&self) -> Selected {
        let count = self.proposals();
        let shared = self.config.rule.boxes_are_proposals();
        let of_class = |class: usize| -> Vec<Rect> {
            (0..count)
                .map(|proposal| self.rect(proposal, class))
                .collect()
        };
        // Boxes that all classes share overlap alike in all of them.
        let overlaps = shared.then(|| Overlaps::of(&of_class(0)));
        let kept: Vec<Vec<usize>> = (0..self.classes)
            .into_par_iter()
            .map(|class| {
                let scores: Vec<f32> = (0..count).map(|at| self.of_classes(at)[class]).collect();
                match &overlaps {
                    Some(overlaps) => overlaps.nms(&scores),
                    None => {
                        let boxes = of_class(class);
                        nms(&boxes, &scores, f64::from(KEPT_CLASS_OVERLAP), count)
                    }
                }
            })
            .collect();
        let mut best = vec![(0, 0.0); count];
        for (class, kept) in kept.iter().enumerate() {
            for &proposal in kept {
                let score = self.of_classes(proposal)[class];
                if score > best[proposal].1 {
                    best[proposal] = (class, score);
                }
            }
        }
        let (classes, scores): (Vec<usize>, Vec<f32>) = best.into_iter().unzip();
        let order = descending(&scores);
        let order = order.into_iter().filter(|&at| scores[at] > 0.0);
        let count = self.count(&scores);
        self.selected(order.take(count).map(|at| (at, classes[at], scores[at])))
    }

    /// `filter_results_fast`.
    fn best_class_of_proposals(&self, threshold: f64) -> Selected {
        let (classes, scores) = self.best();
        let boxes: Vec<Rect> = (0..self.proposals()).map(|at| self.rect(at, 0)).collect();
        let usable = |at: &usize| {
            let rect = boxes[*at];
            rect[2] - rect[0] >= 0.0 && scores[*at] > 0.01 * self.config.score_threshold
        };
        let places: Vec<usize> = (0..self.proposals()).filter(usable).collect();
        let of = |at: &usize| (boxes[*at], scores[*at]);
        let (boxes, of_places): (Vec<Rect>, Vec<f32>) = places.iter().map(of).unzip();
        let kept = nms(&boxes, &of_places, threshold, places.len());
        let kept: Vec<usize> = kept.into_iter().map(|at| places[at]).collect();
        let of_kept: Vec<f32> = kept.iter().map(|&at| scores[at]).collect();
        let kept = kept.iter().take(self.count(&of_kept));
        self.selected(kept.map(|&at| (at, classes[at], scores[at])))
    }

    /// How many boxes are returned: those that reach the threshold, within the limits.
    fn count(&self, scores: &[f32]) -> usize {
        let threshold = self.config.score_threshold;
        let reaching = scores.iter().filter(|score| **score >= threshold).count();
        reaching.clamp(self.config.min_boxes, self.config.max_boxes)
    }

    /// `filter_results`: class by class, a proposal for several classes if it must.
    fn per_class(&self, overlap: f64) -> Selected {
        let mut threshold = self.config.score_threshold;
        let mut found = self.above(threshold, overlap);
        for _ in 0..HALVINGS {
            if found.len() >= self.config.min_boxes {
                break;
            }
            threshold /= 2.0;
            found = self.above(threshold, overlap);
        }
        if found.len() > self.config.max_boxes {
            let mut scores: Vec<f32> = found.iter().map(|(.., score)| *score).collect();
            scores.sort_by(|a, b| b.total_cmp(a));
            let least = scores[self.config.max_boxes - 1];
            found.retain(|(.., score)| *score >= least);
        }
        self.selected(found.into_iter())
    }

    /// Of each class, the proposals above the threshold that are not suppressed.
    fn above(&self, threshold: f32, overlap: f64) -> Vec<(usize, usize, f32)> {
        let of_class = |class: usize| {
            let score = |at: usize| self.of_classes(at)[class];
            let count = self.proposals();
            let places: Vec<usize> = (0..count).filter(|at| score(*at) > threshold).collect();
            let scores: Vec<f32> = places.iter().map(|at| score(*at)).collect();
            let boxes: Vec<Rect> = places.iter().map(|at| self.rect(*at, class)).collect();
            let kept = nms(&boxes, &scores, overlap, places.len());
            let found = kept
                .into_iter()
                .map(move |at| (places[at], class, scores[at]));
            found.collect::<Vec<_>>()
        };
        let found: Vec<Vec<_>> = (0..self.classes).into_par_iter().map(of_class).collect();
        found.concat()
    }
}

/// Which boxes overlap too much, computed once for all classes.
struct Overlaps {
    count: usize,
    too_much: Vec<bool>,
}

impl Overlaps {
    fn of(boxes: &[Rect]) -> Self {
        let pairs = boxes
            .iter()
            .flat_map(|a| boxes.iter().map(move |b| (*a, *b)));
        let limit = f64::from(KEPT_CLASS_OVERLAP);
        Self {
            count: boxes.len(),
            too_much: pairs
                .map(|(a, b)| f64::from(overlap(a, b)) > limit)
                .collect(),
        }
    }

    fn nms(&self, scores: &[f32]) -> Vec<usize> {
        let mut suppressed = vec![false; self.count];
        let mut kept = Vec::new();
        for at in descending(scores) {
            if suppressed[at] {
                continue;
            }
            kept.push(at);
            let row = &self.too_much[at * self.count..][..self.count];
            for (suppressed, too_much) in suppressed.iter_mut().zip(row) {
                *suppressed |= *too_much;
            }
        }
        kept
    }
}
