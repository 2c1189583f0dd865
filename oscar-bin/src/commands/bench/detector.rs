//! The two region detectors at their published size, with random weights, on made-up photographs.

use std::time::Instant;

use anyhow::{Result, anyhow};
use image::{Rgb, RgbImage};
use oscar_core::ops::OscarBackend;
use oscar_vision::detector::{Detector, DetectorConfig, Flavour, Res5, prepare};

use super::Plan;
use super::device::sync;
use super::report::{Run, Step};

/// Both detectors.
pub const FLAVOURS: [Flavour; 2] = [Flavour::Frcnn, Flavour::Vinvl];

/// Width and height of the photographs: most of COCO's have these.
const SIZE: [u32; 2] = [640, 480];

/// The name of a detector.
pub fn name(flavour: Flavour) -> &'static str {
    match flavour {
        Flavour::Frcnn => "frcnn",
        Flavour::Vinvl => "vinvl",
    }
}

/// The published settings, or ones that take little time.
pub fn config(flavour: Flavour, tiny: bool) -> DetectorConfig {
    let mut config = DetectorConfig::published(flavour);
    if tiny {
        let (backbone, heads) = (&mut config.backbone, &mut config.heads);
        backbone.blocks = [1; 3];
        (backbone.stem_channels, backbone.res2_channels) = (8, 16);
        (backbone.groups, backbone.width_per_group) = (backbone.groups.min(4), 4);
        (heads.classes, heads.attributes, config.rpn.hidden) = (20, 10, 32);
        (config.input.short_side, config.input.long_side) = (48, 80);
        config.rpn.post_nms = 4;
        (config.selection.min_boxes, config.selection.max_boxes) = (1, 4);
    }
    config
}

/// Times batches, from decoded pictures to regions.
///
/// # Errors
///
/// If the device fails.
pub fn run<B: OscarBackend>(
    plan: &Plan,
    config: &DetectorConfig,
    device: &B::Device,
) -> Result<Run> {
    let detector = Detector::<B::Kernels>::random(config.clone(), device)?;
    let mut steps = Vec::with_capacity(plan.steps);
    for number in 0..plan.warmup + plan.steps {
        let images = (0..plan.batch_size).map(|image| photograph(number * plan.batch_size + image));
        let images: Vec<RgbImage> = images.collect();
        sync::<B>(device)?;
        let start = Instant::now();
        let prepared = images.iter().map(|image| prepare(config, image));
        let prepared: Vec<_> = prepared
            .collect::<Result<_, _>>()
            .map_err(|problem| anyhow!("a picture of usual size: {problem}"))?;
        let found = detector.detect(&prepared);
        let seconds = start.elapsed().as_secs_f64();
        if number < plan.warmup {
            continue;
        }
        let regions: usize = found.iter().map(|found| found.proposals.boxes.len()).sum();
        let pictures = prepared.iter().zip(&found).map(|(prepared, found)| {
            let side = prepared.size.map(|side| side as usize);
            2.0 * Work::of(config, side, found.proposals.boxes.len()).products
        });
        steps.push(Step {
            samples: found.len(),
            tokens: regions,
            padded: regions,
            flops: pictures.sum(),
            seconds,
            optimizer: None,
        });
    }
    Ok(Run {
        parameters: Work::of(config, [64, 64], 1).parameters,
        steps,
    })
}

/// A picture with edges at many scales.
fn photograph(number: usize) -> RgbImage {
    let [width, height] = SIZE;
    let shift = number as u32 * 37;
    RgbImage::from_fn(width, height, |x, y| {
        let (x, y) = (x + shift, y);
        Rgb([(x * y / 7) as u8, (x * 3 + y) as u8, (x ^ y) as u8])
    })
}

/// What a picture takes.
#[derive(Clone, Copy, Debug, Default)]
struct Work {
    /// Products that are added up.
    products: f64,
    /// Weights and biases; norms are folded into them.
    parameters: usize,
}

impl Work {
    /// Of an input of `[height, width]` and a number of regions.
    fn of(config: &DetectorConfig, side: [usize; 2], regions: usize) -> Self {
        let (backbone, heads, rpn) = (&config.backbone, &config.heads, &config.rpn);
        let mut work = Self::default();
        let cells = |stride: usize| (side[0].div_ceil(stride) * side[1].div_ceil(stride)) as f64;
        work.convolution(7 * 7 * 3, backbone.stem_channels, cells(2));
        for stage in 2..=4 {
            let stride = 2 << (stage - 1);
            let before = if stage == 2 { stride } else { stride / 2 };
            work.stage(config, stage, [cells(before), cells(stride)]);
        }
        let (res4, anchors) = (backbone.res4_channels(), config.anchors_per_cell());
        work.convolution(9 * res4, rpn.hidden, cells(16));
        work.convolution(rpn.hidden, 5 * anchors, cells(16));
        let regions = regions as f64;
        let pooled = (heads.resolution * heads.resolution) as f64 * regions;
        let out = match backbone.res5 {
            Res5::Dilated => pooled,
            Res5::Halved => pooled / 4.0,
        };
        work.stage(config, 5, [pooled, out]);
        let slots = match config.flavour {
            Flavour::Frcnn => heads.classes,
            Flavour::Vinvl => heads.classes + 1,
        };
        let res5 = backbone.res5_channels();
        work.convolution(res5, heads.classes + 1 + 4 * slots, regions);
        work.parameters += (heads.classes + 1) * heads.class_embedding;
        work.convolution(
            res5 + heads.class_embedding,
            heads.attribute_hidden,
            regions,
        );
        work.convolution(heads.attribute_hidden, heads.attributes + 1, regions);
        work
    }

    /// A convolution to `out` channels of so many cells, each of which reads `inputs` values.
    fn convolution(&mut self, inputs: usize, out: usize, cells: f64) {
        self.products += (inputs * out) as f64 * cells;
        self.parameters += (inputs + 1) * out;
    }

    /// A residual stage between these numbers of cells.
    fn stage(&mut self, config: &DetectorConfig, stage: usize, [before, after]: [f64; 2]) {
        let backbone = &config.backbone;
        let growth = 1 << (stage - 2);
        let out = backbone.res2_channels * growth;
        let per_group = backbone.width_per_group * growth;
        let inner = backbone.groups * per_group;
        let blocks = match stage {
            5 => 3,
            _ => backbone.blocks[stage - 2],
        };
        for block in 0..blocks {
            let channels = match (block, stage) {
                (0, 2) => backbone.stem_channels,
                (0, _) => out / 2,
                _ => out,
            };
            // The stride of the first block is in its first or in its second convolution.
            let first = match block == 0 && !backbone.stride_in_1x1 {
                true => before,
                false => after,
            };
            if channels != out {
                self.convolution(channels, out, after);
            }
            self.convolution(channels, inner, first);
            self.convolution(9 * per_group, inner, after);
            self.convolution(inner, out, after);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Counted by hand for an input of 600 x 1000 and 300 regions.
    #[test]
    fn the_work_of_both_detectors() {
        let of = |flavour| Work::of(&DetectorConfig::published(flavour), [600, 1000], 300);
        let close = |found: f64, expected: f64| (found / expected - 1.0).abs() < 0.01;
        let frcnn = of(Flavour::Frcnn);
        assert!(close(frcnn.products, 978e9), "{frcnn:?}");
        assert!(close(frcnn.parameters as f64, 65.2e6), "{frcnn:?}");
        let vinvl = of(Flavour::Vinvl);
        assert!(close(vinvl.products, 818e9), "{vinvl:?}");
        assert!(close(vinvl.parameters as f64, 147.5e6), "{vinvl:?}");
    }
}
