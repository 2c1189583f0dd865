//! What a scene shows, as data: a line of `scenes.jsonl`.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::captions::{referring, related};
use super::kinds::Kind;
use super::scene::{Group, HEIGHT, Scene, Side, Thing, WIDTH};
use super::sheets::{Pose, Style};

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
    #[serde(flatten)]
    kind: &'a Kind,
    /// `x1, y1, x2, y2` in pixels.
    #[serde(rename = "box")]
    place: [u32; 4],
    #[serde(flatten)]
    pose: Pose,
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
        let object = |thing: &'a Thing| Object {
            kind: scene.kind_of(thing),
            place: thing.place,
            pose: thing.pose,
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

/// What is read back of a line; relations follow from the boxes.
#[derive(Deserialize)]
pub(super) struct ReadGraph {
    image: String,
    style: Style,
    canvas: [u8; 3],
    objects: Vec<ReadObject>,
}

#[derive(Deserialize)]
struct ReadObject {
    #[serde(flatten)]
    kind: Kind,
    #[serde(rename = "box")]
    place: [u32; 4],
    #[serde(flatten)]
    pose: Pose,
}

impl ReadGraph {
    /// The scene, its groups in the order of their first things; `None` if it has no object.
    pub(super) fn into_scene(self) -> Option<Scene> {
        let mut groups: Vec<Group> = Vec::new();
        let mut things = Vec::new();
        for object in self.objects {
            let known = groups
                .iter()
                .position(|group| group.kind.name == object.kind.name);
            let group = known.unwrap_or(groups.len());
            if known.is_none() {
                groups.push(Group::new(Arc::new(object.kind)));
            }
            groups[group].add(object.place);
            things.push(Thing {
                group,
                place: object.place,
                pose: object.pose,
            });
        }
        (!things.is_empty()).then_some(Scene {
            key: self.image,
            style: self.style,
            canvas: self.canvas,
            groups,
            things,
        })
    }
}
