//! Encoded examples become tensors, padded to the batch's own longest row.
//!
//! Each batch is cut to what it needs, rounded up so that few different shapes occur and kernels
//! are tuned once per shape. Padding never changes a result: it is masked in the attention, and
//! weighs nothing in the loss.

use burn::tensor::backend::{AutodiffBackend, Backend};
use burn::tensor::{Int, Tensor, TensorData};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::error::InputError;
use super::sequence::{EncodedSequence, SequenceEncoder};
use crate::config::{ConfigError, require};
use crate::ops::RowIndex;

/// Multiple of packed rows, so that few different shapes occur.
const PACKED_MULTIPLE: usize = 16;

/// How many of `all` positions are computed if `wanted` of them are needed: rounded up, so that few
/// different shapes occur.
pub fn packed_len(wanted: usize, all: usize) -> usize {
    wanted.next_multiple_of(PACKED_MULTIPLE).min(all)
}

/// What the backbone reads.
#[derive(Clone, Debug)]
pub struct OscarInput<B: Backend> {
    /// Token ids, `[batch, text]`.
    pub input_ids: Tensor<B, 2, Int>,
    /// 0 for text A, 1 for text B, `[batch, text]`.
    pub token_type_ids: Tensor<B, 2, Int>,
    /// Positions, `[batch, text]`; by default 0, 1, .. in each row.
    pub position_ids: Option<Tensor<B, 2, Int>>,
    /// Who attends to whom, over the text and then the regions.
    pub attention_mask: AttentionMask<B>,
    /// Region features, `[batch, regions, region_dim]`; `None` for text without an image.
    pub region_features: Option<Tensor<B, 3>>,
    /// The positions that are not padding. With it the encoder skips the others and returns zeros for
    /// them; without it, every position is computed.
    pub packing: Option<Packing<B>>,
    /// Positions whose final hidden state is needed. With it the last layer computes only these
    /// (all positions are still attended to) and returns zeros for the others; without it, every
    /// position is computed.
    pub query_positions: Option<Packing<B>>,
}

/// A batch whose regions are asked for: their final hidden states are computed, beside that of the
/// first position.
#[derive(Clone, Debug)]
pub struct RegionInput<B: Backend> {
    /// Text and regions.
    pub input: OscarInput<B>,
    /// 1 for regions, 0 for padding, `[batch, regions]`.
    pub region_mask: Tensor<B, 2>,
}

impl<B: AutodiffBackend> RegionInput<B> {
    /// The same input for a model without gradients.
    pub fn inner(self) -> RegionInput<B::InnerBackend> {
        RegionInput {
            input: self.input.inner(),
            region_mask: self.region_mask.inner(),
        }
    }
}

impl<B: Backend> OscarInput<B> {
    /// Rows, and positions of each: text and then regions.
    pub fn dims(&self) -> [usize; 2] {
        let [rows, text] = self.input_ids.dims();
        let regions = self.region_features.as_ref();
        [rows, text + regions.map_or(0, |regions| regions.dims()[1])]
    }

    /// Needs the final hidden state of the first position of each row, which is pooled, and of
    /// `positions` of the flattened `[batch * seq]`, and of no other.
    pub fn with_query_positions(self, positions: impl IntoIterator<Item = usize>) -> Self {
        let [rows, seq] = self.dims();
        let mut wanted = vec![false; rows * seq];
        for position in (0..rows).map(|row| row * seq).chain(positions) {
            wanted[position] = true;
        }
        let device = self.input_ids.device();
        Self {
            query_positions: Packing::new(&wanted, &device),
            ..self
        }
    }
}

/// Some positions of a batch, such as those that are not padding, as rows of one matrix.
#[derive(Clone, Debug)]
pub struct Packing<B: Backend> {
    /// The position of each packed row in the flattened `[batch * seq]`; `batch * seq` for the rows
    /// at the end that only fill up.
    pub places: RowIndex<B>,
    /// The packed row of each position; the number of packed rows where it has none.
    pub rows: RowIndex<B>,
}

impl<B: Backend> Packing<B> {
    /// Every one of this number of positions, in order.
    pub(crate) fn all(positions: usize, device: &B::Device) -> Self {
        let index = RowIndex::new((0..positions as u32).collect(), device);
        Self {
            places: index.clone(),
            rows: index,
        }
    }

    /// The packing of the `wanted` positions; `None` if every position is computed.
    pub fn new(wanted: &[bool], device: &B::Device) -> Option<Self> {
        let mut places: Vec<u32> = (0..wanted.len() as u32)
            .filter(|place| wanted[*place as usize])
            .collect();
        let packed = packed_len(places.len(), wanted.len());
        if packed == wanted.len() {
            return None;
        }
        places.resize(packed, wanted.len() as u32);
        let mut next = 0;
        let rows = wanted.iter().map(|wanted| match wanted {
            true => {
                next += 1;
                next - 1
            }
            false => packed as u32,
        });
        Some(Self {
            rows: RowIndex::new(rows.collect(), device),
            places: RowIndex::new(places, device),
        })
    }
}

impl<B: AutodiffBackend> OscarInput<B> {
    /// The same input for a model without gradients.
    pub fn inner(self) -> OscarInput<B::InnerBackend> {
        let packing = |packing: Packing<B>| Packing {
            places: packing.places.inner(),
            rows: packing.rows.inner(),
        };
        OscarInput {
            input_ids: self.input_ids.inner(),
            token_type_ids: self.token_type_ids.inner(),
            position_ids: self.position_ids.map(Tensor::inner),
            attention_mask: match self.attention_mask {
                AttentionMask::Padding(mask) => AttentionMask::Padding(mask.inner()),
                AttentionMask::Full(mask) => AttentionMask::Full(mask.inner()),
            },
            region_features: self.region_features.map(Tensor::inner),
            packing: self.packing.map(packing),
            query_positions: self.query_positions.map(packing),
        }
    }
}

/// Who attends to whom: 1 where a position may be attended to, else 0.
#[derive(Clone, Debug)]
pub enum AttentionMask<B: Backend> {
    /// Every position to all positions that are not padding, `[batch, seq]`.
    Padding(Tensor<B, 2>),
    /// A mask of its own for each query (second dimension), `[batch, seq, seq]`.
    Full(Tensor<B, 3>),
}

/// To which multiples a batch is padded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct PaddingConfig {
    /// Multiple of text tokens, and of regions. 1 pads to the longest row exactly.
    pub pad_multiple: usize,
    /// Multiple of masked-token targets of the whole batch; there is always at least one target, if
    /// only padding.
    pub masked_multiple: usize,
}

impl Default for PaddingConfig {
    fn default() -> Self {
        Self {
            pad_multiple: 8,
            masked_multiple: 32,
        }
    }
}

impl PaddingConfig {
    /// Checks every value's range.
    ///
    /// # Errors
    ///
    /// The first key whose value is out of range.
    pub fn validate(&self) -> Result<(), ConfigError> {
        let Self {
            pad_multiple,
            masked_multiple,
        } = *self;
        for (key, value) in [
            ("pad_multiple", pad_multiple),
            ("masked_multiple", masked_multiple),
        ] {
            require(value > 0, key, value, "must be at least 1")?;
            // Batches are padded to it: more would be memory for nothing.
            require(value <= 1 << 16, key, value, "must be at most 65536")?;
        }
        Ok(())
    }
}

/// Sizes of a batch, padding included.
#[derive(Clone, Copy)]
pub(super) struct BatchShape {
    pub(super) rows: usize,
    pub(super) text: usize,
    pub(super) regions: usize,
    pub(super) dim: usize,
}

impl BatchShape {
    /// Positions of a row: text and then regions.
    pub(super) fn seq(self) -> usize {
        self.text + self.regions
    }
}

impl SequenceEncoder {
    /// Pads `rows` to the longest of them, rounded up but not beyond what a row may have. Every
    /// position attends to all that are not padding.
    ///
    /// # Errors
    ///
    /// There is no row, rows have regions of different sizes, or regions cannot be read.
    pub(super) fn pad<B: Backend>(
        &self,
        rows: &[&EncodedSequence],
        device: &B::Device,
    ) -> Result<(OscarInput<B>, BatchShape), InputError> {
        let shape = self.shape(rows)?;
        let regions = region_features(rows, shape)?;
        Ok((self.pad_with(rows, shape, regions, device), shape))
    }

    /// As [`pad`](Self::pad), of rows of this shape whose regions are `values`
    /// `[rows, regions, dim]`.
    pub(super) fn pad_with<B: Backend>(
        &self,
        rows: &[&EncodedSequence],
        shape: BatchShape,
        values: Vec<f32>,
        device: &B::Device,
    ) -> OscarInput<B> {
        let pad = self.tokenizer().special().pad;
        let (mut ids, mut types) = (Vec::new(), Vec::new());
        for (row, end) in rows.iter().zip((1..).map(|rows| rows * shape.text)) {
            ids.extend(row.input_ids.iter().map(|&id| id as i32));
            ids.resize(end, pad as i32);
            types.extend(row.token_type_ids.iter().map(|&kind| i32::from(kind)));
            types.resize(end, 0);
        }
        let region_features = match shape.regions {
            0 => None,
            regions => Some(floats(values, [shape.rows, regions, shape.dim], device)),
        };
        let mut attended = vec![false; shape.rows * shape.seq()];
        for (row, attended) in rows.iter().zip(attended.chunks_mut(shape.seq().max(1))) {
            attended[..row.input_ids.len()].fill(true);
            attended[shape.text..shape.text + row.num_regions()].fill(true);
        }
        let mask = attended
            .iter()
            .map(|attended| f32::from(*attended))
            .collect();
        OscarInput {
            input_ids: ints(ids, [shape.rows, shape.text], device),
            token_type_ids: ints(types, [shape.rows, shape.text], device),
            position_ids: None,
            query_positions: None,
            packing: Packing::new(&attended, device),
            attention_mask: AttentionMask::Padding(floats(mask, [shape.rows, shape.seq()], device)),
            region_features,
        }
    }

    pub(super) fn shape(&self, rows: &[&EncodedSequence]) -> Result<BatchShape, InputError> {
        if rows.is_empty() {
            return Err(InputError::EmptyBatch);
        }
        let mut with_dim = rows.iter().filter_map(|row| Some((row, row.region_dim()?)));
        let first = with_dim.next();
        let dim = first.map_or(0, |(_, dim)| dim);
        if let Some((row, found)) = with_dim.find(|(_, found)| *found != dim) {
            return Err(InputError::RegionDim {
                origin: row.origin.clone(),
                found,
                other: first.map_or_else(String::new, |(row, _)| row.origin.clone()),
                expected: dim,
            });
        }
        let longest = |length: fn(&EncodedSequence) -> usize| {
            rows.iter().map(|row| length(row)).max().unwrap_or(0)
        };
        let (config, multiple) = (self.config(), self.padding().pad_multiple);
        let round_up = |longest: usize, limit: usize| {
            longest.next_multiple_of(multiple).min(limit).max(longest)
        };
        let images = longest(|row| row.regions.len());
        Ok(BatchShape {
            rows: rows.len(),
            text: round_up(longest(|row| row.input_ids.len()), config.max_seq_length),
            regions: round_up(
                longest(EncodedSequence::num_regions),
                config.max_regions * images,
            ),
            dim,
        })
    }
}

/// The one copy of the regions between the store and the device.
pub(super) fn region_features(
    rows: &[&EncodedSequence],
    shape: BatchShape,
) -> Result<Vec<f32>, InputError> {
    let width = shape.regions * shape.dim;
    let mut out = vec![0.0; rows.len() * width];
    for (row, values) in rows.iter().zip(out.chunks_mut(width.max(1))) {
        row.copy_regions(values)?;
    }
    Ok(out)
}

pub(super) fn ints<B: Backend, const D: usize>(
    values: Vec<i32>,
    shape: [usize; D],
    device: &B::Device,
) -> Tensor<B, D, Int> {
    Tensor::from_data(TensorData::new(values, shape), device)
}

pub(super) fn floats<B: Backend, const D: usize>(
    values: Vec<f32>,
    shape: [usize; D],
    device: &B::Device,
) -> Tensor<B, D> {
    Tensor::from_data(TensorData::new(values, shape), device)
}
