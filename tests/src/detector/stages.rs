//! Maps, proposals, pooled cells and logits.

use burn::tensor::{Tensor, TensorData};
use oscar_core::ops::Kernels;
use oscar_vision::detector::{
    Detection, Detector, FeatureMap, Flavour, Network, Prepared, pool, stack,
};

use super::{Like, rows, vector};
use crate::check::Checks;
use crate::detector_ops::{of_cells, of_rects};
use crate::host::HostTensor;

/// A map of one picture, `[channels, height, width]`.
pub(super) fn map_of<B: Kernels>(map: &Tensor<B, 4>, picture: usize) -> HostTensor {
    let [_, height, width, channels] = map.dims();
    let map = map.clone().narrow(0, picture, 1).permute([0, 3, 1, 2]);
    HostTensor::read(map.reshape([channels, height, width]))
}

/// The map of one picture on the host.
pub(super) fn map_on_host<B: Kernels>(map: &Tensor<B, 4>, picture: usize) -> FeatureMap {
    let [_, height, width, channels] = map.dims();
    let own = map.clone().narrow(0, picture, 1);
    FeatureMap {
        values: own.into_data().iter::<f32>().collect(),
        height,
        width,
        channels,
    }
}

/// Maps, proposals, pooled cells and logits of each picture of a batch.
pub(super) fn stages<B: Kernels>(
    checks: &mut Checks,
    prefix: &str,
    detector: &Detector<B>,
    pictures: &[Prepared],
) -> Vec<Detection> {
    let network = detector.network();
    let device = network.device();
    let (values, [height, width]) = stack(pictures, detector.config().input.pad_value);
    let shape = [pictures.len(), height, width, 3];
    let pixels = Tensor::<B, 4>::from_data(TensorData::new(values, shape), device);
    let stem = network.stem(pixels);
    let res2 = network.stage(2, stem.clone());
    let res3 = network.stage(3, res2.clone());
    let res4 = network.stage(4, res3.clone());
    let maps = network.proposal_maps(res4.clone());
    let detections = detector.detect(pictures);
    for (picture, found) in detections.iter().enumerate() {
        let (prefix, kind) = match prefix.starts_with('b') {
            true => (format!("{prefix}.{picture}"), "batch."),
            false => (prefix.to_string(), ""),
        };
        let named = [
            ("stem", &stem),
            ("res2", &res2),
            ("res3", &res3),
            ("res4", &res4),
            ("rpn_logits", &maps.logits),
            ("rpn_deltas", &maps.deltas),
        ];
        for (name, map) in named {
            let got = map_of(map, picture);
            checks.tensor_like(&format!("{prefix}.{name}"), &format!("{kind}{name}"), &got);
        }
        let like = Like {
            prefix: &prefix,
            kind,
        };
        cells(checks, &like, detector, &res4, picture, found);
        of_proposals(checks, &like, detector, found);
    }
    detections
}

/// The cells of the proposals before and after res5.
pub(super) fn cells<B: Kernels>(
    checks: &mut Checks,
    like: &Like<'_>,
    detector: &Detector<B>,
    res4: &Tensor<B, 4>,
    picture: usize,
    found: &Detection,
) {
    let map = map_on_host(res4, picture);
    let channels = map.channels;
    let heads = &detector.config().heads;
    let (boxes, side) = (&found.proposals.boxes, heads.resolution);
    let cells = pool(heads.pooler, &map, boxes, side);
    let size = side * side * channels;
    like.check(
        checks,
        "roi_pooled_first",
        &of_cells(&cells[..2 * size], side, channels),
    );
    let sums = |square: bool| {
        vector(cells.chunks_exact(size).map(move |cells| {
            let value = |v: &f32| f64::from(*v) * if square { f64::from(*v) } else { 1.0 };
            cells.iter().map(value).sum()
        }))
    };
    like.check(checks, "roi_pooled_sum", &sums(false));
    like.check(checks, "roi_pooled_sumsq", &sums(true));
    let shape = [boxes.len(), side, side, channels];
    let cells =
        Tensor::<B, 4>::from_data(TensorData::new(cells, shape), detector.network().device());
    let res5 = detector.network().res5(cells);
    let [_, side, _, channels] = res5.dims();
    let values: Vec<f32> = res5.clone().into_data().iter::<f32>().collect();
    let size = side * side * channels;
    like.check(
        checks,
        "res5_first",
        &of_cells(&values[..size], side, channels),
    );
    let sums = values.chunks_exact(size);
    let sums = sums.map(|cells| cells.iter().map(|v| f64::from(*v)).sum());
    like.check(checks, "res5_sum", &vector(sums));
    let features = HostTensor::read(Network::features(res5));
    like.check(checks, "features_all", &features);
}

/// Proposals and what is computed for each of them.
pub(super) fn of_proposals<B: Kernels>(
    checks: &mut Checks,
    like: &Like<'_>,
    detector: &Detector<B>,
    found: &Detection,
) {
    let proposals = &found.proposals;
    like.check(checks, "proposals", &of_rects(&proposals.boxes));
    let scores = vector(proposals.scores.iter().map(|score| f64::from(*score)));
    like.check(checks, "proposal_logits", &scores);
    like.check(checks, "proposal_scores", &scores);
    let count = proposals.boxes.len();
    like.check(checks, "cls_logits", &rows(&found.class_logits, count));
    if detector.config().flavour == Flavour::Frcnn {
        like.check(checks, "box_deltas", &rows(&found.box_deltas, count));
    }
}
