//! How long a caption takes with the cache, and how much work it is with and without.
//!
//! `cargo bench -p oscar-captioning --bench decode`: an Oscar-base model with random weights, 30 tags
//! and 50 regions per image, 5 beams, captions of 20 tokens. One image and a batch alternate, so that a
//! busy machine slows both; medians are printed. `SMALL=1` takes a small model.

use std::io::Write;
use std::time::Instant;

use burn::tensor::{Distribution, Int, Tensor};
use burn_flex::{Flex, FlexDevice};
use oscar_core::config::ModelConfig;
use oscar_core::decode::{GenerationConfig, beam_search};
use oscar_core::input::{AttentionMask, OscarInput, SpecialIds};
use oscar_core::model::{CaptionSteps, OscarForCaptioning, initialize};

const TAGS: usize = 30;
const REGIONS: usize = 50;
/// Officially the tags follow the longest caption.
const FIRST_TAG: i64 = 40;
const ROUNDS: usize = 3;
/// Images of a batch.
const BATCH: usize = 8;

const SPECIAL: SpecialIds = SpecialIds {
    pad: 0,
    unk: 100,
    cls: 101,
    sep: 102,
    mask: 103,
};

fn main() {
    let config = match std::env::var_os("SMALL") {
        None => ModelConfig::base(),
        Some(_) => ModelConfig::tiny(),
    };
    let device = FlexDevice;
    let model = OscarForCaptioning::<Flex>::new(&config, &device);
    initialize(&model, &device, 1);
    let generation = GenerationConfig::default();
    let time = |images| {
        let context = context(&config, images);
        let started = Instant::now();
        let mut steps = CaptionSteps::new(&model, context, SPECIAL.mask);
        let captions = beam_search(&mut steps, &generation, SPECIAL);
        assert_eq!(captions.len(), images);
        started.elapsed().as_secs_f64() / images as f64
    };
    // The first run touches the weights.
    time(1);
    let (mut cached, mut batched) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        cached.push(time(1));
        batched.push(time(BATCH));
    }
    let [cached, batched] = [cached, batched].map(median);

    let work = Work::new(&config, &generation);
    let mut out = std::io::stdout().lock();
    let mut line = |what: &str, seconds: Option<f64>, flop: f64| {
        let time = seconds.map_or("        -".into(), |s| format!("{s:>7.3} s"));
        let rate = seconds.map_or("-".into(), |s| format!("{:.0} GFLOP/s", flop / s / 1e9));
        writeln!(out, "{what:<52} {time}  {:>8.1} GFLOP  {rate}", flop / 1e9)
            .expect("standard output is open");
    };
    line(
        "all again at each step, one image, by count",
        None,
        work.uncached(),
    );
    line(
        "keys and values cached, one image",
        Some(cached),
        work.cached(),
    );
    let what = format!("keys and values cached, {BATCH} images at once, per image");
    line(&what, Some(batched), work.cached());
    line(
        "official without its cache, by count",
        None,
        work.official(),
    );
    writeln!(
        out,
        "the cache: {:.1} times faster with {BATCH} images than with one; {:.0} times less work than \
         the official default",
        cached / batched,
        work.official() / work.cached()
    )
    .expect("standard output is open");
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn context(config: &ModelConfig, images: usize) -> OscarInput<Flex> {
    let device = FlexDevice;
    let ids = Tensor::<Flex, 1, Int>::arange(1000..(1000 + (images * TAGS) as i64), &device);
    let positions = Tensor::<Flex, 1, Int>::arange(FIRST_TAG..FIRST_TAG + TAGS as i64, &device);
    OscarInput {
        input_ids: ids.reshape([images, TAGS]) % config.vocab_size as i32,
        token_type_ids: Tensor::ones([images, TAGS], &device),
        query_positions: None,
        packing: None,
        position_ids: Some(positions.unsqueeze::<2>().expand([images, TAGS])),
        attention_mask: AttentionMask::Padding(Tensor::ones([images, TAGS + REGIONS], &device)),
        region_features: Some(Tensor::random(
            [images, REGIONS, config.img_feature_dim],
            Distribution::Normal(0.0, 1.0),
            &device,
        )),
    }
}

/// Floating-point operations of a caption: two for each product of two numbers.
struct Work {
    layers: f64,
    hidden: f64,
    inner: f64,
    vocab: f64,
    region_dim: f64,
    beams: f64,
    steps: usize,
}

impl Work {
    fn new(config: &ModelConfig, generation: &GenerationConfig) -> Self {
        Self {
            layers: config.num_hidden_layers as f64,
            hidden: config.hidden_size as f64,
            inner: config.intermediate_size as f64,
            vocab: config.vocab_size as f64,
            region_dim: config.img_feature_dim as f64,
            beams: generation.num_beams as f64,
            steps: generation.max_length - 1,
        }
    }

    /// `tokens` through all layers, each reading `keys` positions.
    fn encode(&self, tokens: f64, keys: f64) -> f64 {
        let projections = 4.0 * self.hidden * self.hidden + 2.0 * self.hidden * self.inner;
        let attention = 2.0 * keys * self.hidden;
        2.0 * self.layers * tokens * (projections + attention)
    }

    /// The vocabulary's logits of `rows` positions.
    fn words(&self, rows: f64) -> f64 {
        2.0 * rows * self.hidden * (self.hidden + self.vocab)
    }

    fn regions(&self, images: f64) -> f64 {
        2.0 * images * REGIONS as f64 * self.region_dim * self.hidden
    }

    fn context() -> f64 {
        (TAGS + REGIONS) as f64
    }

    /// The first step has one beam, since all would be alike.
    fn beams_at(&self, step: usize) -> f64 {
        if step == 0 { 1.0 } else { self.beams }
    }

    fn cached(&self) -> f64 {
        let context = Self::context();
        let steps = (0..self.steps).map(|step| {
            let rows = self.beams_at(step);
            let keys = context + step as f64 + 2.0;
            self.encode(2.0 * rows, keys) + self.words(rows)
        });
        self.regions(1.0) + self.encode(context, context) + steps.sum::<f64>()
    }

    fn uncached(&self) -> f64 {
        self.again(|step, _| self.words(self.beams_at(step)))
    }

    /// As the official code: five beams from the start, and logits at every position of the text.
    fn official(&self) -> f64 {
        let steps = (0..self.steps).map(|step| {
            let seq = Self::context() + step as f64 + 2.0;
            let text = (TAGS + step + 2) as f64;
            self.regions(self.beams)
                + self.encode(self.beams * seq, seq)
                + self.words(self.beams * text)
        });
        steps.sum()
    }

    fn again(&self, words: impl Fn(usize, f64) -> f64) -> f64 {
        let steps = (0..self.steps).map(|step| {
            let rows = self.beams_at(step);
            let seq = Self::context() + step as f64 + 2.0;
            self.regions(rows) + self.encode(rows * seq, seq) + words(step, seq)
        });
        steps.sum()
    }
}
