//! A second family of models, with a configuration, an encoder and assets of its own: its task is
//! saved, opened by name and asked like Oscar's.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use burn::module::{Module, Param};
use burn::tensor::backend::Backend;
use burn::tensor::{Int, Tensor};
use burn_flex::{Flex, FlexDevice};
use oscar_core::checkpoint::{self, Checkpointed};
use oscar_core::config::{ConfigError, require};
use oscar_core::input::{PaddingConfig, SourceError};
use oscar_core::ops::OscarBackend;
use oscar_task::explain::{Exhibit, Explanation, Shown};
use oscar_task::{
    Answer, Ask, Explain, Family, Opened, Opener, Predict, Role, Split, Task, TaskCheckpoint,
    TaskData, TaskError, open_predictor,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Models that count byte pairs.
struct Pairs;

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
struct PairsConfig {
    rows: usize,
    answers: usize,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
struct PairsEncoding {
    lowercase: bool,
}

/// Ids of the merges of two letters.
struct PairsEncoder {
    ids: BTreeMap<String, u32>,
    merges: Vec<String>,
    lowercase: bool,
}

impl PairsEncoder {
    fn encode(&self, text: &str) -> Vec<u32> {
        let text = match self.lowercase {
            true => text.to_lowercase(),
            false => text.into(),
        };
        let letters: Vec<char> = text.chars().collect();
        let pairs = letters
            .windows(2)
            .map(|pair| pair.iter().collect::<String>());
        pairs
            .filter_map(|pair| self.ids.get(&pair).copied())
            .collect()
    }
}

impl Family for Pairs {
    type Config = PairsConfig;
    type EncoderConfig = PairsEncoding;
    type Encoder = PairsEncoder;
    const ASSETS: &'static [&'static str] = &["vocab.json", "merges.txt"];
    const PRESETS: &'static [&'static str] = &[];

    fn preset(_: &str) -> Option<PairsConfig> {
        None
    }

    fn recipes(_: &PairsConfig) -> Vec<String> {
        Vec::new()
    }

    fn likely_extractor(_: &PairsConfig) -> String {
        "none".into()
    }

    fn forget_preset(_: &mut PairsConfig) {}

    fn read_config(path: &Path) -> Result<PairsConfig, ConfigError> {
        let text = oscar_files::read_text(path, 1 << 20).map_err(|source| ConfigError::Read {
            path: path.into(),
            source,
        })?;
        serde_json::from_str(&text).map_err(|source| ConfigError::Parse {
            path: path.into(),
            source,
        })
    }

    fn validate(config: &PairsConfig, _: &PairsEncoding) -> Result<(), TaskError> {
        Ok(require(
            config.answers > 0,
            "answers",
            config.answers,
            "must be above 0",
        )?)
    }

    fn open_encoder(
        assets: &Path,
        config: PairsEncoding,
        _: PaddingConfig,
    ) -> Result<PairsEncoder, TaskError> {
        let read = |name| std::fs::read_to_string(assets.join(name)).expect("checked before");
        Ok(PairsEncoder {
            ids: serde_json::from_str(&read("vocab.json")).expect("a vocabulary"),
            merges: read("merges.txt").lines().map(String::from).collect(),
            lowercase: config.lowercase,
        })
    }

    fn new_encoder(
        vocabulary: Option<&str>,
        start: Option<&Path>,
        config: PairsEncoding,
        padding: PaddingConfig,
    ) -> Result<PairsEncoder, TaskError> {
        let assets = vocabulary.map(Path::new).or(start);
        Self::open_encoder(assets.expect("a directory of assets"), config, padding)
    }

    fn save_assets(encoder: &PairsEncoder, directory: &Path) -> Result<(), TaskError> {
        let write = |name, text: String| std::fs::write(directory.join(name), text).expect("space");
        write(
            "vocab.json",
            serde_json::to_string(&encoder.ids).expect("JSON"),
        );
        write("merges.txt", encoder.merges.join("\n"));
        Ok(())
    }

    fn check(config: &PairsConfig, encoder: &PairsEncoder) -> Result<(), ConfigError> {
        let rows = encoder.ids.len();
        require(
            config.rows >= rows,
            "rows",
            config.rows,
            "must be at least the vocabulary",
        )
    }

    fn adapt(config: &mut PairsConfig, encoder: &PairsEncoder, _: usize) {
        config.rows = encoder.ids.len();
    }

    fn region_dim(_: &PairsConfig) -> usize {
        0
    }
}

/// Which of its words a text is like.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
struct Likeness {
    words: Vec<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
struct Texts {}

impl Split for Texts {
    fn new(_: PathBuf, _: Option<PathBuf>) -> Self {
        Self {}
    }

    fn paths(&mut self) -> Vec<&mut PathBuf> {
        Vec::new()
    }
}

struct NoData;

impl TaskData for NoData {
    fn len(&self) -> usize {
        0
    }

    fn region_dim(&self) -> usize {
        0
    }
}

impl Task for Likeness {
    const NAME: &'static str = "likeness";
    type Family = Pairs;
    type Split = Texts;
    type Data = NoData;

    fn open(&self, _: &Texts, _: Role, _: &PairsEncoder) -> Result<NoData, SourceError> {
        Ok(NoData)
    }

    fn configure(&self, model: &mut PairsConfig) -> Result<(), SourceError> {
        model.answers = self.words.len();
        Ok(())
    }
}

/// Scores of each answer by pair, `[rows, answers]`.
#[derive(Module, Debug)]
struct PairScores<B: Backend> {
    scores: Param<Tensor<B, 2>>,
}

impl<B: Backend> Checkpointed<B> for PairScores<B> {}

impl<B: Backend> PairScores<B> {
    fn new(config: &PairsConfig, device: &B::Device) -> Self {
        Self {
            scores: Param::from_tensor(Tensor::zeros([config.rows, config.answers], device)),
        }
    }
}

impl Predict for Likeness {
    type Model<B: OscarBackend> = PairScores<B>;

    fn load<B: OscarBackend>(
        checkpoint: &TaskCheckpoint<Self>,
        device: &B::Device,
    ) -> Result<PairScores<B>, TaskError> {
        checkpoint.load(PairScores::new(&checkpoint.model, device))
    }

    fn ask<B: OscarBackend>(
        opened: &Opened<Self, B>,
        asks: &[Ask],
    ) -> Result<Vec<Vec<Answer>>, TaskError> {
        let words = &opened.checkpoint.task.words;
        let answer = |ask: &Ask| {
            let text = ask
                .text
                .as_deref()
                .ok_or(TaskError::Question("no text".into()))?;
            let ids: Vec<i32> = opened
                .encoder()
                .encode(text)
                .into_iter()
                .map(|id| id as i32)
                .collect();
            let ids = Tensor::<B, 1, Int>::from_ints(&ids[..], &opened.device);
            let scores = opened.model.scores.val().select(0, ids).sum_dim(0);
            let scores: Vec<f32> = scores.into_data().iter::<f32>().collect();
            let answers = words
                .iter()
                .zip(scores)
                .map(|(word, score)| Answer::new(word, score));
            Ok(Answer::best(answers, ask.top))
        };
        asks.iter().map(answer).collect()
    }
}

impl Explain for Likeness {
    fn explain<B: OscarBackend>(
        opened: &Opened<Self, B>,
        ask: &Ask,
    ) -> Result<Explanation, TaskError> {
        Ok(Explanation {
            answers: Self::ask(opened, std::slice::from_ref(ask))?.remove(0),
            sequences: Vec::new(),
        })
    }

    fn exhibit<B: OscarBackend>(
        _: &Opened<Self, B>,
        _: &NoData,
        _: Shown,
    ) -> Result<Exhibit, SourceError> {
        Err("there is no example".into())
    }
}

/// A checkpoint whose weights answer with the first word to `ab`, and with the second to `bc`.
fn save(directory: &Path) {
    let task = Likeness {
        words: vec!["first".into(), "second".into()],
    };
    let encoder = PairsEncoder {
        ids: [("ab".into(), 0), ("bc".into(), 1)].into(),
        merges: vec!["a b".into(), "b c".into()],
        lowercase: true,
    };
    let mut model = PairsConfig::default();
    Pairs::adapt(&mut model, &encoder, 0);
    task.configure(&mut model).expect("no file is read");
    let checkpoint = TaskCheckpoint {
        model,
        task,
        encoder: Arc::new(encoder),
        encoder_config: PairsEncoding { lowercase: true },
        padding: PaddingConfig::default(),
        extractor: None,
        path: directory.into(),
    };
    checkpoint.describe(directory).expect("a description");
    let weights = Tensor::<Flex, 2>::from_floats([[2.0, 0.5], [-1.0, 1.5]], &FlexDevice);
    let model = PairScores {
        scores: Param::from_tensor(weights),
    };
    checkpoint::save(&model, directory.join("model.safetensors")).expect("weights");
}

fn ask(text: &str) -> Ask {
    Ask {
        text: Some(text.into()),
        top: 1,
        ..Ask::default()
    }
}

#[test]
fn another_family_is_saved_opened_and_asked() {
    let place = tempfile::tempdir().expect("a directory");
    save(place.path());
    for file in ["config.json", "task.json", "vocab.json", "merges.txt"] {
        assert!(place.path().join(file).is_file(), "{file}");
    }
    assert!(!place.path().join("vocab.txt").exists());

    let tasks = [Opener::<Flex>::of::<Likeness>()];
    let opened = open_predictor(place.path(), &FlexDevice, &tasks).expect("a predictor");
    assert_eq!(opened.task(), "likeness");
    // The weights are read once: what is asked later needs no file.
    std::fs::remove_file(place.path().join("model.safetensors")).expect("a file");
    let answers = opened
        .ask(&[ask("xABx"), ask("bc"), ask("ab bc")])
        .expect("answers");
    let expected = [("first", 2.0), ("second", 1.5), ("second", 2.0)];
    let expected = expected.map(|(text, score)| vec![Answer::new(text, score)]);
    assert_eq!(answers, expected);
    let again = opened.explain(&ask("bc")).expect("an explanation");
    assert_eq!(again.answers, expected[1]);
    let refused = opened.ask(&[Ask::default()]).expect_err("no text");
    assert!(matches!(refused, TaskError::Question(_)), "{refused}");
}

#[test]
fn a_checkpoint_without_one_of_its_assets_is_refused_by_name() {
    let place = tempfile::tempdir().expect("a directory");
    save(place.path());
    std::fs::remove_file(place.path().join("merges.txt")).expect("a file");
    let refused = TaskCheckpoint::<Likeness>::open(place.path());
    let Err(TaskError::Checkpoint { path, found }) = refused.map(|_| ()) else {
        panic!("it was opened");
    };
    assert_eq!(path, place.path());
    assert!(found.contains("merges.txt"), "{found}");
}

#[test]
fn weights_of_a_task_that_is_not_known_are_refused_by_its_name() {
    let place = tempfile::tempdir().expect("a directory");
    save(place.path());
    let refused = open_predictor::<Flex>(place.path(), &FlexDevice, &[]);
    let Err(TaskError::Checkpoint { found, .. }) = refused.map(|_| ()) else {
        panic!("it was opened");
    };
    assert!(found.contains("likeness"), "{found}");
}
