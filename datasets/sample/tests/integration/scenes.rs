//! Scenes: what is said of them is true of their boxes, the boxes are those of the pixels, and the
//! same seed gives the same bytes.

use crate::common;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock};

use common::{message, sample};
use oscar_core::input::{ExampleSource, Tokenizer};
use oscar_datasets::import::{ExtractedRegions, ImportOptions, import};
use oscar_datasets::rows::read_rows;
use oscar_datasets::{JsonlCorpus, RegionStore};
use oscar_sample::scenes::{
    HEIGHT, ScenesInfo, ScenesOptions, Sheets, Shown, Style, Tags, WIDTH, build_scenes,
    scene_reader,
};
use oscar_vision::{Picture, PictureLimits, RegionExtractor};
use serde_json::Value;

const COUNT: usize = 400;

/// Digest of the pixels of scene 0 of the split `near` with seed 7.
const FIRST_PICTURE: u32 = 3_215_515_631;

/// What that scene shows, and where.
fn first_scene() -> (Vec<&'static str>, Vec<[i64; 4]>) {
    let things = [
        ("bow", [150, 45, 192, 85]),
        ("television", [210, 82, 248, 122]),
        ("bow", [5, 85, 59, 135]),
        ("bow", [147, 141, 202, 192]),
    ];
    things.into_iter().unzip()
}

fn drawings() -> PathBuf {
    sample().join("scenes")
}

static BUILT: LazyLock<(tempfile::TempDir, ScenesInfo)> = LazyLock::new(|| {
    let dir = tempfile::tempdir().unwrap();
    let options = ScenesOptions::new("train", COUNT, 42);
    let info = build_scenes(&drawings(), &dir.path().join("train"), &options).unwrap();
    (dir, info)
});

fn built(name: &str) -> PathBuf {
    BUILT.0.path().join("train").join(name)
}

fn graphs(path: &Path) -> Vec<Value> {
    read_rows(path).unwrap()
}

fn names(graph: &Value) -> Vec<&str> {
    let objects = graph["objects"].as_array().unwrap().iter();
    objects
        .map(|object| object["name"].as_str().unwrap())
        .collect()
}

fn place(object: &Value) -> [i64; 4] {
    std::array::from_fn(|at| object["box"][at].as_i64().unwrap())
}

/// Numbers as whole ones.
fn rounded(numbers: &Value) -> Vec<i64> {
    let numbers = numbers.as_array().unwrap().iter();
    numbers
        .map(|number| number.as_f64().unwrap() as i64)
        .collect()
}

#[test]
fn the_drawings_are_small_whole_and_name_their_authors() {
    let files = fs::read_dir(drawings())
        .unwrap()
        .map(|entry| entry.unwrap());
    let bytes: u64 = files.map(|entry| entry.metadata().unwrap().len()).sum();
    assert!(bytes < 2_000_000, "{bytes} bytes");
    let licence = fs::read_to_string(drawings().join("LICENSE-DATA.md")).unwrap();
    for name in [
        "Google Inc",
        "Microsoft Corporation",
        "Twitter, Inc",
        "CC-BY 4.0",
        "Miles Johnson",
    ] {
        assert!(licence.contains(name), "{name}");
    }
    let sheets = Sheets::open(&drawings()).unwrap();
    assert_eq!(sheets.kinds.len(), 160);
    assert_eq!(sheets.kinds.iter().filter(|kind| kind.novel).count(), 24);
    // A straight drawing of the sheets' own size, on a canvas that no drawing is the colour of.
    for style in Style::ALL {
        for kind in &sheets.kinds {
            let pose = oscar_sample::scenes::Pose {
                turned: 0,
                mirrored: false,
                size: 62,
            };
            let (width, height) = sheets
                .draw(style, kind.index, pose, [255, 0, 255])
                .dimensions();
            let longest = width.max(height);
            assert!(
                (61..=64).contains(&longest),
                "{style:?} {}: {longest}",
                kind.name
            );
        }
    }
}

#[test]
fn scenes_are_as_they_are_described() {
    let counts = BUILT.1.counts;
    assert_eq!((counts.scenes, counts.captions), (COUNT, 2 * COUNT));
    let things = counts.things as f64 / COUNT as f64;
    let words = counts.caption_words as f64 / counts.captions as f64;
    assert!((3.0..3.8).contains(&things), "{things} things a scene");
    assert!((6.0..9.0).contains(&words), "{words} words a caption");
    // Faint parts of a few drawings are further apart than things are.
    assert!(counts.read_exactly * 100 >= COUNT * 98, "{counts:?}");
    assert_eq!(counts.right_tags, counts.things);

    let mut styles = BTreeMap::new();
    let store = RegionStore::open(&built("regions")).unwrap();
    assert_eq!(store.check(), []);
    for graph in graphs(&built("scenes.jsonl")) {
        *styles
            .entry(graph["style"].as_str().unwrap().to_string())
            .or_insert(0) += 1;
        let objects = graph["objects"].as_array().unwrap();
        let kinds: BTreeSet<&str> = names(&graph).into_iter().collect();
        assert!((2..=6).contains(&objects.len()) && kinds.len() <= 4);
        assert!(
            objects
                .iter()
                .all(|object| !object["novel"].as_bool().unwrap())
        );
        let boxes: Vec<[i64; 4]> = objects.iter().map(place).collect();
        for (at, a) in boxes.iter().enumerate() {
            assert!(a[0] >= 0 && a[1] >= 0 && a[2] <= WIDTH.into() && a[3] <= HEIGHT.into());
            let longest = (a[2] - a[0]).max(a[3] - a[1]);
            assert!((34..=76).contains(&longest), "{a:?}");
            for b in &boxes[..at] {
                let gap = |low: usize| (b[low] - a[low + 2]).max(a[low] - b[low + 2]);
                assert!(gap(0).max(gap(1)) >= 8, "{a:?} {b:?}");
            }
        }
        let row = store.find(graph["image"].as_str().unwrap()).unwrap();
        assert_eq!(store.tag_text(row).unwrap(), names(&graph).join(" "));
    }
    assert_eq!(styles.len(), 4);
    assert!(
        styles.values().all(|scenes| *scenes > COUNT / 8),
        "{styles:?}"
    );
}

/// The boxes that a noun phrase of a caption means: `a dog`, `two hot dogs`.
fn meant(phrase: &str, graph: &Value, sheets: &Sheets) -> Vec<[i64; 4]> {
    let (first, rest) = phrase.split_once(' ').unwrap();
    let number = ["zero", "one", "two", "three"]
        .iter()
        .position(|word| *word == first);
    let kind = sheets.kinds.iter().find(|kind| match number {
        None => kind.one() == phrase,
        Some(_) => kind.plural == rest,
    });
    let kind = kind.unwrap_or_else(|| panic!("{phrase}"));
    let objects = graph["objects"].as_array().unwrap().iter();
    let of_kind = objects.filter(|object| object["name"] == kind.name);
    let boxes: Vec<[i64; 4]> = of_kind.map(place).collect();
    assert_eq!(boxes.len(), number.unwrap_or(1), "{phrase}");
    boxes
}

#[test]
fn captions_are_true() {
    let sheets = Sheets::open(&drawings()).unwrap();
    let graphs = graphs(&built("scenes.jsonl"));
    let rows: Vec<Value> = read_rows(&built("captions.jsonl")).unwrap();
    let (mut related, mut listed) = (0, 0);
    for (at, row) in rows.iter().enumerate() {
        let graph = &graphs[at / 2];
        assert_eq!(row["image"], graph["image"]);
        let text = row["text"].as_str().unwrap();
        let sides = [
            (" to the left of ", 0),
            (" on the left of ", 0),
            (" left of ", 0),
            (" to the right of ", 1),
            (" on the right of ", 1),
            (" right of ", 1),
            (" above ", 2),
            (" over ", 2),
            (" below ", 3),
            (" under ", 3),
        ];
        let Some((words, side)) = sides.into_iter().find(|(words, _)| text.contains(words)) else {
            let starts = ["there is ", "there are ", "a picture of ", "i see "];
            let start = starts
                .into_iter()
                .find_map(|start| text.strip_prefix(start));
            for phrase in start
                .unwrap_or(text)
                .split(" and ")
                .flat_map(|part| part.split(" , "))
            {
                meant(phrase, graph, &sheets);
            }
            listed += 1;
            continue;
        };
        let (a, b) = text.split_once(words).unwrap();
        let a = a
            .strip_suffix(" is")
            .or(a.strip_suffix(" are"))
            .unwrap_or(a);
        let (a, b) = (meant(a, graph, &sheets), meant(b, graph, &sheets));
        let beside = |a: &[i64; 4], b: &[i64; 4]| match side {
            0 => a[2] <= b[0],
            1 => a[0] >= b[2],
            2 => a[3] <= b[1],
            _ => a[1] >= b[3],
        };
        assert!(
            a.iter().all(|a| b.iter().all(|b| beside(a, b))),
            "{text}: {graph}"
        );
        related += 1;
    }
    assert!(
        related > COUNT / 2 && listed > COUNT / 2,
        "{related} {listed}"
    );

    let referring = graphs.iter().flat_map(|graph| {
        let all = graph["referring"].as_array().unwrap().iter();
        all.map(move |expression| (graph, expression))
    });
    let mut expressions = 0;
    for (graph, expression) in referring {
        let meant = expression["object"].as_u64().unwrap() as usize;
        let text = expression["text"].as_str().unwrap();
        let names = names(graph);
        assert!(
            text.starts_with(&format!("the {} ", names[meant])),
            "{text}"
        );
        assert!(names.iter().filter(|name| **name == names[meant]).count() > 1);
        expressions += 1;
    }
    assert!(expressions > COUNT / 8, "{expressions}");
}

#[test]
fn every_word_is_in_the_vocabulary() {
    let tokenizer = Tokenizer::from_vocab_file(built("vocab.txt")).unwrap();
    assert_eq!(
        tokenizer.tokens("two hot dogs"),
        ["two", "hot", "dog", "##s"]
    );
    assert_eq!(tokenizer.tokens("leaves"), ["leaves"]);
    let store = RegionStore::open(&built("regions")).unwrap();
    let corpus = JsonlCorpus::open(&built("captions.jsonl"), store).unwrap();
    for row in 0..corpus.len() {
        let example = corpus.get(row).unwrap();
        for text in [example.text_a, example.text_b] {
            let pieces = tokenizer.tokens(&text);
            let spelled = pieces
                .iter()
                .find(|piece| piece.starts_with("##") && **piece != "##s");
            assert_eq!(spelled, None, "{text}: {pieces:?}");
            let letter = |piece: &&&str| piece.len() == 1 && !["a", "i", ","].contains(*piece);
            assert_eq!(pieces.iter().find(letter), None, "{text}: {pieces:?}");
        }
    }
}

#[test]
fn a_seed_gives_the_same_bytes_with_any_number_of_threads() {
    let dir = tempfile::tempdir().unwrap();
    let options = ScenesOptions {
        tags: Tags::Detected,
        ..ScenesOptions::new("near", 40, 7)
    };
    let build = |name: &str, threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(threads)
            .build()
            .unwrap();
        let out = dir.path().join(name);
        let info = pool
            .install(|| build_scenes(&drawings(), &out, &options))
            .unwrap();
        let files = [
            "captions.jsonl",
            "scenes.jsonl",
            "vocab.txt",
            "dataset.json",
        ];
        let mut bytes: Vec<Vec<u8>> = files
            .iter()
            .map(|file| fs::read(out.join(file)).unwrap())
            .collect();
        bytes.push(fs::read(out.join("pictures/near-000039.png")).unwrap());
        let store = RegionStore::open(&out.join("regions")).unwrap();
        (
            bytes,
            (0..store.len())
                .map(|row| store.tag_text(row).unwrap())
                .collect::<Vec<_>>(),
            info,
        )
    };
    let one = build("one", 1);
    assert!(one == build("three", 3));
    // On every machine: the first scene of this seed.
    let graph = &graphs(&dir.path().join("one/scenes.jsonl"))[0];
    let shown: Vec<_> = graph["objects"]
        .as_array()
        .unwrap()
        .iter()
        .map(place)
        .collect();
    assert_eq!((names(graph), shown), first_scene());
    let picture = fs::read(dir.path().join("one/pictures/near-000000.png")).unwrap();
    let picture = Picture::decode("near-000000.png", &picture, PictureLimits::default()).unwrap();
    assert_eq!(crc32fast::hash(picture.image.as_raw()), FIRST_PICTURE);

    // Its tags have the errors of a detector.
    let counts = one.2.counts;
    let right = counts.right_tags as f64 / counts.things as f64;
    assert!((0.6..0.95).contains(&right), "{right}");

    let found = message(build_scenes(&drawings(), &dir.path().join("one"), &options));
    assert!(found.contains("already exists"), "{found}");
    let found = message(build_scenes(dir.path(), &dir.path().join("x"), &options));
    assert!(found.contains("kinds.json is missing"), "{found}");
}

#[test]
fn novel_kinds_the_long_tail_and_the_vendor_held_out_are_options() {
    let dir = tempfile::tempdir().unwrap();
    let build = |name: &str, options: ScenesOptions| {
        let options = ScenesOptions {
            pictures: false,
            ..options
        };
        build_scenes(&drawings(), &dir.path().join(name), &options).unwrap();
        assert!(!dir.path().join(name).join("pictures").exists());
        graphs(&dir.path().join(name).join("scenes.jsonl"))
    };
    let novel = build(
        "novel",
        ScenesOptions {
            shown: Shown::Novel,
            styles: Style::HELD_OUT.into(),
            ..ScenesOptions::new("novel", 60, 42)
        },
    );
    for graph in &novel {
        assert_eq!(graph["vendor"], "twemoji");
        let objects = graph["objects"].as_array().unwrap();
        assert!(
            objects
                .iter()
                .any(|object| object["novel"].as_bool().unwrap()),
            "{graph}"
        );
    }
    // What a caption has to name, as NoCaps gives it.
    let constraints = dir.path().join("novel/constraints");
    let text = |name: &str| fs::read_to_string(constraints.join(name)).unwrap();
    let boxes = text("boxes.tsv");
    assert_eq!(boxes.lines().count(), novel.len());
    for (line, graph) in boxes.lines().zip(&novel) {
        let (key, found) = line.split_once('\t').unwrap();
        assert_eq!(key, graph["image"]);
        let found: Vec<Value> = serde_json::from_str(found).unwrap();
        let objects = graph["objects"].as_array().unwrap().iter();
        let objects: Vec<&Value> = objects.filter(|object| object["novel"] == true).collect();
        let pairs = found.iter().zip(&objects);
        assert!(found.len() == objects.len(), "{line}");
        for (found, object) in pairs {
            assert_eq!(found["class"], object["name"]);
            assert_eq!(rounded(&found["rect"]), place(object));
        }
    }
    assert!(text("forms.tsv").contains("cactus\tcactus,cacti\n"));
    assert!(text("tokens.tsv").contains("cactus\tcactus\n"));
    let often = |graphs: &[Value]| {
        let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
        graphs
            .iter()
            .flat_map(names)
            .for_each(|name| *counts.entry(name).or_default() += 1);
        counts.into_values().max().unwrap()
    };
    let plain = build("plain", ScenesOptions::new("train", 200, 42));
    assert!(!dir.path().join("plain/constraints").exists());
    let options = ScenesOptions {
        long_tail: true,
        ..ScenesOptions::new("train", 200, 42)
    };
    let tail = build("tail", options);
    assert!(
        often(&tail) > 4 * often(&plain),
        "{} {}",
        often(&tail),
        often(&plain)
    );
}

#[test]
fn a_reader_finds_and_names_the_things_of_a_picture() {
    let reader = scene_reader(&drawings()).unwrap();
    let graphs = graphs(&built("scenes.jsonl"));
    let graphs = &graphs[..60];
    let picture = |graph: &Value| {
        let name = format!("{}.png", graph["image"].as_str().unwrap());
        let bytes = fs::read(built("pictures").join(&name)).unwrap();
        Picture::decode(name, &bytes, PictureLimits::default()).unwrap()
    };
    let pictures: Vec<Picture> = graphs.iter().map(picture).collect();
    let (mut things, mut right) = (0, 0);
    for (graph, found) in graphs.iter().zip(reader.extract(&pictures)) {
        let found = found.unwrap();
        let wanted = graph["objects"].as_array().unwrap().iter();
        for (object, name) in wanted.zip(names(graph)) {
            let place = place(object).map(|v| v as f32);
            let region = found.regions.iter().find(|region| region.box_px == place);
            things += 1;
            right += usize::from(region.is_some_and(|region| region.class == name));
        }
    }
    // The detector knows these drawings, in other poses.
    assert!(right * 100 > things * 90, "{right} of {things}");
}

/// So a scene graph follows for captions of one's own pictures.
#[test]
fn pictures_are_stored_with_the_classes_of_their_regions() {
    let place = tempfile::tempdir().unwrap();
    let folder = place.path().join("pictures");
    fs::create_dir(&folder).unwrap();
    for graph in &graphs(&built("scenes.jsonl"))[..4] {
        let name = format!("{}.png", graph["image"].as_str().unwrap());
        fs::copy(built("pictures").join(&name), folder.join(&name)).unwrap();
    }
    let reader = Arc::new(scene_reader(&drawings()).unwrap());
    let source = ExtractedRegions::open(&folder, reader).unwrap();
    let out = place.path().join("regions");
    let options = ImportOptions::default();
    import(&source, &source.provenance(), &out, &options).unwrap();

    let store = RegionStore::open(&out).unwrap();
    let classes = store.label_names().unwrap();
    let mut rows = String::new();
    for row in 0..store.len() {
        let labels = store.labels(row).unwrap();
        let class = |number: &u16| &*classes.objects[usize::from(*number)];
        let named: Vec<&str> = labels.objects.iter().map(class).collect();
        assert_eq!(named.join(" "), store.tag_text(row).unwrap(), "{row}");
        let caption = serde_json::json!({"image": store.key(row), "text": named[0]});
        rows += &format!("{caption}\n");
    }
    let captions = place.path().join("captions.jsonl");
    fs::write(&captions, rows).unwrap();
    let corpus = JsonlCorpus::open(&captions, store).unwrap();
    for row in 0..corpus.len() {
        let example = ExampleSource::get(&corpus, row).unwrap();
        let graph = example.scene_graph().unwrap().unwrap();
        assert_eq!(graph.objects.len(), 1, "{row}: {graph:?}");
    }
}
