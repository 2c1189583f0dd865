//! What a scene shows, as data: a line of `scenes.jsonl`.

use serde::Serialize;

use super::captions::{referring, related};
use super::scene::{HEIGHT, Scene, Side, WIDTH};
use super::sheets::Style;

/// A scene graph.
#[derive(Serialize)]
pub(super) struct Graph<'a> {
    image: &'a str,
    width: u32,
    height: u32,
    style: Style,
    vendor: &'static str,
    canvas: [u8; 3],
    /// In the order of the regions.
    objects: Vec<Object<'a>>,
    /// Between objects: on which side of `object` the `subject` wholly is.
    relations: Vec<Relation>,
    /// Between all things of a kind and all of another, where they lie clearly apart.
    group_relations: Vec<GroupRelation<'a>>,
    /// Expressions that mean one object among several of its kind.
    referring: Vec<Referring>,
}

#[derive(Serialize)]
struct Object<'a> {
    name: &'a str,
    category: &'a str,
    novel: bool,
    /// `x1, y1, x2, y2` in pixels.
    #[serde(rename = "box")]
    place: [u32; 4],
    turned: i32,
    mirrored: bool,
}

#[derive(Serialize)]
struct Relation {
    subject: usize,
    relation: Side,
    object: usize,
}

#[derive(Serialize)]
struct GroupRelation<'a> {
    subject: &'a str,
    relation: Side,
    object: &'a str,
}

#[derive(Serialize)]
struct Referring {
    text: String,
    object: usize,
}

impl<'a> Graph<'a> {
    pub(super) fn of(scene: &'a Scene) -> Self {
        let object = |thing| {
            let kind = scene.kind_of(thing);
            Object {
                name: &kind.name,
                category: &kind.category,
                novel: kind.novel,
                place: thing.place,
                turned: thing.pose.turned,
                mirrored: thing.pose.mirrored,
            }
        };
        let mut relations = Vec::new();
        for (subject, a) in scene.things.iter().enumerate() {
            for (object, b) in scene.things.iter().enumerate() {
                let sides = Side::ALL
                    .into_iter()
                    .filter(|side| side.surely(a.place, b.place));
                relations.extend(sides.map(|relation| Relation {
                    subject,
                    relation,
                    object,
                }));
            }
        }
        let of_groups = related(scene)
            .into_iter()
            .map(|(a, relation, b)| GroupRelation {
                subject: &a.kind.name,
                relation,
                object: &b.kind.name,
            });
        let expressions = referring(scene).into_iter();
        Self {
            image: &scene.key,
            width: WIDTH,
            height: HEIGHT,
            style: scene.style,
            vendor: scene.style.vendor(),
            canvas: scene.canvas,
            objects: scene.things.iter().map(object).collect(),
            relations,
            group_relations: of_groups.collect(),
            referring: expressions
                .map(|(text, object)| Referring { text, object })
                .collect(),
        }
    }
}
