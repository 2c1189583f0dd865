//! Names of images: the same photograph is `58350` in VQA v2, `COCO_val2014_000000058350` in LXMERT's
//! features and `000000058350` in others.
//!
//! A key is looked up as it is. Only where there is none, it is looked up as these data sets write
//! it otherwise: without folder and ending of a file, by COCO's number, in COCO's folders, with or
//! without the prefix of NLVR2. The first time is logged; `?keys=exact` after the path of the images turns it off.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use crate::error::{DatasetError, Result, excerpt};

/// Splits of COCO that occur in names of files.
const COCO: [&str; 7] = [
    "train2014",
    "val2014",
    "test2014",
    "test2015",
    "train2017",
    "val2017",
    "test2017",
];

/// How a name of NLVR2 begins.
const NLVR2: [&str; 4] = ["train-", "dev-", "test1-", "test2-"];

const NLVR2_PREFIX: &str = "nlvr2_";

/// What was found under another spelling of a key.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Other {
    /// One image: its row, and how its key is spelt.
    One(usize, String),
    /// Images that are not the same.
    Several(String, String),
    None,
}

/// The image that other files call `key`, among those that `find` knows.
pub(crate) fn find_otherwise(key: &str, find: impl Fn(&str) -> Option<usize>) -> Other {
    let mut found = Other::None;
    for spelling in spellings(key) {
        match (find(&spelling), &found) {
            (Some(row), Other::None) => found = Other::One(row, spelling),
            (Some(row), Other::One(known, first)) if row != *known => {
                return Other::Several(first.clone(), spelling);
            }
            _ => {}
        }
    }
    found
}

/// The name under which `has` knows the image that other files call `key`; none if it knows the key
/// itself, or no image.
pub fn other_name(key: &str, has: impl Fn(&str) -> bool) -> Option<String> {
    if has(key) {
        return None;
    }
    let spellings = spellings(key);
    let mut known = spellings.into_iter().filter(|spelling| has(spelling));
    match (known.next(), known.next()) {
        (Some(only), None) => Some(only),
        _ => None,
    }
}

/// Whether two names are of one image.
pub(crate) fn is_same(name: &str, other: &str) -> bool {
    let spells = |a: &str, b: &str| spellings(a).iter().any(|spelling| spelling == b);
    name == other || spells(name, other) || spells(other, name)
}

/// Logs that images are found by another spelling, once for each source.
pub(crate) fn tell(images: &Path, key: &str, spelling: &str) {
    static TOLD: Mutex<BTreeSet<PathBuf>> = Mutex::new(BTreeSet::new());
    let mut told = TOLD.lock().unwrap_or_else(|lock| lock.into_inner());
    if told.insert(images.to_path_buf()) {
        tracing::info!(
            "{}: images are found by other spellings of their names: `{key}` is `{spelling}`",
            images.display()
        );
    }
}

/// Most names of each side that a message lists.
const LISTED: usize = 3;

/// Refuses a `file` that is given for images and has none of them: `known` are the names in it, and `has`
/// says whether it has an image, under whatever spelling.
///
/// # Errors
/// If it has none, with names of both.
pub(crate) fn require_common<'a>(
    file: &Path,
    known: impl Iterator<Item = &'a str>,
    images: impl Iterator<Item = &'a str>,
    has: impl Fn(&str) -> bool,
) -> Result<()> {
    let (mut count, mut first) = (0, Vec::new());
    for image in images {
        if has(image) {
            return Ok(());
        }
        count += 1;
        if first.len() < LISTED {
            first.push(image);
        }
    }
    if count == 0 {
        return Ok(());
    }
    let list = |names: Vec<&str>| {
        let names: Vec<String> = names.into_iter().map(excerpt).collect();
        names.join(", ")
    };
    let found = format!(
        "it has none of the {count} images: its keys begin with {}, those of the images with {}",
        list(known.take(LISTED).collect()),
        list(first)
    );
    let fix = "give the file of these images, or write its keys as theirs";
    Err(DatasetError::malformed(file, found, fix))
}

/// Endings of files with the features of one image.
const FEATURES: [&str; 4] = ["npz", "npy", "pt", "safetensors"];

/// The name of an image's file, or of the file of its features, without its folder and its ending.
/// Folders may be written as on Windows.
pub fn without_ending(name: &str) -> &str {
    let name = name.rsplit(['/', '\\']).next().unwrap_or(name);
    let is_feature = |ending: &str| {
        FEATURES
            .iter()
            .any(|known| ending.eq_ignore_ascii_case(known))
    };
    match name.rsplit_once('.') {
        Some((stem, ending))
            if !stem.is_empty() && (crate::pictures::is_picture(name) || is_feature(ending)) =>
        {
            stem
        }
        _ => name,
    }
}

/// COCO's number in the name of one of its images without its ending, or in a number alone.
pub fn coco_number(stem: &str) -> Option<u64> {
    let digits = match stem.get(..5) {
        Some(start) if start.eq_ignore_ascii_case("coco_") => {
            let (split, digits) = stem[5..].split_once('_')?;
            COCO.contains(&split).then_some(digits)?
        }
        _ => stem,
    };
    let number = !digits.is_empty() && digits.len() <= 12;
    let number = number && digits.bytes().all(|byte| byte.is_ascii_digit());
    number.then(|| digits.parse().ok())?
}

/// Other spellings of a key.
fn spellings(key: &str) -> Vec<String> {
    let stem = without_ending(key);
    let mut stems = vec![stem.to_owned()];
    if let Some(number) = coco_number(stem) {
        stems.extend([number.to_string(), format!("{number:012}")]);
        for prefix in ["COCO", "coco"] {
            stems.extend(COCO.map(|split| format!("{prefix}_{split}_{number:012}")));
        }
        // Tables that are made from a list of files have their folders.
        stems.extend(COCO.map(|split| format!("{split}/COCO_{split}_{number:012}")));
        stems.extend(COCO.map(|split| format!("{split}/{number:012}")));
    }
    if let Some(rest) = stem.strip_prefix(NLVR2_PREFIX) {
        stems.push(rest.to_owned());
    } else if NLVR2.iter().any(|split| stem.starts_with(split)) {
        stems.push(format!("{NLVR2_PREFIX}{stem}"));
    }
    let files = stems.iter().map(|stem| format!("{stem}.jpg"));
    let mut all: Vec<String> = files.collect();
    all.extend(stems);
    all.retain(|spelling| spelling != key);
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    fn find(key: &str, keys: &[&str]) -> Other {
        find_otherwise(key, |other| keys.iter().position(|known| *known == other))
    }

    #[test]
    fn the_same_image_under_the_names_of_published_files() {
        let coco = [
            "58350",
            "000000058350",
            "COCO_val2014_000000058350",
            "coco_val2014_000000058350",
            "COCO_val2014_000000058350.jpg",
            "000000058350.jpg",
            "val2014/COCO_val2014_000000058350.jpg",
        ];
        for key in coco {
            for stored in coco {
                if key != stored {
                    let wanted = Other::One(1, stored.to_string());
                    assert_eq!(find(key, &["583500", stored]), wanted, "{key}");
                }
            }
        }
        for (key, stored) in [
            ("dev-0-0-img0", "nlvr2_dev-0-0-img0"),
            ("nlvr2_dev-0-0-img0", "dev-0-0-img0"),
            ("img_0001.jpg", "img_0001"),
            ("features/img_0001.npz", "img_0001"),
            (r"coco\val2014\img_0001.JPG", "img_0001"),
            ("1000092795", "1000092795.jpg"),
        ] {
            assert_eq!(find(key, &[stored]), Other::One(0, stored.into()));
        }
    }

    #[test]
    fn other_images_are_not_taken_for_it() {
        for (key, stored) in [
            ("58350", "58351"),
            ("58350", "x58350"),
            ("58350", "COCO_val2014_58350"),
            ("a", "b"),
            ("", "a"),
            ("COCO_", "COCO_val2014_000000000000"),
        ] {
            assert_eq!(find(key, &[stored]), Other::None, "{key} {stored}");
        }
        assert!(is_same("7", "COCO_val2014_000000000007.jpg"));
        assert!(is_same("val2014/COCO_val2014_000000000007.jpg", "7"));
        assert!(!is_same("7", "COCO_val2014_000000000008"));
        let both = ["COCO_val2014_000000000007", "COCO_test2015_000000000007"];
        assert!(matches!(find("7", &both), Other::Several(..)));
    }
}
