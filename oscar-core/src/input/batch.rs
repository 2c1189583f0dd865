//! Encoded examples become tensors, padded to the batch's own longest row.
//!
//! Each batch is cut to what it needs, rounded up so that few different shapes occur and kernels
//! are tuned once per shape. Padding never changes a result: it is masked in the attention, and
//! weighs nothing in the loss.

use burn::data::dataloader::batcher::Batcher;
use burn::tensor::backend::{AutodiffBackend, Backend};
use burn::tensor::{Int, Tensor, TensorData};
use serde::{Deserialize, Serialize};

use super::error::InputError;
use super::example::SourceError;
use super::pretrain::{EncodedPair, PretrainEncoder};
use crate::ops::RowIndex;

/// Multiple of packed rows, so that few different shapes occur.
const PACKED_MULTIPLE: usize = 16;

/// Positions that are computed of `all` ones, if `wanted` of them are wanted: some more, so that few
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
    /// Region features, `[batch, regions, region_dim]`; the text alone is read if there are none.
    pub region_features: Option<Tensor<B, 3>>,
    /// Where the positions stand that are no padding. With it the encoder computes nothing of the
    /// others and gives zeros for them; without it, they are computed like all.
    pub packing: Option<Packing<B>>,
    /// Positions whose last hidden state is needed. With it the last layer computes only these as
    /// queries; the others are still attended to, and their output is zeros. Without it, all are
    /// computed as in every layer.
    pub query_positions: Option<Packing<B>>,
}

impl<B: Backend> OscarInput<B> {
    /// Rows, and positions of each: text and then regions.
    pub fn dims(&self) -> [usize; 2] {
        let [rows, text] = self.input_ids.dims();
        let regions = self.region_features.as_ref();
        [rows, text + regions.map_or(0, |regions| regions.dims()[1])]
    }

    /// Sets [`query_positions`](Self::query_positions) to the first position of each row, which is
    /// pooled, and to `positions` of the flattened `[batch * seq]`.
    pub fn with_query_positions(self, positions: impl IntoIterator<Item = usize>) -> Self {
        let [rows, seq] = self.dims();
        let mut needed = vec![false; rows * seq];
        for position in (0..rows).map(|row| row * seq).chain(positions) {
            needed[position] = true;
        }
        let device = self.input_ids.device();
        Self {
            query_positions: Packing::new(&needed, &device),
            ..self
        }
    }
}

/// Some positions of a batch, such as those that are no padding, as rows of one matrix.
#[derive(Clone, Debug)]
pub struct Packing<B: Backend> {
    /// Of each packed row its place in the flattened `[batch * seq]`; the number of places for the
    /// last ones, which fill up.
    pub places: RowIndex<B>,
    /// Of each place its packed row; their number where it has none.
    pub rows: RowIndex<B>,
}

impl<B: Backend> Packing<B> {
    /// The packing of the places that are `wanted`; `None` if they are all.
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

impl<B: AutodiffBackend> Packing<B> {
    /// The same without gradients.
    pub fn inner(&self) -> Packing<B::InnerBackend> {
        Packing {
            places: self.places.inner(),
            rows: self.rows.inner(),
        }
    }
}

/// Who attends to whom: 1 where a position may be attended to, else 0.
#[derive(Clone, Debug)]
pub enum AttentionMask<B: Backend> {
    /// Each position to all positions that are no padding, `[batch, seq]`.
    Padding(Tensor<B, 2>),
    /// Each position (second dimension) to positions of its own, `[batch, seq, seq]`.
    Full(Tensor<B, 3>),
}

/// A batch of pre-training examples.
#[derive(Clone, Debug)]
pub struct PretrainBatch<B: Backend> {
    /// Text and regions.
    pub input: OscarInput<B>,
    /// Where the masked-token targets stand, `[masked]`: `row * seq + position`, where `seq` is
    /// this batch's padded text and padded regions together.
    pub masked_positions: Tensor<B, 1, Int>,
    /// The targets' ids, `[masked]`.
    pub masked_labels: Tensor<B, 1, Int>,
    /// 1 for a target, 0 for padding, `[masked]`. All are 0 if no token happened to be masked: the
    /// official loss is 0/0 then.
    pub masked_weights: Tensor<B, 1>,
    /// Contrastive classes, `[batch]`.
    pub relation: Tensor<B, 1, Int>,
    /// Rows.
    pub num_examples: usize,
    /// Text tokens and regions that are no padding.
    pub num_tokens: usize,
    /// Where the rows stand in the corpus, for messages.
    pub origins: Vec<String>,
}

/// To which multiples a batch is padded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PaddingConfig {
    /// Multiple of text tokens, and of regions. 1 pads to the longest row exactly.
    pub pad_multiple: usize,
    /// Multiple of masked-token targets of the whole batch; there is always at least one, if only
    /// of padding.
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
    /// [`InputError::Config`], for the first value out of range.
    pub fn validate(&self) -> Result<(), InputError> {
        let values = [
            ("pad_multiple", self.pad_multiple),
            ("masked_multiple", self.masked_multiple),
        ];
        match values.into_iter().find(|&(_, value)| value == 0) {
            Some((key, _)) => Err(InputError::Config {
                key,
                value: "0".to_owned(),
                allowed: "at least 1",
            }),
            None => Ok(()),
        }
    }
}

/// Makes a [`PretrainBatch`] of encoded pairs.
#[derive(Clone, Copy, Debug)]
pub struct PretrainBatcher {
    pad_id: u32,
    max_text: usize,
    max_regions: usize,
    padding: PaddingConfig,
}

impl PretrainBatcher {
    /// A batcher for what `encoder` encodes; it never pads beyond that one's limits.
    ///
    /// # Errors
    ///
    /// A value of `padding` is out of range.
    pub fn new(encoder: &PretrainEncoder, padding: PaddingConfig) -> Result<Self, InputError> {
        padding.validate()?;
        Ok(Self {
            pad_id: encoder.tokenizer().special().pad,
            max_text: encoder.config().max_seq_length,
            max_regions: encoder.config().max_regions,
            padding,
        })
    }

    /// Batches `rows` on `device`.
    ///
    /// # Errors
    ///
    /// There is no row, rows have regions of different sizes, or regions cannot be read.
    pub fn try_batch<B: Backend>(
        &self,
        rows: Vec<EncodedPair>,
        device: &B::Device,
    ) -> Result<PretrainBatch<B>, InputError> {
        let (input, shape) = pad_inputs(
            &rows,
            self.pad_id,
            (self.max_text, self.max_regions),
            self.padding.pad_multiple,
            device,
        )?;
        let targets = self.targets(&rows, shape);
        Ok(PretrainBatch {
            input: input
                .with_query_positions(targets.positions.iter().map(|place| *place as usize)),
            masked_positions: ints(targets.positions, [targets.len], device),
            masked_labels: ints(targets.labels, [targets.len], device),
            masked_weights: floats(targets.weights, [targets.len], device),
            relation: ints(
                rows.iter().map(|row| i32::from(row.relation)).collect(),
                [shape.rows],
                device,
            ),
            num_examples: shape.rows,
            num_tokens: rows
                .iter()
                .map(|row| row.input_ids.len() + row.num_regions)
                .sum(),
            origins: rows.into_iter().map(|row| row.origin).collect(),
        })
    }

    fn targets(&self, rows: &[EncodedPair], shape: BatchShape) -> Targets {
        let seq = shape.text + shape.regions;
        let mut targets = Targets::default();
        for (index, row) in rows.iter().enumerate() {
            for token in &row.masked {
                targets
                    .positions
                    .push((index * seq) as i32 + token.position as i32);
                targets.labels.push(token.label as i32);
            }
        }
        let real = targets.positions.len();
        targets.len = real.max(1).next_multiple_of(self.padding.masked_multiple);
        targets.weights = vec![1.0; real];
        targets.positions.resize(targets.len, 0);
        targets.labels.resize(targets.len, self.pad_id as i32);
        targets.weights.resize(targets.len, 0.0);
        targets
    }
}

impl<B: Backend> Batcher<B, EncodedPair, PretrainBatch<B>> for PretrainBatcher {
    /// As [`try_batch`](PretrainBatcher::try_batch), for where Burn asks for its own trait.
    ///
    /// # Panics
    ///
    /// Where `try_batch` fails: the trait has no room for an error.
    fn batch(&self, rows: Vec<EncodedPair>, device: &B::Device) -> PretrainBatch<B> {
        match self.try_batch(rows, device) {
            Ok(batch) => batch,
            Err(error) => panic!("cannot make a batch: {error}"),
        }
    }
}

/// The targets of a batch, each list `len` long.
#[derive(Default)]
struct Targets {
    positions: Vec<i32>,
    labels: Vec<i32>,
    weights: Vec<f32>,
    len: usize,
}

/// A row that becomes part of an [`OscarInput`].
pub(super) trait InputRow {
    fn origin(&self) -> &str;
    fn input_ids(&self) -> &[u32];
    fn token_type_ids(&self) -> &[u8];
    fn num_regions(&self) -> usize;
    /// `None` if the row has no image at all.
    fn region_dim(&self) -> Option<usize>;
    fn copy_regions(&self, out: &mut [f32]) -> Result<(), SourceError>;
}

impl InputRow for EncodedPair {
    fn origin(&self) -> &str {
        &self.origin
    }

    fn input_ids(&self) -> &[u32] {
        &self.input_ids
    }

    fn token_type_ids(&self) -> &[u8] {
        &self.token_type_ids
    }

    fn num_regions(&self) -> usize {
        self.num_regions
    }

    fn region_dim(&self) -> Option<usize> {
        Some(self.regions.dim())
    }

    fn copy_regions(&self, out: &mut [f32]) -> Result<(), SourceError> {
        self.regions.copy_into(out)
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

/// Pads `rows` to their longest, rounded up to a multiple but not beyond `limits` (text, regions).
pub(super) fn pad_inputs<B: Backend, R: InputRow>(
    rows: &[R],
    pad_id: u32,
    limits: (usize, usize),
    multiple: usize,
    device: &B::Device,
) -> Result<(OscarInput<B>, BatchShape), InputError> {
    let shape = batch_shape(rows, limits, multiple)?;
    let ids = padded(rows, shape.text, pad_id as i32, |row| {
        row.input_ids().iter().map(|&id| id as i32)
    });
    let types = padded(rows, shape.text, 0, |row| {
        row.token_type_ids().iter().map(|&kind| i32::from(kind))
    });
    let region_features = match shape.regions {
        0 => None,
        regions => Some(floats(
            region_features(rows, shape)?,
            [shape.rows, regions, shape.dim],
            device,
        )),
    };
    let attended = attention(rows, shape);
    let input = OscarInput {
        input_ids: ints(ids, [shape.rows, shape.text], device),
        token_type_ids: ints(types, [shape.rows, shape.text], device),
        position_ids: None,
        query_positions: None,
        packing: Packing::new(
            &attended
                .iter()
                .map(|value| *value > 0.0)
                .collect::<Vec<_>>(),
            device,
        ),
        attention_mask: AttentionMask::Padding(floats(
            attended,
            [shape.rows, shape.text + shape.regions],
            device,
        )),
        region_features,
    };
    Ok((input, shape))
}

fn batch_shape<R: InputRow>(
    rows: &[R],
    limits: (usize, usize),
    multiple: usize,
) -> Result<BatchShape, InputError> {
    if rows.is_empty() {
        return Err(InputError::EmptyBatch);
    }
    let mut with_dim = rows.iter().filter_map(|row| Some((row, row.region_dim()?)));
    let first = with_dim.next();
    let dim = first.map_or(0, |(_, dim)| dim);
    if let Some((row, found)) = with_dim.find(|(_, found)| *found != dim) {
        return Err(InputError::RegionDim {
            origin: row.origin().to_owned(),
            found,
            other: first.map_or_else(String::new, |(row, _)| row.origin().to_owned()),
            expected: dim,
        });
    }
    let round_up =
        |longest: usize, limit: usize| longest.next_multiple_of(multiple).min(limit).max(longest);
    let longest = |length: &dyn Fn(&R) -> usize| rows.iter().map(length).max().unwrap_or(0);
    Ok(BatchShape {
        rows: rows.len(),
        text: round_up(longest(&|row| row.input_ids().len()), limits.0),
        regions: round_up(longest(&|row| row.num_regions()), limits.1),
        dim,
    })
}

/// The values of all rows, each filled up to `width`.
fn padded<'a, R, T: Copy, I: Iterator<Item = T>>(
    rows: &'a [R],
    width: usize,
    fill: T,
    values: impl Fn(&'a R) -> I,
) -> Vec<T> {
    let mut out = Vec::with_capacity(rows.len() * width);
    for (index, row) in rows.iter().enumerate() {
        out.extend(values(row));
        out.resize((index + 1) * width, fill);
    }
    out
}

fn attention<R: InputRow>(rows: &[R], shape: BatchShape) -> Vec<f32> {
    let ones_then_zeros = |ones: usize, width: usize| {
        std::iter::repeat_n(1.0, ones).chain(std::iter::repeat_n(0.0, width - ones))
    };
    padded(rows, shape.text + shape.regions, 0.0, |row| {
        ones_then_zeros(row.input_ids().len(), shape.text)
            .chain(ones_then_zeros(row.num_regions(), shape.regions))
    })
}

/// The one copy of the regions between the store and the device.
fn region_features<R: InputRow>(rows: &[R], shape: BatchShape) -> Result<Vec<f32>, InputError> {
    let width = shape.regions * shape.dim;
    let mut out = vec![0.0; rows.len() * width];
    for (row, values) in rows.iter().zip(out.chunks_mut(width.max(1))) {
        row.copy_regions(&mut values[..row.num_regions() * shape.dim])
            .map_err(|source| InputError::Regions {
                origin: row.origin().to_owned(),
                source,
            })?;
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
