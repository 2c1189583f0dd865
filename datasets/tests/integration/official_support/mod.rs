//! A small corpus in the official layout, and the same rows as JSON lines.
//!
//! Questions and captions of `gqa`, captions of `googlecc` in two chunks, and rows of `coco`, which
//! the description does not name.
#![allow(dead_code, reason = "each test file uses its own part")]

use std::fs;
use std::path::{Path, PathBuf};

use oscar_datasets::{
    Boxes, ImageRegions, OfficialCorpus, OfficialCorpusOptions, Result, StoreOptions, StoreWriter,
    Tag,
};

/// Appearance values per region.
pub const FEATURE_DIM: usize = 4;

const CLASSES: [&str; 6] = ["dog", "red hat", "tree", "old man", "boat", "street sign"];

/// The corpus in a directory: `corpus.yaml` and its tables in `texts`, feature folders in `data`,
/// and `same.jsonl` over the store `same`, which has the same rows.
pub struct Official {
    pub dir: PathBuf,
    gqa: Vec<Image>,
    cc: Vec<Image>,
}

/// One image.
struct Image {
    dataset: &'static str,
    key: String,
    id: String,
    chunk: Option<usize>,
    number: usize,
}

impl Image {
    fn gqa(number: usize) -> Self {
        Self {
            dataset: "gqa",
            key: format!("gqa_{}", 100 + number),
            id: (100 + number).to_string(),
            chunk: None,
            number,
        }
    }

    fn cc(number: usize) -> Self {
        let chunk = number % 2;
        Self {
            dataset: "googlecc",
            key: format!("cc_{chunk}_{number}"),
            id: number.to_string(),
            chunk: Some(chunk),
            number: number + 3,
        }
    }

    /// A class that its captions, tags and features all tell.
    fn class(&self, offset: usize) -> &'static str {
        CLASSES[(self.number + offset) % CLASSES.len()]
    }

    fn tags(&self) -> Vec<&'static str> {
        (0..1 + self.number % 3)
            .map(|offset| self.class(offset))
            .collect()
    }

    /// What people annotated; every third image has something.
    fn gt_tags(&self) -> Option<Vec<&'static str>> {
        match self.number % 3 {
            0 => Some(vec![self.class(4)]),
            1 => Some(vec![]),
            _ => None,
        }
    }

    fn text_b(&self) -> String {
        let annotated = self.gt_tags().filter(|tags| !tags.is_empty());
        annotated.unwrap_or_else(|| self.tags()).join(" ")
    }

    fn label_row(&self) -> String {
        let objects = |classes: Vec<&str>| -> Vec<serde_json::Value> {
            let object = |class| serde_json::json!({ "class": class, "rect": [1.5, 2.0, 30.0, 40.0], "conf": 0.5 });
            classes.into_iter().map(object).collect()
        };
        let mut label = serde_json::json!({
            "image_h": 480, "image_w": 640, "objects": objects(self.tags())
        });
        if let Some(classes) = self.gt_tags() {
            label["gt_objects"] = objects(classes).into();
        }
        format!("{}\t{label}\n", self.id)
    }

    fn push(&self, key: &str, writer: &mut StoreWriter) -> Result<()> {
        let regions = 1 + self.number % 4;
        let values =
            (0..regions * FEATURE_DIM).map(|at| (self.number * 7 + at * 3) as f32 % 11.0 / 4.0);
        let features: Vec<f32> = values.collect();
        let place = |region| [region as f32 * 10.0, 5.0, region as f32 * 10.0 + 50.0, 90.0];
        let boxes: Vec<[f32; 4]> = (0..regions).map(place).collect();
        writer.push(ImageRegions {
            key,
            width: 640,
            height: 480,
            features: &features,
            boxes: Boxes::Pixels(&boxes),
            // Not those of the label folder, so that a mix-up would be seen.
            tags: &[Tag {
                class: "tag of the store".into(),
                score: 1.0,
                box_px: None,
                attributes: vec![],
            }],
        })
    }
}

/// A row in both layouts.
struct Row {
    official: String,
    jsonl: serde_json::Value,
}

impl Official {
    /// Writes the corpus with `images` images of each data set.
    pub fn write(dir: &Path, images: usize) -> Self {
        let this = Self {
            dir: dir.into(),
            gqa: (0..images).map(Image::gqa).collect(),
            cc: (0..images).map(Image::cc).collect(),
        };
        let (gqa, cc) = (&this.gqa, &this.cc);
        this.describe();
        this.labels("gqa", gqa);
        this.labels("googlecc", cc);
        this.answers(gqa);

        store(&this.path("data/gqa_features"), gqa, |image| &image.id);
        for chunk in 0..2 {
            let of_chunk = cc.iter().filter(|image| image.chunk == Some(chunk));
            let folder = this.path(&format!("data/cc_features/{chunk}"));
            store(&folder, of_chunk, |image| &image.id);
        }
        fs::create_dir_all(this.path("data/cc_features/logs")).expect("a directory");
        store(&this.path("same"), gqa.iter().chain(cc), |image| &image.key);

        let mut rows = Vec::new();
        for (number, (gqa, cc)) in gqa.iter().zip(cc).enumerate() {
            rows.extend([
                caption(cc),
                caption(gqa),
                question(gqa, 0),
                question(gqa, 1),
            ]);
            if number % 5 == 0 {
                rows.push(Row {
                    official: "coco_1\tcoco_1\tnot in the corpus\n".into(),
                    jsonl: serde_json::Value::Null,
                });
            }
        }
        let table: String = rows.iter().map(|row| row.official.as_str()).collect();
        this.write_table("texts/corpus.tsv", &table, true);
        let lines = rows.iter().filter(|row| !row.jsonl.is_null());
        let lines: String = lines.map(|row| format!("{}\n", row.jsonl)).collect();
        this.write_file("same.jsonl", &lines);
        this
    }

    /// Writes a store like `same` whose regions have two values more.
    pub fn store_of_other_dimension(&self, name: &str) {
        let options = StoreOptions::new(FEATURE_DIM + 2);
        let mut writer = StoreWriter::create(&self.path(name), options).expect("a store");
        let text = fs::read_to_string(self.path("same.jsonl")).expect("a file");
        let mut keys = std::collections::BTreeSet::new();
        for line in text.lines() {
            let row: serde_json::Value = serde_json::from_str(line).expect("JSON");
            keys.insert(row["image"].as_str().expect("a key").to_string());
        }
        for key in keys {
            let image = ImageRegions {
                key: &key,
                width: 10,
                height: 10,
                features: &[0.5; FEATURE_DIM + 2],
                boxes: Boxes::Pixels(&[[0.0, 0.0, 5.0, 5.0]]),
                tags: &[],
            };
            writer.push(image).expect("an image");
        }
        writer.finish().expect("a store");
    }

    /// Puts feature files as published in the place of the region stores: an image has one region
    /// of 2,054 values, the first of which is its number.
    pub fn features_as_published(&self) -> &Self {
        self.remove("data/gqa_features").remove("data/cc_features");
        self.feature_file("data/gqa_features", self.gqa.iter());
        for chunk in 0..2 {
            let of_chunk = self.cc.iter().filter(|image| image.chunk == Some(chunk));
            self.feature_file(&format!("data/cc_features/{chunk}"), of_chunk);
        }
        self
    }

    fn feature_file<'a>(&self, folder: &str, images: impl DoubleEndedIterator<Item = &'a Image>) {
        let (mut table, mut ids) = (String::new(), Vec::new());
        // Not in the order of the corpus.
        for image in images.rev() {
            let mut bytes = vec![0u8; 2054 * 4];
            bytes[..4].copy_from_slice(&(image.number as f32).to_le_bytes());
            table += &format!("{}\t1\t{}\n", image.id, base64(&bytes));
            ids.push(image.id.clone());
        }
        self.write_table(&format!("{folder}/features.tsv"), &table, true);
        self.write_ids(&format!("{folder}/imageid2idx.json"), ids.into_iter());
    }

    fn describe(&self) {
        self.write_file(
            "texts/corpus.yaml",
            "corpus: gqa_googlecc\n\
             corpus_file: corpus.tsv\n\
             image_label_path:\n  gqa: labels/gqa\n  googlecc: labels/googlecc\n\
             image_feature_path:\n  gqa: gqa_features\n  googlecc: cc_features/\n  sbu: not_there\n",
        );
    }

    fn labels(&self, dataset: &str, images: &[Image]) {
        let table: String = images.iter().map(Image::label_row).collect();
        self.write_table(
            &format!("texts/labels/{dataset}/predictions_gt.tsv"),
            &table,
            true,
        );
        let ids = images.iter().map(|image| image.id.clone());
        self.write_ids(&format!("texts/labels/{dataset}/imageid2idx.json"), ids);
    }

    /// Two answers for each image; the table has no `.lineidx`.
    fn answers(&self, images: &[Image]) {
        let numbers = || images.iter().flat_map(|image| [(image, 0), (image, 1)]);
        let table: String = numbers()
            .map(|(image, number)| {
                let labels = serde_json::json!({ "labels": answers(image, number) });
                format!("{}\t{labels}\n", answer_id(image, number))
            })
            .collect();
        self.write_table("texts/labels/gqa/QA_fileB.tsv", &table, false);
        let ids = numbers().map(|(image, number)| answer_id(image, number));
        self.write_ids("texts/labels/gqa/QA_qaid2idx.json", ids);
    }

    /// Writes a table, with its index or without.
    pub fn write_table(&self, name: &str, table: &str, index: bool) {
        self.write_file(name, table);
        let index_path = self.path(name).with_extension("lineidx");
        if index {
            let mut offset = 0;
            let offsets = table.split_inclusive('\n').map(|line| {
                let start = offset;
                offset += line.len();
                format!("{start}\n")
            });
            fs::write(index_path, offsets.collect::<String>()).expect("a file");
        } else {
            let _ = fs::remove_file(index_path);
        }
    }

    fn write_ids(&self, name: &str, ids: impl Iterator<Item = String>) {
        let rows = ids.enumerate().map(|(row, id)| (id, row.into()));
        let map: serde_json::Map<String, serde_json::Value> = rows.collect();
        self.write_file(name, &serde_json::Value::Object(map).to_string());
    }

    fn write_file(&self, name: &str, text: &str) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().expect("a directory")).expect("a directory");
        fs::write(path, text).expect("a file");
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    pub fn yaml(&self) -> PathBuf {
        self.path("texts/corpus.yaml")
    }

    /// Puts `to` in the place of the first `from` in a file, which must be there; a table loses its
    /// index, so that only what was changed is wrong.
    pub fn replace(&self, name: &str, from: &str, to: &str) -> &Self {
        let text = fs::read_to_string(self.path(name)).expect("a file");
        assert!(text.contains(from), "{from} is not in {name}:\n{text}");
        let text = text.replacen(from, to, 1);
        match name.ends_with(".tsv") {
            true => self.write_table(name, &text, false),
            false => self.write_file(name, &text),
        }
        self
    }

    pub fn remove(&self, name: &str) -> &Self {
        let path = self.path(name);
        match path.is_dir() {
            true => fs::remove_dir_all(path).expect("a directory"),
            false => fs::remove_file(path).expect("a file"),
        }
        self
    }

    pub fn open(&self) -> Result<OfficialCorpus> {
        self.open_with(OfficialCorpusOptions::default())
    }

    pub fn open_with(&self, options: OfficialCorpusOptions) -> Result<OfficialCorpus> {
        OfficialCorpus::open(&self.yaml(), &self.path("data"), options)
    }
}

fn store<'a>(
    dir: &Path,
    images: impl IntoIterator<Item = &'a Image>,
    key: impl Fn(&'a Image) -> &'a str,
) {
    fs::create_dir_all(dir.parent().expect("a directory")).expect("a directory");
    let mut writer = StoreWriter::create(dir, StoreOptions::new(FEATURE_DIM)).expect("a store");
    for image in images {
        image.push(key(image), &mut writer).expect("an image");
    }
    writer.finish().expect("a store");
}

fn caption(image: &Image) -> Row {
    let text = format!("A {} beside a {}.", image.class(0), image.class(1));
    let dataset = match image.dataset {
        "googlecc" => "cc",
        name => name,
    };
    Row {
        official: format!("{}\t{dataset}_{}\t{text}\n", image.key, image.id),
        jsonl: serde_json::json!({ "image": image.key, "text": text, "tags": image.text_b() }),
    }
}

fn question(image: &Image, number: usize) -> Row {
    let text = ["What is in front?", "What is behind it?"][number];
    let answer = answer_id(image, number);
    Row {
        official: format!("{}\tgqa_qa_{}_{answer}\t{text}\n", image.key, image.id),
        jsonl: serde_json::json!({
            "image": image.key, "question": text, "answer": answers(image, number)
        }),
    }
}

fn answers(image: &Image, number: usize) -> Vec<&'static str> {
    (0..=number)
        .map(|offset| image.class(number + offset))
        .collect()
}

fn answer_id(image: &Image, number: usize) -> String {
    format!("q{}x{number}", image.id)
}

fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for three in bytes.chunks(3) {
        let word = three
            .iter()
            .fold(0, |word, byte| word << 8 | u32::from(*byte));
        let word = word << (8 * (3 - three.len()));
        for digit in 0..4 {
            text.push(match digit <= three.len() {
                true => DIGITS[(word >> (18 - 6 * digit) & 63) as usize] as char,
                false => '=',
            });
        }
    }
    text
}
