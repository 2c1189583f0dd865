//! The keys of a row of the official corpus: which image it is about, and whose text B it has.
//!
//! | row | image key | label key |
//! |---|---|---|
//! | caption | `coco_322211` | `coco_322211` |
//! | caption, features in chunks | `cc_3_1907` | `cc_1907` |
//! | question | `gqa_2375429` | `gqa_qa_2375429_07333408` |

/// Data sets that a corpus may be made of, and whether their features are in chunks.
const DATASETS: [(&str, bool); 8] = [
    ("coco", false),
    ("flickr30k", false),
    ("gqa", false),
    ("googlecc", true),
    ("sbu", true),
    ("oi", true),
    ("objects365", true),
    ("tagoi", true),
];

/// Whether the features of data set `name` are in chunks; `None` if it is none of the official
/// ones.
pub(super) fn is_chunked(name: &str) -> Option<bool> {
    let found = DATASETS.iter().find(|(known, _)| *known == name);
    found.map(|(_, chunked)| *chunked)
}

/// The names of the official data sets, for messages.
pub(super) fn known_datasets() -> String {
    DATASETS.map(|(name, _)| name).join(", ")
}

/// The two keys of a row, parsed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct RowKey<'a> {
    /// Data set, as in the description of the corpus.
    pub(super) dataset: &'a str,
    /// Folder of the features, if they are in chunks.
    pub(super) chunk: Option<&'a str>,
    /// Image, as in the feature and label files.
    pub(super) image: &'a str,
    /// Answers, as in the answer file, if the row is a question.
    pub(super) answer: Option<&'a str>,
}

impl<'a> RowKey<'a> {
    /// Reads the keys; of a data set that is not official, only its name.
    ///
    /// # Errors
    /// What is wrong with the keys, without file and row.
    pub(super) fn parse(image_key: &'a str, label_key: &'a str) -> Result<Self, String> {
        let dataset = first(image_key);
        if dataset != first(label_key) {
            return Err(format!(
                "the image key {image_key:?} is of another data set than the label key \
                 {label_key:?}; both start with the data set's name"
            ));
        }
        let dataset = match dataset {
            "cc" => "googlecc",
            name => name,
        };
        let Some(chunked) = is_chunked(dataset) else {
            return Ok(Self {
                dataset,
                chunk: None,
                image: image_key,
                answer: None,
            });
        };
        let mut parts = image_key.rsplit('_');
        let image = parts.next().unwrap_or_default();
        let chunk = match chunked {
            true => parts.next(),
            false => None,
        };
        // What is left is the data set's name, and whatever stands between.
        if image.is_empty() || chunk == Some("") || parts.next().is_none() {
            let wanted = match chunked {
                true => "DATASET_CHUNK_IMAGE",
                false => "DATASET_IMAGE",
            };
            return Err(format!("the image key is {image_key:?}, not {wanted}"));
        }
        let answer = answer_of(label_key, image)?;
        Ok(Self {
            dataset,
            chunk,
            image,
            answer,
        })
    }
}

/// The answer that a label key names, if any; it must name `image` too.
fn answer_of<'a>(label_key: &'a str, image: &str) -> Result<Option<&'a str>, String> {
    let mut parts = label_key.rsplit('_');
    let last = parts.next().unwrap_or_default();
    let (named, answer) = match label_key.split('_').any(|part| part == "qa") {
        true => (parts.next().unwrap_or_default(), Some(last)),
        false => (last, None),
    };
    if named != image {
        let wanted = match answer {
            Some(_) => "DATASET_qa_IMAGE_ANSWER",
            None => "DATASET_IMAGE",
        };
        return Err(format!(
            "the label key {label_key:?} names another image than {image:?}; it should be {wanted}"
        ));
    }
    Ok(answer)
}

fn first(key: &str) -> &str {
    key.split('_').next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key<'a>(
        dataset: &'a str,
        chunk: Option<&'a str>,
        image: &'a str,
        answer: Option<&'a str>,
    ) -> Result<RowKey<'a>, String> {
        Ok(RowKey {
            dataset,
            chunk,
            image,
            answer,
        })
    }

    #[test]
    fn keys_of_every_kind_of_row() {
        for (image, label, expected) in [
            ("coco_322", "coco_322", key("coco", None, "322", None)),
            (
                "coco_train2014_322",
                "coco_x_322",
                key("coco", None, "322", None),
            ),
            ("cc_3_19", "cc_19", key("googlecc", Some("3"), "19", None)),
            (
                "googlecc_0_19",
                "googlecc_0_19",
                key("googlecc", Some("0"), "19", None),
            ),
            ("oi_train_7_ab", "oi_ab", key("oi", Some("7"), "ab", None)),
            ("gqa_5", "gqa_qa_5_77", key("gqa", None, "5", Some("77"))),
            ("gqa_5", "gqa_vg_qa_5_77", key("gqa", None, "5", Some("77"))),
            ("birds_5", "birds_6", key("birds", None, "birds_5", None)),
        ] {
            assert_eq!(RowKey::parse(image, label), expected, "{image} {label}");
        }
    }

    #[test]
    fn keys_that_cannot_be() {
        for (image, label, wanted) in [
            ("coco_1", "gqa_1", "another data set than"),
            (
                "coco_1",
                "coco_2",
                "names another image than \"1\"; it should be DATASET_IMAGE",
            ),
            (
                "gqa_1",
                "gqa_qa_2_7",
                "it should be DATASET_qa_IMAGE_ANSWER",
            ),
            ("gqa_1", "gqa_qa_1", "names another image"),
            ("coco", "coco", "\"coco\", not DATASET_IMAGE"),
            ("coco_", "coco_", "\"coco_\", not DATASET_IMAGE"),
            ("cc_19", "cc_19", "\"cc_19\", not DATASET_CHUNK_IMAGE"),
            ("cc__19", "cc_19", "\"cc__19\", not DATASET_CHUNK_IMAGE"),
        ] {
            let found = RowKey::parse(image, label).unwrap_err();
            assert!(found.contains(wanted), "{image} {label}: {found}");
        }
    }
}
