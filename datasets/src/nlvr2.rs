//! Rows of NLVR2 and NLVR: statements about one image or two, each true or false.
//!
//! | form | a row |
//! |---|---|
//! | the official NLVR2 files | `{"sentence", "label": "True", "identifier": "dev-850-0-0", …}` |
//! | the processed files of the official Oscar | `{"q", "o": {"left", "right"}, "img_id": {"left", "right"}, "label": 1}` |
//! | LXMERT's files | `{"sent", "img0", "img1", "label": 1, "identifier"}` |
//! | ALBEF's and BLIP's files | `{"sentence", "images": [LEFT, RIGHT], "label": "True"}` |
//! | pairs of images | `{"left", "right", "statement", "label": true}`, with an `identifier` or without |
//! | single images, NLVR | `{"image", "statement", "label": true}`; `text` means the same as `statement` |

use std::collections::BTreeMap;

use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::Value;

use crate::error::excerpt;
use crate::findings::{Counts, Defect, Kind};
use crate::images::ImageSource;
use crate::rows::{Key, Row, Truth, has_words};

/// A statement and the images it is about.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(try_from = "Fields")]
pub struct Statement {
    /// The statement.
    pub text: String,
    /// Keys of the images: one, or the left and the right one.
    pub images: Vec<String>,
    /// Object tags of each image, if the row brings them.
    pub tags: Option<Vec<String>>,
    /// Whether it is true, if that is known.
    pub label: Option<bool>,
    /// The official name of the row, if it has one.
    pub identifier: Option<Identifier>,
}

/// `SPLIT-SET-PAIR-SENTENCE`, as in `dev-850-0-0`: sentence 0 about pair 0 of image set 850.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Identifier(String);

impl Identifier {
    fn parse(text: String) -> Result<Self, String> {
        let fields: Vec<&str> = text.split('-').collect();
        // Nothing that would need quotes in a CSV file.
        let plain = |field: &&str| {
            !field.is_empty()
                && field
                    .chars()
                    .all(|c| c.is_alphanumeric() || "_.".contains(c))
        };
        match fields.len() == 4 && fields.iter().all(plain) {
            true => Ok(Self(text)),
            false => Err(format!(
                "identifier {}; expected SPLIT-SET-PAIR-SENTENCE, such as \"dev-850-0-0\"",
                excerpt(&text)
            )),
        }
    }

    /// The whole name.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Set and sentence: the identifier with its third field blanked, `dev-850--0`. The pairs of
    /// such a group share their sentence.
    pub fn group(&self) -> String {
        let mut fields: Vec<&str> = self.0.split('-').collect();
        fields[2] = "";
        fields.join("-")
    }

    /// Keys of the left and the right image: `dev-850-0-img0`, `dev-850-0-img1`.
    fn images(&self) -> Vec<String> {
        let pair = self.0.rsplit_once('-').map_or("", |(pair, _)| pair);
        ["img0", "img1"].map(|side| format!("{pair}-{side}")).into()
    }
}

/// One value per image of a pair.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Sides {
    left: Key,
    right: Key,
}

impl Sides {
    fn both(self) -> Vec<String> {
        vec![self.left.0, self.right.0]
    }
}

#[derive(Deserialize)]
#[serde(
    untagged,
    expecting = "expected a text, or a text for `left` and one for `right`"
)]
enum Tags {
    One(String),
    Pair(Sides),
}

/// Every key of every form.
#[derive(Deserialize)]
#[serde(expecting = "an object such as {\"left\": …, \"right\": …, \"statement\": …}")]
struct Fields {
    label: Option<Value>,
    identifier: Option<String>,
    // The processed files of the official Oscar.
    q: Option<String>,
    o: Option<Sides>,
    img_id: Option<Sides>,
    // The official NLVR2 files.
    sentence: Option<String>,
    // ALBEF's.
    images: Option<[Key; 2]>,
    // LXMERT's.
    sent: Option<String>,
    img0: Option<Key>,
    img1: Option<Key>,
    // Anyone's.
    left: Option<Key>,
    right: Option<Key>,
    image: Option<Key>,
    #[serde(alias = "text")]
    statement: Option<String>,
    tags: Option<Tags>,
    #[serde(flatten)]
    others: BTreeMap<String, IgnoredAny>,
}

impl TryFrom<Fields> for Statement {
    type Error = String;

    fn try_from(fields: Fields) -> Result<Self, String> {
        let label = fields.label.map_or(Ok(None), label)?;
        let identifier = fields.identifier.map(Identifier::parse).transpose()?;
        if let (Some(text), Some(left), Some(right)) = (fields.sent, fields.img0, fields.img1) {
            return Ok(Self {
                text,
                images: vec![left.0, right.0],
                tags: None,
                label,
                identifier,
            });
        }
        let (left, right) = match fields.images {
            Some([left, right]) => (Some(left), Some(right)),
            None => (fields.left, fields.right),
        };
        let (text, images, tags) = match (fields.q, fields.sentence, fields.statement) {
            (Some(q), None, None) => {
                let images = fields
                    .img_id
                    .ok_or("no `img_id`; name the images, {\"left\": KEY, \"right\": KEY}")?;
                // Tags are joined by semicolons there, which are no words.
                let tags = fields
                    .o
                    .map(|tags| tags.both().iter().map(|t| t.replace(';', " ")).collect());
                (q, images.both(), tags)
            }
            (None, Some(sentence), None) => {
                let images = match (left, right, &identifier) {
                    (Some(left), Some(right), _) => vec![left.0, right.0],
                    (.., Some(identifier)) => identifier.images(),
                    _ => return Err("no `identifier`; the images' keys are made from it".into()),
                };
                (sentence, images, None)
            }
            (None, None, Some(statement)) => {
                if let Some(unknown) = fields.others.keys().next() {
                    return Err(format!(
                        "unknown key `{unknown}`; a row has `left`, `right` (or `image`), \
                         `statement`, `label`, `identifier` and `tags`"
                    ));
                }
                let images = images(left, right, fields.image)?;
                let tags = fields
                    .tags
                    .map(|tags| own_tags(tags, images.len()))
                    .transpose()?;
                (statement, images, tags)
            }
            (None, None, None) => {
                return Err("none of `statement`, `sentence` and `q`; write the statement".into());
            }
            _ => return Err("more than one of `statement`, `sentence` and `q`; keep one".into()),
        };
        Ok(Self {
            text,
            images,
            tags,
            label,
            identifier,
        })
    }
}

/// `true`, `1`, `"True"`; nothing at all if it is null, as in test sets.
fn label(value: Value) -> Result<Option<bool>, String> {
    match Option::<Truth>::deserialize(&value) {
        Ok(label) => Ok(label.map(|Truth(label)| label)),
        Err(_) => Err(format!("label {value}; expected true or false, or 1 or 0")),
    }
}

fn images(
    left: Option<Key>,
    right: Option<Key>,
    image: Option<Key>,
) -> Result<Vec<String>, String> {
    match (left, right, image) {
        (Some(left), Some(right), None) => Ok(vec![left.0, right.0]),
        (None, None, Some(image)) => Ok(vec![image.0]),
        (None, None, None) => Err("no image; name `left` and `right`, or `image`".into()),
        (Some(_), None, None) => Err("`left` without `right`; name both images".into()),
        (None, Some(_), None) => Err("`right` without `left`; name both images".into()),
        _ => Err("`image` beside `left` or `right`; name one image or two".into()),
    }
}

fn own_tags(tags: Tags, images: usize) -> Result<Vec<String>, String> {
    match (tags, images) {
        (Tags::One(tags), 1) => Ok(vec![tags]),
        (Tags::Pair(tags), 2) => Ok(tags.both()),
        (Tags::One(_), _) => {
            Err("one text of `tags` for two images; give {\"left\", \"right\"}".into())
        }
        (Tags::Pair(_), _) => Err("`tags` of two images for one; give one text".into()),
    }
}

impl Row for Statement {
    fn id(&self) -> Option<&str> {
        self.identifier.as_ref().map(Identifier::as_str)
    }

    fn is_labelled(&self) -> bool {
        self.label.is_some()
    }

    fn check(&self, first: &Self) -> Result<(), Defect> {
        has_words("statement", &self.text)?;
        match (self.images.len(), first.images.len()) {
            (own, others) if own != others => Err(Defect::of(
                Kind::Mismatch,
                format!("{own} image(s), but {others} in the first row"),
            )
            .fix("give all rows as many images")),
            _ => Ok(()),
        }
    }

    fn find_images(&self, images: &dyn ImageSource, found: &mut Vec<usize>) -> Result<(), Defect> {
        let sides = match self.images.len() {
            2 => ["left", "right"],
            _ => ["", ""],
        };
        for (key, side) in self.images.iter().zip(sides) {
            found.push(images.require(key).map_err(|defect| match side {
                "" => defect,
                side => defect.within(side),
            })?);
        }
        Ok(())
    }

    fn count(&self, counts: &mut Counts) {
        counts.add_words(&self.text);
        counts.add("true labels", usize::from(self.label == Some(true)));
        counts.add("false labels", usize::from(self.label == Some(false)));
    }
}
