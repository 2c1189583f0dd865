//! Captions of images, in every form that they come in.
//!
//! | form | what it is |
//! |---|---|
//! | rows | `{"image", "captions": [..]}`, one per image, or `{"image", "caption"}`, one per caption, as JSON lines or an array; optionally `tags` and `id`. LAVIS' and BLIP's too, whose `caption` may be a list and which have an `image_id` or `img_id` beside `image` |
//! | captions by image | `{"42": ["a dog", ..], ..}`, one object |
//! | the official code's | `[{"image_id", "id", "caption"}, ..]`, one per caption |
//! | COCO's | `{"images": [{"id", "file_name"}], "annotations": [{"image_id", "caption"}]}`; an image is known by its `id`, or else by its file, as in VizWiz. NoCaps' too, whose images also have an `open_images_id` |
//! | Karpathy's split | `dataset_coco.json`: `{"images": [{"cocoid", "filename", "split", "sentences": [{"raw"}]}]}`; `dataset_coco.json?split=test` is one split of it, and `restval` a part of `train` |
//! | the YAML file of a split | names such a file as `caption`; without it, the images of its tables have no captions |
//! | `{split}_captions.pt` | a dictionary of image id to a list of captions, or to such a list as JSON |

use std::collections::{BTreeMap, HashMap};
use std::io::Read;
use std::path::{Path, PathBuf};

use oscar_files::pytorch::{TorchFile, Value};
use serde::Deserialize;
use serde::de::{DeserializeOwned, IgnoredAny};

use crate::error::{DatasetError, Result};
use crate::findings::{Counts, Defect, Kind, Problem, Problems};
use crate::images::{ImageSource, SharedImages};
use crate::keys::without_ending;
use crate::records::Records;
use crate::rows::{self, Key, Row, RowSet, is_visible};
use crate::text::open_text;
use crate::yaml::Tables;

const IMAGES: &str = "images";
const ANNOTATIONS: &str = "annotations";

/// An image and the captions that describe it; there may be none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CaptionedImage {
    /// Its key in a region store.
    pub key: String,
    /// Another key of its regions: NoCaps' images are those of Open Images, and those of VizWiz are
    /// called by their files.
    pub other_key: Option<String>,
    /// Its captions, in the order of the file.
    pub captions: Vec<String>,
    /// Object tags instead of those stored with the image.
    pub tags: Option<String>,
}

impl CaptionedImage {
    /// An image without captions.
    pub fn new(key: impl Into<String>) -> Self {
        Self {
            key: key.into(),
            ..Self::default()
        }
    }

    /// The row of the image in `images`. Its two keys may be of two images there: numbers are given
    /// anew in every file, so another name goes first; of two numbers nobody knows which is meant.
    ///
    /// # Errors
    /// If it is not there under either key, or under both and not the same.
    pub fn find(&self, images: &dyn ImageSource) -> Result<usize, Defect> {
        let Some(other) = &self.other_key else {
            return images.require(&self.key);
        };
        let named = images
            .find(other)
            .or_else(|| images.find(&format!("{other}.jpg")));
        match (images.require(&self.key), named) {
            (Ok(row), Some(named)) if row != named => {
                if !other.bytes().all(|byte| byte.is_ascii_digit()) {
                    return Ok(named);
                }
                let found = format!(
                    "image `{}` is called `{other}`, too, which is another image of {}",
                    self.key,
                    images.path().display()
                );
                let fix = "name the images by their id alone, or by their file alone";
                Err(Defect::of(Kind::UnknownImage, found).fix(fix))
            }
            (Ok(row), _) | (Err(_), Some(row)) => Ok(row),
            (Err(defect), None) => images.require(other).map_err(|_| defect),
        }
    }
}

impl Row for CaptionedImage {
    const LABEL: &'static str = "captions";

    fn id(&self) -> Option<&str> {
        Some(&self.key)
    }

    fn is_labelled(&self) -> bool {
        !self.captions.is_empty()
    }

    fn check(&self, _: &Self) -> Result<(), Defect> {
        self.captions.iter().enumerate().try_for_each(|(at, text)| {
            let caption = format!("caption {}", at + 1);
            is_visible(&caption, text)
        })
    }

    fn find_images(&self, images: &dyn ImageSource, found: &mut Vec<usize>) -> Result<(), Defect> {
        found.push(self.find(images)?);
        Ok(())
    }

    fn count(&self, counts: &mut Counts) {
        counts.add("captions", self.captions.len());
        self.captions.iter().for_each(|text| counts.add_words(text));
    }
}

/// Which images of a file with several splits are read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Splits {
    /// Those of one split.
    One(String),
    /// All, if there is one split alone.
    Only,
    /// All.
    All,
}

impl Splits {
    /// The file and the split that a path names: `dataset_coco.json?split=test`.
    pub(crate) fn named(path: &Path) -> (PathBuf, Self) {
        let query = path.to_str().and_then(|text| text.rsplit_once("?split="));
        match query.filter(|_| !path.exists()) {
            Some((file, split)) => (file.into(), Self::One(split.to_owned())),
            None => (path.to_path_buf(), Self::Only),
        }
    }

    fn has(&self, split: Option<&str>) -> bool {
        match (self, split) {
            // The images of COCO's validation that are no longer validated on.
            (Self::One(wanted), Some("restval")) if wanted == "train" => true,
            (Self::One(wanted), split) => split == Some(wanted),
            _ => true,
        }
    }
}

/// Reads the captions of `path`, by its content; plain or gzip. Each image is one row, in the order
/// in which they are first named.
///
/// # Errors
/// A file that cannot be read or has none of the forms, or without any image;
/// [`DatasetError::Problems`] with the first wrong rows.
pub fn read(path: &Path, images: Option<SharedImages>) -> Result<RowSet<CaptionedImage>> {
    let (path, splits) = Splits::named(path);
    Problems::refuse(|problems| read_with(&path, &splits, images, problems))
}

/// Whether the file at `path` says of each image which split it is in, as Karpathy's does.
///
/// # Errors
/// A file that cannot be read.
pub fn has_splits(path: &Path) -> Result<bool> {
    let (path, _) = Splits::named(path);
    let mut records = Records::open(&path, &[IMAGES])?;
    let first = match records.is_object() {
        true => records.next()?,
        false => None,
    };
    let image: Option<CocoImage> = first.and_then(|record| record.parse().ok());
    Ok(image.is_some_and(|image| image.sentences.is_some()))
}

/// The same as [`read`]; what is wrong is added to `problems`.
pub(crate) fn read_with(
    path: &Path,
    splits: &Splits,
    images: Option<SharedImages>,
    problems: &mut Problems,
) -> Result<RowSet<CaptionedImage>> {
    let named = Some("image");
    if Tables::is_one(path) {
        let tables = Tables::read(path)?;
        if let Some(captions) = &tables.caption {
            return read_with(captions, splits, images, problems);
        }
        let keys = tables.image_keys(path)?.into_iter();
        let rows = (1..).zip(keys.map(CaptionedImage::new)).collect();
        return Ok(RowSet::new(path, rows, named, images, problems));
    }
    if is_torch(path)? {
        let lists = read_torch_lists(path, "a caption", |value| value.as_str().map(String::from))?;
        let rows = lists.into_iter().map(|(key, captions)| CaptionedImage {
            captions,
            ..CaptionedImage::new(key)
        });
        return Ok(RowSet::new(
            path,
            (1..).zip(rows).collect(),
            named,
            images,
            problems,
        ));
    }
    let records = Records::open_texts(path, &[IMAGES, ANNOTATIONS])?;
    let (rows, named) = match (records.is_object(), records.is_by_key()) {
        (true, _) => (coco(path, records, splits, problems)?, named),
        (_, true) => (by_image(path, records, problems)?, named),
        _ => (plain(path, records, problems)?, None),
    };
    match rows.is_empty() && problems.ok {
        true => Err(DatasetError::malformed(
            path,
            "no image",
            "give at least one",
        )),
        false => Ok(RowSet::new(path, rows, named, images, problems)),
    }
}

/// Images by key, in the order in which they are first named.
#[derive(Default)]
struct ImagesByKey {
    images: Vec<(usize, CaptionedImage)>,
    places: HashMap<String, usize>,
}

impl ImagesByKey {
    /// The image `key`, which is added with this number if it was not named before.
    fn image(&mut self, number: usize, Key(key): Key) -> &mut CaptionedImage {
        let next = self.images.len();
        let at = *self.places.entry(key.clone()).or_insert(next);
        if at == next {
            self.images.push((number, CaptionedImage::new(key)));
        }
        &mut self.images[at].1
    }
}

/// The lists of captions of an object, by image.
fn by_image(
    path: &Path,
    mut records: Records,
    problems: &mut Problems,
) -> Result<Vec<(usize, CaptionedImage)>> {
    let mut images = Vec::new();
    while let Some(record) = records.next()? {
        let key = record.key.unwrap_or_default();
        match record.parse() {
            Ok(captions) => {
                let image = CaptionedImage {
                    captions,
                    ..CaptionedImage::new(key)
                };
                images.push((record.number, image));
            }
            Err(defect) => problems.push(Problem::of_key(path, key, defect)),
        }
    }
    Ok(images)
}

fn plain(
    path: &Path,
    records: Records,
    problems: &mut Problems,
) -> Result<Vec<(usize, CaptionedImage)>> {
    #[derive(Deserialize)]
    #[serde(expecting = "an object such as {\"image\": …, \"captions\": […]}")]
    struct Plain {
        image: Option<Key>,
        image_id: Option<Key>,
        img_id: Option<IgnoredAny>,
        caption: Option<OneOrSeveral>,
        captions: Option<OneOrSeveral>,
        tags: Option<String>,
        #[serde(default, rename = "id")]
        _id: Option<IgnoredAny>,
        #[serde(flatten)]
        others: BTreeMap<String, IgnoredAny>,
    }
    #[derive(Deserialize)]
    #[serde(
        untagged,
        expecting = "captions are neither a text nor a list of texts"
    )]
    enum OneOrSeveral {
        One(String),
        Several(Vec<String>),
    }
    let mut collected = ImagesByKey::default();
    for (number, row) in rows::parse::<Plain>(path, records, problems)? {
        // Published rows say more than is used.
        let captioned = row.caption.is_some() || row.captions.is_some();
        let published = captioned && (row.image_id.is_some() || row.img_id.is_some());
        if let Some(unknown) = row.others.keys().next().filter(|_| !published) {
            let found = format!("unknown field `{unknown}`");
            let fix = "a row has `image`, `caption` or `captions`, and optionally `tags` and `id`";
            problems.at_line(path, number, Defect::of(Kind::Field, found).fix(fix));
            continue;
        }
        let Some(key) = row.image.or(row.image_id) else {
            let defect = Defect::new(
                "missing field `image`",
                "name the image's key in the region store",
            );
            problems.at_line(path, number, defect);
            continue;
        };
        let (caption, captions) = match (row.caption, row.captions) {
            (Some(OneOrSeveral::One(caption)), None) => (Some(caption), None),
            (Some(OneOrSeveral::Several(list)), None)
            | (None, Some(OneOrSeveral::Several(list))) => (None, Some(list)),
            (None, Some(OneOrSeveral::One(only))) => (None, Some(vec![only])),
            (None, None) => (None, None),
            (Some(_), Some(_)) => {
                let found = "both `caption` and `captions`";
                problems.at_line(path, number, Defect::new(found, "give one of the two"));
                continue;
            }
        };
        let image = match caption {
            Some(caption) => {
                let image = collected.image(number, key);
                image.captions.push(caption);
                image
            }
            // One row has them all: another one of the same image is a mistake.
            None => {
                let image = CaptionedImage {
                    captions: captions.unwrap_or_default(),
                    ..CaptionedImage::new(key.0)
                };
                collected.images.push((number, image));
                &mut collected.images.last_mut().expect("one was added").1
            }
        };
        image.tags = row.tags.or(image.tags.take());
    }
    Ok(collected.images)
}

fn coco(
    path: &Path,
    mut records: Records,
    splits: &Splits,
    problems: &mut Problems,
) -> Result<Vec<(usize, CaptionedImage)>> {
    #[derive(Deserialize)]
    struct Caption {
        image_id: Key,
        caption: String,
    }
    let mut collected = ImagesByKey::default();
    let mut there: BTreeMap<String, usize> = BTreeMap::new();
    while let Some(record) = records.next()? {
        let (list, number) = (record.list.unwrap_or_default(), record.number);
        let added = match list {
            IMAGES => record.parse().and_then(|image: CocoImage| {
                let key = image.key()?;
                if let Some(split) = &image.split {
                    *there.entry(split.clone()).or_default() += 1;
                }
                if splits.has(image.split.as_deref()) {
                    let known = collected.image(number, key);
                    let file = image.file_name.as_deref().map(without_ending);
                    known.other_key = image.open_images_id.or(file.map(String::from));
                    let sentences = image.sentences.unwrap_or_default();
                    known
                        .captions
                        .extend(sentences.into_iter().map(Sentence::text));
                }
                Ok(())
            }),
            _ => record.parse().map(|row: Caption| {
                let image = collected.image(number, row.image_id);
                image.captions.push(row.caption);
            }),
        };
        if let Err(defect) = added {
            problems.at_line(path, number, defect.within(format!("`{list}`")));
        }
    }
    let listed: Vec<String> = there
        .iter()
        .map(|(split, images)| format!("{split} ({images} images)"))
        .collect();
    let listed = listed.join(", ");
    let wrong = |found: String, fix| Err(DatasetError::malformed(path, found, fix));
    match splits {
        Splits::Only if there.len() > 1 => wrong(
            format!("it is Karpathy's file with the splits {listed}"),
            "choose one: write ?split=NAME after its path; `train` has `restval`, too",
        ),
        Splits::One(split) if there.is_empty() => wrong(
            format!("the split `{split}` of a file that says no splits"),
            "leave the split out",
        ),
        Splits::One(split) if collected.images.is_empty() => wrong(
            format!("no image is in the split `{split}`; its splits are {listed}"),
            "choose one of them",
        ),
        _ => Ok(collected.images),
    }
}

/// An image of COCO's annotations, or of Karpathy's, which have the captions in it.
#[derive(Deserialize)]
struct CocoImage {
    id: Option<Key>,
    open_images_id: Option<String>,
    cocoid: Option<Key>,
    filename: Option<String>,
    file_name: Option<String>,
    split: Option<String>,
    sentences: Option<Vec<Sentence>>,
}

impl CocoImage {
    /// COCO's number, or else the name of its file.
    fn key(&self) -> Result<Key, Defect> {
        let own = self.cocoid.clone().or(self.id.clone());
        let file = || Some(Key(without_ending(self.filename.as_deref()?).to_owned()));
        own.or_else(file)
            .ok_or_else(|| "neither `id` nor `cocoid` nor `filename`; name the image".into())
    }
}

/// A caption, as written and in words.
#[derive(Deserialize)]
struct Sentence {
    raw: Option<String>,
    #[serde(default)]
    tokens: Vec<String>,
}

impl Sentence {
    fn text(self) -> String {
        self.raw.unwrap_or_else(|| self.tokens.join(" "))
    }
}

/// Whether `path` is a zip archive, or a pickle of protocol 2 and later.
fn is_torch(path: &Path) -> Result<bool> {
    let mut start = [0; 2];
    let read = open_text(path)?
        .read(&mut start)
        .map_err(DatasetError::io("read", path))?;
    Ok(matches!(start[..read], [b'P', b'K'] | [0x80, _]))
}

/// Reads a `.pt` file of image id to a list, or to such a list as JSON. `item` reads an element,
/// and `what` says what it should be.
///
/// # Errors
/// A file that cannot be read or has another form.
pub fn read_torch_lists<T: DeserializeOwned>(
    path: &Path,
    what: &str,
    item: impl Fn(&Value) -> Option<T>,
) -> Result<Vec<(String, Vec<T>)>> {
    const FIX: &str = "give a dictionary of image id to a list, or to one as JSON";
    let wrong = |found: String| DatasetError::malformed(path, found, FIX);
    let file = TorchFile::open(path).map_err(|error| wrong(error.to_string()))?;
    let not_a_dict = || wrong(format!("it is a {}, not a dict", file.value().type_name()));
    let dict = file.value().as_dict().ok_or_else(not_a_dict)?;
    let list = |(key, value): (&Value, &Value)| {
        let key = torch_key(key).ok_or_else(|| {
            wrong(format!(
                "a {} is no image id: use int or str",
                key.type_name()
            ))
        })?;
        let wrong = |found: String| wrong(format!("image {key}: {found}"));
        let list = match value {
            Value::Str(json) => serde_json::from_str(json).map_err(|e| wrong(e.to_string()))?,
            value => {
                let items = value.as_slice();
                let items = items.ok_or_else(|| wrong(format!("a {}", value.type_name())))?;
                let items = items.iter().map(|value| {
                    item(value).ok_or_else(|| {
                        wrong(format!("a {} where {what} is expected", value.type_name()))
                    })
                });
                items.collect::<Result<_>>()?
            }
        };
        Ok((key, list))
    };
    dict.iter().map(list).collect()
}

/// An image id of a `.pt` file as a key.
pub fn torch_key(key: &Value) -> Option<String> {
    match key {
        Value::Int(id) => Some(id.to_string()),
        Value::Str(id) => Some(id.to_string()),
        _ => None,
    }
}
