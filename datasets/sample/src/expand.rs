//! The small real data set that ships with the repository.
//!
//! It holds a part of the images of NLVR v1 as they are (compressed drawings take a kilobyte
//! each), and is expanded on the user's machine: the region features of its objects would take
//! ten times the space. [`write_sample`] and [`write_weights`] made it; [`build_sample`] expands it.

use std::collections::HashSet;
use std::fs;
use std::io::{self, Cursor, Write};
use std::path::{Path, PathBuf};

use flate2::{Compression, write::GzEncoder};
use oscar_core::input::{ExampleSource, InputError, Tokenizer};
use serde::{Deserialize, Serialize};
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, DateTime, ZipWriter};

use crate::miniature::{self, TASKS_FILE, TASKS_VERSION, TasksInfo, build_tasks};
use crate::nlvr1::annotations::{self, Annotation};
use crate::nlvr1::images::Images;
use crate::nlvr1::{BuildOptions, DATASET_VERSION, DatasetInfo, build};
use crate::weights;
use oscar_datasets::JsonlCorpus;
use oscar_datasets::mapped::read_file;
use oscar_datasets::store::{FORMAT_VERSION, RegionStore};
use oscar_datasets::{DATASET_FILE, DatasetError, Result};
use oscar_files::{FileError, StagedDir, write_file};

/// Training images in the sample, about: groups are not divided.
pub const TRAIN_IMAGES: usize = 3_600;
/// Held-out images in the sample: all there are, since most of their boxes are known from
/// training and left out.
pub const DEV_IMAGES: usize = 989;

const FILES: [&str; 4] = [
    "train_images.zip",
    "train.jsonl.gz",
    "dev_images.zip",
    "dev.jsonl.gz",
];
/// Start weights for the tasks.
const WEIGHTS: &str = "weights";
const VOCAB_FILE: &str = "vocab.txt";
const TASKS: &str = "tasks";
const HINT: &str = "it belongs to the sample that ships with the repository (datasets/sample); \
                    give that directory, or check out the repository again";

/// Where the whole data set is, to make a sample of it.
#[derive(Clone, Copy, Debug)]
pub struct SampleSources<'a> {
    /// Archive or directory with the training images.
    pub train_images: &'a Path,
    /// Their annotations.
    pub train_annotations: &'a Path,
    /// Archive or directory with the images of the dev split.
    pub dev_images: &'a Path,
    /// Their annotations.
    pub dev_annotations: &'a Path,
}

/// What a sample holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SampleCounts {
    /// Training images.
    pub train_images: usize,
    /// Held-out images.
    pub dev_images: usize,
    /// Bytes of all files.
    pub bytes: u64,
}

/// Writes the sample into the directory `out`: evenly spread sentence groups of both splits, each
/// whole, with their images, annotations, licence and a description. The same input gives the same
/// bytes; other files in `out` are not touched.
///
/// # Errors
/// Whatever is wrong with the sources; an image without annotation is fine, the reverse is not. A
/// file of the sample that exists in `out`, unless `overwrite` is on.
pub fn write_sample(
    sources: &SampleSources<'_>,
    out: &Path,
    overwrite: bool,
) -> Result<SampleCounts> {
    if let Some(name) = FILES.iter().find(|name| out.join(name).exists())
        && !overwrite
    {
        let path = out.join(name);
        return Err(FileError::AlreadyExists { path }.into());
    }
    let train = sample_split(
        sources.train_images,
        sources.train_annotations,
        TRAIN_IMAGES,
    )?;
    let dev = sample_split(sources.dev_images, sources.dev_annotations, DEV_IMAGES)?;
    let readme = include_str!("files/README.md")
        .replace("{train_images}", &train.images.to_string())
        .replace("{dev_images}", &dev.images.to_string());
    fs::create_dir_all(out).map_err(DatasetError::io("create", out))?;
    let mut bytes = 0;
    for (name, content) in [
        (FILES[0], &train.archive[..]),
        (FILES[1], &train.annotations),
        (FILES[2], &dev.archive),
        (FILES[3], &dev.annotations),
        ("LICENSE-DATA.md", include_bytes!("../LICENSE-DATA.md")),
        ("README.md", readme.as_bytes()),
    ] {
        write_file(&out.join(name), content)?;
        bytes += content.len() as u64;
    }
    Ok(SampleCounts {
        train_images: train.images,
        dev_images: dev.images,
        bytes,
    })
}

/// Files of a split of the sample.
struct SampledSplit {
    images: usize,
    archive: Vec<u8>,
    annotations: Vec<u8>,
}

/// Images and annotations of about `target` images, in whole groups.
fn sample_split(images: &Path, annotations: &Path, target: usize) -> Result<SampledSplit> {
    let opened = Images::open(images, None)?;
    let all = annotations::read(annotations)?;
    annotations::check_images(annotations, &all, &opened)?;
    let groups = spread(&all, target);
    let chosen: Vec<&Annotation> = all.iter().filter(|a| groups.contains(a.group())).collect();

    let mut identifiers: Vec<&str> = chosen.iter().map(|a| a.identifier.as_str()).collect();
    identifiers.sort_unstable();
    identifiers.dedup();
    let mut archive = ZipWriter::new(Cursor::new(Vec::new()));
    let options = SimpleFileOptions::default()
        .compression_method(CompressionMethod::Deflated)
        .compression_level(Some(9))
        .unix_permissions(0o644)
        .last_modified_time(DateTime::default());
    let compress = || DatasetError::io("compress", images);
    for identifier in &identifiers {
        let bytes = opened.read_file(identifier)?;
        archive
            .start_file(opened.file_name(identifier), options)
            .map_err(io::Error::from)
            .and_then(|()| archive.write_all(&bytes))
            .map_err(compress())?;
    }
    let archive = archive
        .finish()
        .map_err(io::Error::from)
        .map_err(compress())?;

    let mut lines = GzEncoder::new(Vec::new(), Compression::best());
    let compress = || DatasetError::io("compress", annotations);
    for annotation in chosen {
        lines
            .write_all(annotation.text.as_bytes())
            .and_then(|()| lines.write_all(b"\n"))
            .map_err(compress())?;
    }
    Ok(SampledSplit {
        images: identifiers.len(),
        archive: archive.into_inner(),
        annotations: lines.finish().map_err(compress())?,
    })
}

/// Groups with about `target` images together, evenly spread over the file: an early group is no
/// more likely than a late one, so the sample shows what the whole does.
fn spread(all: &[Annotation], target: usize) -> HashSet<&str> {
    let mut sizes: Vec<(&str, usize)> = Vec::new();
    let mut position = std::collections::HashMap::new();
    let mut images = HashSet::new();
    for annotation in all {
        let at = *position.entry(annotation.group()).or_insert_with(|| {
            sizes.push((annotation.group(), 0));
            sizes.len() - 1
        });
        sizes[at].1 += usize::from(images.insert(annotation.identifier.as_str()));
    }
    let (mut passed, mut taken) = (0, 0);
    let mut groups = HashSet::new();
    for (group, size) in sizes {
        // Take a group whenever the sample has fallen behind its share of what was passed.
        if taken < target && taken * images.len() <= passed * target {
            groups.insert(group);
            taken += size;
        }
        passed += size;
    }
    groups
}

/// What [`build_sample`] made or found.
#[derive(Clone, Debug, PartialEq)]
pub struct SampleInfo {
    /// The training split, in `train/`.
    pub train: DatasetInfo,
    /// The held-out split, in `dev/`.
    pub dev: DatasetInfo,
    /// The tasks on both, in `tasks/`.
    pub tasks: TasksInfo,
    /// Whether it was built now, rather than found complete.
    pub built: bool,
}

/// The mark of a complete build: which program made it from which files.
#[derive(PartialEq, Serialize, Deserialize)]
struct Mark {
    format: String,
    version: u32,
    store_version: u32,
    tasks_version: u32,
    fingerprint: String,
}

/// Expands the sample in `sample_dir` into the directory `out`.
///
/// | place | holds |
/// |---|---|
/// | `train/`, `dev/` | described boxes, as [`build`] makes them without whole images |
/// | `tasks/` | the tasks on them, as [`build_tasks`] makes them |
/// | `vocab.txt` | the words of the captions, tags and tasks of `train` |
/// | `weights/` | a copy of the sample's start weights, if it has any |
///
/// Boxes of `dev` that look like a box of `train` are left out, so that what is right on `dev` was
/// not learned by heart.
///
/// Returns at once if `out` was already built from the same files by the same format version;
/// replaces it if not.
///
/// # Errors
/// If the sample is not whole, if `out` is there and is something else, or if the disk refuses.
pub fn build_sample(sample_dir: &Path, out: &Path) -> Result<SampleInfo> {
    let mark = Mark {
        format: "oscar-sample".into(),
        version: DATASET_VERSION,
        store_version: FORMAT_VERSION,
        tasks_version: TASKS_VERSION,
        fingerprint: fingerprint(sample_dir, &files_of(sample_dir), HINT)?,
    };
    if let Some(found) = find_complete(out, &mark) {
        return Ok(found);
    }
    let mut staged = StagedDir::create(out, DATASET_FILE, true)?;
    // Only what is there now is out of date; what another process finishes meanwhile is as good.
    staged.allow_overwrite(out.join(DATASET_FILE).exists());
    let split = |images: &str, annotations: &str, name: &str, held_out_from| {
        let options = BuildOptions {
            whole_images: false,
            held_out_from,
            ..BuildOptions::default()
        };
        let (images, annotations) = (sample_dir.join(images), sample_dir.join(annotations));
        build(&images, &annotations, &staged.path().join(name), &options)
    };
    let train = split(FILES[0], FILES[1], "train", None)?;
    let dev = split(FILES[2], FILES[3], "dev", Some(staged.path().join("train")))?;
    let splits = ["train", "dev"].map(|split| staged.path().join(split));
    let tasks_dir = staged.path().join(TASKS);
    let tasks = build_tasks(&splits, &tasks_dir, miniature::DEFAULT_SEED, false)?;
    write_vocabulary(staged.path())?;
    weights::copy(
        &sample_dir.join(WEIGHTS),
        &staged.path().join(WEIGHTS),
        HINT,
    )?;
    let path = staged.path().join(DATASET_FILE);
    let json = serde_json::to_vec_pretty(&mark)
        .map_err(|error| DatasetError::io("write", &path)(error.into()))?;
    write_file(&path, &json)?;
    match (staged.commit(), find_complete(out, &mark)) {
        (Ok(()), _) => Ok(SampleInfo {
            train,
            dev,
            tasks,
            built: true,
        }),
        (Err(_), Some(found)) => Ok(found),
        (Err(error), None) => Err(error.into()),
    }
}

/// Writes the vocabulary of what the sample says about its training boxes.
fn write_vocabulary(dir: &Path) -> Result<()> {
    let store = RegionStore::open(&dir.join("train/regions"))?;
    let corpus = JsonlCorpus::open(&dir.join("train/boxes.jsonl"), store)?;
    let path = dir.join(VOCAB_FILE);
    let mut texts = miniature::texts(&dir.join(TASKS), "train")?;
    for row in 0..corpus.len() {
        let example = corpus.get(row);
        let example =
            example.map_err(|e| DatasetError::io("read", corpus.path())(io::Error::other(e)))?;
        texts.extend([example.text_a, example.text_b]);
    }
    let failed = |error: InputError| DatasetError::io("write", &path)(io::Error::other(error));
    let vocabulary = Tokenizer::from_texts(&texts).map_err(failed)?;
    vocabulary.save(&path).map_err(failed)
}

/// What stands in `out`, if it is complete and from the same source.
///
/// Both splits are opened, which takes milliseconds: a build someone deleted half of is not whole.
fn find_complete(out: &Path, wanted: &Mark) -> Option<SampleInfo> {
    let found: Mark = serde_json::from_slice(&fs::read(out.join(DATASET_FILE)).ok()?).ok()?;
    if found != *wanted {
        return None;
    }
    let split = |name: &str| -> Option<DatasetInfo> {
        let dir = out.join(name);
        let store = RegionStore::open(&dir.join("regions")).ok()?;
        JsonlCorpus::open(&dir.join("boxes.jsonl"), store).ok()?;
        serde_json::from_slice(&fs::read(dir.join(DATASET_FILE)).ok()?).ok()
    };
    let tasks = serde_json::from_slice(&fs::read(out.join(TASKS).join(TASKS_FILE)).ok()?).ok()?;
    out.join(VOCAB_FILE).is_file().then_some(())?;
    Some(SampleInfo {
        train: split("train")?,
        dev: split("dev")?,
        tasks,
        built: false,
    })
}

/// The files of the sample, with its start weights if it has any.
fn files_of(dir: &Path) -> Vec<PathBuf> {
    let weights = weights::FILES.map(|name| Path::new(WEIGHTS).join(name));
    let weights = weights.into_iter().filter(|_| dir.join(WEIGHTS).is_dir());
    FILES
        .map(PathBuf::from)
        .into_iter()
        .chain(weights)
        .collect()
}

/// A number that changes with any byte of these files: 64-bit FNV-1a, as no adversary is meant.
pub(crate) fn fingerprint(dir: &Path, files: &[PathBuf], hint: &'static str) -> Result<String> {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    for name in files {
        let bytes = read_file(&dir.join(name), hint)?;
        for byte in (bytes.len() as u64)
            .to_le_bytes()
            .iter()
            .chain(bytes.iter())
        {
            hash = (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
    }
    Ok(format!("{hash:016x}"))
}
