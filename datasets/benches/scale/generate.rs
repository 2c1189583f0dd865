//! Writes the store and the corpora.

use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use crate::Result;

const FEATURE_DIM: usize = 2048;
const REGIONS: usize = 30;
/// Images of a shard, whose features take just under 1 GB.
const SHARD: usize = 8000;
/// Objects of an image in a label file, and among the tags of the store.
const OBJECTS: usize = 20;
/// The first image's key; all keys have as many digits, so that their order is that of the rows.
const FIRST_KEY: usize = 1_000_000;

const WORDS: [&str; 40] = [
    "man", "woman", "dog", "street", "red", "small", "two", "sitting", "table", "with", "the",
    "standing", "near", "white", "shirt", "holding", "green", "tree", "car", "front", "building",
    "people", "wooden", "black", "cat", "window", "water", "large", "boat", "old", "field",
    "horse", "blue", "sky", "playing", "ball", "child", "grass", "sign", "bench",
];

/// How a corpus is written.
#[derive(Clone, Copy)]
pub enum Layout {
    Jsonl,
    Official,
}

impl fmt::Display for Layout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Jsonl => "JSON lines",
            Self::Official => "official",
        })
    }
}

/// The `number`-th word of text `text`, always the same.
fn word(text: usize, number: usize) -> &'static str {
    let mut z = (text as u64) << 8 | number as u64;
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    WORDS[(z >> 33) as usize % WORDS.len()]
}

fn words(text: usize, count: usize) -> String {
    let words: Vec<_> = (0..count).map(|number| word(text, number)).collect();
    words.join(" ")
}

/// Writes a region store in the format that `oscar_datasets::store` describes, its features as
/// holes; returns its size.
pub fn store(dir: &Path, images: usize) -> Result<u64> {
    fs::create_dir_all(dir)?;
    let shards = images.div_ceil(SHARD);
    let mut bytes = 0;
    for shard in 0..shards {
        bytes += write_shard(&shard_path(dir, shard), SHARD.min(images - shard * SHARD))?;
    }
    let mut tags = BufWriter::new(File::create(dir.join("tags.jsonl"))?);
    let mut tag_offsets = vec![0u64];
    for image in 0..images {
        let line = format!("{}\n", objects(image, "score", "box"));
        tags.write_all(line.as_bytes())?;
        tag_offsets.push(tag_offsets[image] + line.len() as u64);
    }
    tags.flush()?;

    let keys: String = (0..images).map(key).collect();
    let key_len = keys.len() / images;
    let mut index = header(
        &[
            ("key_offsets", "U64", vec![images + 1]),
            ("tag_offsets", "U64", vec![images + 1]),
            ("sorted", "U32", vec![images]),
            ("shard", "U32", vec![images]),
            ("row", "U32", vec![images]),
            ("image_size", "U32", vec![images, 2]),
            ("keys", "U8", vec![keys.len()]),
        ],
        &format!(
            r#"{{"format":"oscar-region-index","version":"1","feature_dim":"{FEATURE_DIM}","dtype":"F16","shards":"{shards}","source":"holes"}}"#
        ),
    );
    let u64s = (0..=images).map(|image| (image * key_len) as u64);
    index.extend(u64s.chain(tag_offsets).flat_map(u64::to_le_bytes));
    let u32s = (0..images)
        .chain((0..images).map(|image| image / SHARD))
        .chain((0..images).map(|image| image % SHARD))
        .chain((0..images).flat_map(|_| [640, 480]));
    index.extend(u32s.flat_map(|value| (value as u32).to_le_bytes()));
    index.extend(keys.as_bytes());
    fs::write(dir.join("index.safetensors"), index)?;
    Ok(bytes)
}

fn shard_path(dir: &Path, shard: usize) -> PathBuf {
    dir.join(format!("regions-{shard:05}.safetensors"))
}

fn write_shard(path: &Path, images: usize) -> Result<u64> {
    let regions = images * REGIONS;
    let header = header(
        &[
            ("offsets", "I64", vec![images + 1]),
            ("boxes", "F32", vec![regions, 6]),
            ("features", "F16", vec![regions, FEATURE_DIM]),
        ],
        r#"{"format":"oscar-regions","version":"1"}"#,
    );
    let mut file = BufWriter::new(File::create(path)?);
    file.write_all(&header)?;
    for image in 0..=images {
        file.write_all(&((image * REGIONS) as i64).to_le_bytes())?;
    }
    for region in 0..regions {
        let x = (region % 100) as f32 / 200.0;
        for value in [x, 0.25, x + 0.5, 0.75, 0.5, 0.5] {
            file.write_all(&value.to_le_bytes())?;
        }
    }
    let file = file.into_inner()?;
    let len = file.metadata()?.len() + (regions * FEATURE_DIM * 2) as u64;
    file.set_len(len)?;
    Ok(len)
}

/// A safetensors header of tensors that follow one another.
fn header(tensors: &[(&str, &str, Vec<usize>)], metadata: &str) -> Vec<u8> {
    let mut text = format!(r#"{{"__metadata__":{metadata}"#);
    let mut start = 0;
    for (name, dtype, shape) in tensors {
        let size = match *dtype {
            "U64" | "I64" => 8,
            "U32" | "F32" => 4,
            "F16" => 2,
            _ => 1,
        };
        let end = start + shape.iter().product::<usize>() * size;
        text += &format!(
            r#","{name}":{{"dtype":"{dtype}","shape":{shape:?},"data_offsets":[{start},{end}]}}"#
        );
        start = end;
    }
    text.push('}');
    while text.len() % 8 != 0 {
        text.push(' ');
    }
    [&(text.len() as u64).to_le_bytes(), text.as_bytes()].concat()
}

/// Drops the features from memory: a file that is cut and made longer again is a hole anew.
pub fn forget_features(dir: &Path) -> Result<()> {
    for shard in 0.. {
        let path = shard_path(dir, shard);
        if !path.exists() {
            return Ok(());
        }
        let file = OpenOptions::new().write(true).open(&path)?;
        let len = file.metadata()?.len();
        let image = (REGIONS * FEATURE_DIM * 2 + REGIONS * 6 * 4 + 8) as u64;
        // As much as all images' features, less the first image to be on the safe side.
        let features = (len / image - 1) * (REGIONS * FEATURE_DIM * 2) as u64;
        file.set_len(len - features)?;
        file.set_len(len)?;
    }
    Ok(())
}

fn key(image: usize) -> String {
    (FIRST_KEY + image).to_string()
}

/// The objects of an image as JSON, with the names that the file has for score and box.
fn objects(image: usize, score: &str, place: &str) -> String {
    let objects = (0..OBJECTS).map(|number| {
        let x = number * 25;
        format!(
            r#"{{"class":"{} {}","{score}":0.{:04},"{place}":[{x}.25,40.5,{}.75,300.125]}}"#,
            word(image, number),
            word(image, number + OBJECTS),
            1234 + number,
            x + 100
        )
    });
    format!("[{}]", objects.collect::<Vec<_>>().join(","))
}

/// The image of row `row` of `rows`: the rows of an image follow one another.
fn image_of(row: usize, rows: usize, images: usize) -> usize {
    let distinct = images.min(rows);
    (row as u64 * distinct as u64 / rows as u64) as usize * (images / distinct)
}

/// Whether a row is a question: three of ten.
fn is_question(row: usize) -> bool {
    row % 10 < 3
}

/// Writes a corpus of `rows` rows about the images of the store, three of ten questions; returns
/// what it is opened by.
pub fn corpus(dir: &Path, layout: Layout, rows: usize, images: usize) -> Result<PathBuf> {
    match layout {
        Layout::Jsonl => jsonl(dir, rows, images),
        Layout::Official => official(dir, rows, images),
    }
}

fn jsonl(dir: &Path, rows: usize, images: usize) -> Result<PathBuf> {
    let path = dir.join("corpus.jsonl");
    let mut file = BufWriter::new(File::create(&path)?);
    for row in 0..rows {
        let image = key(image_of(row, rows, images));
        match is_question(row) {
            true => writeln!(
                file,
                r#"{{"image": "{image}", "question": "{}?", "answer": ["{}"]}}"#,
                words(row, 7),
                word(row, 7)
            )?,
            false => writeln!(
                file,
                r#"{{"image": "{image}", "text": "{}."}}"#,
                words(row, 11)
            )?,
        }
    }
    file.flush()?;
    Ok(path)
}

fn official(dir: &Path, rows: usize, images: usize) -> Result<PathBuf> {
    let (captions, questions) = (dir.join("labels/coco"), dir.join("labels/gqa"));
    if !captions.exists() {
        fs::create_dir_all(&captions)?;
        fs::create_dir_all(&questions)?;
        let mut labels = Table::create(&captions.join("predictions_gt.tsv"))?;
        for image in 0..images {
            let objects = objects(image, "conf", "rect");
            let label = format!(r#"{{"image_h":480,"image_w":640,"objects":{objects}}}"#);
            labels.push(&key(image), &label)?;
        }
        labels.finish(&captions.join("imageid2idx.json"))?;
        for name in [
            "predictions_gt.tsv",
            "predictions_gt.lineidx",
            "imageid2idx.json",
        ] {
            fs::hard_link(captions.join(name), questions.join(name))?;
        }
    }
    let mut answers = Table::create(&questions.join("QA_fileB.tsv"))?;
    let mut corpus = Table::create(&dir.join("corpus.tsv"))?;
    for row in 0..rows {
        let image = key(image_of(row, rows, images));
        match is_question(row) {
            true => {
                let answer = format!(r#"{{"labels":["{}"]}}"#, word(row, 7));
                answers.push(&row.to_string(), &answer)?;
                let rest = format!("gqa_qa_{image}_{row}\t{}?", words(row, 7));
                corpus.push(&format!("gqa_{image}"), &rest)?;
            }
            false => {
                let rest = format!("coco_{image}\t{}.", words(row, 11));
                corpus.push(&format!("coco_{image}"), &rest)?;
            }
        }
    }
    answers.finish(&questions.join("QA_qaid2idx.json"))?;
    corpus.finish(&dir.join("unused.json"))?;
    let path = dir.join("corpus.yaml");
    let yaml = "corpus: coco_gqa\ncorpus_file: corpus.tsv\n\
                image_label_path:\n  coco: labels/coco\n  gqa: labels/gqa\n\
                image_feature_path:\n  coco: store\n  gqa: store\n";
    fs::write(&path, yaml)?;
    Ok(path)
}

/// A table, its line index and the rows of its first fields.
struct Table {
    table: BufWriter<File>,
    index: BufWriter<File>,
    rows: BufWriter<Vec<u8>>,
    offset: usize,
    len: usize,
}

impl Table {
    fn create(path: &Path) -> Result<Self> {
        Ok(Self {
            table: BufWriter::new(File::create(path)?),
            index: BufWriter::new(File::create(path.with_extension("lineidx"))?),
            rows: BufWriter::new(Vec::new()),
            offset: 0,
            len: 0,
        })
    }

    fn push(&mut self, id: &str, rest: &str) -> Result<()> {
        writeln!(self.table, "{id}\t{rest}")?;
        writeln!(self.index, "{}", self.offset)?;
        let separator = if self.len == 0 { "{" } else { "," };
        write!(self.rows, r#"{separator}"{id}":{}"#, self.len)?;
        self.offset += id.len() + rest.len() + 2;
        self.len += 1;
        Ok(())
    }

    fn finish(mut self, ids: &Path) -> Result<()> {
        self.table.flush()?;
        self.index.flush()?;
        let mut rows = self.rows.into_inner()?;
        rows.push(b'}');
        fs::write(ids, rows)?;
        Ok(())
    }
}
