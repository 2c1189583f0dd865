//! Captions of scenes.

use rand::Rng;
use rand::seq::{IndexedRandom, SliceRandom};
use rand_chacha::ChaCha8Rng;

use super::scene::{Group, Scene, Side};

/// Numbers in words, from zero.
pub(super) const NUMBERS: [&str; 7] = ["zero", "one", "two", "three", "four", "five", "six"];

/// Words of captions other than names, articles and numbers.
pub(super) const WORDS: &str = "to the left of on right above over below under is are and , there a \
                                picture of i see an some";

/// `a dog`, `two hot dogs`, `some jeans`.
pub(super) fn counted(group: &Group) -> String {
    match group.count {
        1 => group.kind.one(),
        count => format!(
            "{} {}",
            NUMBERS.get(count).unwrap_or(&"many"),
            group.kind.plural
        ),
    }
}

fn is_or_are(group: &Group) -> &'static str {
    match group.count > 1 || group.kind.is_plural() {
        true => "are",
        false => "is",
    }
}

/// A caption: half of them say how two groups lie to each other if any two lie clearly apart, the
/// others list what there is, every third one without one of the groups.
pub(super) fn caption(scene: &Scene, rng: &mut ChaCha8Rng) -> String {
    let pairs = related(scene);
    if let Some((a, side, b)) = pairs
        .choose(rng)
        .filter(|_| rng.random_range(0..2_u32) == 0)
    {
        let words: &[&str] = match side {
            Side::Left => &["to the left of", "on the left of", "left of"],
            Side::Right => &["to the right of", "on the right of", "right of"],
            Side::Above => &["above", "over"],
            Side::Below => &["below", "under"],
        };
        let words = words.choose(rng).unwrap_or(&words[0]);
        let verb = match rng.random_range(0..100_u32) < 30 {
            true => format!(" {}", is_or_are(a)),
            false => String::new(),
        };
        return format!("{}{verb} {words} {}", counted(a), counted(b));
    }
    let mut groups: Vec<&Group> = scene.groups.iter().collect();
    groups.shuffle(rng);
    if groups.len() > 1 && rng.random_range(0..100_u32) < 35 {
        groups.pop();
    }
    let start = match rng.random_range(0..100_u32) {
        0..20 => format!("there {} ", is_or_are(groups[0])),
        20..35 => "a picture of ".into(),
        35..45 => "i see ".into(),
        _ => String::new(),
    };
    format!("{start}{}", listed(&groups))
}

/// Pairs of groups that lie clearly apart.
pub(super) fn related(scene: &Scene) -> Vec<(&Group, Side, &Group)> {
    let groups = &scene.groups;
    let both = groups
        .iter()
        .flat_map(|a| groups.iter().map(move |b| (a, b)));
    let different = both.filter(|(a, b)| a.kind != b.kind);
    different
        .filter_map(|(a, b)| Some((a, Side::clearest(a.hull, b.hull)?, b)))
        .collect()
}

/// `a dog , two apples and a tree`.
pub(super) fn listed(groups: &[&Group]) -> String {
    let mut text = String::new();
    for (at, group) in groups.iter().enumerate() {
        let before = match at {
            0 => "",
            _ if at + 1 == groups.len() => " and ",
            _ => " , ",
        };
        text += before;
        text += &counted(group);
    }
    text
}

/// Expressions that mean one thing of several of its kind: "the dog above the tree", where two dogs
/// are; with the index of the thing.
pub(super) fn referring(scene: &Scene) -> Vec<(String, usize)> {
    let mut found = Vec::new();
    let single = |group: &&Group| group.count == 1;
    for (at, group) in scene
        .groups
        .iter()
        .enumerate()
        .filter(|(_, group)| group.count > 1)
    {
        for anchor in scene.groups.iter().filter(single) {
            for side in Side::ALL {
                let of_group = scene.things.iter().enumerate();
                let mut fitting = of_group
                    .filter(|(_, thing)| thing.group == at)
                    .filter(|(_, thing)| side.perhaps(thing.place, anchor.hull));
                // One that is surely there, and no other of which opinions could differ.
                if let (Some((index, thing)), None) = (fitting.next(), fitting.next())
                    && side.surely(thing.place, anchor.hull)
                {
                    let (name, words) = (&group.kind.name, side.words());
                    found.push((
                        format!("the {name} {words} the {}", anchor.kind.name),
                        index,
                    ));
                }
            }
        }
    }
    found
}

/// Expressions that mean one thing of a scene: those of [`referring`], and the name of each thing that
/// is the only one of its kind, "the dog"; with the index of the thing.
pub(super) fn expressions(scene: &Scene) -> Vec<(String, usize)> {
    let mut found = referring(scene);
    for (index, thing) in scene.things.iter().enumerate() {
        let group = &scene.groups[thing.group];
        if group.count == 1 {
            found.push((format!("the {}", group.kind.name), index));
        }
    }
    found
}
