//! What a model attends to: of a question, and of the examples of a split that a report shows.

use burn::tensor::{Tensor, TensorData, activation};
use oscar_core::input::{BOX_VALUES, EncodedSequence, OscarInput, SourceError, Tokenizer};
use oscar_core::model::{Backbone, BackboneOutput};
use oscar_core::ops::OscarBackend;

use crate::{Answer, Ask, Opened, Predict, TaskData, TaskError};

/// A task that can show what its weights attend to.
pub trait Explain: Predict {
    /// See [`Predictor::explain`](crate::Predictor::explain).
    ///
    /// # Errors
    ///
    /// As there.
    fn explain<B: OscarBackend>(
        opened: &Opened<Self, B>,
        ask: &Ask,
    ) -> Result<Explanation, TaskError>;

    /// Example `shown` of `data`, as the opened weights see it.
    ///
    /// # Errors
    ///
    /// If it cannot be read.
    fn exhibit<B: OscarBackend>(
        opened: &Opened<Self, B>,
        data: &Self::Data,
        shown: Shown,
    ) -> Result<Exhibit, SourceError>;

    /// Some examples of `data`.
    ///
    /// # Errors
    ///
    /// If one cannot be read.
    fn exhibits<B: OscarBackend>(
        opened: &Opened<Self, B>,
        data: &Self::Data,
        choice: &Choice,
    ) -> Result<Vec<Exhibit>, TaskError> {
        let exhibits = choice.rows(data.len()).map(|(index, attention)| {
            let shown = Shown {
                index,
                attention,
                top: choice.top,
            };
            Self::exhibit(opened, data, shown)
        });
        exhibits.collect::<Result<_, _>>().map_err(TaskError::Score)
    }
}

/// An example to show.
#[derive(Clone, Copy, Debug)]
pub struct Shown {
    /// Its number in the split.
    pub index: usize,
    /// Whether the attention is kept.
    pub attention: bool,
    /// Answers shown, the best first.
    pub top: usize,
}

/// Which examples of a split are shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Choice {
    /// How many, evenly from all over the split.
    pub examples: usize,
    /// The first so many with all that was attended to, which takes memory.
    pub attended: usize,
    /// Answers of each, the best first.
    pub top: usize,
}

impl Choice {
    /// The rows of a split of `len`, and whether attention is kept.
    pub fn rows(&self, len: usize) -> impl Iterator<Item = (usize, bool)> + use<> {
        let (examples, attended) = (self.examples.min(len), self.attended.min(len));
        // Those with attention come first, and are from all over the split as well.
        let spread = move |at: usize, of: usize| at * len / of.max(1);
        let first = (0..attended).map(move |at| spread(at, attended));
        let firsts: Vec<usize> = first.clone().collect();
        let others = (0..examples)
            .map(move |at| spread(at, examples))
            .filter(move |row| !firsts.contains(row))
            .take(examples.saturating_sub(attended));
        let first = first.map(|row| (row, true));
        first.chain(others.map(|row| (row, false)))
    }
}

/// An example of a split, and what a model makes of it.
#[derive(Clone, Debug, Default)]
pub struct Exhibit {
    /// File and row of the example.
    pub origin: String,
    /// The right answers; empty if they are not known.
    pub truth: Vec<String>,
    /// The model's answers, and what it attends to.
    pub explanation: Explanation,
}

/// Answers, and what the model attends to.
#[derive(Clone, Debug, Default)]
pub struct Explanation {
    /// Answers and their probabilities, the best first.
    pub answers: Vec<Answer>,
    /// What the model reads: one sequence, or those of a pair.
    pub sequences: Vec<Inspected>,
}

/// An inspected sequence. Its positions are the tokens, then the regions.
#[derive(Clone, Debug, Default)]
pub struct Inspected {
    /// Words and tags.
    pub tokens: Vec<Token>,
    /// Regions of its images.
    pub regions: Vec<Region>,
    /// How much each position attends to each, `[positions, positions]` by layer, the mean of the
    /// heads; empty if it was not kept.
    pub attention: Vec<Vec<f32>>,
    /// The same of each head, `[heads, positions, positions]` by layer.
    pub attention_by_head: Vec<Vec<f32>>,
    /// Hidden state of each position in the last layer, `[positions][hidden]`.
    pub states: Vec<Vec<f32>>,
}

/// A token of a text.
#[derive(Clone, Debug)]
pub struct Token {
    /// As the vocabulary has it.
    pub text: String,
    /// The text that it belongs to.
    pub segment: Segment,
    /// The token that was masked here, and the predictions with their probabilities.
    pub masked: Option<(String, Vec<(String, f32)>)>,
}

/// The text that a token belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Segment {
    /// `[CLS]`, `[SEP]`, `[MASK]`.
    Special,
    /// Caption, question, statement.
    Text,
    /// Object tags, or answers in their place.
    Tags,
}

/// A region of an image.
#[derive(Clone, Debug, PartialEq)]
pub struct Region {
    /// Key of the image.
    pub image: String,
    /// x1/W, y1/H, x2/W, y2/H; `None` where regions have no geometry.
    pub relative: Option<[f32; 4]>,
}

impl Region {
    /// x1, y1, x2, y2 in pixels of an image of this width and height.
    pub fn in_pixels(&self, (width, height): (u32, u32)) -> Option<[f32; 4]> {
        let [x1, y1, x2, y2] = self.relative?;
        let (width, height) = (width as f32, height as f32);
        Some([x1 * width, y1 * height, x2 * width, y2 * height])
    }
}

impl Inspected {
    /// Positions: tokens and regions.
    pub fn len(&self) -> usize {
        self.tokens.len() + self.regions.len()
    }

    /// Whether it has no position.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Runs `backbone` over `input`, the batch of `rows`, and keeps the hidden states of every position;
/// the attention as well if `attention` is set.
///
/// # Errors
///
/// If regions cannot be read.
pub fn inspect<B: OscarBackend>(
    backbone: &Backbone<B>,
    input: OscarInput<B>,
    (rows, tokenizer): (&[EncodedSequence], &Tokenizer),
    attention: bool,
) -> Result<(BackboneOutput<B>, Vec<Inspected>), SourceError> {
    let [_, text] = input.input_ids.dims();
    let (output, attentions) = match attention {
        true => {
            let (output, inspection) = backbone.inspect(input);
            (output, inspection.attentions)
        }
        // Every position is shown, whichever the batch needs.
        false => {
            let query_positions = None;
            let input = OscarInput {
                query_positions,
                ..input
            };
            (backbone.forward(input), Vec::new())
        }
    };
    let [_, seq, hidden] = output.sequence.dims();
    let states = floats(output.sequence.clone().into_data());
    let layers = attentions.iter();
    let layers: Vec<Vec<f32>> = layers
        .map(|heads| floats(heads.clone().mean_dim(1).into_data()))
        .collect();
    let heads = attentions.first().map_or(0, |layer| layer.dims()[1]);
    let by_head: Vec<Vec<f32>> = attentions
        .into_iter()
        .map(|layer| floats(layer.into_data()))
        .collect();

    let mut sequences = Vec::with_capacity(rows.len());
    for (at, row) in rows.iter().enumerate() {
        let regions = regions(row)?;
        // Padding follows the text, and the regions.
        let positions = (0..row.input_ids.len()).chain(text..text + regions.len());
        let places: Vec<usize> = positions.map(|position| at * seq + position).collect();
        // Of a square of attention between all positions, the part between the places of the row.
        let part = |square: &[f32]| -> Vec<f32> {
            let within = |place: &usize| place - at * seq;
            let from = |query: &usize| {
                let row = &square[within(query) * seq..(within(query) + 1) * seq];
                places.iter().map(move |key| row[within(key)])
            };
            places.iter().flat_map(from).collect()
        };
        let square = seq * seq;
        let of_layer = |layer: &Vec<f32>| part(&layer[at * square..(at + 1) * square]);
        let of_heads = |layer: &Vec<f32>| {
            let of_row = &layer[at * heads * square..(at + 1) * heads * square];
            of_row.chunks_exact(square).flat_map(part).collect()
        };
        sequences.push(Inspected {
            tokens: tokens(row, tokenizer),
            attention: layers.iter().map(of_layer).collect(),
            attention_by_head: by_head.iter().map(of_heads).collect(),
            states: places
                .iter()
                .map(|place| states[place * hidden..(place + 1) * hidden].to_vec())
                .collect(),
            regions,
        });
    }
    Ok((output, sequences))
}

/// The probabilities of each row of `logits` `[rows, classes]`; a single class is the score itself.
pub fn probabilities<B: OscarBackend>(logits: Tensor<B, 2>) -> Vec<Vec<f32>> {
    let [_, classes] = logits.dims();
    let probabilities = match classes {
        1 => logits,
        _ => activation::softmax(logits, 1),
    };
    let values = floats(probabilities.into_data());
    values.chunks_exact(classes).map(<[f32]>::to_vec).collect()
}

fn floats(data: TensorData) -> Vec<f32> {
    data.iter::<f32>().collect()
}

fn tokens(row: &EncodedSequence, tokenizer: &Tokenizer) -> Vec<Token> {
    let ids = row.input_ids.iter().zip(&row.token_type_ids);
    ids.map(|(&id, &kind)| Token {
        text: tokenizer.token(id).unwrap_or_default().to_string(),
        segment: match (tokenizer.special().contains(id), kind) {
            (true, _) => Segment::Special,
            (false, 0) => Segment::Text,
            (false, _) => Segment::Tags,
        },
        masked: None,
    })
    .collect()
}

fn regions(row: &EncodedSequence) -> Result<Vec<Region>, SourceError> {
    let mut regions = Vec::new();
    for (handle, count) in &row.regions {
        let dim = handle.dim();
        let mut values = vec![0.0; count * dim];
        handle.copy_into(&mut values)?;
        let image = handle.image_key();
        regions.extend(values.chunks_exact(dim.max(1)).map(|values| {
            Region {
                image: image.clone(),
                relative: (dim > BOX_VALUES)
                    .then(|| std::array::from_fn(|side| values[dim - BOX_VALUES + side])),
            }
        }));
    }
    Ok(regions)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_from_all_over_the_split_and_none_twice() {
        let choice = |examples, attended| Choice {
            examples,
            attended,
            top: 1,
        };
        let rows: Vec<_> = choice(6, 2).rows(12).collect();
        let attended = |row| (row, true);
        let plain = |row| (row, false);
        assert_eq!(
            rows,
            [
                attended(0),
                attended(6),
                plain(2),
                plain(4),
                plain(8),
                plain(10)
            ]
        );
        // More than there are.
        let mut all: Vec<_> = choice(99, 2).rows(5).map(|(row, _)| row).collect();
        all.sort_unstable();
        assert_eq!(all, [0, 1, 2, 3, 4]);
        assert_eq!(choice(8, 2).rows(0).count(), 0);
    }
}
