//! Reads the ResNet tower from OpenAI's files.

use oscar_core::ops::Kernels;

use super::ClipError;
use super::file::{ClipFile, HEAD, Parts};
use super::resnet::{AttentionPool, Bottleneck, ModifiedResNet, ResNetConfig};
use crate::conv::{BatchNorm, Convolution, Geometry};

/// Epsilon of every batch norm.
const NORM_EPSILON: f32 = 1e-5;

/// Channels out of a block for each inside it.
const EXPANSION: usize = 4;

/// By how much the tower is smaller at its end.
const STRIDE: usize = 32;

impl<B: Kernels> ModifiedResNet<B> {
    /// Reads it. Sizes follow from the weights, as in the official code.
    pub(super) fn read(file: &ClipFile, device: &B::Device) -> Result<Self, ClipError> {
        let config = sizes(file)?;
        let width = config.width;
        let load = Loader {
            parts: Parts::<B> { file, device },
        };
        let half = width / 2;
        let stem = [
            load.normed("visual.conv1", "visual.bn1", [half, 3, 3, 3], 2)?,
            load.normed("visual.conv2", "visual.bn2", [half, half, 3, 3], 1)?,
            load.normed("visual.conv3", "visual.bn3", [width, half, 3, 3], 1)?,
        ];
        let stage = |number: usize| load.stage(number, &config);
        Ok(Self {
            stem,
            stages: [stage(0)?, stage(1)?, stage(2)?, stage(3)?],
            pool: load.pool(&config)?,
            config,
        })
    }
}

fn sizes(file: &ClipFile) -> Result<ResNetConfig, ClipError> {
    let [width, ..] = file.shape::<4>("visual.layer1.0.conv1.weight")?;
    let [positions, channels] = file.shape("visual.attnpool.positional_embedding")?;
    let [embedding_dim, _] = file.shape("visual.attnpool.c_proj.weight")?;
    let blocks = [1, 2, 3, 4].map(|stage| {
        let has = |block: &usize| file.has(&format!("visual.layer{stage}.{block}.conv1.weight"));
        (0..).take_while(has).count()
    });
    let grid = positions.saturating_sub(1).isqrt();
    let config = ResNetConfig {
        image_size: STRIDE * grid,
        width,
        blocks,
        heads: channels / HEAD,
        embedding_dim,
    };
    let fits = grid > 0
        && grid * grid + 1 == positions
        && channels == config.channels()
        && channels.is_multiple_of(HEAD)
        && blocks.iter().all(|count| *count > 0);
    match fits {
        true => Ok(config),
        false => Err(file.malformed(format!(
            "its ResNet has width {width}, {blocks:?} blocks, {positions} positions and {channels} \
             channels at its end, which do not fit each other"
        ))),
    }
}

struct Loader<'a, B: Kernels> {
    parts: Parts<'a, B>,
}

impl<B: Kernels> Loader<'_, B> {
    /// The convolution `name` `[out, in, kernel, kernel]` with the batch norm `norm` folded in.
    fn normed(
        &self,
        name: &str,
        norm: &str,
        shape: [usize; 4],
        stride: usize,
    ) -> Result<Convolution<B>, ClipError> {
        let file = self.parts.file;
        let mut weight = file.values(&format!("{name}.weight"), &shape)?;
        let of_norm = |part: &str| file.values(&format!("{norm}.{part}"), &shape[..1]);
        let norm = BatchNorm {
            scale: of_norm("weight")?,
            shift: of_norm("bias")?,
            mean: of_norm("running_mean")?,
            variance: of_norm("running_var")?,
            eps: NORM_EPSILON,
        };
        let bias = norm.fold(&mut weight);
        let geometry = Geometry {
            kernel: shape[2],
            stride,
            ..Geometry::POINT
        };
        Ok(Convolution::new(weight, bias, geometry, self.parts.device))
    }

    /// Stage 0 to 3; all but the first halve their map.
    fn stage(&self, stage: usize, config: &ResNetConfig) -> Result<Vec<Bottleneck<B>>, ClipError> {
        let inner = config.width << stage;
        let out = EXPANSION * inner;
        let before = if stage == 0 { config.width } else { out / 2 };
        let block = |block: usize| {
            let name = format!("visual.layer{}.{block}", stage + 1);
            let channels = if block == 0 { before } else { out };
            let part = |number: usize, shape: [usize; 4]| {
                let (conv, norm) = (format!("{name}.conv{number}"), format!("{name}.bn{number}"));
                self.normed(&conv, &norm, shape, 1)
            };
            let shortcut = || {
                let (conv, norm) = (
                    format!("{name}.downsample.0"),
                    format!("{name}.downsample.1"),
                );
                self.normed(&conv, &norm, [out, channels, 1, 1], 1)
            };
            Ok(Bottleneck {
                halves: block == 0 && stage > 0,
                convolutions: [
                    part(1, [inner, channels, 1, 1])?,
                    part(2, [inner, inner, 3, 3])?,
                    part(3, [out, inner, 1, 1])?,
                ],
                downsample: (block == 0).then(shortcut).transpose()?,
            })
        };
        (0..config.blocks[stage]).map(block).collect()
    }

    fn pool(&self, config: &ResNetConfig) -> Result<AttentionPool<B>, ClipError> {
        let channels = config.channels();
        let grid = config.image_size / STRIDE;
        let linear = |name: &str, to: usize| {
            let name = format!("visual.attnpool.{name}");
            self.parts.named_linear(&name, [channels, to])
        };
        let positions = "visual.attnpool.positional_embedding";
        let positions = self.parts.named(positions, [1 + grid * grid, channels])?;
        Ok(AttentionPool {
            positional_embedding: positions.val(),
            query: linear("q_proj", channels)?,
            key: linear("k_proj", channels)?,
            value: linear("v_proj", channels)?,
            out: linear("c_proj", config.embedding_dim)?,
            heads: config.heads,
        })
    }
}
