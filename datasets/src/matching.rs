//! Rows of image-text matching: `{"image", "text", "label": true}`, or 1 or 0; optionally `tags` and `id`.

use serde::de::IgnoredAny;
use serde::{Deserialize, Deserializer};

use crate::findings::{Counts, Defect};
use crate::images::ImageSource;
use crate::rows::{Key, Row, Truth, is_visible};

/// An image and a text, which belong together or not.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pair {
    /// Key of the image.
    #[serde(deserialize_with = "key")]
    pub image: String,
    /// The text.
    pub text: String,
    /// Object tags instead of those stored with the image.
    #[serde(default)]
    pub tags: Option<String>,
    /// Whether the text matches the image, if that is known.
    #[serde(default, deserialize_with = "label")]
    pub label: Option<bool>,
    #[serde(default, rename = "id")]
    _id: Option<IgnoredAny>,
}

fn key<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    Key::deserialize(deserializer).map(|key| key.0)
}

fn label<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<bool>, D::Error> {
    let label = Option::<Truth>::deserialize(deserializer)?;
    Ok(label.map(|Truth(label)| label))
}

impl Row for Pair {
    fn id(&self) -> Option<&str> {
        None
    }

    fn is_labelled(&self) -> bool {
        self.label.is_some()
    }

    fn check(&self, _: &Self) -> Result<(), Defect> {
        is_visible("text", &self.text)
    }

    fn find_images(&self, images: &dyn ImageSource, found: &mut Vec<usize>) -> Result<(), Defect> {
        found.push(images.require(&self.image)?);
        Ok(())
    }

    fn count(&self, counts: &mut Counts) {
        counts.add_words(&self.text);
        counts.add("true labels", usize::from(self.label == Some(true)));
        counts.add("false labels", usize::from(self.label == Some(false)));
    }
}
