//! The targets.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use oscar_caption_metrics::{Candidates, DocumentFrequencies, References, ptb};
use oscar_core::checkpoint;
use oscar_core::config::ModelConfig;
use oscar_core::input::{ExampleSource, Tokenizer};
use oscar_datasets::check::{CheckOptions, check, named};
use oscar_datasets::import::{Vocabularies, parse_lxmert, parse_npy, parse_npz};
use oscar_datasets::import::{parse_safetensors, parse_vinvl};
use oscar_datasets::official::{
    FeatureRow, TagChoice, decode_blob, parse_classes, parse_key_map, parse_labels, parse_size,
};
use oscar_datasets::rows;
use oscar_datasets::tsv::TsvFile;
use oscar_datasets::{
    ImageSource, JsonlCorpus, OfficialCorpus, OfficialCorpusOptions, RegionStore, open_images,
};
use oscar_files::pytorch::pickle::{self, Limits};
use oscar_files::pytorch::{TorchFile, Value};
use oscar_vision::clip::ClipTokenizer;

use super::{files, rosita, runs, seeds, tasks};

/// Appearance values per region of the small inputs.
pub(super) const FEATURE_DIM: usize = 4;

/// A reader to be fuzzed.
pub struct Target {
    /// Its name, and that of its corpus.
    pub name: &'static str,
    /// Reads an input; panics only if the reader does.
    pub run: fn(&[u8]),
    /// Inputs it reads without error.
    pub seeds: fn() -> Vec<Vec<u8>>,
}

impl Target {
    const fn new(name: &'static str, run: fn(&[u8]), seeds: fn() -> Vec<Vec<u8>>) -> Self {
        Self { name, run, seeds }
    }
}

/// All of them.
pub const TARGETS: &[Target] = &[
    Target::new("pickle", read_pickle, seeds::pickles),
    Target::new("torch_file", read_torch_file, seeds::torch_files),
    Target::new("weights", read_weights, seeds::weights),
    Target::new("npy", read_npy, seeds::npy),
    Target::new("npz", read_npz, seeds::npz),
    Target::new("feature_row", read_feature_row, seeds::feature_rows),
    Target::new("labels", read_labels, seeds::labels),
    Target::new("vinvl", read_vinvl, seeds::vinvl),
    Target::new("lxmert", read_lxmert, seeds::lxmert),
    Target::new("key_map", read_key_map, seeds::key_maps),
    Target::new("image_tensors", read_image_tensors, seeds::image_tensors),
    Target::new("tsv", read_tsv, seeds::tsv),
    Target::new("features", read_features, seeds::features),
    Target::new("region_store", read_region_store, seeds::region_store),
    Target::new("jsonl", read_jsonl, seeds::jsonl),
    Target::new("official", read_official, seeds::official),
    Target::new("vqa", read_vqa, seeds::vqa),
    Target::new("nlvr2", read_nlvr2, seeds::nlvr2),
    Target::new("captions", read_captions, seeds::captions),
    Target::new(
        "document_frequencies",
        read_document_frequencies,
        seeds::document_frequencies,
    ),
    Target::new("caption_tokens", read_caption_tokens, seeds::sentences),
    Target::new("rows", read_rows, seeds::rows),
    Target::new("model_config", read_model_config, seeds::model_configs),
    Target::new("vocabulary", read_vocabulary, seeds::vocabularies),
    Target::new("clip_merges", read_clip_merges, seeds::clip_merges),
    Target::new("vqa_split", tasks::read_vqa_split, tasks::question_splits),
    Target::new("gqa_split", tasks::read_gqa_split, tasks::question_splits),
    Target::new("nlvr2_split", tasks::read_nlvr2_split, tasks::nlvr2_splits),
    Target::new(
        "matching_split",
        tasks::read_matching_split,
        tasks::matching_splits,
    ),
    Target::new(
        "retrieval_split",
        tasks::read_retrieval_split,
        tasks::retrieval_splits,
    ),
    Target::new(
        "captioning_split",
        tasks::read_captioning_split,
        tasks::captioning_splits,
    ),
    Target::new(
        "refer_split",
        rosita::read_refer_split,
        rosita::refer_splits,
    ),
    Target::new(
        "rosita_corpus",
        rosita::read_rosita_corpus,
        rosita::rosita_corpora,
    ),
    Target::new(
        "word_vectors",
        rosita::read_word_vectors,
        rosita::word_vectors,
    ),
    Target::new(
        "answer_counts",
        tasks::read_answer_counts,
        tasks::answer_counts,
    ),
    Target::new("score_cache", tasks::read_score_cache, tasks::score_caches),
    Target::new("index", tasks::read_index, tasks::indexes),
    Target::new("constraints", tasks::read_constraints, tasks::constraints),
    Target::new("checkpoint", runs::read_checkpoint, runs::checkpoints),
    Target::new("metrics_log", runs::read_metrics_log, runs::metrics_logs),
    Target::new(
        "task_checkpoint",
        runs::read_task_checkpoint,
        runs::task_checkpoints,
    ),
];

fn read_pickle(input: &[u8]) {
    if let Ok(value) = pickle::parse(input.to_vec(), &Limits::default()) {
        walk(&value, &mut 0);
        let _ = format!("{value:?}");
    }
}

fn read_torch_file(input: &[u8]) {
    let file = TorchFile::from_bytes(input.to_vec(), Path::new("input"), &Limits::default());
    if let Ok(file) = file {
        walk(file.value(), &mut 0);
    }
}

/// Looks at everything there is, and reads each tensor.
fn walk(value: &Value, seen: &mut usize) {
    *seen += 1;
    // The reader bounds what a walk meets; this test would notice if it did not.
    assert!(*seen < 1 << 24, "a walk without end");
    if let Some(tensor) = value.as_tensor() {
        let _ = tensor.to_f32();
    }
    if let Some(array) = value.as_array() {
        let _ = array.to_f32();
    }
    for item in value.as_slice().unwrap_or_default() {
        walk(item, seen);
    }
    if let Some(dict) = value.as_dict() {
        for (key, value) in dict.iter() {
            walk(key, seen);
            walk(value, seen);
        }
    }
}

fn read_weights(input: &[u8]) {
    let _ = checkpoint::read_tensors(files::file("weights", input));
}

fn read_npy(input: &[u8]) {
    let _ = parse_npy(input);
}

fn read_npz(input: &[u8]) {
    let _ = parse_npz(input, FEATURE_DIM, &Vocabularies::default());
}

fn read_feature_row(input: &[u8]) {
    let Ok(row) = FeatureRow::parse(input) else {
        return;
    };
    if let Ok(layout) = row.layout(FEATURE_DIM) {
        // The length of the blob has been found to be that of so many values.
        let mut values = vec![0.0; row.num_boxes * layout.dim];
        let _ = decode_blob(&row.blob, layout, &mut values);
    }
}

const CHOICES: [TagChoice; 2] = [TagChoice::Objects, TagChoice::GtObjects];

fn read_labels(input: &[u8]) {
    let Ok(json) = std::str::from_utf8(input) else {
        return;
    };
    for choice in CHOICES {
        let _ = parse_labels(json, choice);
        let _ = parse_classes(json, choice);
    }
    let _ = parse_size(json);
}

fn read_vinvl(input: &[u8]) {
    let Ok(json) = std::str::from_utf8(input) else {
        return;
    };
    for tags_only in [false, true] {
        let _ = parse_vinvl(json, FEATURE_DIM, CHOICES[0], tags_only);
    }
}

fn read_lxmert(input: &[u8]) {
    let _ = parse_lxmert(input, FEATURE_DIM, &Vocabularies::default());
}

fn read_key_map(input: &[u8]) {
    if let Ok(map) = parse_key_map(input) {
        (0..map.len()).for_each(|entry| {
            map.get(entry);
        });
    }
}

fn read_image_tensors(input: &[u8]) {
    let _ = parse_safetensors(input, FEATURE_DIM);
}

/// Table and index in one input, the table first.
pub(super) const SEPARATOR: &[u8] = b"\n---\n";

fn read_tsv(input: &[u8]) {
    let at = input.windows(SEPARATOR.len()).position(|w| w == SEPARATOR);
    let (table, index) = match at {
        Some(at) => (&input[..at], &input[at + SEPARATOR.len()..]),
        None => (input, &b"0\n"[..]),
    };
    let directory = files::directory("tsv", &[("a.tsv", table), ("a.lineidx", index)]);
    if let Ok(file) = TsvFile::open(&directory.join("a.tsv")) {
        for row in 0..file.len() {
            let _ = file.fields::<2>(row);
            let _ = file.first_and_last(row);
        }
    }
}

/// One of the files of a directory, chosen by the input's first byte, is the rest of the input: the
/// directory, and the file's name.
pub(super) fn change<'a>(
    name: &str,
    original: &'a [(String, Vec<u8>)],
    input: &[u8],
) -> Option<(PathBuf, &'a str)> {
    let (which, content) = input.split_first()?;
    let (file, _) = &original[*which as usize % original.len()];
    Some((files::changed_copy(name, original, (file, content)), file))
}

/// An image source is asked for everything it has.
fn read_images(images: &dyn ImageSource) {
    for row in 0..images.len().min(64) {
        let Ok(regions) = images.num_regions(row) else {
            continue;
        };
        // As the batcher does: the first regions alone.
        let mut out = vec![0.0; regions.min(100) * images.region_dim()];
        let _ = images.copy_regions(row, &mut out);
        let _ = images.tag_text(row);
        let _ = images.labels(row);
    }
    let _ = images.find("b");
}

fn read_features(input: &[u8]) {
    static ORIGINAL: OnceLock<Vec<(String, Vec<u8>)>> = OnceLock::new();
    let original = ORIGINAL.get_or_init(seeds::feature_folder);
    if let Some((directory, _)) = change("features", original, input)
        && let Ok(images) = open_images(&directory)
    {
        read_images(&*images);
    }
}

fn read_region_store(input: &[u8]) {
    static ORIGINAL: OnceLock<Vec<(String, Vec<u8>)>> = OnceLock::new();
    let original = ORIGINAL.get_or_init(seeds::store_files);
    if let Some((directory, _)) = change("store", original, input)
        && let Ok(store) = RegionStore::open(&directory)
    {
        read_images(&*store);
        store.check();
    }
}

fn read_jsonl(input: &[u8]) {
    static STORE: OnceLock<std::sync::Arc<RegionStore>> = OnceLock::new();
    let store = STORE.get_or_init(seeds::open_store);
    if let Ok(corpus) = JsonlCorpus::open(&files::file("corpus.jsonl", input), store.clone()) {
        (0..corpus.len()).for_each(|row| {
            let _ = ExampleSource::get(&corpus, row);
        });
    }
}

fn read_official(input: &[u8]) {
    static ORIGINAL: OnceLock<Vec<(String, Vec<u8>)>> = OnceLock::new();
    let original = ORIGINAL.get_or_init(seeds::official_files);
    let Some((directory, _)) = change("official", original, input) else {
        return;
    };
    let (path, data) = (directory.join("corpus.yaml"), directory.join("data"));
    if let Ok(corpus) = OfficialCorpus::open(&path, &data, OfficialCorpusOptions::default()) {
        (0..ExampleSource::len(&corpus)).for_each(|row| {
            let _ = ExampleSource::get(&corpus, row);
        });
    }
}

/// Checks the input as the rows of every one of these tasks, and as what it seems to be.
fn check_rows(name: &str, input: &[u8], tasks: &[&str]) {
    let path = files::file(name, input);
    let formats = tasks.iter().map(|task| named(task).ok());
    for format in formats.chain([None]) {
        let options = CheckOptions {
            format,
            progress: false,
            ..CheckOptions::default()
        };
        let _ = check(&[&path], &options);
    }
}

fn read_vqa(input: &[u8]) {
    check_rows("vqa.json", input, &["vqa", "gqa"]);
}

fn read_nlvr2(input: &[u8]) {
    check_rows("nlvr2.json", input, &["nlvr2", "matching"]);
}

fn read_captions(input: &[u8]) {
    let path = files::file("captions.json", input);
    let _ = Candidates::read(&path);
    let _ = References::read(&path);
}

fn read_document_frequencies(input: &[u8]) {
    let _ = DocumentFrequencies::read(&files::file("frequencies", input));
}

fn read_caption_tokens(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    let _ = ptb::caption(&ptb::tokenize(&text));
}

fn read_rows(input: &[u8]) {
    let path = files::file("rows.json", input);
    let _ = rows::read_rows::<serde_json::Value>(&path);
    check_rows("rows.json", input, &["corpus", "retrieval", "captioning"]);
}

fn read_model_config(input: &[u8]) {
    let _ = ModelConfig::from_file(files::file("config.json", input));
}

/// Merges of a CLIP of 516 tokens: two of them.
fn read_clip_merges(input: &[u8]) {
    let directory = files::directory("clip", &[("merges.txt", input)]);
    if let Ok(tokenizer) = ClipTokenizer::open(&directory, 516) {
        tokenizer.encode("a box, unaffable: Ünï \u{200b}");
    }
}

fn read_vocabulary(input: &[u8]) {
    if let Ok(tokenizer) = Tokenizer::from_vocab_file(files::file("vocab.txt", input)) {
        tokenizer.encode("a box, unaffable: Ünï \u{200b}");
    }
}
